"""Several pieces of work at the same time, none of which outlives whoever asked for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def together(works: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """The results of all; when one fails, the others are cancelled."""
    running = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        running.clear()  # as in in_order


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
