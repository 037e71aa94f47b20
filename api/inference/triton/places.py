"""How many calls for recordings are with Triton at a time: fewer while somebody speaks, who goes before them.

What waits here does not wait in Triton's queue, where waiting counts against the time that a call may take, and from
where Triton hands calls to busy instances ahead of time, past which nothing gets that comes later.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from time import monotonic
from typing import Any, Final

from api.inference.triton.fleet import Fleet
from api.telemetry.stages import stage

SPEAKING_S: Final = 2.0
"""For so long after a call for a live session, of which there are several a second, somebody counts as speaking."""


class Places:
    """A semaphore whose size may change: who came first goes first, and who has a place keeps it.

    `most` is asked whenever somebody comes or goes. Who has a place here has one `within` as well.
    """

    def __init__(self, most: Callable[[], int], within: Places | None = None) -> None:
        self._most = most
        self._within = within
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        with stage("queue"):
            await self._acquire()

    async def __aexit__(self, *_: object) -> None:
        self._release()

    async def _acquire(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):
                    self._waiting.remove(turn)
            else:
                self._free()  # it was given the place just before
            raise
        if self._within is not None:
            try:
                await self._within._acquire()
            except asyncio.CancelledError:
                self._free()
                raise

    def _release(self) -> None:
        if self._within is not None:
            self._within._release()
        self._free()

    def _free(self) -> None:
        self._taken -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        most = self._most()
        while self._waiting and self._taken < most:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)


class Precedence:
    """Live sessions first: recordings leave an instance of a model to them, or half a batch of the only one.

    Live sessions have one call each at most, and their number has a bound of its own.
    """

    def __init__(self, fleet: Fleet, max_windows: int) -> None:
        """`max_windows` of recordings are with each Triton at a time."""
        self._fleet = fleet
        self._max_windows = max_windows
        self._spoken_at = -math.inf
        self.windows = Places(self._most)
        self._models: dict[str, Places] = {}

    def place(self, model: str, *, live: bool, brief: bool = False) -> AbstractAsyncContextManager[Any]:
        """For a call to the model, which counts among the windows unless it is `brief`. Who speaks does not wait."""
        if live:
            self._spoken_at = monotonic()
            return nullcontext()
        if model not in self._models:
            self._models[model] = Places(lambda: self._most_of(model), within=None if brief else self.windows)
        return self._models[model]

    def _most(self) -> int:
        return self._max_windows * self._fleet.in_service

    def _most_of(self, model: str) -> int:
        beside_live = self._fleet.beside_live(model)
        if beside_live is None or monotonic() - self._spoken_at > SPEAKING_S:
            return self._most()
        return min(self._most(), beside_live)
