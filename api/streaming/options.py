"""What a session is asked for, and what it may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.inference.base import ModelVersion
from api.recognition.catalog import SpeechModel
from api.recognition.chunking import frames, policy_for
from api.recognition.speakers import DiarizationPlan
from api.recognition.wording import Wording

LONGEST_UTTERANCE_S = 20.0
"""By default, for a model that takes more at once."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What to make of a stream. `language` None means: what is spoken, out of `languages` if there are any;
    `max_utterance_s` None: what suits the model. Speech below `snr_floor_db` is not listened to."""

    model: SpeechModel
    language: str | None = None
    languages: tuple[str, ...] = ()
    wording: Wording = field(default_factory=Wording)
    snr_floor_db: float | None = None
    partial_interval_s: float = 0.3
    min_silence_s: float = 0.5
    max_utterance_s: float | None = None
    diarize: bool = False
    max_speakers: int | None = None
    diarization: DiarizationPlan | None = None

    @property
    def versions(self) -> tuple[ModelVersion, ...]:
        """Of the models that all of it must be heard by."""
        told_apart_by = self.diarization.versions if self.diarization is not None and self.diarize else ()
        return (self.model.deployment, *told_apart_by)

    @property
    def max_utterance(self) -> int:
        """In frames of 32 ms."""
        if self.max_utterance_s is not None:
            return frames(self.max_utterance_s)
        return min(policy_for(self.model.card.min_window_frames).max_window, frames(LONGEST_UTTERANCE_S))


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """`max_buffered_s` of audio is kept that the models have not come to yet; a stream has at most `max_s` of it."""

    max_buffered_s: float
    max_s: float
