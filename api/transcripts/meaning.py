"""What segments mean: their vectors are computed once, kept beside the transcript, and searched.

They are of a text and of a model; where either has changed since, they are computed again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.errors import InferenceFailed, NotFound, TritoneError
from api.inference.base import Floats, TextVectors
from api.speech import Segment, Transcript
from api.storage.database import Database
from api.storage.tables import segment_vectors, transcripts
from api.transcripts import library
from api.transcripts.jobs import Job

log = logging.getLogger(__name__)

Halves = npt.NDArray[np.float16]

MIN_SCORE: Final = 0.4
"""From which cosine on a segment of a transcript is about what is looked for."""
MOST_FOUND: Final = 50
MOST_SEGMENTS: Final = 100_000
"""Of an account's newest transcripts, that one search looks at: 77 MB."""
ROWS_AT_ONCE: Final = 20
MISSING_AT_ONCE, MISSING_SOON = 2, 100
"""Transcripts without vectors that a search computes those of, and has computed; until then words alone find them."""
MOST_WAITING: Final = 10_000


class Vectors(Protocol):
    """The model that makes vectors of texts."""

    async def model(self) -> str:
        """Its name and version. Raises ModelMissing, InferenceUnavailable."""
        ...

    async def embed(self, texts: Sequence[str]) -> TextVectors:
        """`version` is the name and version of what really made them."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """The segment of a transcript that is nearest to what is looked for; `score` is the cosine."""

    transcript_id: UUID
    segment_order: int
    score: float


class Meaning:
    """Of all transcripts in the database. Everything raises StorageUnavailable, and what the model does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: asyncio.Queue[tuple[UUID, UUID, Vectors]] = asyncio.Queue(MOST_WAITING)

    def compute_soon(self, job: Job, model: Vectors) -> None:
        """Of what came of a job, if that is kept. What finds no room to wait is computed when it is needed."""
        if job.done and job.stored and job.caller.holder is not None:
            with suppress(asyncio.QueueFull):
                self._waiting.put_nowait((job.caller.holder.account_id, job.id, model))

    async def run(self) -> None:
        """Compute what waits, one transcript after another, until cancelled."""
        while True:
            account_id, transcript_id, model = await self._waiting.get()
            try:
                await self._compute(account_id, transcript_id, model)
            except TritoneError as error:
                log.debug("%s has no vectors yet: %s", transcript_id, error)
            except Exception:
                log.exception("The vectors of %s could not be computed", transcript_id)

    async def nearest(
        self, transcript_id: UUID, transcript: Transcript, asked: Sequence[str], model: Vectors, limit: int
    ) -> list[tuple[int, Segment, float]]:
        """The segments that are nearest in meaning to any of what is asked, the best first: place, segment, cosine."""
        if not transcript.segments:
            return []
        vectors = await self._vectors_of(transcript_id, transcript, model)
        scores = (vectors.astype(np.float32) @ (await model.embed(asked)).embeddings.T).max(axis=1)
        best = np.argsort(-scores, kind="stable")[:limit]
        return [(int(place), transcript.segments[place], _cosine(scores[place])) for place in best]

    async def search(self, account_id: UUID, wanted: str, model: Vectors) -> list[Found]:
        """The transcripts of an account that speak of something, in whatever words, the best first."""
        asked = await model.embed([wanted])
        await self._compute_missing(account_id, asked.version, model)
        found, seen, cut = list[Found](), 0, None
        while seen < MOST_SEGMENTS:
            rows = await self._read(account_id, asked.version, cut)
            found += await asyncio.to_thread(_about, rows, asked.embeddings[0])
            seen += sum(len(row.vectors) // (2 * row.dimensions) for row in rows)
            if len(rows) < ROWS_AT_ONCE:
                break
            cut = rows[-1].transcript_id
        return sorted(found, key=lambda one: -one.score)[:MOST_FOUND]

    async def _read(self, account_id: UUID, model: str, cut: UUID | None) -> Sequence[Any]:
        """The newest rows that are older than `cut`."""
        select = (
            sa.select(segment_vectors)
            .join(transcripts, transcripts.c.id == segment_vectors.c.transcript_id)
            .where(transcripts.c.account_id == account_id, segment_vectors.c.model == model)
            .order_by(segment_vectors.c.transcript_id.desc())
            .limit(ROWS_AT_ONCE)
        )
        async with self._database.reading() as connection:
            return (await connection.execute(select if cut is None else select.where(transcripts.c.id < cut))).all()

    async def _compute_missing(self, account_id: UUID, version: str, model: Vectors) -> None:
        """Of the newest that have none, or those of another model."""
        vectors_of_version = sa.and_(
            segment_vectors.c.transcript_id == transcripts.c.id, segment_vectors.c.model == version
        )
        missing = (
            sa.select(transcripts.c.id)
            .outerjoin(segment_vectors, vectors_of_version)
            .where(
                transcripts.c.account_id == account_id,
                transcripts.c.status == "completed",
                segment_vectors.c.transcript_id.is_(None),
            )
            .order_by(transcripts.c.id.desc())
            .limit(MISSING_SOON)
        )
        async with self._database.reading() as connection:
            ids = (await connection.execute(missing)).scalars().all()
        for transcript_id in ids[:MISSING_AT_ONCE]:
            with suppress(InferenceFailed):  # one of a kind, which must not be in the way of all
                await self._compute(account_id, transcript_id, model)
        if self._waiting.empty():
            for transcript_id in ids[MISSING_AT_ONCE:]:
                self._waiting.put_nowait((account_id, transcript_id, model))

    async def _compute(self, account_id: UUID, transcript_id: UUID, model: Vectors) -> None:
        with suppress(NotFound):  # deleted since
            async with self._database.reading() as connection:
                stored = await library.get(connection, account_id, transcript_id)
            if stored.transcript is not None:
                await self._vectors_of(transcript_id, stored.transcript, model)

    async def _vectors_of(self, transcript_id: UUID, transcript: Transcript, model: Vectors) -> Halves:
        """(segments, d), kept or computed now."""
        version, of_text = await model.model(), _digest(transcript)
        kept = sa.select(segment_vectors).where(segment_vectors.c.transcript_id == transcript_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(kept)).one_or_none()
        if row is not None and (row.model, row.digest) == (version, of_text):
            return _matrix(row)
        texts = [segment.text for segment in transcript.segments]
        # Of nothing there is nothing to embed; what is kept says that it was looked at.
        computed = await model.embed(texts) if texts else TextVectors(version, np.zeros((0, 1), np.float32))
        vectors = computed.embeddings.astype(np.float16)

        async def keep(connection: AsyncConnection) -> None:
            body = (
                await connection.execute(
                    sa.select(transcripts.c.body).where(transcripts.c.id == transcript_id).with_for_update()
                )
            ).scalar()
            if body is None or _digest(msgspec.json.decode(body, type=Transcript)) != of_text:
                return  # deleted or corrected since
            await connection.execute(sa.delete(segment_vectors).where(segment_vectors.c.transcript_id == transcript_id))
            await connection.execute(
                sa.insert(segment_vectors).values(
                    transcript_id=transcript_id,
                    model=computed.version,
                    digest=of_text,
                    dimensions=vectors.shape[1],
                    vectors=vectors.tobytes(),
                )
            )

        await self._database.write(keep)
        return vectors


def _about(rows: Sequence[Any], wanted: Floats) -> list[Found]:
    found = []
    for row in rows:
        scores = _matrix(row).astype(np.float32) @ wanted if row.vectors else np.zeros(1)
        best = int(scores.argmax())
        if scores[best] >= MIN_SCORE:
            found.append(Found(row.transcript_id, best, _cosine(scores[best])))
    return found


def _digest(transcript: Transcript) -> bytes:
    """Changes with the text of any segment."""
    return hashlib.sha256("\0".join(segment.text for segment in transcript.segments).encode()).digest()


def _matrix(row: Any) -> Halves:
    return np.frombuffer(row.vectors, dtype=np.float16).reshape(-1, row.dimensions)


def _cosine(score: np.floating[Any]) -> float:
    """Rounded, and within what a cosine can be: float16 is not exact."""
    return round(float(np.clip(score, -1, 1)), 4)
