"""Checkpoints of every accepted shape become versions; what is none is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import ctranslate2
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from api.inference import contracts
from export_scripts import artifact, demo, whisper, window_length
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
        assert hashlib.sha256((version_7 / name).read_bytes()).hexdigest() == digest
    assert {"model.py", "engine.py", "words.py", "weights/model.bin", "weights/tokenizer.json"} <= set(
        manifest["sha256"]
    )
    config = (tmp_path / "whisper-tiny" / "config.pbtxt").read_text()
    assert config == (version_7 / "config.pbtxt").read_text()
    assert 'name: "whisper-tiny"' in config
    assert "max_batch_size: 4" in config
    assert 'string_value: "int8"' in config
    parameters = text_format.Parse(config, model_config_pb2.ModelConfig()).parameters
    assert parameters["min_window_frames"].string_value == "100"
    assert parameters["cpu_threads"].string_value == "2"
    assert "count: 3" in config
    # Rolling back is putting the older version's own config in the newer one's place.
    assert 'string_value: "float32"' in (tmp_path / "whisper-tiny" / "1" / "config.pbtxt").read_text()

    with pytest.raises(ExportError, match="exists already"):
        whisper.main(
            ["--checkpoint", str(CHECKPOINT), "--to", str(tmp_path), "--name", "whisper-tiny", "--version", "7"]
        )


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
