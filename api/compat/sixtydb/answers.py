"""A transcript as 60db's clients read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from api.compat.sixtydb.bodies import (
    DetectionBody,
    LanguageSource,
    SegmentBody,
    SpeakerBody,
    TranscriptBody,
    WarningBody,
    WordBody,
)
from api.languages import LANGUAGES
from api.speech import LanguageDetection, Segment, Transcript, Word

CHUNK_S: Final = 90.0
"""Of a recording that is longer, 60db tells which part of this length a segment is from."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Of what is known, what the caller wants to see."""

    times: bool = False
    confidence: bool = False
    speakers: bool = False

    def word(self, word: Word) -> WordBody:
        return WordBody(
            word.text.strip(),
            seconds(word.start) if self.times else None,
            seconds(word.end) if self.times else None,
            round(word.probability, 3) if self.confidence else None,
            word.original is not None,
            word.original,
        )


def transcript_body(
    request_id: str,
    transcript: Transcript,
    shown: Shown,
    *,
    processing_s: float,
    known: Sequence[str],
    warnings: Sequence[WarningBody] = (),
) -> TranscriptBody:
    """`known` are the languages that the model can tell apart; `warnings` come before those of the transcript."""
    detection = transcript.detection or LanguageDetection(given=False)
    source = language_source(transcript, detection)
    names = speaker_names(transcript.segments) if shown.speakers else {}
    segments = [_segment(segment, transcript, shown, names, source) for segment in transcript.segments]
    language = transcript.language if segments else None
    warnings = [*warnings, *warnings_of(transcript)]
    given = [transcript.language] if detection.given and transcript.language else []
    return TranscriptBody(
        request_id=request_id,
        text=transcript.text,
        language=language,
        language_name=language_name(language) if language else None,
        languages=transcript.languages or ([language] if language else []),
        language_source=source,
        snr_db=decibels(transcript.snr_db),
        duration_sec=seconds(transcript.duration),
        processing_ms=round(processing_s * 1000),
        rtf=round(processing_s / transcript.duration, 3) if transcript.duration else 0.0,
        segments=segments,
        words=[word for segment in segments for word in segment.words],
        warnings=warnings,
        warning_codes=list(dict.fromkeys(warning.code for warning in warnings)),
        language_detection=DetectionBody(
            source, given or list(detection.candidates or known), len(segments), detection.calls
        ),
    )


def language_source(transcript: Transcript, detection: LanguageDetection) -> LanguageSource:
    if detection.given:
        return "fast_path"
    if transcript.duration > CHUNK_S:
        return "long_audio_chunked"
    return "mixed" if len(transcript.languages) > 1 else "lid_per_segment"


def warnings_of(transcript: Transcript) -> list[WarningBody]:
    if transcript.too_noisy:
        return [WarningBody("low_snr_dropped", " ".join((*transcript.warnings, "It costs nothing.")), [])]
    warnings = [WarningBody("partial_result", message, []) for message in transcript.warnings]
    if not transcript.segments:
        warnings.append(WarningBody("no_speech_detected", "Nobody speaks in it.", []))
    switching = [number for number, segment in enumerate(transcript.segments) if segment.code_switch]
    if switching:
        message = "Some words of a segment are in another language than the segment."
        warnings.append(WarningBody("inline_code_switch_partial", message, switching))
    return warnings


def speaker_names(segments: Iterable[Segment]) -> dict[str, str]:
    """SPEAKER_00 for who speaks first, and so on."""
    speakers = dict.fromkeys(segment.speaker for segment in segments if segment.speaker is not None)
    return {speaker: f"SPEAKER_{number:02}" for number, speaker in enumerate(speakers)}


def language_name(code: str) -> str:
    return LANGUAGES.get(code, code).title()


def seconds(time: float) -> float:
    return round(time, 2)


def decibels(snr_db: float | None) -> float | None:
    return None if snr_db is None else round(snr_db, 1)


def _segment(
    segment: Segment, transcript: Transcript, shown: Shown, names: dict[str, str], source: LanguageSource
) -> SegmentBody:
    language = segment.language or transcript.language
    speaker = names.get(segment.speaker or "")
    return SegmentBody(
        start=seconds(segment.start),
        end=seconds(segment.end),
        language=language,
        language_name=language_name(language) if language else None,
        text=segment.text,
        confidence=round(segment.confidence, 3),
        words=[shown.word(word) for word in segment.words],
        speakers=_speakers(segment, speaker) if shown.speakers else None,
        chunk_idx=int(segment.start // CHUNK_S) if source == "long_audio_chunked" else None,
    )


def _speakers(segment: Segment, speaker: str | None) -> list[SpeakerBody]:
    return [SpeakerBody(speaker, seconds(segment.start), seconds(segment.end))] if speaker else []
