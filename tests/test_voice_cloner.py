"""A voice cloner from its checkpoint to the batches of Triton, against f5-tts on the same checkpoint and noise."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import InferInput, model_config_pb2
from tritonclient.grpc.aio import InferenceServerClient as AsyncClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from api.inference.contracts import VOICE_CLONER
from export_scripts import voice_cloner as exporter
from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine
from tests.business import customer, until
from tests.running import PROJECT, start_fake_service, stop_fake_service
from tests.served import Served, served

engines = load_engine(VOICE_CLONER)
F5_TTS = PROJECT / ".f5-tts"
REFERENCE_TEXT = "Some call me nature."
STEPS = 5


def f5_tts(*arguments: str) -> str:
    """What a program prints that has F5-TTS's packages. The test fails where they must be installed."""
    if not F5_TTS.exists():
        reason = "no .f5-tts: make f5-tts sets it up"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(F5_TTS), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See tests/cloner_checkpoint.py."""
    folder = tmp_path_factory.mktemp("checkpoints")
    f5_tts("-m", "tests.cloner_checkpoint", str(folder))
    return folder


@pytest.fixture(scope="module")
def references(checkpoints: Path) -> list[Reference]:
    cases = json.loads((checkpoints / "references.json").read_text())
    arrays = np.load(checkpoints / "references.npz")
    names = ("pcm", "noise", "spectrum", "waveform")
    return [
        Reference(**case, **{name: arrays[f"{name}-{number}"] for name in names}) for number, case in enumerate(cases)
    ]


@dataclass(frozen=True)
class Reference:
    """What f5-tts itself spoke."""

    reference_text: str
    text: str
    speed: float
    steps: int
    tokens: list[int]
    pcm: Any
    noise: Any
    spectrum: Any
    waveform: Any

    @property
    def options(self) -> Any:
        return engines.SpeechOptions(self.reference_text, self.text, self.speed)


@pytest.fixture(scope="module")
def repository(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("repository")
    options = {"--cpu-threads": "1", "--max-batch-size": "8", "--instances": "1", "--steps": str(STEPS)}
    folders = {"--checkpoint": f"{checkpoints}/f5-tts", "--vocoder": f"{checkpoints}/vocos", "--to": str(to)}
    f5_tts("-m", "api.cli", "export", "voice_cloner", *chain(*(folders | options).items()))
    return to


@pytest.fixture(scope="module")
def weights(repository: Path) -> Path:
    return repository / VOICE_CLONER / "1" / "weights"


@pytest.fixture(scope="module")
def engine(weights: Path) -> Any:
    return engines.VoiceClonerEngine(weights, sampling=engines.Sampling(STEPS))


def buzz(seconds: float, loudness: float = 0.3, pitch_hz: float = 110) -> Any:
    time_s = np.arange(round(seconds * 24_000)) / 24_000
    sound = np.sign(np.sin(2 * np.pi * pitch_hz * time_s)) * (1.5 + np.sin(2 * np.pi * 2 * time_s)) / 2.5
    return np.round(32767 * loudness * sound).astype(np.int16)


def test_an_export_says_what_it_is(repository: Path) -> None:
    version = repository / VOICE_CLONER / "1"
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["card"] == {
        **{"kind": "voice_cloner", "name": "F5TTS_v1_Base"},
        **{"sample_rate": 24_000, "languages": ["en", "zh"]},
    }
    assert manifest["source"]["weights"] == "model_1250000.safetensors"
    assert set(manifest["source"]["largest_differences"]) == {"graphs", "spectrum", "waveform"}
    assert max(manifest["source"]["largest_differences"].values()) < 1e-4
    usual = json.loads((version / "parameters.json").read_text())
    assert usual == {"cpu_threads": usual["cpu_threads"], "steps": STEPS, "guidance": 2.0, "sway": -1.0}


def test_it_speaks_as_f5_tts_does(weights: Path, references: list[Reference]) -> None:
    """The whole of the package's inference on a recording and two texts, from the same noise."""
    for reference in references:
        engine = engines.VoiceClonerEngine(weights, sampling=engines.Sampling(reference.steps))
        utterance = engine.prepare(reference.pcm, reference.options)
        assert utterance.tokens == reference.tokens
        assert utterance.noise.shape == reference.noise.shape
        (spectrum,) = engine.spectra([replace(utterance, noise=reference.noise)])
        np.testing.assert_allclose(spectrum, reference.spectrum, atol=1e-3 * np.abs(reference.spectrum).max())
        speech = engine.sound(spectrum, utterance.gain)
        expected = reference.waveform / max(1, np.abs(reference.waveform).max())
        assert speech.dtype == np.float32
        np.testing.assert_allclose(speech, expected, atol=1e-3 * np.abs(expected).max())


