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
from faster_whisper.feature_extractor import FeatureExtractor

from export_scripts.demo.whisper import grammar, voices
from export_scripts.demo.whisper.espeak import SAMPLE_RATE_HZ, Espeak, Floats, Manner, SpeechError

UTTERANCES_PER_SHARD = 5000
ENGLISH_SHARE = 0.7
MEL_BINS = 80
HOP_SAMPLES = 160
FFT_SAMPLES = 400
QUIETEST_LOG_POWER = -10.0
# What is softer than this, of a peak of one half, is trimmed off both ends, but for a margin.
TRIM_LEVEL = 0.008
TRIM_LEAD_S, TRIM_TAIL_S = 0.02, 0.03


@dataclass(frozen=True)
class Spoken:
    """One utterance: samples (n,) at 16 kHz, trimmed, and when each word of `text` starts, in s."""

    text: str
    language: str
    voice: str
    samples: Floats
    word_starts: list[float]


@dataclass(frozen=True)
class Entry:
    text: str
    language: str
    frames: int
    word_starts: list[int]


def random_manner(rng: random.Random) -> Manner:
    return Manner(rng.randint(110, 215), rng.randint(20, 85), rng.randint(20, 80), rng.choice((0, 0, 0, 0, 1, 2)))


def speak(espeak: Espeak, text: str, language: str, voice: str, manner: Manner) -> Spoken:
    """Raises SpeechError where the voice gives no sound worth the name."""
    samples, reported = espeak.speak(text, voice, manner)
    peak = float(np.abs(samples).max())
    if peak < 0.01:
        raise SpeechError(f"The voice {voice} is silent on {text!r}.")
    samples = samples * np.float32(0.5 / peak)
    loud = np.flatnonzero(np.abs(samples) > TRIM_LEVEL)
    first = max(0, int(loud[0]) - int(TRIM_LEAD_S * SAMPLE_RATE_HZ))
    last = min(samples.size, int(loud[-1]) + int(TRIM_TAIL_S * SAMPLE_RATE_HZ))
    starts = _word_starts(text, reported, samples.size / SAMPLE_RATE_HZ)
    offset_s = first / SAMPLE_RATE_HZ
    return Spoken(text, language, voice, samples[first:last], [max(0.0, start - offset_s) for start in starts])


def _word_starts(text: str, reported: dict[int, float], duration_s: float) -> list[float]:
    """Of each word; those that eSpeak runs into the word before get their share of its time, by letters."""
    words = text.split()
    positions = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
    known = {index: reported[position] for index, position in enumerate(positions) if position in reported}
    known[0] = known.get(0, 0.0)
    at = [positions[index] for index in known] + [len(text)]
    times = [*known.values(), duration_s]
    order = np.argsort(at)
    return [float(t) for t in np.interp(positions, np.array(at)[order], np.array(times)[order])]


def log_mel(samples: Floats) -> npt.NDArray[np.float32]:
    """log10 mel power (frames, 80), one frame each 10 ms, before any scaling."""
    padded = np.pad(samples, FFT_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(frames * np.hanning(FFT_SAMPLES + 1)[:-1].astype(np.float32), axis=-1)
    power = np.abs(spectrum).astype(np.float32) ** 2
    filters = FeatureExtractor().mel_filters.astype(np.float32)
    return np.asarray(np.log10(np.maximum(power @ filters.T, 10**QUIETEST_LOG_POWER)), dtype=np.float32)


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
