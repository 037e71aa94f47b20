"""A recording in, a transcript out, with a bounded part of it in memory at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from os import fstat
from time import monotonic
from typing import Protocol

from api.audio.denoising import FOR_RECOGNITION_DB, denoised
from api.audio.media import Audio, DecoderLimits, announced_s, decode, decode_channels
from api.audio.resampling import resampled
from api.concurrency import together
from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.base import Inference, ModelVersion, Pcm, Using, unwatched
from api.inference.contracts import DecodingOptions, ModelCard
from api.metrics import REAL_TIME_FACTOR
from api.recognition.activity import SpeechWindows
from api.recognition.catalog import SpeechModel
from api.recognition.channels import apart
from api.recognition.chunking import ChunkingPolicy, are_padded, policy_for
from api.recognition.diarization import Turn, told_apart
from api.recognition.keywords import hotwords
from api.recognition.languages import SwitchPolicy
from api.recognition.multilingual import MultilingualListener, SpokenLanguages
from api.recognition.speakers import DiarizationPlan, Diarizer, SpeakerBounds
from api.recognition.windows import WindowRecognizer
from api.recognition.wording import Wording
from api.speech import SAMPLE_RATE_HZ, Segment, Transcript
from api.telemetry.stages import place

MOST_TIMES = 10
"""That a warning names."""
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
    wording: Wording = field(default_factory=Wording)
    snr_floor_db: float | None = None
    word_timestamps: bool = True
    speakers: SpeakerBounds | None = None
    diarization: DiarizationPlan | None = None
    split_channels: bool = False
    denoising: ModelCard | None = None

    @property
    def versions(self) -> tuple[ModelVersion, ...]:
        """Of the models that all of it must be heard by."""
        told_apart_by = self.diarization.versions if self.diarization is not None and self.speakers is not None else ()
        return (self.model.deployment, *told_apart_by)


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
    """What was said in one stream of audio, and who spoke when; None where that is not asked for or not known.
    `left_out_s` of it were below the floor, all of its speech where it is `too_noisy`."""

    languages: SpokenLanguages
    duration_s: float
    segments: list[Segment]
    turns: list[Turn] | None
    warnings: list[str]
    snr_db: float | None
    left_out_s: float
    too_noisy: bool


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
        switches: SwitchPolicy | None = None,
        using: Using = unwatched,
    ) -> None:
        """`decoders` bounds how many decode at a time. `policy` cuts for every model; without it each model's own.
        `switches` says when a language is taken for another one; `using` is told which versions a recording is with."""
        self._inference = inference
        self._recognizer = WindowRecognizer(inference.recognizer)
        self._limits = limits
        self._decoders = decoders
        self._windows_in_flight = windows_in_flight
        self._beam_size = beam_size
        self._policy = policy
        self._switches = switches or SwitchPolicy()
        self._using = using

    async def transcribe(self, source: int, options: TranscriptionOptions, meter: Meter | None = None) -> Transcript:
        """The transcript of the open file `source`. Cancelling it ends the decoder and every call to the models.

        Raises UnreadableMedia, InferenceUnavailable, InferenceFailed, and what the meter does.
        """
        meter = meter or Unmetered()
        async with self._using(*options.versions), place("turn", self._decoders):
            began = monotonic()
            await meter.begin()
            if fstat(source).st_size > SURELY_SHORT_BYTES:
                await meter.cover(await announced_s(source, self._limits) or 0.0)
            work = self._transcribe_channels if options.split_channels else self._transcribe_mixed
            transcript = await work(source, options, meter)
            if transcript.duration:
                REAL_TIME_FACTOR.observe((monotonic() - began) / transcript.duration)
            return transcript

    async def _transcribe_mixed(self, source: int, options: TranscriptionOptions, meter: Meter) -> Transcript:
        async with self._decoded(source, options, meter) as audio:
            heard = await self._listen(audio.blocks, options)
        segments, speakers = heard.segments, list[str]()
        if heard.turns is not None:
            segments, speakers = told_apart(segments, heard.turns)
        return await _transcript(heard, segments, speakers, options, [*audio.warnings, *heard.warnings])

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
        spoken = max(heard, key=_spoken_s)
        speakers = [name for name, channel in zip(names, heard, strict=True) if channel.segments]
        spoken = replace(
            spoken,
            languages=reduce(add, (channel.languages for channel in heard)),
            left_out_s=sum(channel.left_out_s for channel in heard),
            too_noisy=any(channel.too_noisy for channel in heard) and not segments,
        )
        return await _transcript(spoken, segments, speakers, options, audio.warnings)

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
        windows = SpeechWindows(self._inference.voice_activity, policy, diarizer, options.snr_floor_db)
        listener = MultilingualListener(
            self._recognizer,
            options.model.deployment,
            self._decoding(options),
            self._switches,
            self._windows_in_flight,
            padded=are_padded(options.model.card.min_window_frames),
        )
        segments: list[Segment] = []
        async with aclosing(diarizer) if diarizer else nullcontext(), aclosing(windows.of(blocks)) as speech:
            async with aclosing(listener.of(speech)) as answers:
                async for of_window in answers:
                    segments += of_window
            if diarizer is not None and not windows.too_noisy:
                try:
                    turns = await diarizer.turns()
                except (InferenceFailed, InferenceUnavailable) as failure:
                    warnings.append(f"Who speaks could not be told. {failure}")
        return Heard(
            listener.languages, windows.duration_s, segments, turns, warnings,
            windows.levels.snr_db, windows.left_out_s, windows.too_noisy,
        )  # fmt: skip

    def _decoding(self, options: TranscriptionOptions) -> DecodingOptions:
        card, keywords = options.model.card, options.wording.keywords
        possible = options.languages or card.languages
        return DecodingOptions(
            language=possible[0] if options.language is None and len(possible) == 1 else options.language,
            languages=options.languages,
            hotwords=hotwords(keywords) if card.prompts else (),
            word_timestamps=options.word_timestamps or bool(keywords),
            beam_size=self._beam_size,
        )


async def metered(blocks: AsyncIterator[Pcm], meter: Meter, rate_hz: int) -> AsyncIterator[Pcm]:
    """The same blocks, each of them paid for before it is handed on."""
    samples = 0
    async for block in blocks:
        samples += len(block)
        await meter.cover(samples / rate_hz)
        yield block


def _spoken_s(heard: Heard) -> tuple[float, float]:
    """How much is said in it, and where nothing is, how much would have been."""
    return sum(segment.end - segment.start for segment in heard.segments), heard.left_out_s


def _left_out(heard: Heard, floor_db: float) -> str:
    if heard.too_noisy:
        return f"All speech in the recording is below {floor_db:g} dB signal-to-noise ratio: nobody listened to it."
    return f"{heard.left_out_s:.1f} s of speech are below {floor_db:g} dB signal-to-noise ratio, and are left out."


def _code_switches(segments: Sequence[Segment]) -> list[str]:
    times = [f"{segment.start:.1f} s" for segment in segments if segment.code_switch]
    if not times:
        return []
    shown = ", ".join(times[:MOST_TIMES]) + (", …" if len(times) > MOST_TIMES else "")
    return [f"Some words seem to be in another language than the phrase that they are in: at {shown}."]


async def _transcript(
    heard: Heard, segments: list[Segment], speakers: list[str], options: TranscriptionOptions, warnings: list[str]
) -> Transcript:
    if heard.left_out_s and options.snr_floor_db is not None:
        warnings = [*warnings, _left_out(heard, options.snr_floor_db)]
    language, probability = heard.languages.main
    segments = await asyncio.to_thread(options.wording.of, segments)  # long recordings have many words
    if not options.word_timestamps:
        segments = [replace(segment, words=()) for segment in segments]
    return Transcript(
        language=None if heard.too_noisy else language,
        language_probability=probability,
        duration=heard.duration_s,
        segments=tuple(segments),
        model=options.model.served_by,
        model_version=options.model.version,
        speakers=tuple(speakers),
        warnings=(*warnings, *_code_switches(segments)),
        snr_db=heard.snr_db,
        too_noisy=heard.too_noisy,
        detection=heard.languages.detection,
    )
