"""Transcripts in the database. Each belongs to a job, which has the same id.

One may be deleted at any time. The job behind it goes on, and what it still has to say about it is about nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal
from unicodedata import normalize
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.errors import Conflict, NotFound
from api.speech import Transcript
from api.storage.database import Database
from api.storage.tables import jobs, segment_vectors, transcripts
from api.transcripts.correction import correct_segments, rename
from api.transcripts.paging import Cursor, Page, read_page

Status = Literal["queued", "processing", "completed", "failed"]

REVISE_ATTEMPTS = 5
ALIGNER = ThreadPoolExecutor(1, "aligner")  # one at a time: it is Python, and holds up everybody else's
ABANDONED = "The service was stopped while it was working on this."
TITLE_CHARS = 300
ERROR_CHARS = 500
# PostgreSQL's text has no NUL, and UTF-8 no surrogates; the others nobody sees.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
LISTED = (
    "id", "title", "status", "error", "language", "model", "model_version", "duration", "speakers",
    "created_at", "completed_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list shows of a transcript. `speakers` counts them; `language` and `duration` are known in the end."""

    id: UUID
    title: str
    status: Status
    error: str
    language: str | None
    model: str
    model_version: str
    duration: float | None
    speakers: int
    created_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stored:
    """`transcript` is None until it is completed, and where it failed before anything was understood."""

    entry: Entry
    transcript: Transcript | None


@dataclass(frozen=True, slots=True)
class Query:
    """`created_after` is the first moment that is meant, `created_before` the first that is not any more."""

    status: Status | None = None
    language: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str = ""
    cursor: Cursor | None = None
    limit: int = 20
    also: Collection[UUID] = ()
    """Transcripts that are meant by `q`, too, whatever their words are."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a person wants otherwise: new names by old ones, new texts by the places of segments."""

    title: str | None = None
    speakers: Mapping[str, str] = field(default_factory=dict)
    segments: Mapping[int, str] = field(default_factory=dict)


async def begin(
    connection: AsyncConnection, id_: UUID, account_id: UUID, *, title: str, model: str, version: str = ""
) -> None:
    """Doing it twice is doing it once."""
    if (await connection.execute(sa.select(transcripts.c.id).where(transcripts.c.id == id_))).first() is not None:
        return
    title = _printable(title, TITLE_CHARS)
    await connection.execute(
        sa.insert(transcripts).values(
            id=id_,
            account_id=account_id,
            title=title,
            status="queued",
            error="",
            model=model,
            model_version=version,
            speakers=0,
            created_at=datetime.now(UTC),
            text=_folded(title),
        )
    )


async def process(connection: AsyncConnection, id_: UUID) -> None:
    await connection.execute(
        sa.update(transcripts)
        .where(transcripts.c.id == id_, transcripts.c.status == "queued")
        .values(status="processing")
    )


async def complete(connection: AsyncConnection, id_: UUID, transcript: Transcript) -> None:
    """Also where it was given up meanwhile."""
    await _finish(connection, id_, transcript, status="completed", error="", completed_at=datetime.now(UTC))


async def fail(connection: AsyncConnection, id_: UUID, error: str, transcript: Transcript | None = None) -> None:
    """What was understood before, as in a live session, is kept."""
    await _finish(connection, id_, transcript, status="failed", error=_printable(error, ERROR_CHARS))


async def fail_abandoned(connection: AsyncConnection) -> None:
    """Those whose job is not heard of any more, or came to nothing without a word about it."""
    expired = sa.select(jobs.c.id).where(jobs.c.state.in_(("expired", "released")))
    await connection.execute(
        sa.update(transcripts)
        .where(transcripts.c.status.in_(("queued", "processing")), transcripts.c.id.in_(expired))
        .values(status="failed", error=ABANDONED)
    )


async def page(connection: AsyncConnection, account_id: UUID, query: Query) -> Page[Entry]:
    """The newest first."""
    found = await read_page(connection, _matching(account_id, query), transcripts.c.id, query.cursor, query.limit)
    return Page(found.count, found.next, found.previous, [_entry(row) for row in found.results])


async def get(connection: AsyncConnection, account_id: UUID, id_: UUID) -> Stored:
    """Raises NotFound."""
    return _stored(id_, (await connection.execute(_one(account_id, id_))).one_or_none())


