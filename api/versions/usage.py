"""Which versions have work in hand: counted in this process, and told to the others through the database.

A version is never taken away from under a file. So each process that works with one holds a lease on it, which it
writes before it begins, unless it has one that lasts, and renews while any of its work goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.errors import StorageUnavailable
from api.inference.base import ModelVersion
from api.storage.database import Database
from api.storage.ids import new_id
from api.storage.tables import model_leases

AGAIN_AFTER_S = 1.0

log = logging.getLogger(__name__)


class VersionsInUse:
    """Those of this process."""

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s
        self._process = new_id()
        self._users = Counter[ModelVersion]()
        self._leased_until: dict[ModelVersion, float] = {}
        self._writing = asyncio.Lock()
        self._catching_up: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def using(self, *versions: ModelVersion) -> AsyncIterator[None]:
        """While the context lasts, none of them is taken away."""
        versions = tuple(version for version in versions if version.version)
        self._users.update(versions)
        try:
            await self._lease(versions)
            yield
        finally:
            self._users.subtract(versions)
            self._users += Counter()  # without those that nobody uses

    async def renew(self) -> None:
        """A chore of every third of a lease. Raises StorageUnavailable."""
        async with self._writing:
            try:
                await self._write(list(self._users))
            except StorageUnavailable:
                self._catch_up()
                raise

    async def _lease(self, versions: Collection[ModelVersion]) -> None:
        """Of those that are not leased for long enough until the chore comes to them. Nobody waits for a database that
        is known to be away."""
        if not self._missing(versions) or self._catching_up is not None:
            return
        async with self._writing:
            missing = self._missing(versions)
            if missing and self._catching_up is None:
                try:
                    await self._write(missing)
                except StorageUnavailable:
                    log.warning("That %s are in use could not be written down yet", missing)
                    self._catch_up()

    def _catch_up(self) -> None:
        if self._catching_up is None:
            self._catching_up = asyncio.create_task(self._write_when_possible())

    async def _write_when_possible(self) -> None:
        try:
            while self._users:
                await asyncio.sleep(AGAIN_AFTER_S)
                with suppress(StorageUnavailable):
                    async with self._writing:
                        await self._write(list(self._users))
                    return
        finally:
            self._catching_up = None

    def _missing(self, versions: Collection[ModelVersion]) -> list[ModelVersion]:
        soon = monotonic() + self._lease_s / 2
        return [version for version in dict.fromkeys(versions) if self._leased_until.get(version, -inf) < soon]

    async def _write(self, versions: Collection[ModelVersion]) -> None:
        now = datetime.now(UTC)
        expires_at = now + timedelta(seconds=self._lease_s)
        rows = [
            {"process": self._process, "model": model, "version": version, "expires_at": expires_at}
            for model, version in versions
        ]

        async def write(connection: AsyncConnection) -> None:
            for version in versions:
                await connection.execute(
                    sa.delete(model_leases).where(
                        model_leases.c.process == self._process,
                        model_leases.c.model == version.name,
                        model_leases.c.version == version.version,
                    )
                )
            await connection.execute(sa.delete(model_leases).where(model_leases.c.expires_at < now))
            if rows:
                await connection.execute(sa.insert(model_leases).values(rows))

        begun = monotonic()
        await self._database.write(write)
        self._leased_until.update(dict.fromkeys(versions, begun + self._lease_s))


async def in_use(connection: AsyncConnection, now: datetime) -> Counter[tuple[str, int]]:
    """In how many processes each version of a model is."""
    columns = model_leases.c
    rows = await connection.execute(sa.select(columns.model, columns.version).where(columns.expires_at > now))
    return Counter((row.model, int(row.version)) for row in rows)
