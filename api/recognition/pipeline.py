"""A recording in, a transcript out, with a bounded part of it in memory at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from os import fstat
from typing import Protocol

import msgspec

from api.audio.denoising import FOR_RECOGNITION_DB, denoised
from api.audio.media import Audio, DecoderLimits, announced_s, decode, decode_channels
from api.audio.resampling import resampled
from api.concurrency import in_order, together
from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.base import Inference, Pcm
from api.inference.contracts import DecodingOptions, ModelCard
from api.recognition.activity import SpeechWindow, SpeechWindows
from api.recognition.catalog import SpeechModel
from api.recognition.channels import apart
from api.recognition.chunking import ChunkingPolicy, policy_for
from api.recognition.diarization import Turn, told_apart
from api.recognition.speakers import DiarizationPlan, Diarizer, SpeakerBounds
from api.recognition.windows import WindowRecognizer
from api.recognition.wording import Wording
from api.speech import SAMPLE_RATE_HZ, Segment, Transcript

SURELY_SHORT_BYTES = 100_000
"""A file as small as this is rarely longer than the minute that is paid for anyway; asking it would take longer."""


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    """What to make of a recording.

    `language` None means: whichever each part of it is in, out of `languages` if there are any; `speakers` None: do not
    say who speaks; `diarization` None: there is nothing to tell them apart with. With `split_channels` each channel is
    one speaker's; with the card of a speech enhancer as `denoising`, that takes the noise out before anything is
    listened to. Speech below `snr_floor_db` is not listened to.
    """

    model: SpeechModel
    language: str | None = None
    languages: tuple[str, ...] = ()
    wording: Wording = Wording()
    snr_floor_db: float | None = None
    word_timestamps: bool = True
    speakers: SpeakerBounds | None = None
    diarization: DiarizationPlan | None = None
    split_channels: bool = False
    denoising: ModelCard | None = None


class Meter(Protocol):
    """Whoever pays for the work. What it raises ends it."""

    async def begin(self) -> None:
        """It is this recording's turn."""
        ...

    async def cover(self, seconds: float) -> None:
        """So much of it is, or will be, listened to."""
        ...


