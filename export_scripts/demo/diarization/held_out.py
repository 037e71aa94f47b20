"""Dialogues to measure on: voices and sentences that no training had, and who speaks when."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export_scripts.demo.diarization.corpus import speaking
from export_scripts.demo.speech import grammar, voices
from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak, Floats, Manner, SpeechError
from export_scripts.demo.speech.utterances import random_manner, speak

NOISE_DB = (18, 32)
# With a pause, or before the other one has ended.
PAUSE_S, OVERLAP_S = (0.05, 1.2), (0.2, 1.5)
# How often the same person goes on with another sentence.
STAYS = 0.3


@dataclass(frozen=True)
class Turn:
    """Times in seconds; `speaker` counts from 0."""

    start: float
    end: float
    speaker: int
    text: str


@dataclass(frozen=True)
class Dialogue:
    """Samples (n,) at 16 kHz, and the turns in order of their starts."""

    samples: Floats
    turns: list[Turn]

    @property
    def duration_s(self) -> float:
        return self.samples.size / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Person:
    voice: str
    manner: Manner

    @property
    def variant(self) -> str:
        """Who it is, whatever the accent."""
        return self.voice.partition("+")[2]


@contextmanager
def speech() -> Iterator[Espeak]:
    """eSpeak NG with the voices of its own that are kept out of training, and random ones that no training had."""
    with tempfile.TemporaryDirectory() as data:
        yield Espeak(Path(data), voices.random_voices("held out"))


def people(rng: random.Random, number: int) -> list[Person]:
    """Each with a voice of their own; half of the voices are built in, while there are any."""
    built_in = rng.sample(voices.UNSEEN, min(len(voices.UNSEEN), (number + 1) // 2))
    ours = rng.sample(list(voices.random_voices("held out")), number - len(built_in))
    return [Person(f"{rng.choice(voices.ACCENTS['en'])}+{variant}", random_manner(rng)) for variant in built_in + ours]


def dialogue(espeak: Espeak, rng: random.Random, *, speakers: int, seconds: float, overlap: float) -> Dialogue:
    """`speakers` people in one room for at least `seconds`; `overlap` is how often one begins before another ends."""
    present = people(rng, speakers)
    levels = [10 ** (rng.uniform(-4, 4) / 20) for _ in present]
    samples = np.zeros(int((seconds + 30) * SAMPLE_RATE_HZ), dtype=np.float32)
    turns: list[Turn] = []
    ends = [0.0] * (speakers + 1)  # of what each said last, and of nobody's
    at, speaking_now = rng.uniform(0.2, 1.0), 0
    while at < seconds:
        person = present[speaking_now]
        try:
            text = grammar.held_out_sentence("en", rng)
            spoken = speak(espeak, text, "en", person.voice, speaking(person.manner, rng))
        except SpeechError:
            if ends[speaking_now]:
                raise  # they have been heard before
            # A random voice can be silent: somebody else takes part.
            taken = {one.variant for one in present}
            present[speaking_now] = next(one for one in people(rng, 20) if one.variant not in taken)
            continue
        start = int(at * SAMPLE_RATE_HZ)
        samples[start : start + spoken.samples.size] += levels[speaking_now] * spoken.samples
        end = at + spoken.samples.size / SAMPLE_RATE_HZ
        turns.append(Turn(at, end, speaking_now, text))
        ends[speaking_now] = end
        before = speaking_now
        if speakers > 1 and rng.random() > STAYS:
            speaking_now = rng.choice([number for number in range(speakers) if number != before])
        if speaking_now != before and rng.random() < overlap:
            at = max(at, end - rng.uniform(*OVERLAP_S))
        else:
            at = end + rng.uniform(*PAUSE_S)
        # Nobody speaks over themselves, and no third person over two.
        at = max(at, ends[speaking_now], sorted(ends)[-2])
    heard = samples[: int(max(turn.end for turn in turns) * SAMPLE_RATE_HZ) + SAMPLE_RATE_HZ // 2]
    return Dialogue(_noisy(heard, rng), sorted(turns, key=lambda turn: turn.start))


def _noisy(samples: Floats, rng: random.Random) -> Floats:
    power = float(np.sqrt(np.mean(samples**2))) * 10 ** (-rng.uniform(*NOISE_DB) / 20)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, power, samples.size)
    mixed = samples + noise.astype(np.float32)
    return mixed * np.float32(0.7 / float(np.abs(mixed).max()))
