"""Chats about a transcript: the turns of each are kept, and go when the transcript goes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.storage.ids import new_id
from api.storage.tables import chat_turns, transcripts

MOST_TURNS: Final = 200
"""Of one session; the oldest go."""


@dataclass(frozen=True, slots=True)
class ChatTurn:
    question: str
    answer: str


async def recent_turns(connection: AsyncConnection, transcript_id: UUID, session: str, limit: int) -> list[ChatTurn]:
    """The last ones, in their order. Of a session that nobody has heard of, none."""
    rows = await connection.execute(
        sa.select(chat_turns.c.question, chat_turns.c.answer)
        .where(chat_turns.c.transcript_id == transcript_id, chat_turns.c.session == session)
        .order_by(chat_turns.c.id.desc())
        .limit(limit)
    )
    return [ChatTurn(row.question, row.answer) for row in reversed(rows.all())]


async def remember(connection: AsyncConnection, transcript_id: UUID, session: str, turn: ChatTurn) -> None:
    """Nothing, where the transcript is deleted."""
    there = sa.select(transcripts.c.id).where(transcripts.c.id == transcript_id).with_for_update(key_share=True)
    if (await connection.execute(there)).first() is None:
        return
    await connection.execute(
        sa.insert(chat_turns).values(
            id=new_id(),
            transcript_id=transcript_id,
            session=session,
            question=turn.question,
            answer=turn.answer,
            created_at=datetime.now(UTC),
        )
    )
    of_session = chat_turns.c.transcript_id == transcript_id, chat_turns.c.session == session
    newest = sa.select(chat_turns.c.id).where(*of_session).order_by(chat_turns.c.id.desc()).limit(MOST_TURNS)
    await connection.execute(sa.delete(chat_turns).where(*of_session, chat_turns.c.id.not_in(newest)))
