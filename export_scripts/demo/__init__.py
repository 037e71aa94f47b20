"""The demo models: what makes the service work with no checkpoint at hand and no hub in reach."""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
SPEECH_MODEL = "whisper-demo"
SHORTEST_WINDOW_FRAMES = 100


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="tritone export demo", description=__doc__)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the model repository to write into")
    repository: Path = parser.parse_args(argv).to
    stamp = repository / ".demo"
    fingerprint = _fingerprint()
    if stamp.exists() and stamp.read_text() == fingerprint:
        return
    from export_scripts import speech_enhancer, text_analysis, text_embedding, translator, voice_activity, whisper
    from export_scripts.demo.diarization.export import export_embedding, export_segmentation

    exporters: dict[str, Callable[[], object]] = {
        SPEECH_MODEL: lambda: whisper.main(
            [
                *("--checkpoint", str(HERE / "whisper" / "checkpoint")),
                *("--name", SPEECH_MODEL),
                *("--display-name", "Whisper demo (synthetic English and Spanish)"),
                *("--min-window-frames", str(SHORTEST_WINDOW_FRAMES)),
                *("--recordings", str(HERE / "whisper" / "recordings")),
                "--without-prompts",
                *("--to", str(repository)),
            ]
        ),
        "voice_activity": lambda: voice_activity.main(["--to", str(repository)]),
        "speaker_segmentation": lambda: export_segmentation(repository),
        "speaker_embedding": lambda: export_embedding(repository),
        "text_embedding": lambda: text_embedding.main(["--to", str(repository)]),
        "text_analysis": lambda: text_analysis.main(["--to", str(repository)]),
        "translator": lambda: translator.main(
            [
                *("--checkpoint", str(HERE / "translation" / "checkpoint")),
                *("--display-name", "Translator demo (English and Spanish)"),
                *("--compute-type", "float32"),
                *("--to", str(repository)),
            ]
        ),
        "speech_enhancer": lambda: speech_enhancer.main(["--to", str(repository)]),
    }
    stamp.unlink(missing_ok=True)
    for name, export in exporters.items():
        if _is_ours(repository / name):
            shutil.rmtree(repository / name, ignore_errors=True)
            export()
    stamp.write_text(fingerprint)


def _is_ours(model: Path) -> bool:
    """Whether nobody has put another version there, which is served in our place, under a configuration of its own."""
    return not any(version.name.isdecimal() and version.name != "1" for version in model.glob("*"))


def _fingerprint() -> str:
    """Changes with anything that the exported models are made from."""
    digest = hashlib.sha256()
    for file in _sources():
        digest.update(str(file.relative_to(PROJECT)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for folder in ("model_repository", "export_scripts"):
        for file in sorted((PROJECT / folder).rglob("*")):
            if file.is_file() and not any(
                part.startswith((".", "__pycache__")) for part in file.relative_to(PROJECT).parts
            ):
                yield file
