"""A recording made better: less noise, and as loud as speech should be, without a peak that clips.

How much louder it must be shows at its end, so it passes by twice: what was denoised waits in a temporary file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import IO, Final

import numpy as np

from api.audio.denoising import denoised, enhancer_card, to_floats
from api.audio.limiter import Limiter
from api.audio.loudness import SILENT, LoudnessMeter, share_kept
from api.audio.media import STEREO, DecoderLimits, announced_s, decode_stereo
from api.audio.wav import BYTES_PER_SAMPLE, FULL_SCALE, MAX_BYTES, to_pcm, wav_header
from api.errors import UnreadableMedia
from api.inference.base import Floats, Pcm, SpeechEnhancer
from api.inference.contracts import ModelCard
from api.inference.deployments import Deployments
from api.spool import no_store, spool_file, write_all
from api.telemetry.stages import place

NOISE_REDUCTION_DB: Final = 24.0
"""More gains nothing where it is measured, and takes what there is of other voices for distortion (docs/models.md)."""
LOUDNESS_LUFS: Final = -16.0
"""What podcasts are asked for, that are heard on the way and beside music."""
CEILING: Final = 10 ** (-1.3 / 20)
"""Of true peaks: -1 dBTP, less what four-fold oversampling can miss of them and other meters find."""
MAX_GAIN_DB: Final = 30.0
NOISE_LOSES_DB: Final = 11.0
SPOKEN_SHARE: Final = 0.02
"""Where fewer blocks than this have lost less than that, there is no speech. Of white noise, hum and rumble at most
0.3 % have; of speech 10 dB below white noise 40 % and more."""
QUIETEST_LUFS: Final = -45.0
"""DeepFilterNet3 takes speech of less than about -50 LUFS for noise."""
TOLERANCE_LU: Final = 0.5
ROUNDS: Final = 6
STEEPEST: Final = 3.0
BLOCK_S: Final = 5
HEADROOM: Final = 2.0
"""What a model may add to full scale before it clips in the temporary file."""
WHAT: Final = "the enhanced recording"


class Enhancer:
    """The enhancement of recordings by one Triton."""

    def __init__(
        self,
        enhancer: SpeechEnhancer,
        deployments: Deployments,
        limits: DecoderLimits,
        *,
        decoders: asyncio.Semaphore,
        spool_dir: str | None,
    ) -> None:
        """`decoders` bounds how many decode at a time."""
        self._enhancer = enhancer
        self._deployments = deployments
        self._limits = limits
        self._decoders = decoders
        self._spool_dir = spool_dir

    async def card(self) -> ModelCard:
        """Of the model that removes noise. Raises ModelMissing, InferenceUnavailable, InferenceFailed."""
        return await enhancer_card(self._deployments)

    @asynccontextmanager
    async def enhance(
        self,
        source: int,
        card: ModelCard,
        *,
        noise_reduction_db: float = NOISE_REDUCTION_DB,
        loudness: float = LOUDNESS_LUFS,
    ) -> AsyncIterator[Enhanced]:
        """The open file `source` as it will be at so many LUFS, until the context ends.

        Raises UnreadableMedia, NoRoom, Unavailable, InferenceUnavailable, InferenceFailed.
        """
        longest_s = MAX_BYTES // (STEREO * BYTES_PER_SAMPLE * card.sample_rate) - 1
        limits = replace(self._limits, audio_s=min(self._limits.audio_s, longest_s))
        with spool_file(self._spool_dir, WHAT) as file:
            async with place("turn", self._decoders):
                if (announced := await announced_s(source, limits) or 0.0) > limits.audio_s:
                    raise UnreadableMedia(
                        f"The recording is {announced / 3600:.1f} hours long; {limits.audio_s / 3600:g} can be "
                        "enhanced at once. Send it in shorter parts."
                    )
                async with decode_stereo(source, limits, card.sample_rate) as audio:
                    kept = _Denoised(file, card.sample_rate, audio.channels)
                    heard = kept.heard(audio.blocks)
                    async with aclosing(denoised(heard, self._enhancer, card, noise_reduction_db)) as blocks:
                        async for block in blocks:
                            await asyncio.to_thread(kept.keep, block)
            gain, reached = await kept.fit(loudness)
            yield Enhanced(kept, gain, reached, [*audio.warnings, *kept.warnings()])


@dataclass(frozen=True, slots=True)
class Enhanced:
    """What is still to be done to it, how loud it will be (SILENT, where nothing is heard), and what was wrong with the
    recording."""

    _recording: _Denoised
    _gain: float
    loudness: float
    warnings: list[str]

    @property
    def seconds(self) -> float:
        return self._recording.frames / self._recording.rate_hz

    @property
    def wav_bytes(self) -> int:
        return len(self._header()) + self._recording.frames * self._recording.channels * BYTES_PER_SAMPLE

    async def wav(self) -> AsyncGenerator[bytes, None]:
        """Of 16 bits, at the model's rate."""
        yield self._header()
        async with aclosing(self._recording.levelled(self._gain)) as blocks:
            async for block in blocks:
                yield to_pcm(block).tobytes()

    def _header(self) -> bytes:
        return wav_header(self._recording.rate_hz, self._recording.channels, self._recording.frames)


