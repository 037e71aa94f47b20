"""The JSON bodies of what went well."""

from __future__ import annotations

from typing import Literal

import msgspec

LanguageSource = Literal["fast_path", "lid_per_segment", "long_audio_chunked", "mixed"]
"""fast_path: the caller said which language it is, or left one to choose from. Otherwise long_audio_chunked, where the
audio is longer than 90 s; else mixed, where there are several languages; else lid_per_segment."""


class WordBody(msgspec.Struct, omit_defaults=True):
    """Times and confidence are there where they were asked for, `boosted` and `original` where a keyword stands in the
    place of what was heard."""

    word: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    boosted: bool = False
    original: str | None = None


class SpeakerBody(msgspec.Struct):
    speaker: str
    start: float
    end: float


class SegmentBody(msgspec.Struct, omit_defaults=True):
    """`speakers`, where they are told apart, has the one who speaks; `chunk_idx` is there with long_audio_chunked."""

    start: float
    end: float
    language: str | None
    language_name: str | None
    text: str
    confidence: float
    words: list[WordBody]
    speakers: list[SpeakerBody] | None = None
    chunk_idx: int | None = None


class WarningBody(msgspec.Struct):
    """`affected_segments` are numbers of segments, from 0."""

    code: str
    message: str
    affected_segments: list[int]


class DetectionBody(msgspec.Struct):
    mode: LanguageSource
    candidates: list[str]
    segment_count: int
    lid_calls: int


class TranscriptBody(msgspec.Struct):
    """`language` is null where nothing was said; `snr_db` where nothing can be said of it; `rtf` is the time that it
    took by the time that the audio takes."""

    request_id: str
    text: str
    language: str | None
    language_name: str | None
    languages: list[str]
    language_source: LanguageSource
    snr_db: float | None
    duration_sec: float
    processing_ms: int
    rtf: float
    segments: list[SegmentBody]
    words: list[WordBody]
    warnings: list[WarningBody]
    warning_codes: list[str]
    language_detection: DetectionBody


class LanguageBody(msgspec.Struct):
    code: str
    name: str


class LanguagesData(msgspec.Struct):
    """`total` counts all but `auto`."""

    languages: list[LanguageBody]
    total: int
    features: list[str]


class LanguagesBody(msgspec.Struct):
    success: bool
    message: str
    data: LanguagesData


class ModelBody(msgspec.Struct):
    """`languages` counts them."""

    id: str
    model_name: str
    description: str
    category: str
    type: str
    languages: int
    features: list[str]


class ModelsBody(msgspec.Struct):
    success: bool
    message: str
    data: list[ModelBody]
