"""The public JSON bodies: `json` as the API promises it, `verbose_json` with everything that is known."""

from __future__ import annotations

import msgspec

from api.formats.translated import in_translation
from api.speech import Segment, Transcript, Word


class WordBody(msgspec.Struct):
    word: str
    start: float
    end: float
    speaker: str | None


class VerboseWordBody(WordBody):
    probability: float


class SegmentBody(msgspec.Struct, omit_defaults=True):
    """`translation` is there only when one was asked for."""

    start: float
    end: float
    text: str
    speaker: str | None
    confidence: float
    words: list[WordBody]
    translation: str | None = None


class VerboseSegmentBody(msgspec.Struct, omit_defaults=True):
    id: int
    start: float
    end: float
    text: str
    speaker: str | None
    confidence: float
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    words: list[VerboseWordBody]
    translation: str | None = None


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
    task: str
    text: str
    language: str | None
    language_probability: float
    duration: float
    model: str
    segments: list[VerboseSegmentBody]
    words: list[VerboseWordBody]
    speakers: list[str]
    warnings: tuple[str, ...]
    id: str | None = None
    translated_text: str | None = None
    target_language: str | None = None


def write(transcript: Transcript) -> bytes:
    return msgspec.json.encode(
        TranscriptBody(
            text=transcript.text,
            language=transcript.language,
            duration=_seconds(transcript.duration),
            segments=[segment_body(segment) for segment in transcript.segments],
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
            duration=_seconds(transcript.duration),
            model=transcript.model,
            segments=segments,
            words=[word for segment in segments for word in segment.words],
            speakers=list(transcript.speakers),
            warnings=transcript.warnings,
            id=transcript.id,
            translated_text=in_translation(transcript).text if transcript.translated_into else None,
            target_language=transcript.translated_into,
        )
    )


def segment_body(segment: Segment) -> SegmentBody:
    return SegmentBody(
        start=_seconds(segment.start),
        end=_seconds(segment.end),
        text=segment.text,
        speaker=segment.speaker,
        confidence=round(segment.confidence, 3),
        words=[
            WordBody(word.text.strip(), _seconds(word.start), _seconds(word.end), segment.speaker)
            for word in segment.words
        ],
        translation=segment.translation,
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
        words=[_verbose_word(word, segment.speaker) for word in segment.words],
        translation=segment.translation,
    )


def _verbose_word(word: Word, speaker: str | None) -> VerboseWordBody:
    return VerboseWordBody(
        word=word.text.strip(),
        start=_seconds(word.start),
        end=_seconds(word.end),
        speaker=speaker,
        probability=round(word.probability, 3),
    )


def _seconds(time: float) -> float:
    return round(time, 2)
