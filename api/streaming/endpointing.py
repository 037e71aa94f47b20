"""Speech probabilities in, utterances out: when somebody began to speak, and when they have finished.

Pure and incremental. What chunking does for recordings, but one utterance at a time, and open while it lasts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api.recognition.chunking import FULL_WINDOWS, Span

SPEECH = FULL_WINDOWS
"""Thresholds of speech, what counts as a click, and the padding are those of recordings."""


@dataclass(slots=True)
class OpenUtterance:
    """It begins at `start`, padding included; `speech_end` is behind its last frame of speech so far."""

    start: int
    speech_start: int
    speech_end: int


class Endpointer:
    """`open` is the utterance that is being spoken, once it is longer than a click; `position` the frames heard."""

    def __init__(self, min_silence: int) -> None:
        """So many frames of 32 ms of silence end an utterance."""
        self._min_silence = min_silence
        self._begun: OpenUtterance | None = None
        self._last_end = 0
        self.position = 0

    @property
    def open(self) -> OpenUtterance | None:
        begun = self._begun
        return begun if begun is not None and self._is_speech(begun) else None

    @property
    def settled(self) -> int:
        """No utterance to come begins before this frame."""
        if self._begun is not None:
            return self._begun.start
        return max(self._last_end, self.position - SPEECH.padding)

    def push(self, probabilities: Iterable[float]) -> list[Span]:
        """The utterances that the next frames complete, padding included."""
        ended: list[Span] = []
        for probability in probabilities:
            if self._begun is None and probability >= SPEECH.onset:
                self._begun = OpenUtterance(self.settled, self.position, self.position)
            self.position += 1
            if self._begun is None:
                continue
            if probability >= SPEECH.offset:
                self._begun.speech_end = self.position
            elif self.position - self._begun.speech_end >= self._min_silence:
                ended += self.flush()
        return ended

    def flush(self) -> list[Span]:
        """The utterance that the end of the stream completes."""
        utterance, self._begun = self._begun, None
        if utterance is None or not self._is_speech(utterance):
            return []
        self._last_end = min(self.position, utterance.speech_end + SPEECH.padding)
        return [Span(utterance.start, self._last_end)]

    def split(self, frame: int) -> None:
        """What is open is an utterance up to this frame, and another from it on."""
        assert self._begun is not None
        self._begun.start = frame

    def _is_speech(self, utterance: OpenUtterance) -> bool:
        return utterance.speech_end - utterance.speech_start >= SPEECH.min_speech
