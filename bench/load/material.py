"""What the users send: a folder of recordings with what is said in them, and translations of its own language.

`references.json` is a list of `{"file": "a.mp3", "text": "what is said"}`. Where an entry has `word_starts` and
`word_ends`, in s, as many as its text has words, live sessions measure how late each word is. `translations.json`,
which may be missing, is a list of `{"source": "…", "target": "…"}`, English and Spanish.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import soundfile
from urllib3 import encode_multipart_formdata

from bench.live import SAMPLE_RATE_HZ, speech, words_of
from bench.recordings import Clip, clips, write_recording
from export_scripts.demo.translation.parallel import held_out_pair

SEED = 7
# What people send, most of all; by its ending, ffmpeg's words for it.
FORMATS = {
    "wav": ("-c:a", "pcm_s16le"),
    "mp3": ("-c:a", "libmp3lame", "-q:a", "2"),
    "flac": ("-c:a", "flac"),
    "m4a": ("-c:a", "aac", "-b:a", "96k"),
    "ogg": ("-c:a", "libopus", "-b:a", "32k"),
}
LONGER_MINUTES = (0.5, 0.5, 1.0, 2.0)
LIVE_S = 12.0
LIVE_MEETINGS = 8
PAIRS = 64


@dataclass(frozen=True)
class Recording:
    """A file and what is said in it. Times are in s; without those of words they are empty."""

    path: Path
    text: str
    word_starts: list[float]
    word_ends: list[float]

    @cached_property
    def duration_s(self) -> float:
        """Of the decoded samples, so that it is there for any format."""
        return len(self.pcm) / 2 / SAMPLE_RATE_HZ

    @cached_property
    def pcm(self) -> bytes:
        """16 kHz, mono, as a live session takes it."""
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(self.path), "-f", "s16le", "-ac", "1"]
        return subprocess.run([*command, "-ar", str(SAMPLE_RATE_HZ), "-"], check=True, capture_output=True).stdout

    @cached_property
    def content(self) -> bytes:
        return self.path.read_bytes()

    def form(self, **fields: str) -> tuple[bytes, str]:
        """The body of an upload, and its type."""
        return encode_multipart_formdata({**fields, "file": (self.path.name, self.content)})


@dataclass(frozen=True)
class Material:
    recordings: list[Recording]
    translations: dict[str, str]

    @property
    def timed(self) -> list[Recording]:
        """Those with times of words; all where none has."""
        return [recording for recording in self.recordings if recording.word_ends] or self.recordings


def load(folder: Path) -> Material:
    """Raises ValueError where a file is missing, or says what it cannot."""
    references = folder / "references.json"
    if not references.is_file():
        raise ValueError(f"{folder} has no references.json: a list of {{file, text}}, one for each recording.")
    recordings = [
        Recording(folder / one["file"], one["text"], one.get("word_starts", []), one.get("word_ends", []))
        for one in json.loads(references.read_text())
    ]
    for recording in recordings:
        if not recording.path.is_file():
            raise ValueError(f"{references} names {recording.path.name}, which is not there.")
        if recording.word_ends and not (
            len(words_of(recording.text)) == len(recording.word_ends) == len(recording.word_starts)
        ):
            raise ValueError(f"{references}: {recording.path.name} has not as many word times as its text has words.")
    if not recordings:
        raise ValueError(f"{references} is empty: the users have nothing to send.")
    translations = folder / "translations.json"
    pairs = json.loads(translations.read_text()) if translations.is_file() else []
    return Material(recordings, {pair["source"]: pair["target"] for pair in pairs})


def prepare(folder: Path) -> None:
    """The demo's: clips of some seconds, longer recordings strung together of them, and meetings with times of words,
    in voices that no training had; and sentences that the demo's translator was not trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    endings = [ending for ending in FORMATS for _ in range(2)]
    references: list[dict[str, Any]] = []
    for number, clip in enumerate(clips()):
        references.append(_converted(clip, folder, endings[number % len(endings)]))
    with tempfile.TemporaryDirectory() as work:
        for number, minutes in enumerate(LONGER_MINUTES):
            long = write_recording(Path(work) / f"longer-{number}.flac", minutes)
            references.append(_converted(long, folder, list(FORMATS)[number % len(FORMATS)]))
    for number, meeting in enumerate(speech(LIVE_S)[:LIVE_MEETINGS]):
        file = folder / f"meeting-{number}.wav"
        samples = (np.clip(meeting.samples, -1, 1) * 32767).astype(np.int16)
        soundfile.write(file, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
        times = {"word_starts": meeting.word_starts, "word_ends": meeting.word_ends}
        references.append({"file": file.name, "text": meeting.text, **times})
    (folder / "references.json").write_text(json.dumps(references, ensure_ascii=False))
    pairs = [held_out_pair("en", rng) for _ in range(PAIRS)]
    (folder / "translations.json").write_text(
        json.dumps([{"source": pair.source, "target": pair.target} for pair in pairs], ensure_ascii=False)
    )


def _converted(clip: Clip, folder: Path, ending: str) -> dict[str, str]:
    file = folder / f"{clip.path.stem}.{ending}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(clip.path), *FORMATS[ending], str(file)]
    subprocess.run(command, check=True)
    return {"file": file.name, "text": clip.text}
