"""Answers as they are written, piece by piece; what was answered as a whole comes last."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from api.intelligence.classical import Classical
from api.intelligence.results import ChatAnswer, ChatSource, Style, Summary, Turn
from api.intelligence.source import Source
from api.intelligence.writing import NothingWritten
from api.intelligence.written import Written


async def tell_summary(
    author: Written | Classical, source: Source, style: Style
) -> AsyncGenerator[str | Summary, None]:
    """A language model's as it comes; one by classical means is there at once."""
    if isinstance(author, Written):
        text = ""
        try:
            async with aclosing(author.summarize_stream(source, style)) as pieces:
                async for piece in pieces:
                    text += piece
                    yield piece
            yield Summary(text, style, author.name)
            return
        except NothingWritten:
            author = author.classical
    whole = await author.summarize(source, style)
    yield whole.summary
    yield whole


async def tell_answer(
    author: Written | Classical, question: str, sources: Sequence[ChatSource], history: Sequence[Turn]
) -> AsyncGenerator[str | ChatAnswer, None]:
    if isinstance(author, Written) and sources:
        text = ""
        try:
            async with aclosing(author.answer_stream(question, sources, history)) as pieces:
                async for piece in pieces:
                    text += piece
                    yield piece
            yield ChatAnswer(text, list(sources), author.name)
            return
        except NothingWritten:
            pass
    classical = author.classical if isinstance(author, Written) else author
    whole = await classical.answer(question, sources, history)
    yield whole.answer
    yield whole
