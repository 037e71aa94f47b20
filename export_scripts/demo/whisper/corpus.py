"""The training speech on disk: utterances as log-mel frames, with their words' times.

A corpus is a folder of shards. `N.npy` holds the log10 mel power of the shard's utterances one after another, float16
(frames, 80); `N.json` says for each utterance its text, language, number of frames and the frame each word starts at.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export_scripts.demo.speech import grammar, voices
from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak, SpeechError
from export_scripts.demo.speech.utterances import HOP_SAMPLES, log_mel, random_manner, speak

UTTERANCES_PER_SHARD = 5000
ENGLISH_SHARE = 0.7


@dataclass(frozen=True)
class Entry:
    text: str
    language: str
    frames: int
    word_starts: list[int]


def make_corpus(folder: Path, *, utterances: int, seed: int, processes: int) -> None:
    """Write the shards that are missing. Texts, voices and manners follow the seed; eSpeak NG's own noise does not."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = [index for index in range(-(-utterances // UTTERANCES_PER_SHARD)) if not _entries(folder, index).exists()]
    sizes = [min(UTTERANCES_PER_SHARD, utterances - index * UTTERANCES_PER_SHARD) for index in shards]
    # eSpeak NG keeps its state in globals: a process for each shard.
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        pool.starmap(_make_shard, [(folder, *shard, seed) for shard in zip(shards, sizes, strict=True)], chunksize=1)


def _entries(folder: Path, index: int) -> Path:
    return folder / f"{index}.json"


def _make_shard(folder: Path, index: int, size: int, seed: int) -> None:
    rng = random.Random(f"{seed}/{index}")
    mels: list[npt.NDArray[np.float16]] = []
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory() as data:
        espeak = Espeak(Path(data), voices.random_voices(f"{seed}/{index}"))
        while len(entries) < size:
            language = "en" if rng.random() < ENGLISH_SHARE else "es"
            text = grammar.training_text(language, rng)
            voice = voices.training_voice(language, rng)
            try:
                spoken = speak(espeak, text, language, voice, random_manner(rng))
            except SpeechError:
                continue
            mel = log_mel(spoken.samples)
            mels.append(mel.astype(np.float16))
            frame_s = HOP_SAMPLES / SAMPLE_RATE_HZ
            starts = [round(start / frame_s) for start in spoken.word_starts]
            entries.append(Entry(text, language, len(mel), starts))
    np.save(folder / f"{index}.npy", np.concatenate(mels))
    partial = folder / f".{index}.json"
    partial.write_text(json.dumps([asdict(entry) for entry in entries], ensure_ascii=False))
    partial.rename(_entries(folder, index))


class Corpus:
    """The utterances of a folder, read from disk as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._mels: list[npt.NDArray[np.float16]] = []
        self._places: list[tuple[int, int]] = []
        self.entries: list[Entry] = []
        for shard, file in enumerate(sorted(folder.glob("[0-9]*.json"), key=lambda file: int(file.stem))):
            self._mels.append(np.load(file.with_suffix(".npy"), mmap_mode="r"))
            start = 0
            for fields in json.loads(file.read_text()):
                entry = Entry(**fields)
                self.entries.append(entry)
                self._places.append((shard, start))
                start += entry.frames
        self.of_language = {
            language: [index for index, entry in enumerate(self.entries) if entry.language == language]
            for language in grammar.LANGUAGES
        }

    def mel(self, index: int) -> npt.NDArray[np.float32]:
        shard, start = self._places[index]
        return self._mels[shard][start : start + self.entries[index].frames].astype(np.float32)
