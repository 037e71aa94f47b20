"""Which version of a model takes new work, and who may change that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.errors import Conflict
from api.storage.database import Database
from api.storage.tables import model_choices, model_locks


@dataclass(frozen=True, slots=True)
class Choice:
    """`previous` took new work before; it is 0 where nothing did."""

    version: int
    previous: int
    changed_at: datetime


class StoredChoices:
    """The API's VersionChoices, out of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def chosen(self) -> Mapping[str, str]:
        async with self._database.reading() as connection:
            return {model: str(choice.version) for model, choice in (await all_choices(connection)).items()}


async def all_choices(connection: AsyncConnection) -> dict[str, Choice]:
    rows = await connection.execute(sa.select(model_choices))
    return {row.model: Choice(int(row.version), int(row.previous or 0), row.changed_at) for row in rows}


async def choose(connection: AsyncConnection, model: str, version: int, previous: int, now: datetime) -> None:
    await connection.execute(sa.delete(model_choices).where(model_choices.c.model == model))
    await connection.execute(
        sa.insert(model_choices).values(
            model=model, version=str(version), previous=str(previous) if previous else "", changed_at=now
        )
    )


async def lock(connection: AsyncConnection, model: str, holder: UUID, lease: timedelta, now: datetime) -> None:
    """For as long as the lease. Raises Conflict while somebody else has one."""
    taken = sa.select(model_locks).where(model_locks.c.model == model).with_for_update()
    row = (await connection.execute(taken)).one_or_none()
    if row is not None and row.holder != holder and row.expires_at > now:
        raise _changing(model, row.expires_at - now)
    # Another may have taken it between these statements: that one's stays, and then the insertion fails.
    over = sa.or_(model_locks.c.holder == holder, model_locks.c.expires_at <= now)
    await connection.execute(sa.delete(model_locks).where(model_locks.c.model == model, over))
    try:
        await connection.execute(sa.insert(model_locks).values(model=model, holder=holder, expires_at=now + lease))
    except IntegrityError:
        raise _changing(model, lease) from None


async def renew(connection: AsyncConnection, model: str, holder: UUID, lease: timedelta, now: datetime) -> None:
    """Raises Conflict where it is not held any more."""
    held = sa.update(model_locks).where(model_locks.c.model == model, model_locks.c.holder == holder)
    if (await connection.execute(held.values(expires_at=now + lease))).rowcount == 0:
        raise Conflict(f"Somebody else has begun to change {model}: this went on for too long without the database.")


async def unlock(connection: AsyncConnection, model: str, holder: UUID) -> None:
    await connection.execute(sa.delete(model_locks).where(model_locks.c.model == model, model_locks.c.holder == holder))


def _changing(model: str, left: timedelta) -> Conflict:
    return Conflict(
        f"Somebody else is changing {model} right now. Try again when that is done; if it was broken off, in "
        f"{left.total_seconds():.0f} s."
    )
