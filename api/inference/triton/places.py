"""Places for windows, of which there are more where there are more Tritons."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from api.telemetry.stages import stage


class Places:
    """A semaphore whose size may change: who came first goes first, and who has a place keeps it."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def resize(self, count: int) -> None:
        self._count = count
        self._hand_out()

    async def __aenter__(self) -> None:
        with stage("queue"):
            await self._acquire()

    async def __aexit__(self, *_: object) -> None:
        self._release()

    async def _acquire(self) -> None:
        if self._taken < self._count:  # then nobody waits
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):
                    self._waiting.remove(turn)
            else:
                self._release()  # it was given the place just before
            raise

    def _release(self) -> None:
        self._taken -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._taken < self._count:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
