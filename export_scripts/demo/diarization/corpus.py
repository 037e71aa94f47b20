"""The training speech on disk: many speakers, some utterances of each, as log-mel frames.

A corpus is a folder of shards. `N.npy` holds the log10 mel power of the shard's utterances one after another, float16
(frames, 80), one frame each 10 ms; `N.json` has, for each of its speakers, the number of frames of each utterance.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export_scripts.demo.speech import grammar, voices
from export_scripts.demo.speech.espeak import Espeak, Manner, SpeechError
from export_scripts.demo.speech.utterances import log_mel, random_manner, speak

Halfs = npt.NDArray[np.float16]

# Of each shard: as many random voices as it can have, and a part of the built-in ones.
RANDOM_SPEAKERS = voices.RANDOM_VOICES
BUILT_IN_SPEAKERS = 40
UTTERANCES_EACH = 16
ENGLISH_SHARE = 0.7


def make_corpus(folder: Path, *, shards: int, seed: int, processes: int, utterances: int = UTTERANCES_EACH) -> None:
    """Write the shards that are missing. Voices and texts follow the seed; eSpeak NG's own noise does not."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [index for index in range(shards) if not (folder / f"{index}.json").exists()]
    # eSpeak NG keeps its state in globals: a process for each shard.
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        pool.starmap(_make_shard, [(folder, index, seed, utterances) for index in missing], chunksize=1)


def speaking(manner: Manner, rng: random.Random) -> Manner:
    """The same person's next utterance: a little faster or slower, with the same pitch."""
    return Manner(manner.rate + rng.randint(-15, 15), manner.pitch, manner.pitch_range, manner.gap)


def _make_shard(folder: Path, index: int, seed: int, utterances: int) -> None:
    rng = random.Random(f"{seed}/speakers/{index}")
    mels: list[Halfs] = []
    speakers: list[list[int]] = []
    variants = voices.random_voices(f"{seed}/speakers/{index}")
    with tempfile.TemporaryDirectory() as data:
        espeak = Espeak(Path(data), variants)
        for variant in [*variants, *rng.sample(voices.SEEN, BUILT_IN_SPEAKERS)]:
            language = "en" if rng.random() < ENGLISH_SHARE else "es"
            voice = f"{rng.choice(voices.ACCENTS[language])}+{variant}"
            of_speaker = _utterances(espeak, language, voice, rng, utterances)
            if of_speaker:
                mels += of_speaker
                speakers.append([len(mel) for mel in of_speaker])
    np.save(folder / f"{index}.npy", np.concatenate(mels))
    partial = folder / f".{index}.json"
    partial.write_text(json.dumps(speakers))
    partial.rename(folder / f"{index}.json")


def _utterances(espeak: Espeak, language: str, voice: str, rng: random.Random, count: int) -> list[Halfs]:
    """None of a voice that is silent."""
    manner = random_manner(rng)
    spoken: list[Halfs] = []
    while len(spoken) < count:
        try:
            utterance = speak(espeak, grammar.training_text(language, rng), language, voice, speaking(manner, rng))
        except SpeechError:
            return []
        spoken.append(log_mel(utterance.samples).astype(np.float16))
    return spoken


class Speakers:
    """The speakers of a corpus; their utterances are read from disk as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._of_speaker: list[list[Halfs]] = []
        for file in sorted(folder.glob("[0-9]*.json"), key=lambda file: int(file.stem)):
            mels = np.load(file.with_suffix(".npy"), mmap_mode="r")
            start = 0
            for lengths in json.loads(file.read_text()):
                ends = start + np.cumsum(lengths)
                self._of_speaker.append(np.split(mels[start : ends[-1]], ends[:-1] - start))
                start = int(ends[-1])

    def __len__(self) -> int:
        return len(self._of_speaker)

    def utterance(self, speaker: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """The log10 mel power (frames, 80) of any of the speaker's utterances."""
        choices = self._of_speaker[speaker]
        return choices[int(rng.integers(len(choices)))].astype(np.float32)
