"""Sentences that a language model goes over while the session goes on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from api.errors import TritoneError
from api.speech import Segment

MOST_WAITING: Final = 32
"""Sentences. What comes while so many wait stays as it is."""
PATIENCE_S: Final = 10.0
"""For one sentence, and at the end of the session for all that still wait."""


@dataclass(frozen=True, slots=True)
class Sentence:
    id: str
    segment: Segment


Tell = Callable[[Sentence], Awaitable[None]]
Refine = Callable[[Segment], Awaitable[Segment]]


class Refinements:
    """Tells each sentence that is added once more: refined, or as it was where that fails or takes too long."""

    def __init__(self, refine: Refine, tell: Tell) -> None:
        self._refine = refine
        self._tell = tell
        self._waiting = deque[Sentence]()
        self._added = asyncio.Event()
        self._is_all = False

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """While the context lasts; a good end of it is that of all sentences."""
        task = asyncio.create_task(self._work())
        try:
            yield
            self._is_all = True
            self._added.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(task, PATIENCE_S)
            while self._waiting:
                await self._tell_next(self._waiting[0])
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def add(self, sentence: Sentence) -> None:
        if len(self._waiting) >= MOST_WAITING:
            await self._tell(sentence)
            return
        self._waiting.append(sentence)
        self._added.set()

    async def _work(self) -> None:
        while True:
            while self._waiting:
                await self._tell_next(await self._refined(self._waiting[0]))
            if self._is_all:
                return
            self._added.clear()
            await self._added.wait()

    async def _tell_next(self, sentence: Sentence) -> None:
        """It waits until it was told: who interrupts this tells it again."""
        await self._tell(sentence)
        self._waiting.popleft()

    async def _refined(self, sentence: Sentence) -> Sentence:
        with suppress(TimeoutError, TritoneError):
            async with asyncio.timeout(PATIENCE_S):
                return replace(sentence, segment=await self._refine(sentence.segment))
        return sentence
