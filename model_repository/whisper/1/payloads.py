"""What a window is asked for and what is answered, as JSON; the service states the same from its side."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class DecodingOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to decode one window. `language` None means: detect it, among `languages` if there are any. The task
    `identify` does no more than that."""

    language: str | None = None
    languages: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    task: Literal["transcribe", "translate", "identify"] = "transcribe"
    prompt: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    hotwords: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=200)], ...], msgspec.Meta(max_length=1000)] = ()
    """What may well be said, the most important first; as many of them as there is room for are used."""
    segment_timestamps: bool = True
    """False asks for text without time stamps: a window is one segment then."""
    word_timestamps: bool = True
    beam_size: Annotated[int, msgspec.Meta(ge=1, le=16)] = 5
    temperatures: Annotated[
        tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], ...], msgspec.Meta(min_length=1, max_length=8)
    ] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Word(msgspec.Struct, frozen=True):
    """A word with the punctuation that belongs to it; times in seconds from the window's start."""

    word: str
    start: float
    end: float
    probability: float


class Segment(msgspec.Struct, frozen=True):
    """A phrase between two of Whisper's time stamps; `words` is empty where word times were not asked for."""

    start: float
    end: float
    text: str
    words: list[Word]


class Recognition(msgspec.Struct, frozen=True):
    """What was said in one window, and how sure the model is of it.

    `decoded_s` is the window's length, or less where it held more words than the model can write at once. Where the
    language was detected, `candidates` has the probabilities of the likeliest ones, which `language` is the first of.
    """

    language: str
    language_probability: float
    segments: list[Segment]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    decoded_s: float
    candidates: dict[str, float] = {}
