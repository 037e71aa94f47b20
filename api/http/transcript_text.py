"""POST /api/v1/transcripts/:id/chat/, …/analyze/, …/generate/"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any, Final, cast
from uuid import UUID

import msgspec
from litestar import Controller, Request, post
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Meta

from api.accounts.callers import Caller
from api.http.connection import disconnected, while_connected
from api.http.events import EventStream, event_stream, with_events
from api.http.fields import PRINTABLE, read_json
from api.http.openapi import WITH_KEY, refusals
from api.http.text import ANALYSIS_TYPES, GENERATE_TYPES, TEXT, body_of, redacted
from api.inference.backlog import Admission
from api.intelligence.results import (
    AnalysisResult,
    AnalysisType,
    ChatAnswer,
    ChatSource,
    Generated,
    GenerateType,
    Turn,
)
from api.intelligence.service import Intelligence
from api.intelligence.source import from_transcript
from api.speech import Transcript
from api.storage.database import Database
from api.storage.ids import new_id
from api.transcripts import chats, library
from api.transcripts.chats import ChatTurn
from api.transcripts.jobs import Jobs
from api.transcripts.meaning import Meaning

MAX_QUESTION_CHARS: Final = 2000
SOURCES: Final = 6
"""Segments that an answer is made of, at most."""
REMEMBERED_TURNS: Final = 10
REFUSALS: Final = refusals(400, 401, 402, 403, 404, 409, 413, 429, 500, 503)


class ChatBody(msgspec.Struct, frozen=True):
    question: Annotated[
        str,
        Meta(
            min_length=1, max_length=MAX_QUESTION_CHARS, pattern=TEXT,
            description=f"a question of at most {MAX_QUESTION_CHARS} characters",
        ),
    ]  # fmt: skip
    session_id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=100,
                pattern=PRINTABLE,
                description="the session_id of an earlier answer, or a name of your own of at most 100 characters",
            ),
        ]
        | None
    ) = None
    stream: Annotated[
        bool, Meta(description="true or false; true: it comes as it is written, as server-sent events")
    ] = False


class ChatReply(ChatAnswer, frozen=True, kw_only=True):
    """`session_id` goes on with the conversation."""

    session_id: str


class TranscriptAnalyzeBody(msgspec.Struct, frozen=True):
    type: Annotated[AnalysisType, Meta(description=ANALYSIS_TYPES)]


class TranscriptGenerateBody(msgspec.Struct, frozen=True):
    type: Annotated[GenerateType, Meta(description=GENERATE_TYPES)]


class TranscriptTextController(Controller):
    path = "/api/v1/transcripts/{transcript_id:uuid}"
    tags = ["transcripts"]
    security = WITH_KEY

    @post(
        "/chat",
        status_code=200,
        operation_class=with_events(body_of(ChatBody)),
        summary="Ask a transcript",
        description="The segments that are nearest in meaning to the question are looked up, and the language model "
        "answers out of them; without one the best of them are the answer. A session remembers its turns.",
        responses={200: ResponseSpec(ChatReply, generate_examples=False, description="The answer"), **REFUSALS},
    )
    async def chat(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        database: Database,
        meaning: Meaning,
        intelligence: Intelligence,
        transcript_id: UUID,
    ) -> ChatReply | EventStream:
        account = caller.account("account")
        async with AsyncExitStack() as stack:
            errand = await stack.enter_async_context(jobs.errand(caller, "chat", backlog=admission.texts))
            body = await read_json(ChatBody, request)
            session = body.session_id or str(new_id())
            stored = await _stored(database, account, transcript_id)
            transcript = library.with_text(stored)
            async with database.reading() as connection:
                turns = await chats.recent_turns(connection, transcript_id, session, REMEMBERED_TURNS)
            history = [Turn(turn.question, turn.answer) for turn in turns]
            author = await intelligence.author()

            looking = _sources(meaning, intelligence, transcript_id, transcript, body.question, history)
            sources = await while_connected(looking, disconnected(request))

            async def replied(answer: ChatAnswer) -> ChatReply:
                turn = ChatTurn(body.question, answer.answer)
                await database.write(lambda connection: chats.remember(connection, transcript_id, session, turn))
                return ChatReply(answer.answer, answer.sources, answer.model, session_id=session)

            if body.stream:
                telling = author.tell_answer(body.question, sources, history)
                return await event_stream(request, _replying(telling, replied), errand, stack)
            answering = author.answer(body.question, sources, history)
            return await replied(await while_connected(answering, disconnected(request)))

    @post(
        "/analyze",
        status_code=200,
        operation_class=body_of(TranscriptAnalyzeBody),
        summary="What a transcript is about, who is to do what, and personal data in it",
        description="As /v1/analyze, with who said it and when.",
        responses={
            200: ResponseSpec(cast(Any, AnalysisResult), generate_examples=False, description="The analysis"),
            **REFUSALS,
        },
    )
    async def analyze(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        database: Database,
        intelligence: Intelligence,
        transcript_id: UUID,
    ) -> AnalysisResult:
        account = caller.account("account")
        async with jobs.errand(caller, "analyze", backlog=admission.texts):
            type_ = (await read_json(TranscriptAnalyzeBody, request)).type
            stored = await _stored(database, account, transcript_id)
            transcript = library.with_text(stored)
            if type_ == "pii_redact":
                work = redacted(intelligence, transcript.text, transcript.language or "en")
                return await while_connected(work, disconnected(request))
            author = await intelligence.author()
            source = from_transcript(transcript, stored.entry.title)
            return await while_connected(author.analyze(source, type_), disconnected(request))

    @post(
        "/generate",
        status_code=200,
        operation_class=body_of(TranscriptGenerateBody),
        summary="Make a document of a transcript",
        description="As /v1/generate, with who said it and when.",
        responses={200: ResponseSpec(Generated, generate_examples=False, description="The document"), **REFUSALS},
    )
    async def generate(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        jobs: Jobs,
        admission: Admission,
        database: Database,
        intelligence: Intelligence,
        transcript_id: UUID,
    ) -> Generated:
        account = caller.account("account")
        async with jobs.errand(caller, "generate", backlog=admission.texts):
            type_ = (await read_json(TranscriptGenerateBody, request)).type
            stored = await _stored(database, account, transcript_id)
            source = from_transcript(library.with_text(stored), stored.entry.title)
            author = await intelligence.author()
            return await while_connected(author.generate(source, type_), disconnected(request))


async def _stored(database: Database, account: UUID, transcript_id: UUID) -> library.Stored:
    async with database.reading() as connection:
        return await library.get(connection, account, transcript_id)


async def _sources(
    meaning: Meaning,
    intelligence: Intelligence,
    transcript_id: UUID,
    transcript: Transcript,
    question: str,
    history: Sequence[Turn],
) -> list[ChatSource]:
    """The nearest to the question; what "and when?" is about stands in the question before it."""
    asked = [question, *(f"{turn.question} {question}" for turn in history[-1:])]
    nearest = await meaning.nearest(transcript_id, transcript, asked, intelligence, SOURCES)
    return [
        ChatSource(place, segment.text, score, segment.start, segment.end, segment.speaker)
        for place, segment, score in nearest
    ]


async def _replying(
    telling: AsyncGenerator[str | ChatAnswer, None], replied: Callable[[ChatAnswer], Awaitable[ChatReply]]
) -> AsyncGenerator[str | ChatReply, None]:
    """The pieces of an answer, and the reply, which is remembered then."""
    async with aclosing(telling):
        async for piece in telling:
            yield piece if isinstance(piece, str) else await replied(piece)
