"""The domain: what was said, when, by whom. Times are seconds from the start of the recording."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Word:
    """`text` keeps the space before it, where the language writes one, so that joined words give the segment's text."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A phrase. `confidence` is the mean probability of its words, 0 to 1."""

    start: float
    end: float
    text: str
    confidence: float
    words: tuple[Word, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """A recording's text. `language` is None where nothing was said; `model` is the id of the model that listened."""

    language: str | None
    language_probability: float
    duration: float
    segments: tuple[Segment, ...]
    model: str
    speakers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)
