"""A stream at another rate, with nothing in it moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import soxr

from api.inference.base import Floats, Pcm

FULL_SCALE = 32768


async def resampled(blocks: AsyncGenerator[Floats, None], from_hz: int, to_hz: int) -> AsyncGenerator[Pcm, None]:
    """(samples, channels) of -1 … 1 in; int16 out, (samples, channels) or (samples,) of a lone one, at most a second
    each."""
    stream, rest = None, np.zeros((0, 0), dtype=np.float32)
    async with aclosing(blocks):
        async for block in blocks:
            stream, rest = stream or soxr.ResampleStream(from_hz, to_hz, block.shape[1], dtype="float32"), block[:0]
            for second in _seconds(await asyncio.to_thread(stream.resample_chunk, block), to_hz):
                yield second
    if stream is not None:
        for second in _seconds(stream.resample_chunk(rest, last=True), to_hz):
            yield second


def _seconds(samples: Floats, rate_hz: int) -> list[Pcm]:
    scaled = np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    pcm = scaled[:, 0] if scaled.shape[1] == 1 else scaled
    return [pcm[start : start + rate_hz] for start in range(0, len(pcm), rate_hz)]
