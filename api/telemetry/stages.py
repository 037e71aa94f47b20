"""How long the steps of the work take, each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from time import perf_counter
from typing import Any, Final, Literal

from api.metrics import STAGE_SECONDS

Name = Literal["upload", "turn", "decode", "activity", "queue", "recognise", "diarise", "format"]
FILE: Final = "file"
LIVE: Final = "live"


class stage:  # noqa: N801 (it is used as a function is)
    """One step of a stage, while the context lasts.

    They nest: time in an inner one is not time in the outer one. Tasks that are started inside are none of its steps.
    """

    __slots__ = ("_began", "_name", "_outer", "_source", "_task", "_token", "_within_s")

    def __init__(self, name: Name, *, live: bool = False) -> None:
        self._name = name
        self._source = LIVE if live else FILE
        self._within_s = 0.0  # in stages inside

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._outer = _current.get()
        self._token: Token[stage | None] = _current.set(self)
        self._began = perf_counter()

    def __exit__(self, *_: object) -> None:
        took = perf_counter() - self._began
        _current.reset(self._token)
        if self._outer is not None and self._outer._task is self._task:
            self._outer._within_s += took
        self._outer = self._task = None  # tasks that were started inside keep this stage
        STAGE_SECONDS.labels(self._name, self._source).observe(took - self._within_s)


_current: ContextVar[stage | None] = ContextVar("stage", default=None)


@asynccontextmanager
async def place(waiting: Name, semaphore: asyncio.Semaphore) -> AsyncIterator[Any]:
    """A place of the semaphore while the context lasts; the wait for it is a step of the stage `waiting`."""
    with stage(waiting):
        await semaphore.acquire()
    try:
        yield
    finally:
        semaphore.release()
