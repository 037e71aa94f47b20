"""A stream at another rate, with nothing in it moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import soxr

from api.inference.base import Floats, Pcm

FULL_SCALE = 32768


class Resampler:
    """Audio in pieces of any length; what comes out is the same as of one piece. Some of it comes only with `flush`,
    after which there is nothing more to push."""

    def __init__(self, from_hz: int, to_hz: int, channels: int = 1) -> None:
        self._stream = soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32")
        self._nothing = np.zeros((0, channels), dtype=np.float32)

    def push(self, block: Floats) -> Pcm:
        """(samples, channels) of -1 … 1 in; int16 out, (samples, channels) or (samples,) of a lone one."""
        return _pcm(self._stream.resample_chunk(block))

    def flush(self) -> Pcm:
        return _pcm(self._stream.resample_chunk(self._nothing, last=True))


async def resampled(blocks: AsyncGenerator[Floats, None], from_hz: int, to_hz: int) -> AsyncGenerator[Pcm, None]:
    """(samples, channels) of -1 … 1 in; int16 out, (samples, channels) or (samples,) of a lone one, at most a second
    each."""
    resampler = None
    async with aclosing(blocks):
        async for block in blocks:
            resampler = resampler or Resampler(from_hz, to_hz, block.shape[1])
            for second in _seconds(await asyncio.to_thread(resampler.push, block), to_hz):
                yield second
    if resampler is not None:
        for second in _seconds(resampler.flush(), to_hz):
            yield second


def _pcm(samples: Floats) -> Pcm:
    scaled: Pcm = np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return scaled[:, 0] if scaled.shape[1] == 1 else scaled


def _seconds(pcm: Pcm, rate_hz: int) -> list[Pcm]:
    return [pcm[start : start + rate_hz] for start in range(0, len(pcm), rate_hz)]
