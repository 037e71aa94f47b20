"""A language that is easy to hear: each word is a run of samples of one value of its own, so what was said, and exactly
when, can be read off the audio. Half-way through a word it is softer. One of which not most is there is not heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from api.inference.base import ModelVersion, Pcm
from api.inference.contracts import DecodingOptions, Recognition, Segment, Word
from api.inference.fake import Busy
from api.speech import SAMPLE_RATE_HZ

LOUDEST = 30_000
WORD_STEP = 20
LEAST_SHARE = 0.7


@dataclass(frozen=True)
class Spoken:
    """A word's number from 1 on, how long it takes and how much silence comes before it, in s."""

    number: int
    seconds: float
    pause_s: float

    @property
    def text(self) -> str:
        return f"w{self.number}"


def words_of(lengths: Sequence[tuple[float, float]]) -> list[Spoken]:
    return [Spoken(number, seconds, pause) for number, (seconds, pause) in enumerate(lengths, start=1)]


def speech(words: Sequence[Spoken], tail_s: float = 0.0) -> Pcm:
    parts = []
    for word in words:
        samples = np.full(round(word.seconds * SAMPLE_RATE_HZ), LOUDEST - WORD_STEP * word.number, dtype=np.int16)
        samples[2 * samples.size // 5 : 3 * samples.size // 5] //= 2
        parts += [np.zeros(round(word.pause_s * SAMPLE_RATE_HZ), dtype=np.int16), samples]
    return np.concatenate([*parts, np.zeros(round(tail_s * SAMPLE_RATE_HZ), dtype=np.int16)])


def ends(words: Sequence[Spoken]) -> list[float]:
    return list(np.cumsum([word.pause_s + word.seconds for word in words]))


@dataclass
class TelegraphRecognizer(Busy):
    """`windows` are the lengths of those it was asked about, in s."""

    words: Sequence[Spoken]
    windows: list[float] = field(default_factory=list)
    drafts: int = 0

    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        assert live
        self.windows.append(pcm.size / SAMPLE_RATE_HZ)
        self.drafts += options.beam_size == 1
        await self.work()
        heard = list(self._heard(pcm))
        text = "".join(word.word for word in heard).strip()
        segments = [Segment(heard[0].start, heard[-1].end, text, heard)] if heard else []
        return Recognition(options.language or "en", 0.99, segments, -0.1, 0.0, 1.0, 0.0, pcm.size / SAMPLE_RATE_HZ)

    def _heard(self, pcm: Pcm) -> list[Word]:
        loud = np.where(pcm > LOUDEST // 2, pcm, 2 * pcm)
        edges = [0, *(np.flatnonzero(np.diff(loud)) + 1), pcm.size]
        found = []
        for start, end in pairwise(edges):
            number = (LOUDEST - int(loud[start])) // WORD_STEP
            if not 0 < number <= len(self.words):
                continue
            word = self.words[number - 1]
            if end - start >= LEAST_SHARE * word.seconds * SAMPLE_RATE_HZ:
                found.append(Word(f" {word.text}", start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ, 0.9))
        return found
