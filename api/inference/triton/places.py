"""How many calls for recordings are with Triton at a time: fewer beside live sessions, which go first.

What waits here does not wait in Triton's queue, where waiting counts against the time that a call may take, and from
where Triton hands calls to busy instances ahead of time, past which nothing gets that comes later.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from time import monotonic
from typing import Any, Final

from api.inference.base import ModelVersion
from api.inference.triton.fleet import Fleet
from api.telemetry.stages import stage

PAUSE_S: Final = 2.0
"""As long as between two sentences: whoever goes on after it finds room."""


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


class LiveCalls:
    """Those for live sessions that are with a model. None of them waits: a session has one at a time with each."""

    def __init__(self) -> None:
        self._count = 0
        self._ended_at = -math.inf

    @property
    def come_and_go(self) -> bool:
        """Some are there, or were a moment ago."""
        return self._count > 0 or monotonic() - self._ended_at < PAUSE_S

    async def __aenter__(self) -> None:
        self._count += 1

    async def __aexit__(self, *_: object) -> None:
        self._count -= 1
        self._ended_at = monotonic()


class Precedence:
    """Live sessions first: recordings leave room to them in each model that both ask."""

    def __init__(self, fleet: Fleet, max_windows: int) -> None:
        """`max_windows` of recordings are with each Triton at a time."""
        self._fleet = fleet
        self._max_windows = max_windows
        self.windows = Places(self._most)
        self._models: dict[ModelVersion, tuple[LiveCalls, Places]] = {}

    def place(self, model: ModelVersion, *, live: bool, brief: bool = False) -> AbstractAsyncContextManager[Any]:
        """For a call to the model, which counts among the windows unless it is live or `brief`."""
        if model not in self._models:
            calls = LiveCalls()
            places = Places(lambda: self._most_beside(calls, model), within=None if brief else self.windows)
            self._models[model] = calls, places
        calls, places = self._models[model]
        return calls if live else places

    def _most(self) -> int:
        return self._max_windows * self._fleet.in_service

    def _most_beside(self, calls: LiveCalls, model: ModelVersion) -> int:
        beside_live = self._fleet.beside_live(model) if calls.come_and_go else None
        return self._most() if beside_live is None else min(self._most(), beside_live)
