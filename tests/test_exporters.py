"""Checkpoints of every accepted shape become versions; what is none is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from api.inference import contracts
from export_scripts import artifact, demo, voice_activity, whisper, window_length
from export_scripts.artifact import ExportError
from tests.running import PROJECT
from tests.test_engines import whisper as whisper_engine

CHECKPOINT = PROJECT / "export_scripts" / "demo" / "whisper" / "checkpoint"
RECORDINGS = CHECKPOINT.parent / "recordings"


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A few of the demo's."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    references = json.loads((RECORDINGS / "references.json").read_text())[:4]
    for reference in references:
        shutil.copy(RECORDINGS / reference["file"], folder)
    (folder / "references.json").write_text(json.dumps(references))
    return folder


def test_a_hugging_face_checkpoint(tmp_path: Path, recordings: Path) -> None:
    for version, compute_type in ((1, "float32"), (7, "int8")):
        whisper.main(
            [
                *("--checkpoint", str(CHECKPOINT), "--to", str(tmp_path), "--name", "whisper-tiny"),
                *("--version", str(version), "--compute-type", compute_type, "--max-batch-size", "4"),
                *("--min-window-frames", "100", "--recordings", str(recordings)),
                *("--instances", "3", "--cpu-threads", "2"),
            ]
        )
    version_7 = tmp_path / "whisper-tiny" / "7"
    manifest = json.loads((version_7 / "manifest.json").read_text())
    assert manifest["card"]["languages"] == ["en", "es"]
    assert (manifest["card"]["mel_bins"], manifest["card"]["min_window_frames"]) == (80, 100)
    assert manifest["card"]["prompts"]
    assert (manifest["card"]["name"], manifest["card"]["speed"]) == ("Whisper Tiny", "very_fast")
    measured = manifest["source"]["window_lengths"]
    assert measured["clips"] == 4
    assert measured["own_length_wer"] <= measured["full_wer"] + 0.01
    assert manifest["tools"]["ctranslate2"] == ctranslate2.__version__
    for name, digest in manifest["sha256"].items():
        content = (version_7 / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (digest, manifest["bytes"][name])
    assert {"model.py", "engine.py", "check/clip.wav", "weights/model.bin", "weights/tokenizer.json"} <= set(
        manifest["sha256"]
    )
    config = (tmp_path / "whisper-tiny" / "config.pbtxt").read_text()
    assert config == (version_7 / "config.pbtxt").read_text()
    assert 'name: "whisper-tiny"' in config
    assert "max_batch_size: 4" in config
    assert "count: 3" in config
    # Both can be loaded beside each other, because what differs is not in the config that they share.
    usual = {"compute_type": "float32", "cpu_threads": 2, "min_window_frames": 100}
    assert json.loads((tmp_path / "whisper-tiny" / "1" / "parameters.json").read_text()) == usual
    assert json.loads((version_7 / "parameters.json").read_text()) == usual | {"compute_type": "int8"}
    check = json.loads((version_7 / "check" / "check.json").read_text())
    assert (check["language"], check["measured_wer"], check["max_wer"]) == ("en", 0.0, 0.1)

    with pytest.raises(ExportError, match="exists already"):
        whisper.main(
            ["--checkpoint", str(CHECKPOINT), "--to", str(tmp_path), "--name", "whisper-tiny", "--version", "7"]
        )


def test_a_version_beside_those_that_are_served_waits_to_be_deployed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def export(version: int) -> None:
        voice_activity.main(["--to", str(tmp_path), "--version", str(version)])

    export(1)
    config = tmp_path / "voice_activity" / "config.pbtxt"
    served = config.read_text() + "version_policy { specific { versions: 1 } }\n"
    config.write_text(served)
    export(2)
    assert "deploy it with `tritone models deploy voice_activity --version 2`" in capsys.readouterr().out
    assert config.read_text() == served
    assert (config.parent / "2" / "config.pbtxt").exists()
    config.write_text("nonsense")
    with pytest.raises(ExportError, match="is no model configuration"):
        export(3)


def test_a_version_is_made_with_the_clip_that_it_must_transcribe(tmp_path: Path) -> None:
    def export(*options: str, checkpoint: Path = CHECKPOINT) -> None:
        whisper.main(["--checkpoint", str(checkpoint), "--to", str(tmp_path), "--name", "whisper-x", *options])

    clip, rate = soundfile.read(RECORDINGS / "es-2.flac", dtype="int16")
    text = next(r["text"] for r in json.loads((RECORDINGS / "references.json").read_text()) if r["file"] == "es-2.flac")
    soundfile.write(tmp_path / "8 kHz.wav", clip, rate // 2)
    given = ["--check-text", text, "--check-language", "es"]
    with pytest.raises(ExportError, match="belong together"):
        export(*given)
    with pytest.raises(ExportError, match="cannot be read"):
        export(*given, "--check-clip", str(tmp_path))
    with pytest.raises(ExportError, match="must be mono at 16 kHz"):
        export(*given, "--check-clip", str(tmp_path / "8 kHz.wav"))
    spanish = [*given, "--check-clip", str(RECORDINGS / "es-2.flac")]
    with pytest.raises(ExportError, match=r"word error rate .* above the --max-wer of 0.050"):
        export(*spanish, "--check-text", f"{text} y nada", "--max-wer", "0.05")
    assert not list(tmp_path.rglob("manifest.json"))
    export(*spanish, "--max-wer", "0.05")
    version = tmp_path / "whisper-x" / "1"
    written = {"text": text, "language": "es", "max_wer": 0.05, "measured_wer": 0.0}
    assert json.loads((version / "check" / "check.json").read_text()) == written
    assert json.loads((version / "manifest.json").read_text())["source"]["check"] == {"clip": "es-2.flac", **written}
    kept, _ = soundfile.read(version / "check" / "clip.wav", dtype="int16")
    assert np.array_equal(kept, clip)


def test_a_shorter_window_is_measured_before_it_is_believed(
    tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = ["--checkpoint", str(CHECKPOINT), "--to", str(tmp_path / "out"), "--name", "whisper-x"]
    shorter = [*export, "--min-window-frames", "200"]
    with pytest.raises(ExportError, match="give --recordings"):
        whisper.main(shorter)
    with pytest.raises(ExportError, match="no list of recordings"):
        whisper.main([*shorter, "--recordings", str(tmp_path)])
    monkeypatch.setattr(window_length, "MAX_WORSE", -1.0)  # nothing is that much better
    with pytest.raises(ExportError, match=r"from 200 frames on, .*% of the words .* needs longer ones"):
        whisper.main([*shorter, "--recordings", str(recordings)])
    (recordings / "references.json").write_text('[{"file": "references.json", "text": "x"}]')
    with pytest.raises(ExportError, match="cannot be read"):
        whisper.main([*shorter, "--recordings", str(recordings)])
    assert not list((tmp_path / "out").rglob("manifest.json"))


@given(
    size=st.integers(0, 10**10),
    cores=st.integers(1, 128),
    memory=st.integers(10**9, 10**12),
    instances=st.none() | st.integers(1, 9),
    threads=st.none() | st.integers(1, 9),
)
def test_a_model_is_placed_to_suit_the_machine(
    size: int, cores: int, memory: int, instances: int | None, threads: int | None
) -> None:
    placement = artifact.choose_placement(size, cores, memory, instances=instances, threads=threads)
    assert placement.instances == instances or instances is None
    assert placement.threads == threads or threads is None
    if instances is None and threads is None:
        assert placement.instances * placement.threads <= cores
        assert placement.instances == 1 or placement.instances * 2 * size <= memory / 4
    if instances is None and threads is None and size < 10**8 and memory > 10**11 and cores <= 8:
        assert (placement.instances, placement.threads) == (cores, 1)


def test_a_converted_checkpoint_without_its_preprocessor(models: Path, tmp_path: Path) -> None:
    """As older conversions on the hub are: no preprocessor_config.json."""
    converted = tmp_path / "converted"
    shutil.copytree(models / "whisper-demo" / "1" / "weights", converted)
    (converted / "preprocessor_config.json").unlink()
    whisper.main(["--checkpoint", str(converted), "--to", str(tmp_path), "--name", "whisper-old"])
    engine = whisper_engine.WhisperEngine(tmp_path / "whisper-old" / "1" / "weights")
    assert engine.mel_bins == 80


@pytest.mark.parametrize(
    ("checkpoint", "name", "message"),
    [
        ("./nowhere", "whisper-x", "no folder ./nowhere"),
        (str(CHECKPOINT), "tiny", "starts with whisper-"),
        (str(CHECKPOINT), "whisper-../../x", "letters, digits"),
        (str(CHECKPOINT.parent), "whisper-x", "no tokenizer.json"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, checkpoint: str, name: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        whisper.main(["--checkpoint", checkpoint, "--to", str(tmp_path / "out"), "--name", name])
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize("limit", [100, 1_000_000], ids=["the code", "the weights"])
def test_a_version_that_finds_no_room_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """A limit on the size of a file fails as a full disk does, at the first file that is larger."""
    target = tmp_path / "out"
    program = f"""
import resource, signal, sys, tempfile
from pathlib import Path
from export_scripts import artifact
weights = Path(tempfile.mkdtemp()) / "weights"
weights.mkdir()
(weights / "model.bin").write_bytes(bytes(2_000_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
to = artifact.Target(Path({str(target)!r}), "whisper-x", 1, "cpu", 1, 4)
artifact.shutil.move = artifact.shutil.copytree  # to another disk
try:
    artifact.write_version("whisper", to, weights, instances=1, card={{}}, source={{}}, packages=())
except artifact.ExportError as error:
    sys.exit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True)
    assert "could not be written" in done.stderr
    assert "File too large" in done.stderr
    assert [file for file in target.rglob("*") if file.is_file()] == []


def test_the_demo_is_exported_once(models: Path) -> None:
    manifest = models / "whisper-demo" / "1" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    demo.main(["--to", str(models)])
    assert manifest.stat().st_mtime_ns == before


def test_a_models_public_id_follows_its_name() -> None:
    assert f"{contracts.WHISPER_PREFIX}demo" == demo.SPEECH_MODEL