class Unmetered:
    async def begin(self) -> None:
        pass

    async def cover(self, seconds: float) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said in one stream of audio, and who spoke when; None where that is not asked for or not known."""

    language: str | None
    language_probability: float
    duration_s: float
    segments: list[Segment]
    turns: list[Turn] | None
    warnings: list[str]


class Transcriber:
    """The transcription of recordings by one Triton."""

    def __init__(
        self,
        inference: Inference,
        limits: DecoderLimits,
        *,
        decoders: asyncio.Semaphore,
        windows_in_flight: int,
        beam_size: int,
        policy: ChunkingPolicy | None = None,
    ) -> None:
        """`decoders` bounds how many decode at a time. `policy` cuts for every model; without it each model's own."""
        self._inference = inference
        self._recognizer = WindowRecognizer(inference.recognizer)
        self._limits = limits
        self._decoders = decoders
        self._windows_in_flight = windows_in_flight
        self._beam_size = beam_size
        self._policy = policy

    async def transcribe(self, source: int, options: TranscriptionOptions, meter: Meter | None = None) -> Transcript:
        """The transcript of the open file `source`. Cancelling it ends the decoder and every call to the models.

        Raises UnreadableMedia, InferenceUnavailable, InferenceFailed, and what the meter does.
        """
        meter = meter or Unmetered()
        async with self._decoders:
            await meter.begin()
            if fstat(source).st_size > SURELY_SHORT_BYTES:
                await meter.cover(await announced_s(source, self._limits) or 0.0)
            if options.split_channels:
                return await self._transcribe_channels(source, options, meter)
            async with self._decoded(source, options, meter) as audio:
                heard = await self._listen(audio.blocks, options)
        segments, speakers = heard.segments, list[str]()
        if heard.turns is not None:
            segments, speakers = told_apart(segments, heard.turns)
        return _transcript(heard, segments, speakers, options, [*audio.warnings, *heard.warnings])

    async def _transcribe_channels(self, source: int, options: TranscriptionOptions, meter: Meter) -> Transcript:
        """Every channel by itself, all at the same time."""
        by_itself = replace(options, speakers=None)
        async with self._decoded(source, options, meter) as audio, apart(audio.blocks) as channels:
            heard = await together(self._listen(channel, by_itself) for channel in channels)
        names = [f"Channel {number}" for number in range(1, len(heard) + 1)]
        segments = [
            replace(segment, speaker=name)
            for name, channel in zip(names, heard, strict=True)
            for segment in channel.segments
        ]
        segments.sort(key=lambda segment: segment.start)
        spoken = max(heard, key=lambda channel: sum(segment.end - segment.start for segment in channel.segments))
        speakers = [name for name, channel in zip(names, heard, strict=True) if channel.segments]
        return _transcript(spoken, segments, speakers, options, audio.warnings)

    @asynccontextmanager
    async def _decoded(self, source: int, options: TranscriptionOptions, meter: Meter) -> AsyncIterator[Audio]:
        """What is listened to: at 16 kHz, each block of it paid for."""
        opened, card = decode_channels if options.split_channels else decode, options.denoising
        async with opened(source, self._limits, SAMPLE_RATE_HZ if card is None else card.sample_rate) as audio:
            if card is None:
                yield replace(audio, blocks=metered(audio.blocks, meter, SAMPLE_RATE_HZ))
                return
            blocks = denoised(
                metered(audio.blocks, meter, card.sample_rate), self._inference.enhancer, card, FOR_RECOGNITION_DB
            )
            async with aclosing(resampled(blocks, card.sample_rate, SAMPLE_RATE_HZ)) as quieter:
                yield replace(audio, blocks=quieter)

    async def _listen(self, blocks: AsyncIterator[Pcm], options: TranscriptionOptions) -> Heard:
        """What is said in a stream, and by whom, if that is asked for: found out while it passes by once."""
        policy = self._policy or policy_for(options.model.card.min_window_frames)
        speakers, diarizer, turns, warnings = options.speakers, None, None, list[str]()
        if speakers is not None and speakers.most == 1:
            turns = list[Turn]()
        elif speakers is not None and options.diarization is not None:
            diarizer = Diarizer(self._inference.speakers, options.diarization, speakers, self._windows_in_flight)
        elif speakers is not None:
            warnings.append("Who speaks could not be told: no diarization models are deployed.")
        windows = SpeechWindows(self._inference.voice_activity, policy, diarizer)
        language, probability = options.language, 1.0
        segments: list[Segment] = []
        model = options.model.deployment
        decoding = DecodingOptions(language, word_timestamps=options.word_timestamps, beam_size=self._beam_size)
        async with aclosing(diarizer) if diarizer else nullcontext(), aclosing(windows.of(blocks)) as speech:
            # Windows are independent but for the language: the first one with words in it decides for all.
            while language is None and (window := await anext(speech, None)) is not None:
                first = await self._recognizer.recognize(model, window, decoding)
                if first.segments:
                    language, probability, segments = first.language, first.language_probability, first.segments
            decoding = msgspec.structs.replace(decoding, language=language)

            async def recognize(window: SpeechWindow) -> list[Segment]:
                return (await self._recognizer.recognize(model, window, decoding)).segments

            async with aclosing(in_order(speech, recognize, self._windows_in_flight)) as answers:
                async for of_window in answers:
                    segments += of_window
            if diarizer is not None:
                try:
                    turns = await diarizer.turns()
                except (InferenceFailed, InferenceUnavailable) as failure:
                    warnings.append(f"Who speaks could not be told. {failure}")
        return Heard(language, probability, windows.duration_s, segments, turns, warnings)


async def metered(blocks: AsyncIterator[Pcm], meter: Meter, rate_hz: int) -> AsyncIterator[Pcm]:
    """The same blocks, each of them paid for before it is handed on."""
    samples = 0
    async for block in blocks:
        samples += len(block)
        await meter.cover(samples / rate_hz)
        yield block


def _transcript(
    heard: Heard, segments: list[Segment], speakers: list[str], options: TranscriptionOptions, warnings: list[str]
) -> Transcript:
    return Transcript(
        language=heard.language,
        language_probability=heard.language_probability,
        duration=heard.duration_s,
        segments=tuple(segments),
        model=options.model.served_by,
        speakers=tuple(speakers),
        warnings=tuple(warnings),
    )
