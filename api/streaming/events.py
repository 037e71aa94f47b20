"""What a live session says. Times are seconds from the start of the stream."""

from __future__ import annotations

from dataclasses import dataclass

from api.speech import Segment


@dataclass(frozen=True, slots=True)
class Partial:
    """The phrase that is being spoken, as far as it is understood; empty when it turned out to be no speech.

    `committed` is its beginning, and that of every later partial of the same phrase.
    """

    text: str
    committed: str
    start: float


@dataclass(frozen=True, slots=True)
class Final:
    """A phrase that is settled, heard once more with the full search."""

    segment: Segment
    language: str


@dataclass(frozen=True, slots=True)
class TooNoisy:
    """Speech that nobody listened to, because it was below the floor that was asked for."""

    start: float
    end: float
    snr_db: float


@dataclass(frozen=True, slots=True)
class Delayed:
    """The models have not answered for so long. The audio is kept, and the session goes on when they do."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """They answer again."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that was asked for cannot be had; the text is not concerned."""

    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """All of it. `language` is None where nothing was said; `model` and `model_version` are those of the model
    that listened."""

    text: str
    language: str | None
    duration: float
    model: str
    model_version: str


Event = Partial | Final | TooNoisy | Delayed | Resumed | Warned | Ended