def test_what_it_speaks_depends_on_all_that_it_is_given(engine: Any) -> None:
    """Or the comparison with f5-tts would say little."""
    options = engines.SpeechOptions(REFERENCE_TEXT, "It is a truth universally known.", seed=7)
    (usual,) = engine.speak([(buzz(2), options)])
    (again,) = engine.speak([(buzz(2), options)])
    np.testing.assert_array_equal(usual, again)
    others = [
        (buzz(2, pitch_hz=260), options),
        (buzz(2), replace_options(options, seed=8)),
        (buzz(2), replace_options(options, text="Nobody ever knew of such a thing")),
        (buzz(2), replace_options(options, reference_text="Who it is that I am.")),
    ]
    for request in others:
        (other,) = engine.speak([request])
        assert other.shape == usual.shape
        assert np.abs(other - usual).max() > 0.01 * np.abs(usual).max()
    (unguided,) = with_sampling(engine, guidance=0.0).speak([(buzz(2), options)])
    assert np.abs(unguided - usual).max() > 0.01 * np.abs(usual).max()


def replace_options(options: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(options, **changes)


def with_sampling(engine: Any, **changes: Any) -> Any:
    other = engines.VoiceClonerEngine.__new__(engines.VoiceClonerEngine)
    other.__dict__.update(engine.__dict__, _sampling=engine._sampling._replace(**changes))
    return other


def test_speech_lasts_as_long_as_its_text(engine: Any) -> None:
    """At the pace of the reference: it has 20 bytes, with what is put behind it 22, in 2.05 s with the silence."""
    for text, speed, seconds in (
        ("a" * 44, 1.0, 4.1),
        ("a" * 44, 2.0, 2.05),
        ("é" * 22, 1.0, 4.1),
        ("  " + "a" * 44 + "\n", 1.0, 4.1),
        ("a" * 11, 0.5, 2.05),
        ("a" * 9, 2.0, 2.05 * 9 / 22 / 0.3),
    ):
        (speech,) = engine.speak([(buzz(2), engines.SpeechOptions(REFERENCE_TEXT, text, speed))])
        assert speech.size / 24_000 == pytest.approx(seconds, abs=3 * 256 / 24_000)
        assert speech.size % 256 == 0


def test_a_quiet_voice_stays_quiet(engine: Any) -> None:
    options = engines.SpeechOptions(REFERENCE_TEXT, "It is a truth universally known.")
    louder, quieter = engine.speak([(buzz(2, loudness), options) for loudness in (0.12, 0.06)])
    assert np.abs(quieter).max() == pytest.approx(np.abs(louder).max() / 2, rel=0.02)


def test_nothing_is_louder_than_full_scale(engine: Any) -> None:
    mels = np.full((20, 100), 0.1, dtype=np.float32)
    soft = engine.sound(mels, 1e3)
    assert np.abs(soft).max() < 1
    np.testing.assert_allclose(engine.sound(mels, 1e-6), soft / np.abs(soft).max(), atol=1e-5)


TEXT = "It is a truth universally acknowledged."
BAD = [
    (buzz(0.99), TEXT, REFERENCE_TEXT, "1 to 12 s; it has 0.99"),
    (buzz(12.01), TEXT, REFERENCE_TEXT, "1 to 12 s; it has 12.01"),
    (buzz(0), TEXT, REFERENCE_TEXT, "1 to 12 s"),
    (np.zeros(48_000, dtype=np.int16), TEXT, REFERENCE_TEXT, "silent but for 0.00 s"),
    (np.pad(buzz(0.4), 20_000), TEXT, REFERENCE_TEXT, "silent but for 0.4"),
    (buzz(2), "  \n", REFERENCE_TEXT, "text says nothing"),
    (buzz(2), TEXT, " ", "reference_text says nothing"),
    (buzz(11), TEXT * 2, REFERENCE_TEXT, "at most 30 s together"),
]


def test_a_speech_does_not_depend_on_its_batch(engine: Any) -> None:
    """Some share a run of the network, some run by themselves, and some cannot be spoken."""
    good = [
        (buzz(1 + number / 7, pitch_hz=90 + 20 * number), engines.SpeechOptions(REFERENCE_TEXT, text, seed=number))
        for number, text in enumerate((TEXT, TEXT + " And?", "Yes.", TEXT[:30], TEXT * 3, TEXT + " Or not?"))
    ]
    bad = [(pcm, engines.SpeechOptions(reference, text)) for pcm, text, reference, _ in BAD]
    mixed = [request for pair in zip(good, bad, strict=False) for request in pair] + bad[len(good) :]
    together = engine.speak(mixed)
    for request, answer in zip(mixed, together, strict=True):
        (alone,) = engine.speak([request])
        if any(request is one for one in bad):
            assert isinstance(answer, engines.SpeechError)
            assert str(answer) == str(alone)
        else:
            assert np.isfinite(answer).all()
            assert np.abs(answer).max() <= 1
            np.testing.assert_allclose(answer, alone, atol=1e-3 * np.abs(alone).max())
    for answer, (*_, problem) in zip(engine.speak(bad), BAD, strict=True):
        assert problem in str(answer)
    assert engine.speak([]) == []


def test_whoever_leaves_is_not_spoken_for(engine: Any) -> None:
    """A run ends when all of it have gone, and not before."""
    requests = [(buzz(1.5), engines.SpeechOptions(REFERENCE_TEXT, text)) for text in (TEXT, TEXT + "!", TEXT * 4)]
    asked = []

    def has_gone(index: int) -> bool:
        asked.append(index)
        return index == 2 or (index == 0 and len(asked) > 2)

    first, second, third = engine.speak(requests, has_gone)
    assert first.size > 0
    assert second.size > first.size
    assert isinstance(third, engines.AbandonedError)
    assert asked.count(2) == 1


@given(frames=st.dictionaries(st.integers(0, 99), st.integers(1, 60), max_size=50), most=st.integers(1, 300))
def test_runs_are_of_utterances_of_about_the_same_length(frames: dict[int, int], most: int) -> None:
    runs = list(engines.like_runs(frames, most))
    assert sorted(index for run in runs for index in run) == sorted(frames)
    for run in runs:
        longest = max(frames[index] for index in run)
        assert len(run) == 1 or len(run) * longest <= most
        assert longest <= engines.LIKE_LENGTHS * min(frames[index] for index in run)
    for run, after in pairwise(runs):  # nothing more would have found room
        length = frames[after[0]]
        assert (len(run) + 1) * length > most or length > engines.LIKE_LENGTHS * frames[run[0]]


@pytest.mark.parametrize("steps", [1, 5, 6, 7, 10, 12, 16, 32])
def test_steps_lead_from_noise_to_speech(steps: int) -> None:
    times = engines.Sampling(steps).times()
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (0, pytest.approx(1, abs=1e-6))
    assert np.all(np.diff(times) > 0)


@pytest.fixture(scope="module")
def package_spelling() -> Any:
    """f5_tts.model.utils, by itself: what it imports is installed here."""
    file = F5_TTS / "f5_tts" / "model" / "utils.py"
    if not file.exists():
        f5_tts()
    spec = importlib.util.spec_from_file_location("f5_tts_utils", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.convert_char_to_pinyin


WORDS = (
    "e-mail",
    "3.14%",
    "a.b_c-d",
    "C++",
    "c#",
    "AT&T",
    "x",
    " ",
    "'",
    '"',
    ":",
    ";",
    "...",
    "\r\n",
    "“”",
    "é",
    "—",
    "it’s",
)
CHINESE = (
    "你好",
    "世界",
    "银行",
    "行走",
    "T恤",
    "卡拉OK",
    "。",
    "，",
    "こんにちは",
    "한국",
    "〇",
    "㐀",
    "𠀀",
    "🎉",
    "不是",
    "一个",
)


@given(
    latin=st.text(st.characters(max_codepoint=0x2E7F, exclude_categories=["Cs"])),
    mixed=st.lists(st.sampled_from(WORDS) | st.text("aB1+#&._%- ", max_size=4)),
    chinese=st.lists(st.sampled_from(CHINESE + WORDS)),
)
@settings(max_examples=300)
def test_texts_are_spelled_as_f5_tts_spells_them(
    package_spelling: Any, latin: str, mixed: list[str], chinese: list[str]
) -> None:
    for text in (latin, "".join(mixed), "".join(chinese)):
        assert [engines.spell(text)] == package_spelling([text])


def test_only_chinese_needs_what_reads_chinese(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("rjieba", "pypinyin"):
        monkeypatch.setitem(sys.modules, package, None)
    assert engines.spell("Größe; “e-mail”…") == [*'Größe, "e-mail"…']
    texts = (TEXT, "你好，世界。你好，世界。")
    spoken, chinese = engine.speak([(buzz(2), engines.SpeechOptions(REFERENCE_TEXT, text)) for text in texts])
    assert spoken.size > 0
    assert isinstance(chinese, engines.SpeechError)
    assert "rjieba is not installed" in str(chinese)


def test_other_architectures_and_what_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    """In one process, which has the packages."""
    program = f"""
import json, shutil, sys
from pathlib import Path
import torch, yaml
from export_scripts import artifact, voice_cloner

checkpoints, work = Path({str(checkpoints)!r}), Path({str(tmp_path)!r})

def copy(name, change):
    folder = work / name
    shutil.copytree(checkpoints, folder, ignore=shutil.ignore_patterns("references*", "recording*"))
    change(folder / "f5-tts" / "F5TTS_v1_Base", folder / "vocos")
    return folder

def settings(file, *path, **values):
    content = yaml.safe_load(file.read_text())
    inner = content
    for name in path:
        inner = inner[name]
    inner.update(values)
    file.write_text(yaml.safe_dump(content))

def weights(file, change):
    state = torch.load(file, weights_only=True)
    torch.save(change(state), file)

def config(of, *path, **values):
    return lambda f5, vocos: settings({{"f5": f5, "vocos": vocos}}[of] / "config.yaml", *path, **values)

def without(name):
    return lambda f5, vocos: [file.unlink() for file in f5.parent.parent.rglob(name)]

refused = {{
    "no weights": without("model_*"),
    "no vocabulary": without("vocab.txt"),
    "no settings": lambda f5, vocos: (f5 / "config.yaml").unlink() or f5.rename(f5.with_name("Own")),
    "no vocoder": without("pytorch_model.bin"),
    "other backbone": config("f5", "model", backbone="UNetT"),
    "other spectra": config("f5", "model", "mel_spec", hop_length=320),
    "other size": config("f5", "model", "arch", dim=128),
    "stretched": config("f5", "model", "arch", text_embedding_average_upsampling=True),
    "other class": config("vocos", "head", class_path="os.system"),
    "other hop": config("vocos", "head", "init_args", hop_length=320),
    "spoiled": lambda f5, vocos: (f5 / "model_1250000.safetensors").write_bytes(b"0" * 100),
    "not ema": lambda f5, vocos: (f5 / "model_1250000.safetensors").unlink() or torch.save(
        {{"model_state_dict": {{"a": torch.zeros(1)}}}}, f5 / "model_7.pt"),
    "a pickle": lambda f5, vocos: (vocos / "pytorch_model.bin").unlink() or torch.save(
        {{"a": Path("x")}}, vocos / "pytorch_model.bin"),
}}
for name, change in refused.items():
    folder = copy(name, change)
    variant = "Own" if name == "no settings" else "F5TTS_v1_Base"
    try:
        voice_cloner.main(["--checkpoint", str(folder / "f5-tts"), "--vocoder", str(folder / "vocos"),
                           "--to", str(work / "out"), "--variant", variant])
    except artifact.ExportError as error:
        print("refused:", name, "|", str(error).splitlines()[0])
voice_cloner.main(["--checkpoint", str(checkpoints / "f5-tts"), "--variant", "F5TTS_Base", "--vocoder",
                   str(checkpoints / "vocos"), "--to", str(work / "out"), "--language", "en"])
sound = voice_cloner.engine.VoiceClonerEngine.sound
voice_cloner.engine.VoiceClonerEngine.sound = lambda *given: 1.01 * sound(*given)
try:
    voice_cloner.main(["--checkpoint", str(checkpoints / "f5-tts" / "F5TTS_v1_Base"), "--vocoder",
                       str(checkpoints / "vocos"), "--to", str(work / "out"), "--version", "2"])
except artifact.ExportError as error:
    print("refused:", "other sound", "|", error)
"""
    lines = f5_tts("-c", program).splitlines()
    told = dict(line.removeprefix("refused: ").split(" | ") for line in lines if line.startswith("refused: "))
    for name, reason in {
        "no weights": "holds no F5TTS_v1_Base/model_….safetensors",
        "no vocabulary": "has no vocab.txt",
        "no settings": "has no config.yaml, and f5-tts knows no Own",
        "no vocoder": "has no pytorch_model.bin",
        "other backbone": "backbone is UNetT",
        "other spectra": "mel_spec has hop_length 320; what is served has 256",
        "other size": "does not fit its settings",
        "stretched": "stretches its texts",
        "other class": "the head must be a vocos.heads.ISTFTHead",
        "other hop": "head has hop_length 320",
        "spoiled": "cannot be read",
        "not ema": "holds no EMA weights",
        "a pickle": "cannot be read",
        "other sound": "waveform differs",
    }.items():
        assert reason in told.pop(name)
    assert not told
    (manifest,) = tmp_path.rglob("manifest.json")
    written = json.loads(manifest.read_text())
    assert written["source"]["weights"] == "model_1200000.pt"
    assert written["card"]["languages"] == ["en"]
    config = text_format.Parse((manifest.parent / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert json.loads((manifest.parent / "parameters.json").read_text())["steps"] == 32
    assert config.max_batch_size == 1


def test_without_the_packages_the_exporter_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"make f5-tts(.|\n)*--no-deps(.|\n)*requirements-voice_cloner\.txt"):
        exporter.main(["--checkpoint", str(tmp_path), "--to", str(tmp_path / "out")])
    with pytest.raises(ExportError, match="--steps must be at least 1"):
        exporter.main(["--checkpoint", str(tmp_path), "--to", str(tmp_path / "out"), "--steps", "0"])


@pytest.fixture(scope="module")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(repository, VOICE_CLONER, tmp_path_factory.mktemp("triton")) as running:
        yield running


def inputs(pcm: Any, options: bytes) -> list[InferInput]:
    tensors = {"REFERENCE": pcm[None], "OPTIONS": np.array([[options]], dtype=np.object_)}
    made = []
    for name, array in tensors.items():
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def test_requests_share_batches_and_answers_stay_the_same(triton: Served, engine: Any) -> None:
    requests = [
        (buzz(1 + number / 10, pitch_hz=90 + 10 * number), engines.SpeechOptions(REFERENCE_TEXT, TEXT, seed=number))
        for number in range(12)
    ]
    wrong = {b"{}": "OPTIONS: Object missing required field", b"]": "not JSON", b" " * 40_000: "32768 bytes"}
    payloads = [(pcm, msgspec.json.encode(options)) for pcm, options in requests]
    payloads += [(buzz(2), payload) for payload in wrong]
    payloads.append((buzz(0.5), payloads[0][1]))

    async def run() -> list[Any]:
        async with AsyncClient(triton.address) as client:
            asked = (client.infer(VOICE_CLONER, inputs(*payload)) for payload in payloads)
            return await asyncio.gather(*asked, return_exceptions=True)

    batches, served = (triton.counted(f"nv_inference_{of}") for of in ("exec_count", "request_success"))
    answers = asyncio.run(run())
    until(lambda: triton.counted("nv_inference_request_success") == served + len(payloads))
    assert triton.counted("nv_inference_exec_count") - batches < len(payloads) / 3
    for (pcm, options), answer in zip(requests, answers, strict=False):
        (speech,) = engine.speak([(pcm, options)])
        got = answer.as_numpy("SPEECH")[0]
        np.testing.assert_allclose(got, speech, atol=1e-3 * np.abs(speech).max())
    for answer, reason in zip(answers[len(requests) :], [*wrong.values(), "1 to 12 s"], strict=True):
        assert isinstance(answer, InferenceServerException)
        assert reason in str(answer)
        assert answer.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_text_is_spoken_over_http(triton: Served, tmp_path: Path) -> None:
    """In a voice that comes at another rate; the same seed gives the same speech."""
    voice = io.BytesIO()
    soundfile.write(voice, buzz(4)[::2], 12_000, format="FLAC")
    form = {"text": "I do not mind at all.", "reference_text": "Some call me nature, others call me mother nature."}
    service = start_fake_service(tmp_path, program=("api.cli", "serve"), plans="", triton_url=triton.address)
    try:
        with customer(service, "house").open() as anna:
            voices = {"reference": voice.getvalue()}
            answers = [anna.client.post("/v1/tts", files=voices, data={**form, "seed": seed}) for seed in "001"]
        assert [answer.status_code for answer in answers] == [200, 200, 200], answers[0].text
        first, again, other = (answer.content for answer in answers)
        assert first == again != other
        samples, rate_hz = soundfile.read(io.BytesIO(first))
        expected_s = 4 * len(form["text"]) / len(form["reference_text"])
        assert rate_hz == 24_000
        assert 0.8 * expected_s < len(samples) / rate_hz <= expected_s
        assert answers[0].headers["X-Duration"] == f"{len(samples) / rate_hz:.3f}"
        service.assert_nothing_left()
    finally:
        stop_fake_service(service)
