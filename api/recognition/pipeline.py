"""A recording in, a transcript out, with a bounded part of it in memory at any time."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from api.inference.base import Inference
from api.inference.contracts import DecodingOptions, Recognition
from api.recognition.activity import SpeechWindow, SpeechWindows
from api.recognition.catalog import SpeechModel
from api.recognition.chunking import ChunkingPolicy, policy_for
from api.recognition.inventions import without_inventions
from api.recognition.media import DecoderLimits, decode
from api.speech import SAMPLE_RATE_HZ, Segment, Transcript, Word

T = TypeVar("T")
R = TypeVar("R")

MIN_PROGRESS = SAMPLE_RATE_HZ  # a second: a decoding that is cut off before it has come that far goes in circles


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    """What to make of a recording. `language` None means: the one that its first speech is in."""

    model: SpeechModel
    language: str | None = None
    word_timestamps: bool = True


class Transcriber:
    """The transcription of recordings; one for the whole service, because it bounds how many decode at a time."""

    def __init__(
        self,
        inference: Inference,
        limits: DecoderLimits,
        *,
        max_decoders: int,
        windows_in_flight: int,
        beam_size: int,
        policy: ChunkingPolicy | None = None,
    ) -> None:
        """`policy` cuts for every model; without it each model's own, see `policy_for`."""
        self._inference = inference
        self._limits = limits
        self._decoders = asyncio.Semaphore(max_decoders)
        self._windows_in_flight = windows_in_flight
        self._beam_size = beam_size
        self._policy = policy

    async def transcribe(self, source: int, options: TranscriptionOptions) -> Transcript:
        """The transcript of the open file `source`. Cancelling it ends the decoder and every call to the models.

        Raises UnreadableMedia, InferenceUnavailable, InferenceFailed.
        """
        policy = self._policy or policy_for(options.model.card.min_window_frames)
        windows = SpeechWindows(self._inference.voice_activity, policy)
        language, probability = options.language, 1.0
        segments: list[Segment] = []
        async with (
            self._decoders,
            decode(source, self._limits) as audio,
            aclosing(windows.of(audio.blocks)) as speech,
        ):
            # Windows are independent but for the language: the first one with words in it decides for all.
            while language is None and (window := await anext(speech, None)) is not None:
                first, segments = await self._recognize(window, options, None)
                if segments:
                    language, probability = first.language, first.language_probability

            async def recognize(window: SpeechWindow) -> list[Segment]:
                _, found = await self._recognize(window, options, language)
                return found

            async with aclosing(in_order(speech, recognize, self._windows_in_flight)) as answers:
                async for of_window in answers:
                    segments += of_window
        return Transcript(
            language=language,
            language_probability=probability,
            duration=windows.duration_s,
            segments=tuple(segments),
            model=options.model.served_by,
            warnings=tuple(audio.warnings),
        )

    async def _recognize(
        self, window: SpeechWindow, options: TranscriptionOptions, language: str | None
    ) -> tuple[Recognition, list[Segment]]:
        """The window's recognition, as far as it came, and all its segments.

        A window with more words than the model can write at once is recognised in several steps.
        """
        first = recognition = await self._call(window, options, language)
        segments = _segments(window, first)
        while MIN_PROGRESS <= (done := round(recognition.decoded_s * SAMPLE_RATE_HZ)) < window.pcm.size:
            window = window.after(done)
            recognition = await self._call(window, options, first.language)
            segments += _segments(window, recognition)
        return first, segments

    async def _call(self, window: SpeechWindow, options: TranscriptionOptions, language: str | None) -> Recognition:
        return await self._inference.recognizer.recognize(
            options.model.deployment,
            window.pcm,
            DecodingOptions(language=language, word_timestamps=options.word_timestamps, beam_size=self._beam_size),
        )


async def in_order(
    items: AsyncIterator[T], work: Callable[[T], Coroutine[Any, Any, R]], in_flight: int
) -> AsyncGenerator[R, None]:
    """The results of `work` in the items' order, at most `in_flight` at a time; closing it cancels what still runs."""
    running: deque[asyncio.Task[R]] = deque()
    try:
        async for item in items:
            running.append(asyncio.create_task(work(item)))
            if len(running) >= in_flight:
                yield await running[0]
                running.popleft()
        while running:
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        running.clear()  # its error holds this frame: together they would keep the audio until the next collection


def _segments(window: SpeechWindow, recognition: Recognition) -> list[Segment]:
    """The window's segments at their place in the recording, without words that nobody spoke."""
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
        )
        for segment in recognition.segments
    ]
    spoken = (without_inventions(segment, window.activity, window.start_s) for segment in placed)
    return [segment for segment in spoken if segment is not None]


def _confidence(recognition: Recognition, probabilities: list[float]) -> float:
    if probabilities:
        return sum(probabilities) / len(probabilities)
    return min(1.0, math.exp(recognition.avg_logprob))
