"""What a live session says, as 60db's clients read it."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET

from api.compat.sixtydb.answers import Shown, decibels, seconds
from api.compat.sixtydb.bodies import WordBody
from api.compat.sixtydb.messages import SpeechStarted, SpokenWord, Transcription, WarningMessage
from api.compat.sixtydb.refinement import Sentence
from api.speech import Segment
from api.streaming.events import Delayed, Event, Partial, Resumed, TooNoisy, Warned
from api.streaming.events import Final as Settled

SHOWN: Final = Shown(times=True, confidence=True)


class Narrator:
    """Gives each phrase its `sentence_id`, which its interim texts have, too, and each speaker a name.

    Without `interim` nothing is told of what is still being spoken; `twice`: each phrase will be told again, refined.
    """

    def __init__(self, language: str | None, *, interim: bool, twice: bool) -> None:
        self._language = language
        self._interim = interim
        self._twice = twice
        self._speakers: dict[str, str] = {}
        self._number = 1
        self._speaking = False

    @property
    def sentence_id(self) -> str:
        """Of the phrase that is spoken, or will be next."""
        return f"s{self._number}"

    def messages(self, event: Event) -> list[Any]:
        match event:
            case Partial():
                return self._partial(event)
            case Settled():
                self._language = event.segment.language or event.language
                return [*self._begun(event.segment.start), self._ended(self._first(event.segment))]
            case TooNoisy():
                message = f"The speech from {event.start:.1f} s to {event.end:.1f} s is too noisy."
                told = self._empty(decibels(event.snr_db), is_final=True)
                return [*self._begun(event.start), WarningMessage("low_snr_dropped", message), self._ended(told)]
            case Delayed():
                return [WarningMessage("delayed", f"The models have not answered for {event.seconds:.1f} s.")]
            case Resumed():
                return [WarningMessage("resumed", "The models answer again.")]
            case Warned():
                return [WarningMessage("partial_result", event.message)]
            case _:
                return []

    def refined(self, sentence: Sentence) -> Transcription:
        """The last word on it."""
        return self._told(sentence.id, sentence.segment, speech_final=True)

    def _first(self, segment: Segment) -> Transcription:
        return self._told(self.sentence_id, segment, speech_final=not self._twice)

    def _partial(self, event: Partial) -> list[Any]:
        if not event.text:  # it turned out to be no speech
            return [self._ended(self._empty(None, is_final=True))] if self._speaking else []
        begun = self._begun(event.start)
        if not self._interim:
            return begun
        told = self._empty(None, is_final=False)
        told.text = event.text
        return [*begun, told]

    def _begun(self, start_s: float) -> list[SpeechStarted]:
        if self._speaking:
            return []
        self._speaking = True
        return [SpeechStarted(seconds(start_s))]

    def _ended(self, told: Transcription) -> Transcription:
        self._speaking = False
        self._number += 1
        return told

    def _empty(self, snr_db: float | None, *, is_final: bool) -> Transcription:
        return Transcription("", self._language, 0.0, snr_db, is_final, is_final, not is_final, self.sentence_id, [])

    def _told(self, sentence_id: str, segment: Segment, *, speech_final: bool) -> Transcription:
        speaker = self._speaker(segment.speaker)
        return Transcription(
            text=segment.text,
            language=segment.language or self._language,
            confidence=round(segment.confidence, 3),
            snr_db=decibels(segment.snr_db),
            is_final=True,
            speech_final=speech_final,
            is_partial=False,
            sentence_id=sentence_id,
            words=[_word(SHOWN.word(word), speaker) for word in segment.words],
            speaker=speaker or UNSET,
        )

    def _speaker(self, name: str | None) -> str | None:
        """SPEAKER_00 is who spoke first."""
        if name is None:
            return None
        return self._speakers.setdefault(name, f"SPEAKER_{len(self._speakers):02}")


def _word(word: WordBody, speaker: str | None) -> SpokenWord:
    return SpokenWord(word.word, word.start, word.end, word.confidence, word.boosted, word.original, speaker)
