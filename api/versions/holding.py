"""Being alone with a model while it is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic

from api.errors import Conflict, StorageUnavailable
from api.storage.database import Database
from api.storage.ids import new_id
from api.versions import choices


class Hold:
    """On one model, for as long as it is renewed."""

    def __init__(self, database: Database, model: str, lease: timedelta) -> None:
        self.holder = new_id()
        self._database = database
        self._model = model
        self._lease = lease
        self._until = 0.0

    async def take(self) -> None:
        """Raises Conflict while somebody else has it, StorageUnavailable."""
        begun = monotonic()
        await self._database.write(
            lambda connection: choices.lock(connection, self._model, self.holder, self._lease, datetime.now(UTC))
        )
        self._until = begun + self._lease.total_seconds()

    async def renew(self) -> None:
        """Raises Conflict where it is lost; StorageUnavailable where it may be."""
        begun = monotonic()
        try:
            await self._database.write(
                lambda connection: choices.renew(connection, self._model, self.holder, self._lease, datetime.now(UTC))
            )
        except StorageUnavailable:
            if monotonic() > self._until:
                raise
        else:
            self._until = begun + self._lease.total_seconds()

    async def lasts(self) -> bool:
        try:
            await self.renew()
        except (Conflict, StorageUnavailable):
            return False
        return True

    async def keep(self) -> None:
        """Raises what `renew` does."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            await self.renew()

    async def end(self) -> None:
        with suppress(StorageUnavailable):  # then its lease runs out
            await self._database.write(lambda connection: choices.unlock(connection, self._model, self.holder))


@asynccontextmanager
async def alone(database: Database, model: str, lease: timedelta) -> AsyncIterator[Hold]:
    """Raises Conflict while somebody else changes the model, and when the hold is lost meanwhile."""
    hold = Hold(database, model, lease)
    await hold.take()
    try:
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(hold.keep())
            yield hold
            renewing.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        await hold.end()
