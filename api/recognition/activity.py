"""Where speech is: PCM blocks in, windows of PCM out, with no more audio in memory than the window in the making."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from api.inference.base import Floats, Pcm, VoiceActivityDetector
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, ACTIVITY_STATE_SIZE
from api.recognition.chunking import ChunkingPolicy, Span, WindowCutter
from api.recognition.quality import LevelMeter, Levels
from api.speech import SAMPLE_RATE_HZ
from api.telemetry.stages import stage

# One call for some seconds of audio: few calls, yet short enough to share batches with live streams.
STEP_FRAMES = 256
STEP_SAMPLES = STEP_FRAMES * ACTIVITY_FRAME_SAMPLES


@dataclass(frozen=True, slots=True)
class SpeechWindow:
    """PCM with speech in it, (samples,) at 16 kHz, where in the recording it begins, in samples, the probability of
    speech in each of its frames of 32 ms, and how loud speech and noise are in all of it."""

    start: int
    pcm: Pcm
    activity: Floats
    levels: Levels = field(default_factory=Levels)

    @property
    def start_s(self) -> float:
        return self.start / SAMPLE_RATE_HZ

    def part(self, span: Span) -> SpeechWindow:
        """Frames from its start on."""
        first, last = span.start * ACTIVITY_FRAME_SAMPLES, span.end * ACTIVITY_FRAME_SAMPLES
        activity = self.activity[span.start : span.end]
        return SpeechWindow(self.start + first, self.pcm[first:last], activity, self.levels)

    def after(self, samples: int) -> SpeechWindow:
        """The rest of it."""
        activity = self.activity[samples // ACTIVITY_FRAME_SAMPLES :]
        return SpeechWindow(self.start + samples, self.pcm[samples:], activity, self.levels)


class Listener(Protocol):
    async def hear(self, pcm: Pcm, speech: Floats) -> None:
        """The recording's next samples, and the probability of speech in each activity frame of them."""
        ...

    async def end(self) -> None:
        """That was all of it."""
        ...


class VoiceActivity:
    """A stream as it is heard, and what is still needed of it. `heard` counts its samples so far."""

    def __init__(self, detector: VoiceActivityDetector, *, live: bool = False) -> None:
        self._detector = detector
        self._live = live
        self._state = np.zeros(ACTIVITY_STATE_SIZE, dtype=np.float32)
        self._audio: list[Pcm] = []
        self._probabilities = np.zeros(0, dtype=np.float32)  # of the kept audio
        self._start = 0  # where the kept audio begins, in samples
        self._meter = LevelMeter()
        self.heard = 0

    async def hear(self, audio: Pcm) -> Floats:
        """The probability of speech in each frame of the next samples: whole frames, but for the stream's last."""
        rest = -audio.size % ACTIVITY_FRAME_SAMPLES
        whole = np.pad(audio, (0, rest)) if rest else audio
        with stage("activity", live=self._live):
            probabilities, self._state = await self._detector.detect(whole, self._state, live=self._live)
        self._audio.append(audio)
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        self.heard += audio.size
        self._meter.hear(audio, probabilities)
        return probabilities

    def levels(self, span: Span) -> Levels:
        return self._meter.levels(span)

    def window(self, span: Span) -> SpeechWindow:
        start, end = span.start * ACTIVITY_FRAME_SAMPLES, span.end * ACTIVITY_FRAME_SAMPLES
        audio = np.concatenate(self._audio)
        self._audio = [audio]
        kept = self._start // ACTIVITY_FRAME_SAMPLES
        return SpeechWindow(
            start,
            audio[start - self._start : end - self._start].copy(),
            self._probabilities[span.start - kept : span.end - kept].copy(),
            self._meter.levels(span),
        )

    def forget(self, before_frame: int) -> None:
        """Let go of whole blocks of audio before this frame, and of the beginning of one when it is most of it."""
        until, before = before_frame * ACTIVITY_FRAME_SAMPLES, self._start
        while self._audio and self._start + self._audio[0].size <= until:
            self._start += self._audio.pop(0).size
        if self._audio and until - self._start > self._audio[0].size // 2:
            self._audio[0] = self._audio[0][until - self._start :].copy()
            self._start = until
        self._probabilities = self._probabilities[(self._start - before) // ACTIVITY_FRAME_SAMPLES :]
        self._meter.forget(before_frame)


class SpeechWindows:
    """The speech of a recording as windows. `duration_s` is what was heard of it so far, `levels` those of the windows.

    A `listener` hears all of the recording on the way. Windows below `snr_floor_db` are left out; `left_out_s` is how
    long they were, and `too_noisy` says that there was no other speech.
    """

    def __init__(
        self,
        detector: VoiceActivityDetector,
        policy: ChunkingPolicy | None = None,
        listener: Listener | None = None,
        snr_floor_db: float | None = None,
    ) -> None:
        self._listener = listener
        self._floor_db = snr_floor_db
        self._came = False
        self.levels = Levels()
        self.left_out_s = 0.0
        self._cutter = WindowCutter(policy)
        self._activity = VoiceActivity(detector)

    @property
    def duration_s(self) -> float:
        return self._activity.heard / SAMPLE_RATE_HZ

    @property
    def too_noisy(self) -> bool:
        return self.left_out_s > 0 and not self._came

    async def of(self, blocks: AsyncIterator[Pcm]) -> AsyncGenerator[SpeechWindow, None]:
        unheard: list[Pcm] = []
        size = 0
        async for block in blocks:
            unheard.append(block)
            size += block.size
            if size >= STEP_SAMPLES:
                audio = np.concatenate(unheard)
                whole = size - size % ACTIVITY_FRAME_SAMPLES
                async for window in self._hear(audio[:whole]):
                    yield window
                unheard, size = [audio[whole:]], size - whole
        if size:
            async for window in self._hear(np.concatenate(unheard)):
                yield window
        if self._listener is not None:
            await self._listener.end()
        for window in self._heeded(self._cutter.flush()):
            yield window

    async def _hear(self, audio: Pcm) -> AsyncIterator[SpeechWindow]:
        probabilities = await self._activity.hear(audio)
        if self._listener is not None:
            await self._listener.hear(audio, probabilities)
        for window in self._heeded(self._cutter.push(probabilities.tolist())):
            yield window
        self._activity.forget(self._cutter.settled)

    def _heeded(self, spans: Iterable[Span]) -> Iterator[SpeechWindow]:
        for window in map(self._activity.window, spans):
            self.levels += window.levels
            if window.levels.is_below(self._floor_db):
                self.left_out_s += window.pcm.size / SAMPLE_RATE_HZ
            else:
                self._came = True
                yield window
