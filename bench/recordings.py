"""What the benchmarks send: the demo model's recordings, in voices it never heard, alone and strung together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE_HZ = 16_000
CLIPS = Path(__file__).resolve().parent.parent / "export_scripts" / "demo" / "whisper" / "recordings"
PAUSE_S = 0.5


@dataclass(frozen=True)
class Clip:
    path: Path
    text: str
    seconds: float


def clips(folder: Path = CLIPS) -> list[Clip]:
    references = json.loads((folder / "references.json").read_text())
    return [
        Clip(folder / one["file"], one["text"], soundfile.info(folder / one["file"]).duration) for one in references
    ]


def write_recording(path: Path, minutes: float, language: str = "en") -> Clip:
    """A FLAC file of so many minutes: the clips in one language again and again, with a pause after each."""
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE_HZ), dtype=np.int16)
    texts: list[str] = []
    samples = 0
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as file:
        for clip in _of_language(language):
            if samples >= minutes * 60 * SAMPLE_RATE_HZ:
                break
            phrase = np.concatenate([soundfile.read(clip.path, dtype="int16")[0], pause])
            file.write(phrase)
            samples += phrase.size
            texts.append(clip.text)
    return Clip(path, " ".join(texts), samples / SAMPLE_RATE_HZ)


def _of_language(language: str) -> Iterator[Clip]:
    return cycle([clip for clip in clips() if clip.path.name.startswith(language)])
