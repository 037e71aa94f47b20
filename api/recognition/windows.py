"""What was said in one window of speech, at its place in the stream that it was cut from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from api.inference.base import ModelVersion, SpeechRecognizer
from api.inference.contracts import DecodingOptions, Recognition
from api.recognition.activity import SpeechWindow
from api.recognition.inventions import without_inventions
from api.recognition.omissions import filled_in, omissions, widened
from api.speech import SAMPLE_RATE_HZ, Segment, Word
from api.telemetry.stages import stage

MIN_PROGRESS = SAMPLE_RATE_HZ  # a second: a decoding that is cut off before it has come that far goes in circles


@dataclass(frozen=True, slots=True)
class Recognized:
    """`languages` are the likeliest ones with their probabilities, `language` alone where it was given."""

    language: str
    language_probability: float
    segments: list[Segment]
    languages: Mapping[str, float] = field(default_factory=dict)


class WindowRecognizer:
    """The recognition of a window as a whole: also of one with more words than the model can write at once, and of what
    it leaves out.

    `live` is for people who wait for each word; see SpeechRecognizer.
    """

    def __init__(self, recognizer: SpeechRecognizer, *, live: bool = False) -> None:
        self._recognizer = recognizer
        self._live = live

    async def recognize(
        self, model: ModelVersion, window: SpeechWindow, options: DecodingOptions, *, draft: bool = False
    ) -> Recognized:
        """A `draft` may leave something out; without the times of words nobody knows. Raises InferenceUnavailable,
        InferenceFailed."""
        heard = await self._recognize(model, window, options)
        if draft or not options.word_timestamps or not heard.segments:
            return heard
        words = [word for segment in heard.segments for word in segment.words]
        segments = heard.segments
        for span in omissions(words, window):
            again = msgspec.structs.replace(options, language=heard.language, prompt="")
            for found in (await self._recognize(model, window.part(widened(span, window)), again)).segments:
                segments = filled_in(segments, found, span, window)
        return replace(heard, segments=segments)

    async def identify(self, model: ModelVersion, window: SpeechWindow, among: Sequence[str]) -> Mapping[str, float]:
        """The likeliest of these languages, or of all where there are none, with their probabilities. Raises
        InferenceUnavailable, InferenceFailed."""
        options = DecodingOptions(languages=tuple(among), task="identify", word_timestamps=False)
        return _languages(await self._ask(model, window, options))

    async def _recognize(self, model: ModelVersion, window: SpeechWindow, options: DecodingOptions) -> Recognized:
        first = recognition = await self._ask(model, window, options)
        segments = _segments(window, first)
        while MIN_PROGRESS <= (done := round(recognition.decoded_s * SAMPLE_RATE_HZ)) < window.pcm.size:
            window = window.after(done)
            options = msgspec.structs.replace(options, language=first.language)
            recognition = await self._ask(model, window, options)
            segments += _segments(window, recognition)
        return Recognized(first.language, first.language_probability, segments, _languages(first))

    async def _ask(self, model: ModelVersion, window: SpeechWindow, options: DecodingOptions) -> Recognition:
        with stage("recognise", live=self._live):
            return await self._recognizer.recognize(model, window.pcm, options, live=self._live)


def _languages(recognition: Recognition) -> Mapping[str, float]:
    return recognition.candidates or {recognition.language: recognition.language_probability}


def _segments(window: SpeechWindow, recognition: Recognition) -> list[Segment]:
    """The window's segments at their place in the stream, without words that nobody spoke."""
    placed = [
        Segment(
            start=window.start_s + segment.start,
            end=window.start_s + segment.end,
            text=segment.text,
            confidence=_confidence(recognition, [word.probability for word in segment.words]),
            words=tuple(
                Word(word.word, window.start_s + word.start, window.start_s + word.end, word.probability)
                for word in segment.words
            ),
            avg_logprob=recognition.avg_logprob,
            no_speech_prob=recognition.no_speech_prob,
            compression_ratio=recognition.compression_ratio,
            language=recognition.language,
            snr_db=window.levels.snr_db,
        )
        for segment in recognition.segments
    ]
    spoken = (without_inventions(segment, window.activity, window.start_s) for segment in placed)
    return [segment for segment in spoken if segment is not None]


def _confidence(recognition: Recognition, probabilities: list[float]) -> float:
    if probabilities:
        return sum(probabilities) / len(probabilities)
    return min(1.0, math.exp(recognition.avg_logprob))
