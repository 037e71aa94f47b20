"""The end of this process, as those who are served by it notice it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from api.errors import ShuttingDown
from api.metrics import DRAINING

log = logging.getLogger(__name__)


class Drain:
    """Before it has `begun` nothing happens. From then on nobody waits for what a client may still send."""

    def __init__(self) -> None:
        self.begun = False
        self._waits = set[asyncio.Timeout]()
        DRAINING.set(0)

    def begin(self) -> None:
        self.begun = True
        DRAINING.set(1)
        log.info("What is under way goes on; nothing else begins")
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            with suppress(RuntimeError):  # it is just running out by itself
                wait.reschedule(now)

    @asynccontextmanager
    async def waiting(self, longest_s: float) -> AsyncIterator[None]:
        """For something to come, while the context lasts. Raises TimeoutError, ShuttingDown."""
        if self.begun:
            raise ShuttingDown
        try:
            async with asyncio.timeout(longest_s) as wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if self.begun:
                raise ShuttingDown from None
            raise