class _Denoised:
    """A recording as it comes from the model, in a file: int16, the channels in turn, with headroom."""

    def __init__(self, file: IO[bytes], rate_hz: int, channels: int) -> None:
        self._file = file
        self.rate_hz = rate_hz
        self.channels = channels
        self.frames = 0
        self._peak = 0.0
        self._before = LoudnessMeter(rate_hz, channels)
        self._after = LoudnessMeter(rate_hz, channels)

    async def heard(self, blocks: AsyncIterator[Pcm]) -> AsyncGenerator[Pcm, None]:
        """The same, measured on their way to the model."""
        async for block in blocks:
            samples = to_floats(block.reshape(len(block), -1))
            await asyncio.to_thread(self._before.push, samples)
            yield block

    def keep(self, samples: Floats) -> None:
        """The next of it. Raises NoRoom, Unavailable."""
        pcm = to_pcm(samples / HEADROOM)
        self._after.push(pcm * np.float32(HEADROOM / FULL_SCALE))
        self._peak = max(self._peak, float(np.abs(samples).max()))
        self.frames += len(samples)
        try:
            write_all(self._file, pcm.tobytes())
        except OSError as error:
            raise no_store(error, WHAT) from error

    async def fit(self, target: float) -> tuple[float, float]:
        """The gain that makes it as loud as that, or leaves noise as it is, and the loudness in LUFS that it then has.

        What the limiter takes from it is measured, and made up for by more gain; not all of it, where the recording is
        a whisper with bangs in it.
        """
        loudness = self._after.integrated()
        if loudness == SILENT:
            return 1.0, loudness
        kept = share_kept(self._before.powers(), self._after.powers(), NOISE_LOSES_DB)
        most_db = MAX_GAIN_DB if kept >= SPOKEN_SHARE else 0.0
        gain_db = min(target - loudness, most_db)
        wanted, slope = loudness + gain_db, 1.0
        last_db, last = 0.0, loudness
        for _ in range(ROUNDS):
            gain = 10 ** (gain_db / 20)
            reached = await self._reached(gain) if self._peak * gain > CEILING else loudness + gain_db
            if abs(wanted - reached) <= TOLERANCE_LU or (gain_db == most_db and reached < wanted):
                break
            if reached != last:  # the more it is limited, the more gain it takes for each LU
                slope = min(max((gain_db - last_db) / (reached - last), 0.3), STEEPEST)
            last_db, last = gain_db, reached
            gain_db = min(gain_db + slope * (wanted - reached), most_db)
        return gain, reached

    def warnings(self) -> list[str]:
        before = self._before.integrated()
        if SILENT < before < QUIETEST_LUFS:
            return [f"The recording is very quiet ({before:.0f} LUFS), and speech in it may be taken for noise."]
        return []

    async def _reached(self, gain: float) -> float:
        meter = LoudnessMeter(self.rate_hz, self.channels)
        async with aclosing(self.levelled(gain)) as blocks:
            async for block in blocks:
                await asyncio.to_thread(meter.push, block)
        return meter.integrated()

    async def levelled(self, gain: float) -> AsyncGenerator[Floats, None]:
        """All of it, so much louder, but for its peaks."""
        limiter = Limiter(self.rate_hz, self.channels, CEILING)
        scale = np.float32(gain * HEADROOM / FULL_SCALE)
        size = BLOCK_S * self.rate_hz

        def level(start: int) -> Floats:
            return limiter.push(self._read(start, min(size, self.frames - start)) * scale)

        for start in range(0, self.frames, size):
            yield await asyncio.to_thread(level, start)
        yield await asyncio.to_thread(limiter.flush)

    def _read(self, start: int, frames: int) -> Floats:
        """(frames, channels) from there on."""
        frame_bytes = self.channels * BYTES_PER_SAMPLE
        self._file.seek(start * frame_bytes)
        data = self._file.read(frames * frame_bytes)
        return np.frombuffer(data, dtype="<i2").astype(np.float32).reshape(frames, self.channels)
