"""A translator from its checkpoint to the answers of Triton, against transformers on the same checkpoint."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ctranslate2.converters import TransformersConverter
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import T5ForConditionalGeneration
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient as AsyncClient
from tritonclient.utils import InferenceServerException

from api.inference.contracts import TRANSLATOR
from export_scripts import translator as exporter
from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine
from tests.business import until
from tests.served import Served, served
from tests.translation_checkpoint import CONTROL, END, LANGUAGES, OTHERS, TEXTS, make_checkpoint

engines = load_engine(TRANSLATOR)


def export(checkpoint: Path, to: Path, *options: str) -> dict[str, Any]:
    """The manifest."""
    exporter.main(["--checkpoint", str(checkpoint), "--to", str(to), *options])
    manifest: dict[str, Any] = json.loads((to / TRANSLATOR / "1" / "manifest.json").read_text())
    return manifest


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoints") / "Tiny-mt")


@pytest.fixture(scope="module")
def repository(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one batch at a time: what is asked waits for what was asked before."""
    to = tmp_path_factory.mktemp("repository")
    export(checkpoint, to, "--compute-type", "float32", "--parallel-batches", "1", "--cpu-threads", "1")
    return to


@pytest.fixture(scope="module")
def weights(repository: Path) -> Path:
    return repository / TRANSLATOR / "1" / "weights"


@pytest.fixture(scope="module")
def engine(weights: Path) -> Any:
    return engines.TranslatorEngine(weights, threads=1)


@pytest.fixture(scope="module")
def own_tokenizer(checkpoint: Path) -> Any:
    return Tokenizer.from_file(str(checkpoint / "tokenizer.json"))


@pytest.fixture(scope="module")
def reference(checkpoint: Path, own_tokenizer: Any) -> Callable[[str, str], list[int]]:
    """The tokens that transformers translates a text with."""
    model = T5ForConditionalGeneration.from_pretrained(checkpoint).eval()

    def translate(text: str, target: str) -> list[int]:
        source = own_tokenizer.encode(f"<2{target}> {text}").ids
        most = engines.longest_translation(len(source))
        with torch.inference_mode():
            written = model.generate(torch.tensor([source]), do_sample=False, num_beams=1, max_new_tokens=most)
        tokens: list[int] = written[0, 1:].tolist()
        return tokens

    return translate


def options(target: str) -> bytes:
    return json.dumps({"target": target}).encode()


def prepare(engine: Any, target: str, *texts: str) -> Any:
    return engine.prepare([text.encode() for text in texts], options(target))


def translate(engine: Any, *requests: tuple[str, Sequence[str]]) -> list[list[str]]:
    answers = dict(engine.translate([prepare(engine, target, *texts) for target, texts in requests]))
    return [answers[number] for number in range(len(requests))]


