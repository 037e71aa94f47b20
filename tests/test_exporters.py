"""Checkpoints of every accepted shape become versions; what is none is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import ctranslate2
import pytest

from api.inference import contracts
from export_scripts import demo, whisper
from export_scripts.artifact import ExportError
from tests.conftest import PROJECT
from tests.test_engines import whisper as whisper_engine

CHECKPOINT = PROJECT / "export_scripts" / "demo" / "whisper" / "checkpoint"


def test_a_hugging_face_checkpoint(tmp_path: Path) -> None:
    for version, compute_type in ((1, "float32"), (7, "int8")):
        whisper.main(
            [
                *("--checkpoint", str(CHECKPOINT), "--to", str(tmp_path), "--name", "whisper-tiny"),
                *("--version", str(version), "--compute-type", compute_type, "--max-batch-size", "4"),
                *("--min-window-frames", "100"),
            ]
        )
    version_7 = tmp_path / "whisper-tiny" / "7"
    manifest = json.loads((version_7 / "manifest.json").read_text())
    assert manifest["card"]["languages"] == ["en", "es"]
    assert (manifest["card"]["mel_bins"], manifest["card"]["min_window_frames"]) == (80, 100)
    assert (manifest["card"]["name"], manifest["card"]["speed"]) == ("Whisper Tiny", "very_fast")
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
    # Rolling back is putting the older version's own config in the newer one's place.
    assert 'string_value: "float32"' in (tmp_path / "whisper-tiny" / "1" / "config.pbtxt").read_text()

    with pytest.raises(ExportError, match="exists already"):
        whisper.main(
            ["--checkpoint", str(CHECKPOINT), "--to", str(tmp_path), "--name", "whisper-tiny", "--version", "7"]
        )


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


def test_the_demo_is_exported_once(models: Path) -> None:
    manifest = models / "whisper-demo" / "1" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    demo.main(["--to", str(models)])
    assert manifest.stat().st_mtime_ns == before


def test_a_models_public_id_follows_its_name() -> None:
    assert f"{contracts.WHISPER_PREFIX}demo" == demo.SPEECH_MODEL
