"""One database, SQLite or PostgreSQL, and transactions on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from api.errors import StorageUnavailable
from api.settings import SettingsError
from api.storage.tables import VERSION

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
WHAT_URLS_ARE = "use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
RETRY_AFTER_S = 5
CONNECTIONS = 10
PATIENCE_S = 10.0
"""With a connection, with a lock, with an answer."""


T = TypeVar("T")
# PostgreSQL's classes of what may well work a little later: rolled back by a deadlock, no room, stopped, read-only (as
# after a failover), a lock that did not come.
PASSING = ("40", "53", "57", "25006", "55P03")


class DatabaseError(SettingsError):
    """The database cannot be used at all: its URL, or its schema, is not right."""


def database_url(given: str, home: str) -> URL:
    """Without one it is a file in `home`. Raises DatabaseError."""
    try:
        url = make_url(given) if given else URL.create("sqlite", database=str(Path(home).resolve() / "tritone.db"))
    except ArgumentError:
        raise DatabaseError(f"DATABASE_URL is no URL; {WHAT_URLS_ARE}.") from None
    scheme = url.drivername.partition("+")[0]
    if scheme not in DRIVERS:
        raise DatabaseError(f"DATABASE_URL begins with {url.drivername}; {WHAT_URLS_ARE}.")
    if scheme == "sqlite" and url.database in (None, "", ":memory:"):
        raise DatabaseError(f"DATABASE_URL names no file; {WHAT_URLS_ARE}.")
    return url.set(drivername=DRIVERS[scheme])


def require_file(url: URL) -> None:
    """SQLite would make an empty one. Raises DatabaseError."""
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        raise DatabaseError(
            f"There is no database {url.database}. Run this where the service runs, or set TRITONE_HOME or "
            "DATABASE_URL as it is there."
        )


class Database:
    """Everything raises StorageUnavailable while the database is away, or too busy to answer in time."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._writers, self._readers = _sqlite(url) if self.is_sqlite else _postgresql(url)
        # SQLite has one writer at a time, and those that wait at the file's lock get it in no order.
        self._writer = asyncio.Semaphore(1 if self.is_sqlite else CONNECTIONS)
        self._to_wipe = False

    async def write(self, step: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """`step` as a transaction, which goes on to its end when whoever waits for it is cancelled.

        One that is cancelled half-way would keep SQLite's lock until its connection is garbage.
        """

        async def transaction() -> T:
            async with self.writing() as connection:
                return await step(connection)

        running = asyncio.ensure_future(transaction())
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait((running,))
            if not running.cancelled():
                running.exception()  # nobody is left to hear of it
            raise

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed when the context ends well. Rows that are read to be changed must be locked.

        For what is not cancelled: see `write`.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._writer.acquire()
        except TimeoutError:
            raise _away() from None
        try:
            async with self._connection(self._writers) as connection, connection.begin():
                yield connection
        finally:
            self._writer.release()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Each statement sees what is committed when it runs."""
        async with self._connection(self._readers) as connection:
            yield connection

    @asynccontextmanager
    async def _connection(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        try:
            async with engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            if error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError)):
                raise _away() from error
            if str(getattr(error.orig, "sqlstate", "")).startswith(PASSING):
                raise _away() from error
            raise
        except (OSError, NoConnectionLeft) as error:
            raise _away() from error
        except Exception as error:
            # What asyncpg raises while it connects comes through as it is.
            if type(error).__module__.startswith("asyncpg."):
                raise _away() from error
            raise

    async def check(self) -> None:
        """Raises DatabaseError where its tables are older than this program.

        Newer ones will do: what a migration changes, the program before it still works with, so that both serve during
        a rolling update, and after going back.
        """
        async with self._to_be_checked() as connection:
            if await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version")):
                found = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar()
            else:
                found = "none"
        if found is None or not found.isdecimal() or found < VERSION:
            raise DatabaseError(
                f"The tables of {self.url.render_as_string()} are of version {found}, this program's of {VERSION}: run "
                "`tritone migrate`."
            )

    async def answers(self) -> None:
        """Raises StorageUnavailable where it does not."""
        async with self.reading() as connection:
            await connection.exec_driver_sql("SELECT 1")

    @asynccontextmanager
    async def _to_be_checked(self) -> AsyncIterator[AsyncConnection]:
        """At the start it is worth knowing why it is away."""
        try:
            async with self.reading() as connection:
                yield connection
        except (StorageUnavailable, DBAPIError) as error:
            reason = error.__cause__ if isinstance(error, StorageUnavailable) else error.orig
            raise DatabaseError(f"{self.url.render_as_string()} cannot be used: {reason}") from error

    async def wipe(self, *, again: bool = False) -> None:
        """Deleted rows leave SQLite's write-ahead log, too; `again` where somebody still read an older state then."""
        self._to_wipe = self.is_sqlite and (self._to_wipe or not again)
        if self._to_wipe:
            with suppress(StorageUnavailable):
                async with self.reading() as connection:
                    busy = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()[0]
                    self._to_wipe = bool(busy)

    async def close(self) -> None:
        await self._writers.dispose()
        await self._readers.dispose()


def _sqlite(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    """Each with connections of its own: readers never begin a transaction, so nothing has to be ended after them."""
    # None: the driver begins no transactions by itself.
    connect = {"timeout": PATIENCE_S, "isolation_level": None}
    # Errors are logged; what people said is not.
    pool: dict[str, Any] = {"pool_size": CONNECTIONS, "pool_timeout": PATIENCE_S, "max_overflow": 0}
    writers = create_async_engine(url, connect_args=connect, hide_parameters=True, **pool)
    readers = create_async_engine(url, connect_args=connect, hide_parameters=True, pool_reset_on_return=None, **pool)

    def configure(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    for engine in (writers, readers):
        sa.event.listen(engine.sync_engine, "connect", configure)

    @sa.event.listens_for(writers.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # At once: a transaction that reads first and writes then fails where another wrote in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return writers, readers


def _postgresql(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    engine = create_async_engine(
        url,
        connect_args={"timeout": PATIENCE_S, "command_timeout": PATIENCE_S},
        pool_size=CONNECTIONS,
        pool_timeout=PATIENCE_S,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    return engine, engine.execution_options(isolation_level="AUTOCOMMIT")


def _away() -> StorageUnavailable:
    return StorageUnavailable("The database is not available right now. Try again later.", RETRY_AFTER_S)