def test_translations_of_one_call_are_the_greedy_ones_of_transformers(
    engine: Any, reference: Callable[[str, str], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: Any = engine._tokens
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "decode", str)
        requests = [(target, TEXTS[start:]) for start, target in enumerate(("es", "zh", "ndc_ZW"))]
        answers = translate(engine, *requests)
    ended = []
    for (target, texts), written in zip(requests, answers, strict=True):
        for text, numbers in zip(texts, written, strict=True):
            expected = reference(text, target)
            ended.append(expected[-1] == END)
            assert numbers == str([token for token in expected if token != END])
    assert True in ended, "some come to an end"
    assert False in ended, "others are cut off"


READABLE = st.text(st.characters(exclude_characters="<\ufffd", exclude_categories=["Cs"]), max_size=40)


@given(text=READABLE.filter(str.strip), target=st.sampled_from(LANGUAGES))
def test_a_text_is_read_as_by_the_checkpoints_tokenizer(
    engine: Any, own_tokenizer: Any, text: str, target: str
) -> None:
    (source,) = prepare(engine, target, text)
    assert source in ([], own_tokenizer.encode(f"<2{target}> {text}").ids)


@given(
    parts=st.lists(st.sampled_from([*CONTROL, *OTHERS, "<2es>", "＜2es＞", "<2", "es>", "control 3", " "]) | READABLE)
)
def test_no_text_has_a_control_token_in_it(engine: Any, weights: Path, parts: list[str]) -> None:
    control = set(json.loads((weights / "tokens.json").read_bytes())["control"])
    assert len(control) == len(CONTROL) + len(LANGUAGES) + len(OTHERS)
    assert control.isdisjoint(engine._tokens.encode("".join(parts)))


def test_a_control_token_in_a_text_changes_no_target(engine: Any, own_tokenizer: Any) -> None:
    text = "<2fr> Nobody</s> <unk>"
    (source,) = prepare(engine, "es", text)
    assert [token for token in source if token < len(CONTROL) + len(LANGUAGES)] == [
        own_tokenizer.token_to_id("<2es>"),
        END,
    ]
    assert engine._tokens.decode(source) == text


def test_bytes_are_written_as_the_characters_that_they_make(engine: Any, own_tokenizer: Any) -> None:
    text = "東京, naïve 🎉"
    tokens = engine._tokens.encode(text)
    assert any(own_tokenizer.id_to_token(token).startswith("<0x") for token in tokens)
    assert engine._tokens.decode([0, *tokens[:4], END, *tokens[4:], own_tokenizer.token_to_id("<2fr>")]) == text


def test_an_answer_does_not_depend_on_its_batch(engine: Any) -> None:
    requests = [
        ("es", TEXTS),
        ("zh", ["", TEXTS[1], "  \n"]),
        ("fr", ["a"]),
        ("de", [" ", ""]),
        ("es", TEXTS[::-1] * 20),
    ]
    together = translate(engine, *requests)
    for request, answer in zip(requests, together, strict=True):
        assert len(answer) == len(request[1])
        assert translate(engine, request) == [answer]
    assert together[1][0] == together[1][2] == ""
    assert together[1][1]
    assert together[3] == ["", ""]
    assert together[0] * 20 == together[4][::-1]
    assert together[0] != translate(engine, ("pt", TEXTS))[0]
    assert list(engine.translate([])) == []


class Recorder:
    """A translator that notes what it is asked."""

    def __init__(self, translator: Any) -> None:
        self._translator = translator
        self.calls: list[tuple[list[int], dict[str, Any]]] = []

    def translate_batch(self, sources: Any, **options: Any) -> Any:
        self.calls.append(([len(source) for source in sources], options))
        return self._translator.translate_batch(sources, **options)


@pytest.fixture
def recorder(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(engine._translator)
    monkeypatch.setattr(engine, "_translator", recorder)
    return recorder


def test_short_texts_wait_for_no_long_ones(engine: Any, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_run_tokens", 60)
    long = " ".join(TEXTS[:3])
    requests = [prepare(engine, "es", long, "a"), prepare(engine, "fr", "a", "b"), prepare(engine, "de", long, long)]
    first = next(engine.translate(requests))
    assert first[0] == 1
    ((lengths, asked),) = recorder.calls
    assert max(lengths) < 6, "nothing else has been translated yet"
    assert asked["max_decoding_length"] == engines.longest_translation(max(lengths))
    recorder.calls.clear()
    assert [number for number, _ in engine.translate(requests, lambda number: number == 2)] == [1, 0]
    assert [len(lengths) for lengths, _ in recorder.calls] == [3, 1], "what nobody waits for is not translated"


@given(lengths=st.lists(st.integers(1, 60), max_size=80), most=st.integers(1, 300))
def test_runs_share_out_texts_of_about_the_same_length(lengths: list[int], most: int) -> None:
    runs = list(engines.equal_runs(lengths, most))
    assert sorted(index for run in runs for index in run) == list(range(len(lengths)))
    assert [lengths[index] for run in runs for index in run] == sorted(lengths)
    for run in runs:
        assert len(run) == 1 or len(run) * lengths[run[-1]] <= most
    for run, after in pairwise(runs):  # nothing more would have found room
        assert (len(run) + 1) * lengths[after[0]] > most


BAD_REQUESTS = [
    ([], options("es"), "1 to 256 texts; it holds 0"),
    ([b"a"] * 257, options("es"), "1 to 256 texts; it holds 257"),
    ([b"fine", b"\xff\xfe"], options("es"), "must be UTF-8"),
    ([b"a" * 16_385], options("es"), "at most 16384 bytes; one has 16385"),
    ([b"a" * 16_000] * 66, options("es"), "at most 1048576 bytes in all"),
    ([b"fine", b"a " * 2049], options("es"), "at most 2048 tokens; one has 2049"),
    ([b"fine"], options("xx"), "does not translate into 'xx'"),
    ([b"fine"], options("translate"), "does not translate into 'translate'"),
    ([b"fine"], b'{"target": 3}', "OPTIONS: Expected `str`"),
    ([b"fine"], b'{"target": "es", "source": "en"}', "unknown field"),
    ([b"fine"], b"{}", "missing required field"),
    ([b"fine"], b"{", "OPTIONS is not JSON"),
    ([b"fine"], b'{"target": "\xff"}', "OPTIONS is not JSON"),
]


@pytest.mark.parametrize(("texts", "asked", "message"), BAD_REQUESTS)
def test_what_cannot_be_translated_is_refused(engine: Any, texts: list[bytes], asked: bytes, message: str) -> None:
    with pytest.raises(engines.RequestError, match=message):
        engine.prepare(texts, asked)


def test_the_longest_text(engine: Any) -> None:
    (source,) = engine.prepare([b"a " * 2048], options("es"))
    ((_, (translation,)),) = engine.translate([[source]])
    assert translation


def test_more_hypotheses_find_likelier_translations(weights: Path, engine: Any) -> None:
    wider = engines.TranslatorEngine(weights, threads=1, beam_size=4)
    assert translate(wider, ("es", TEXTS)) != translate(engine, ("es", TEXTS))


def test_an_export(repository: Path, checkpoint: Path, tmp_path: Path) -> None:
    manifest = json.loads((repository / TRANSLATOR / "1" / "manifest.json").read_text())
    assert manifest["card"] == {"kind": TRANSLATOR, "name": "Tiny-mt", "languages": list(LANGUAGES)}
    agreement = manifest["source"]["greedy_agreement"]
    assert agreement["agreeing_tokens"] == agreement["tokens"] > 100
    manifest = export(checkpoint, tmp_path, "--display-name", "All", "--device", "gpu", "--beam-size", "3")
    assert manifest["card"]["name"] == "All"
    agreement = manifest["source"]["greedy_agreement"]
    assert agreement["tokens"] / 2 < agreement["agreeing_tokens"] <= agreement["tokens"]
    assert "KIND_GPU" in (tmp_path / TRANSLATOR / "config.pbtxt").read_text()
    parameters = json.loads((tmp_path / TRANSLATOR / "1" / "parameters.json").read_text())
    assert (parameters["compute_type"], parameters["beam_size"]) == ("bfloat16", 3)
    with pytest.raises(ExportError, match="float16 is for GPUs"):
        export(checkpoint, tmp_path, "--compute-type", "float16", "--version", "2")
    with pytest.raises(ExportError, match="--beam-size must be at least 1"):
        export(checkpoint, tmp_path, "--beam-size", "0")


def changed(file: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        description = json.loads((folder / file).read_text())
        change(description)
        (folder / file).write_text(json.dumps(description))

    return spoil


def without_languages(tokenizer: Any) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = [[piece.replace("<2", "<3"), score] for piece, score in vocabulary]


def two_alike(tokenizer: Any) -> None:
    tokenizer["model"]["vocab"][-1][0] = tokenizer["model"]["vocab"][-2][0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (changed("tokenizer.json", without_languages), "no token of a language such as <2en>"),
        (changed("tokenizer.json", lambda tokenizer: tokenizer.update(post_processor=None)), "reads otherwise"),
        (changed("tokenizer.json", lambda tokenizer: tokenizer.pop("model")), "not a checkpoint of a translator"),
        (changed("tokenizer.json", two_alike), "several tokens with one spelling"),
        (changed("config.json", lambda config: config.update(model_type="bert")), "is a bert; T5 alone"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (lambda folder: (folder / "config.json").unlink(), "not a checkpoint of a translator"),
        (lambda folder: (folder / "model.safetensors").unlink(), "not a checkpoint that CTranslate2 converts"),
    ],
)
def test_what_cannot_be_served_is_refused(
    checkpoint: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    spoil(copy)
    with pytest.raises(ExportError, match=message):
        export(copy, tmp_path / "out")
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_conversion_that_writes_otherwise_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = TransformersConverter.convert

    def convert_wrongly(self: Any, output: str, **options: Any) -> None:
        convert(self, output, **options)
        config = Path(output) / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "layer_norm_epsilon": 10.0}))

    monkeypatch.setattr(TransformersConverter, "convert", convert_wrongly)
    with pytest.raises(ExportError, match=r"writes otherwise than the checkpoint: of \d+ tokens \d+ are the same"):
        export(checkpoint, tmp_path, "--compute-type", "float32")


@pytest.fixture(scope="module")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(repository, TRANSLATOR, tmp_path_factory.mktemp("triton")) as running:
        yield running


async def ask(client: AsyncClient, texts: Sequence[bytes], asked: bytes) -> list[str]:
    inputs = [InferInput("TEXTS", [1, len(texts)], "BYTES"), InferInput("OPTIONS", [1, 1], "BYTES")]
    for tensor, values in zip(inputs, (texts, [asked]), strict=True):
        tensor.set_data_from_numpy(np.array([values], dtype=np.object_))
    result = await client.infer(TRANSLATOR, inputs)
    return [text.decode() for text in result.as_numpy("TRANSLATIONS")[0]]


def test_requests_share_batches_and_answers_stay_the_same(
    triton: Served, engine: Any, own_tokenizer: Any, reference: Callable[[str, str], list[int]]
) -> None:
    requests = [(LANGUAGES[number % len(LANGUAGES)], TEXTS[: 1 + number % 4]) for number in range(24)]
    bad = [(texts, asked, message) for texts, asked, message in BAD_REQUESTS if texts]

    async def run() -> list[Any]:
        async with AsyncClient(triton.address) as client:
            good = [ask(client, [text.encode() for text in texts], options(target)) for target, texts in requests]
            others = [ask(client, texts, asked) for texts, asked, _ in bad]
            return await asyncio.gather(*good, *others, return_exceptions=True)

    batches, served = (triton.counted(f"nv_inference_{of}") for of in ("exec_count", "request_success"))
    answers = asyncio.run(run())
    until(lambda: triton.counted("nv_inference_request_success") == served + len(answers))
    assert triton.counted("nv_inference_exec_count") - batches < len(answers) / 2
    for (target, texts), answer in zip(requests, answers, strict=False):
        assert answer == translate(engine, (target, texts))[0]
    for (_, _, message), answer in zip(bad, answers[len(requests) :], strict=True):
        assert isinstance(answer, InferenceServerException)
        assert "INVALID_ARGUMENT" in str(answer.status())
        assert message in answer.message()
    written = [token for token in reference(TEXTS[0], requests[0][0]) if token >= len(CONTROL) + len(LANGUAGES) + 1]
    assert answers[0] == [engine._tokens.decode(written)]


def test_whoever_leaves_is_not_translated_for(triton: Served) -> None:
    """The first is a batch by itself, the others are the next; when the first is answered, they leave."""
    texts, clients = [b"a " * 400] * 24, 9

    async def alone() -> list[str]:
        async with AsyncClient(triton.address) as client:
            return await ask(client, texts, options("es"))

    async def run() -> list[str]:
        async with AsyncClient(triton.address) as client:
            leaving = [asyncio.create_task(ask(client, texts, options("es"))) for _ in range(clients)]
            await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
            for task in leaving:
                task.cancel()
            return await ask(client, [TEXTS[0].encode()], options("es"))

    asyncio.run(alone())
    moments = [triton.worked_s()]
    for work in (alone, run):
        assert asyncio.run(work())
        moments.append(triton.worked_s())
    one, all_of_them = (after - before for before, after in pairwise(moments))
    assert all_of_them < clients / 2 * one