async def revise(database: Database, account_id: UUID, id_: UUID, revision: Revision) -> Stored:
    """What comes of it is written if nobody has changed the text meanwhile; else it is done again on the new one.

    Raises NotFound, InvalidRequest where there is no such speaker or segment, Conflict where there is no text yet, or
    it is changed again and again.
    """
    for _ in range(REVISE_ATTEMPTS):
        async with database.reading() as connection:
            row = (await connection.execute(_one(account_id, id_))).one_or_none()
        stored = _stored(id_, row)
        entry, transcript = stored.entry, stored.transcript
        if revision.title is not None:
            entry = replace(entry, title=_printable(revision.title, TITLE_CHARS))
        if revision.speakers or revision.segments:
            # Aligning much text takes a while: with nothing locked.
            loop = asyncio.get_running_loop()
            transcript = await loop.run_in_executor(ALIGNER, _revised, with_text(stored), revision)
            entry = replace(entry, speakers=len(transcript.speakers))
        as_it_was = (transcripts.c.id == id_, transcripts.c.body == row.body, transcripts.c.title == row.title)
        async with database.writing() as connection:
            changed = await connection.execute(
                sa.update(transcripts)
                .where(*as_it_was, transcripts.c.status == row.status)
                .values(title=entry.title, **_columns(entry.title, transcript))
            )
            if changed.rowcount and revision.segments:
                await connection.execute(sa.delete(segment_vectors).where(segment_vectors.c.transcript_id == id_))
        if changed.rowcount:
            return Stored(entry, transcript)
    raise Conflict("This transcript is being changed by somebody else all the time. Try again.")


async def delete(connection: AsyncConnection, account_id: UUID, id_: UUID) -> bool:
    """False where the account has no such transcript."""
    deleted = await connection.execute(
        sa.delete(transcripts).where(transcripts.c.id == id_, transcripts.c.account_id == account_id)
    )
    return deleted.rowcount > 0


async def purge(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete what was created before; at most `limit`. How many these were."""
    # Several processes purge at the same time; none need wait for what another deletes.
    old = (
        sa.select(transcripts.c.id)
        .where(transcripts.c.created_at < before)
        .order_by(transcripts.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await connection.execute(sa.delete(transcripts).where(transcripts.c.id.in_(old)))).rowcount


def with_text(stored: Stored) -> Transcript:
    """Raises Conflict where there is none."""
    if stored.transcript is not None:
        return stored.transcript
    if stored.entry.status == "failed":
        raise Conflict("This transcript has no text: it failed before anything was understood.")
    raise Conflict(f"This transcript has no text yet: it is {stored.entry.status}.")


async def _finish(connection: AsyncConnection, id_: UUID, transcript: Transcript | None, **values: Any) -> None:
    """Nothing happens to one that is deleted, or completed."""
    unfinished = transcripts.c.id == id_, transcripts.c.status != "completed"
    row = (await connection.execute(sa.select(transcripts.c.title).where(*unfinished).with_for_update())).one_or_none()
    if row is None:
        return
    if transcript is not None:
        values |= _columns(row.title, transcript)
        values |= {
            "language": transcript.language,
            "model": transcript.model,
            "model_version": transcript.model_version,
            "duration": transcript.duration,
        }
    await connection.execute(sa.update(transcripts).where(*unfinished).values(**values))


def _columns(title: str, transcript: Transcript | None) -> dict[str, Any]:
    """What changes with the text."""
    if transcript is None:
        return {"text": _folded(title)}
    return {
        "text": f"{_folded(title)}\n{_folded(transcript.text)}",
        "body": msgspec.json.encode(transcript),
        "speakers": len(transcript.speakers),
    }


def _revised(transcript: Transcript, revision: Revision) -> Transcript:
    return rename(correct_segments(transcript, revision.segments), revision.speakers)


def _one(account_id: UUID, id_: UUID) -> sa.Select[Any]:
    columns = (*(transcripts.c[name] for name in LISTED), transcripts.c.body)
    return sa.select(*columns).where(transcripts.c.id == id_, transcripts.c.account_id == account_id)


def _matching(account_id: UUID, query: Query) -> sa.Select[Any]:
    columns = transcripts.c
    select = sa.select(*(columns[name] for name in LISTED)).where(columns.account_id == account_id)
    if query.status is not None:
        select = select.where(columns.status == query.status)
    if query.language is not None:
        select = select.where(columns.language == query.language)
    if query.created_after is not None:
        select = select.where(columns.created_at >= query.created_after)
    if query.created_before is not None:
        select = select.where(columns.created_at < query.created_before)
    if sought := _folded(query.q):
        select = select.where(sa.or_(columns.text.contains(sought, autoescape=True), columns.id.in_(query.also)))
    return select


def _entry(row: Any) -> Entry:
    return Entry(**{name: getattr(row, name) for name in LISTED})


def _stored(id_: UUID, row: Any) -> Stored:
    if row is None:
        raise NotFound(f"There is no transcript {id_}.")
    body = None if row.body is None else replace(msgspec.json.decode(row.body, type=Transcript), id=str(id_))
    return Stored(_entry(row), body)


def _printable(text: str, most: int) -> str:
    return " ".join(UNPRINTABLE.sub(" ", text).split())[:most].rstrip()


def _folded(text: str) -> str:
    """What is alike to a reader who searches: without regard to case, width of letters, and how accents are encoded."""
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    return " ".join(UNPRINTABLE.sub(" ", folded).split())
