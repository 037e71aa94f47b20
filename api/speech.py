"""The domain: what was said, when, by whom. Times are seconds from the start of the recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from unicodedata import category

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Word:
    """`text` keeps the space before it, where the language writes one, so that joined words give the segment's text.

    `original` is what was heard, where a keyword stands in its place.
    """

    text: str
    start: float
    end: float
    probability: float
    original: str | None = None

    @property
    def key(self) -> str:
        """The word without what its context decides: case and punctuation."""
        return "".join(filter(is_spoken, self.text.casefold())) or self.text.strip()


def is_spoken(character: str) -> bool:
    """Letters, digits, and the marks that many scripts write vowels with."""
    return category(character)[0] in "LMN"


@dataclass(frozen=True, slots=True)
class Segment:
    """A phrase. `confidence` is the mean probability of its words, 0 to 1; `translation` is its text in another
    language, where that was asked for. It is in one `language`; `code_switch` says that some of its words seem to be in
    another one. `snr_db` is that of the speech which it was heard in."""

    start: float
    end: float
    text: str
    confidence: float
    words: tuple[Word, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    speaker: str | None = None
    translation: str | None = None
    language: str | None = None
    snr_db: float | None = None
    code_switch: bool = False

    def part(self, words: Sequence[Word]) -> Segment | None:
        """What these of its words say; None where there are none."""
        if not words:
            return None
        return replace(
            self,
            start=words[0].start,
            end=words[-1].end,
            text=text_of(words),
            confidence=sum(word.probability for word in words) / len(words),
            words=tuple(words),
        )


def text_of(words: Iterable[Word]) -> str:
    return "".join(word.text for word in words).strip()


@dataclass(frozen=True, slots=True)
class LanguageDetection:
    """How the languages of a recording were found out: among `candidates` (none: all that the model knows), by so many
    `calls`, which is 0 where the language was `given`."""

    given: bool
    candidates: tuple[str, ...] = ()
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Transcript:
    """A recording's text. `language` is None where nothing was said, and what most of it is in where there are several;
    `model` and `model_version` are the id and the version of the model that listened; `id` is the one that it is stored
    under; `translated_into` is the language of its segments' translations. `too_noisy`: all its speech was below the
    floor that was asked for, so nobody listened to it, and it costs nothing."""

    language: str | None
    language_probability: float
    duration: float
    segments: tuple[Segment, ...]
    model: str
    speakers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    id: str | None = None
    translated_into: str | None = None
    snr_db: float | None = None
    too_noisy: bool = False
    detection: LanguageDetection | None = None
    model_version: str = ""

    @property
    def languages(self) -> list[str]:
        """Of its segments, in the order in which they are first heard."""
        return list(dict.fromkeys(segment.language for segment in self.segments if segment.language is not None))

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)
