"""The public JSON bodies: `json` as the API promises it, `verbose_json` with everything that is known."""

from __future__ import annotations

from typing import Any

import msgspec

from api.formats.translated import in_translation
from api.speech import LanguageDetection, Segment, Transcript, Word


class WordBody(msgspec.Struct, omit_defaults=True):
    """The last two are there only where a keyword stands in the place of what was heard, which is `original`."""

    word: str
    start: float
    end: float
    speaker: str | None
    boosted: bool = False
    original: str | None = None


class VerboseWordBody(WordBody, kw_only=True):
    probability: float


class SegmentBody(msgspec.Struct, omit_defaults=True):
    """`translation` is there only when one was asked for, `language` where the segments are in several."""

    start: float
    end: float
    text: str
    speaker: str | None
    confidence: float
    words: list[WordBody]
    translation: str | None = None
    language: str | None = None


class VerboseSegmentBody(msgspec.Struct, omit_defaults=True):
    """`code_switch`: some of its words seem to be in another language. `snr_db` is null where it was not measured."""

    id: int
    start: float
    end: float
    text: str
    speaker: str | None
    confidence: float
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    language: str | None
    code_switch: bool
    snr_db: float | None
    words: list[VerboseWordBody]
    translation: str | None = None


class LanguageDetectionBody(msgspec.Struct):
    """How the languages were found out: among `candidates` (empty: all that the model knows), by so many `calls`, none
    where the language was `given`."""

    given: bool
    candidates: tuple[str, ...]
    calls: int


class TranscriptBody(msgspec.Struct, omit_defaults=True):
    """`warnings` is there only when there are any, `id` when it is stored, and the last two when it is translated."""

    text: str
    language: str | None
    duration: float
    segments: list[SegmentBody]
    speakers: list[str]
    warnings: tuple[str, ...] = ()
    id: str | None = None
    translated_text: str | None = None
    target_language: str | None = None


class VerboseTranscriptBody(msgspec.Struct, omit_defaults=True):
    """`too_noisy`: all speech was below the signal-to-noise ratio that was asked for, and was not listened to."""

    task: str
    text: str
    language: str | None
    language_probability: float
    languages: list[str]
    language_detection: LanguageDetectionBody | None
    duration: float
    snr_db: float | None
    too_noisy: bool
    model: str
    model_version: str
    segments: list[VerboseSegmentBody]
    words: list[VerboseWordBody]
    speakers: list[str]
    warnings: tuple[str, ...]
    id: str | None = None
    translated_text: str | None = None
    target_language: str | None = None


def write(transcript: Transcript) -> bytes:
    in_several = len(transcript.languages) > 1
    return msgspec.json.encode(
        TranscriptBody(
            text=transcript.text,
            language=transcript.language,
            duration=_seconds(transcript.duration),
            segments=[segment_body(segment, with_language=in_several) for segment in transcript.segments],
            speakers=list(transcript.speakers),
            warnings=transcript.warnings,
            id=transcript.id,
            translated_text=in_translation(transcript).text if transcript.translated_into else None,
            target_language=transcript.translated_into,
        )
    )


def write_verbose(transcript: Transcript) -> bytes:
    segments = [_verbose_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    return msgspec.json.encode(
        VerboseTranscriptBody(
            task="transcribe",
            text=transcript.text,
            language=transcript.language,
            language_probability=transcript.language_probability,
            languages=transcript.languages,
            language_detection=_detection(transcript.detection),
            duration=_seconds(transcript.duration),
            snr_db=_decibels(transcript.snr_db),
            too_noisy=transcript.too_noisy,
            model=transcript.model,
            model_version=transcript.model_version,
            segments=segments,
            words=[word for segment in segments for word in segment.words],
            speakers=list(transcript.speakers),
            warnings=transcript.warnings,
            id=transcript.id,
            translated_text=in_translation(transcript).text if transcript.translated_into else None,
            target_language=transcript.translated_into,
        )
    )


def segment_body(segment: Segment, *, with_language: bool = False) -> SegmentBody:
    return SegmentBody(
        start=_seconds(segment.start),
        end=_seconds(segment.end),
        text=segment.text,
        speaker=segment.speaker,
        confidence=round(segment.confidence, 3),
        words=[WordBody(**_word(word), speaker=segment.speaker) for word in segment.words],
        translation=segment.translation,
        language=segment.language if with_language else None,
    )


def _verbose_segment(number: int, segment: Segment) -> VerboseSegmentBody:
    return VerboseSegmentBody(
        id=number,
        start=_seconds(segment.start),
        end=_seconds(segment.end),
        text=segment.text,
        speaker=segment.speaker,
        confidence=round(segment.confidence, 3),
        avg_logprob=segment.avg_logprob,
        no_speech_prob=segment.no_speech_prob,
        compression_ratio=segment.compression_ratio,
        language=segment.language,
        code_switch=segment.code_switch,
        snr_db=_decibels(segment.snr_db),
        words=[
            VerboseWordBody(**_word(word), speaker=segment.speaker, probability=round(word.probability, 3))
            for word in segment.words
        ],
        translation=segment.translation,
    )


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.text.strip(),
        "start": _seconds(word.start),
        "end": _seconds(word.end),
        "boosted": word.original is not None,
        "original": word.original,
    }


def _detection(detection: LanguageDetection | None) -> LanguageDetectionBody | None:
    if detection is None:
        return None
    return LanguageDetectionBody(detection.given, detection.candidates, detection.calls)


def _decibels(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 1)


def _seconds(time: float) -> float:
    return round(time, 2)
