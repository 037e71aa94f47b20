"""Pages of rows in the order of their ids, the newest first. They stay in step while rows come and go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.errors import InvalidRequest

T = TypeVar("T")
CURSOR = r"^[on][0-9a-f]{32}$"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A cut between two ids, whether or not they are there any more, and the way to go on from it."""

    is_to_older: bool
    cut: UUID
    """What is older is less; all else is newer, the id itself, too."""

    def __str__(self) -> str:
        return ("o" if self.is_to_older else "n") + self.cut.hex


def read_cursor(text: str) -> Cursor:
    """Raises InvalidRequest."""
    if not re.fullmatch(CURSOR, text):
        raise InvalidRequest("cursor must be one that `next` or `previous` of a page has.")
    return Cursor(text[0] == "o", UUID(text[1:]))


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`count` is that of all pages; a cursor is None where there are no more that way."""

    count: int
    next: Cursor | None
    previous: Cursor | None
    results: list[T]


async def read_page(
    connection: AsyncConnection, select: sa.Select[Any], id_: sa.Column[UUID], cursor: Cursor | None, limit: int
) -> Page[sa.Row[Any]]:
    """Of what `select` finds, where `id_` is the column that orders it."""
    rows = list(await connection.execute(_from(select, id_, cursor).limit(limit)))
    if cursor is not None and not cursor.is_to_older:
        rows.reverse()
    if rows:
        newest, oldest = UUID(int=rows[0].id.int + 1), rows[-1].id
    elif cursor is not None:
        newest = oldest = cursor.cut
    else:
        return Page(0, None, None, [])
    counts = sa.func.count(), sa.func.count().filter(id_ < oldest), sa.func.count().filter(id_ >= newest)
    count, older, newer = (await connection.execute(select.with_only_columns(*counts))).one()
    return Page(count, Cursor(True, oldest) if older else None, Cursor(False, newest) if newer else None, rows)


def _from(select: sa.Select[Any], id_: sa.Column[UUID], cursor: Cursor | None) -> sa.Select[Any]:
    if cursor is None:
        return select.order_by(id_.desc())
    if cursor.is_to_older:
        return select.where(id_ < cursor.cut).order_by(id_.desc())
    return select.where(id_ >= cursor.cut).order_by(id_)
