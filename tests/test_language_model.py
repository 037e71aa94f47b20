"""A language model from its checkpoint to the streams of Triton, against transformers on the same checkpoint."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
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
from transformers import AutoModelForCausalLM, AutoTokenizer
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.grpc.aio import InferenceServerClient as AsyncClient

from api.errors import InferenceFailed, InferenceUnavailable, PromptTooLong
from api.inference.contracts import LANGUAGE_MODEL, CompletionRequest, Message
from api.inference.triton.channel import Channel
from api.inference.triton.completion import TritonLanguageModel
from export_scripts import language_model as exporter
from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine
from tests.business import until
from tests.language_checkpoint import CONTEXT_TOKENS, TEXTS, make_checkpoint, user
from tests.running import PROJECT
from tests.served import Served, served

engines = load_engine("language_model")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoints") / "Tiny-Instruct")


@pytest.fixture(scope="module")
def repository(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one batch at a time: what is asked waits for what was asked before."""
    to = tmp_path_factory.mktemp("repository")
    export(checkpoint, to, "--compute-type", "float32", "--parallel-batches", "1", "--cpu-threads", "1")
    return to


def export(checkpoint: Path, to: Path, *options: str) -> dict[str, Any]:
    """The manifest."""
    exporter.main(["--checkpoint", str(checkpoint), "--to", str(to), *options])
    manifest: dict[str, Any] = json.loads((to / LANGUAGE_MODEL / "1" / "manifest.json").read_text())
    return manifest


@pytest.fixture(scope="module")
def weights(repository: Path) -> Path:
    return repository / LANGUAGE_MODEL / "1" / "weights"


@pytest.fixture(scope="module")
def engine(weights: Path) -> Any:
    return engines.LanguageModelEngine(weights, threads=1)


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Callable[[str, int], list[int]]:
    """The tokens that transformers answers with."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)

    def write(content: str, tokens: int) -> list[int]:
        prompt = tokenizer.apply_chat_template(user(content), add_generation_prompt=True, return_tensors="pt")
        with torch.inference_mode():
            written = model.generate(**prompt, do_sample=False, max_new_tokens=tokens, repetition_penalty=1.0)
        answer: list[int] = written[0, prompt["input_ids"].shape[1] :].tolist()
        return answer

    return write


@dataclass
class Reader:
    """Leaves after `patience` chunks."""

    patience: int = 10**9
    chunks: list[Any] = field(default_factory=list)

    def send(self, chunk: Any) -> None:
        self.chunks.append(chunk)

    def has_gone(self) -> bool:
        return len(self.chunks) >= self.patience

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)


def prepare(engine: Any, content: str, **options: Any) -> Any:
    return engine.prepare(engines.CompletionRequest([engines.Message("user", content)], **options))


def answer(engine: Any, content: str, **options: Any) -> str:
    reader = Reader()
    engine.complete([prepare(engine, content, **options)], [reader])
    return reader.text


def test_answers_of_one_call_are_the_greedy_ones_of_transformers(
    engine: Any, checkpoint: Path, reference: Callable[[str, int], list[int]]
) -> None:
    contents, lengths = [TEXTS[1], "Why? " * 8, TEXTS[3]], [40, 25, 10]
    asked = [prepare(engine, content, max_tokens=n) for content, n in zip(contents, lengths, strict=True)]
    assert [sorted(group) for group in engines.together(asked)] == [[0, 1, 2]]
    readers = [Reader(), Reader(), Reader()]
    assert engine.complete(asked, readers) == sum(lengths)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    for content, length, reader, prompt in zip(contents, lengths, readers, asked, strict=True):
        assert reader.text == tokenizer.decode(reference(content, length), skip_special_tokens=True)
        *others, last = reader.chunks
        assert (last.finish, last.prompt_tokens, last.completion_tokens) == ("length", len(prompt.tokens), length)
        assert {chunk.finish for chunk in others} <= {None}


def test_an_answer_ends_at_an_end_token(
    weights: Path, tmp_path: Path, reference: Callable[[str, int], list[int]]
) -> None:
    expected = reference(TEXTS[0], 30)
    end = expected.index(expected[9])
    copy = shutil.copytree(weights, tmp_path / "weights")
    chat = json.loads((copy / "chat.json").read_text())
    (copy / "chat.json").write_text(json.dumps({**chat, "end_tokens": [expected[9]]}))
    engine, reader = engines.LanguageModelEngine(copy), Reader()
    engine.complete([prepare(engine, TEXTS[0])], [reader])
    assert reader.text == Tokenizer.from_file(str(weights / "tokenizer.json")).decode(expected[:end])
    assert (reader.chunks[-1].finish, reader.chunks[-1].completion_tokens) == ("stop", end)


def test_whoever_leaves_is_not_written_for(engine: Any, weights: Path) -> None:
    asked = [prepare(engine, TEXTS[0], max_tokens=60), prepare(engine, TEXTS[1], max_tokens=2000)]
    staying, leaving = Reader(), Reader(patience=2)
    assert engine.complete(asked, [staying, leaving]) < 60 + 20
    assert staying.chunks[-1].completion_tokens == 60
    assert len(leaving.chunks) == 2
    stopped = engines.LanguageModelEngine(weights)
    stopped.stop()
    assert stopped.complete(asked, [Reader(), Reader()]) == 0


def test_an_engine_may_go_when_its_answer_has_come(weights: Path) -> None:
    """In a process of its own, because what may happen is that it dies."""
    program = f"""
