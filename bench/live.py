"""What a live session said, and how late: meetings whose words have known ends, and when each was first seen."""

from __future__ import annotations

import math
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from rapidfuzz.distance import Levenshtein

from export_scripts.demo.speech.espeak import Espeak
from export_scripts.demo.speech.voices import unseen_voice
from export_scripts.demo.whisper.held_out import Recording, meeting
from export_scripts.scoring import WORDS

SAMPLE_RATE_HZ = 16_000
SEED = 3
MEETINGS = 16


class Spoken(Protocol):
    """What is said, and when each word of it begins and ends, in s."""

    @property
    def text(self) -> str: ...
    @property
    def word_starts(self) -> list[float]: ...
    @property
    def word_ends(self) -> list[float]: ...
    @property
    def duration_s(self) -> float: ...


@dataclass
class Heard:
    """What one session said, and when, in s from its first sample's time."""

    recording: Spoken
    words: list[str]
    in_partial: dict[int, float] = field(default_factory=dict)
    committed: dict[int, float] = field(default_factory=dict)
    in_final: dict[int, float] = field(default_factory=dict)
    partial_times: list[float] = field(default_factory=list)
    finals: list[str] = field(default_factory=list)
    text: str = ""
    ended: float = 0.0

    def lateness(self, seen: dict[int, float], before_silence_s: float = 0.0) -> Iterator[float]:
        """Of each word that was seen, from its end on; of those alone that so much silence follows."""
        return (late for _, late in self.moments(seen, before_silence_s))

    def moments(self, seen: dict[int, float], before_silence_s: float = 0.0) -> Iterator[tuple[float, float]]:
        """The same, each after the end of its word, in s from the first sample's time."""
        ends, starts = self.recording.word_ends, self.recording.word_starts
        for index, when in seen.items():
            following = starts[index + 1] if index + 1 < len(starts) else self.recording.duration_s
            # A little more, because the first and last sounds of words are soft.
            if not before_silence_s or following - ends[index] > before_silence_s + 0.2:
                yield ends[index], when - ends[index]

    def note(self, message: dict[str, object], now: float) -> None:
        if message.get("is_final"):
            self.text, self.ended = str(message["text"]), now
        elif message.get("text"):
            self.finals += words_of(str(message["text"]))
            self._appear(self.finals, self.in_final, now)
            self._appear(self.finals, self.committed, now)
            self._appear(self.finals, self.in_partial, now)
        elif "partial" in message:
            self.partial_times.append(now)
            for name, seen in (("partial", self.in_partial), ("committed", self.committed)):
                self._appear([*self.finals, *words_of(str(message[name]))], seen, now)

    def _appear(self, hypothesis: list[str], seen: dict[int, float], now: float) -> None:
        """Note the words of the reference that are in their place in the hypothesis now; not those to come."""
        begun = sum(1 for start in self.recording.word_starts if start < now)
        for block in Levenshtein.opcodes(self.words[:begun], hypothesis):
            if block.tag == "equal":
                for index in range(block.src_start, block.src_end):
                    seen.setdefault(index, now)


def speech(seconds: float) -> list[Recording]:
    """Meetings in voices that no training had."""
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as data:
        espeak = Espeak(Path(data), {})
        return [meeting(espeak, "en", unseen_voice, rng, seconds=seconds) for _ in range(MEETINGS)]


def words_of(text: str) -> list[str]:
    return [word for sentence in WORDS(text) for word in sentence]


def p50(times: Sequence[float]) -> float:
    return statistics.median(times) if times else math.nan


def p95(times: Sequence[float]) -> float:
    return quantile(times, 0.95)


def quantile(times: Sequence[float], share: float) -> float:
    return float(np.quantile(times, share)) if times else math.nan
