"""A recording's channels, each as a stream of its own, though they are decoded together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from api.inference.base import Pcm

BLOCKS_AHEAD = 16
"""How far one channel may be read ahead of another."""


@asynccontextmanager
async def apart(blocks: AsyncIterator[Pcm]) -> AsyncIterator[list[AsyncIterator[Pcm]]]:
    """The channels of `blocks` (samples, channels), or (samples,) of a lone one.

    They must be read at the same time: the slowest holds up the others. What goes wrong with `blocks` is raised to the
    reader of every channel.
    """
    first = await anext(blocks)
    count = 1 if first.ndim == 1 else first.shape[1]
    queues = [asyncio.Queue[Pcm | None](BLOCKS_AHEAD) for _ in range(count)]
    failures: list[Exception] = []

    async def fill() -> None:
        block: Pcm | None = first
        try:
            while block is not None:
                for queue, channel in zip(queues, block.reshape(-1, count).T, strict=True):
                    await queue.put(np.ascontiguousarray(channel, dtype=np.int16))
                block = await anext(blocks, None)
        except Exception as failure:  # which the readers raise
            failures.append(failure)
        for queue in queues:
            await queue.put(None)

    async def channel(queue: asyncio.Queue[Pcm | None]) -> AsyncGenerator[Pcm, None]:
        while (block := await queue.get()) is not None:
            yield block
        for failure in failures:
            raise failure

    filling = asyncio.create_task(fill())
    try:
        yield [channel(queue) for queue in queues]
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        failures.clear()  # they hold this frame, and with it the audio in the queues