from pathlib import Path
from types import SimpleNamespace
from export_scripts.engines import load_engine
engines = load_engine({LANGUAGE_MODEL!r})
request = engines.CompletionRequest([engines.Message("user", "Hello")], 3)
reader = SimpleNamespace(send=lambda chunk: None, has_gone=lambda: False)
for _ in range(40):
    engine = engines.LanguageModelEngine(Path({str(weights)!r}), threads=1)
    engine.complete([engine.prepare(request)], [reader])
    del engine
"""
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)


def test_options_are_each_requests_own(engine: Any) -> None:
    greedy = answer(engine, TEXTS[0], max_tokens=30)
    # Of the likeliest tokens that make up next to nothing together there is but one, however hot the sampling.
    assert answer(engine, TEXTS[0], max_tokens=30, temperature=2, top_p=1e-6) == greedy
    assert answer(engine, TEXTS[0], max_tokens=30, temperature=1e-30) == greedy
    hot = {answer(engine, TEXTS[0], max_tokens=30, temperature=2) for _ in range(3)}
    assert len(hot | {greedy}) == 4


@given(
    st.lists(st.tuples(st.integers(1, 400), st.sampled_from([(0.0, 1.0), (0.7, 0.9), (0.7, 1.0)])), max_size=12),
)
def test_a_call_is_of_prompts_that_go_together(prompts: list[tuple[int, tuple[float, float]]]) -> None:
    asked = [engines.Prompt([0] * length, 1, engines.Sampling(*sampling)) for length, sampling in prompts]
    groups = engines.together(asked)
    assert sorted(index for group in groups for index in group) == list(range(len(asked)))
    for group in groups:
        assert len({prompts[index][1] for index in group}) == 1
        lengths = [prompts[index][0] for index in group]
        assert max(lengths) - min(lengths) <= engines.MOST_TOKENS_APART


def test_an_answer_has_what_the_context_leaves(engine: Any) -> None:
    words = "a\n" * (CONTEXT_TOKENS // 2 - 40)
    room = CONTEXT_TOKENS - len(prepare(engine, words).tokens)
    assert 2 <= room < 512
    reader = Reader()
    engine.complete([prepare(engine, words, max_tokens=8192)], [reader])
    assert (reader.chunks[-1].finish, reader.chunks[-1].completion_tokens) == ("length", room)
    prepare(engine, words + "a\n" * (room // 2 - 1))
    for more in (room // 2, CONTEXT_TOKENS, 10**7):
        with pytest.raises(ValueError, match="8190"):
            prepare(engine, words + "a\n" * more)


def test_an_export(repository: Path, checkpoint: Path, tmp_path: Path) -> None:
    manifest = json.loads((repository / LANGUAGE_MODEL / "1" / "manifest.json").read_text())
    assert manifest["card"] == {"kind": LANGUAGE_MODEL, "name": "Tiny-Instruct", "context_tokens": CONTEXT_TOKENS}
    agreement = manifest["source"]["greedy_agreement"]
    assert agreement["agreeing_tokens"] == agreement["tokens"] == 3 * exporter.TRIAL_TOKENS
    manifest = export(checkpoint, tmp_path, "--context-tokens", "300", "--display-name", "Minutes", "--device", "gpu")
    assert (manifest["card"]["name"], manifest["card"]["context_tokens"]) == ("Minutes", 300)
    with pytest.raises(ExportError, match="float16 is for GPUs"):
        export(checkpoint, tmp_path, "--compute-type", "float16")
    config = (tmp_path / LANGUAGE_MODEL / "config.pbtxt").read_text()
    assert "KIND_GPU" in config
    assert "decoupled: true" in config
    parameters = json.loads((tmp_path / LANGUAGE_MODEL / "1" / "parameters.json").read_text())
    assert parameters["compute_type"] == "float16"


def test_a_quantised_export_says_how_well_it_agrees(checkpoint: Path, tmp_path: Path) -> None:
    agreement = export(checkpoint, tmp_path)["source"]["greedy_agreement"]
    assert agreement["tokens"] / 2 < agreement["agreeing_tokens"] <= agreement["tokens"]
    parameters = json.loads((tmp_path / LANGUAGE_MODEL / "1" / "parameters.json").read_text())
    assert parameters["compute_type"] == "int8"


def other_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "olmo"}))


def other_matching(folder: Path) -> None:
    """Control tokens that are none where a letter is next to them."""
    description = json.loads((folder / "tokenizer.json").read_text())
    added = [{**token, "single_word": True} for token in description["added_tokens"]]
    (folder / "tokenizer.json").write_text(json.dumps({**description, "added_tokens": added}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat template"),
        (lambda folder: (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}"), "every conv.*: no"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (lambda folder: (folder / "config.json").unlink(), "not a checkpoint of a language model"),
        (other_architecture, "not a checkpoint that CTranslate2 converts"),
        (other_matching, "reads otherwise than transformers"),
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
    with pytest.raises(ExportError, match=r"writes otherwise than the checkpoint: of 96 tokens \d+ are the same"):
        export(checkpoint, tmp_path, "--compute-type", "float32")


@pytest.fixture(scope="module")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(repository, LANGUAGE_MODEL, tmp_path_factory.mktemp("triton")) as running:
        yield running


@asynccontextmanager
async def connected(address: str, patience_s: float = 20) -> AsyncIterator[TritonLanguageModel]:
    channel = Channel(address, patience_s=patience_s, timeout_s=60)
    try:
        yield TritonLanguageModel(channel)
    finally:
        await channel.close()


def asking(content: str, **options: Any) -> CompletionRequest:
    return CompletionRequest([Message("user", content)], **options)


async def whole(model: TritonLanguageModel, request: CompletionRequest) -> str:
    chunks = [chunk async for chunk in model.complete(request)]
    assert chunks[-1].finish
    return "".join(chunk.text for chunk in chunks)


def test_requests_share_batches_and_answers_stay_the_same(
    triton: Served, engine: Any, checkpoint: Path, reference: Callable[[str, int], list[int]]
) -> None:
    lengths = [5 + 3 * n for n in range(16)]
    requests = [asking(TEXTS[n % len(TEXTS)] * (1 + n // 8), max_tokens=length) for n, length in enumerate(lengths)]

    async def run() -> list[str]:
        async with connected(triton.address) as model:
            return await asyncio.gather(*(whole(model, request) for request in requests))

    batches, served = (triton.counted(f"nv_inference_{of}") for of in ("exec_count", "request_success"))
    answers = asyncio.run(run())
    until(lambda: triton.counted("nv_inference_request_success") == served + len(requests))
    assert triton.counted("nv_inference_exec_count") - batches < len(requests) / 2
    for request, text in zip(requests, answers, strict=True):
        assert text == answer(engine, request.messages[0].content, max_tokens=request.max_tokens)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert answers[0] == tokenizer.decode(reference(TEXTS[0], lengths[0]), skip_special_tokens=True)


def test_a_request_that_cannot_be_answered_spoils_no_batch(triton: Served) -> None:
    async def run() -> list[str | BaseException]:
        async with connected(triton.address) as model:
            asked = [asking("ab " * 20_000), asking("\n" * 10**7), asking("Hi", top_p=7), asking("Hi", max_tokens=5)]
            return await asyncio.gather(*(whole(model, request) for request in asked), return_exceptions=True)

    longer, longest, wrong, good = asyncio.run(run())
    assert isinstance(longer, PromptTooLong)
    assert "8190 at most" in str(longer)
    assert isinstance(longest, PromptTooLong)
    assert isinstance(wrong, InferenceFailed)
    assert "top_p" in str(wrong)
    assert isinstance(good, str)


def test_what_is_no_request_is_an_error(triton: Served) -> None:
    async def said(payload: bytes) -> str:
        asked = InferInput("REQUEST", [1, 1], "BYTES")
        asked.set_data_from_numpy(np.array([[payload]], dtype=np.object_))

        async def once() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": LANGUAGE_MODEL, "inputs": [asked]}

        async with AsyncClient(triton.address) as client:
            ((result, error),) = [answer async for answer in client.stream_infer(once())]
        assert result is None
        return str(error.message())

    assert "not JSON" in asyncio.run(said(b"{"))
    assert "not JSON" in asyncio.run(said(b'{"messages": [{"role": "user", "content": "\xff"}]}'))
    assert "length >= 1" in asyncio.run(said(b'{"messages": []}'))


@pytest.mark.parametrize("leave", ["close", "cancel"])
def test_whoever_leaves_ends_the_models_work(triton: Served, leave: str) -> None:
    """One batch at a time: when the second is answered, the model has done with the first."""

    async def run() -> None:
        async with connected(triton.address) as model:
            async with aclosing(model.complete(asking(TEXTS[0], max_tokens=8000))) as chunks:
                first = await anext(chunks)
                assert first.text
                assert not first.finish, "it came before the end"
                if leave == "cancel":
                    going_on = asyncio.ensure_future(anext(chunks))
                    await asyncio.sleep(0)
                    going_on.cancel()
                    with suppress(asyncio.CancelledError):
                        await going_on
            await whole(model, asking("Hello", max_tokens=5))

    async def all_of_it() -> None:
        async with connected(triton.address) as model:
            await whole(model, asking(TEXTS[0], max_tokens=8000))

    moments = [triton.worked_s()]
    for work in (all_of_it, run):
        asyncio.run(work())
        moments.append(triton.worked_s())
    everything, its_beginning = (after - before for before, after in pairwise(moments))
    assert its_beginning < everything / 2


def test_a_model_that_is_not_there_is_waited_for(triton: Served) -> None:
    async def run() -> str:
        async with connected(triton.address) as model, connected(triton.address, patience_s=0.2) as impatient:
            waiting = asyncio.create_task(whole(model, asking("Hello", max_tokens=5)))
            with pytest.raises(InferenceUnavailable):
                await whole(impatient, asking("Hello"))
            assert not waiting.done()
            await asyncio.to_thread(client.load_model, LANGUAGE_MODEL)
            return await waiting

    async def ask_often() -> None:
        async with connected(triton.address) as model:
            await asyncio.gather(*(whole(model, asking("Hello", max_tokens=3)) for _ in range(150)))

    asyncio.run(ask_often())
    with InferenceServerClient(triton.address) as client:
        client.unload_model(LANGUAGE_MODEL)
        # Triton would wait for requests that it believes are running.
        until(lambda: client.get_model_repository_index().models[0].reason == "unloaded")
        assert asyncio.run(run())
