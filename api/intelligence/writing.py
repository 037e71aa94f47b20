"""What a language model is asked, within its context: pieces of text, JSON of a shape, notes on what is too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast

from api.errors import InferenceFailed, PromptTooLong
from api.inference.base import LanguageModel
from api.inference.contracts import CompletionChunk, CompletionRequest, Message
from api.intelligence import prompts
from api.intelligence.context import ELLIPSIS, Part, clipped, parts, tokens
from api.intelligence.drafts import Unusable, read
from api.intelligence.safety import LONGEST_TEXT_CHARS, Addresses, clean
from api.intelligence.source import Sentence, Source

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 4
"""Requests of one caller that are with the model together."""
PART_TOKENS = 8000
"""Small models overlook what stands in the middle of much more, however long their context is."""
NOTE_TOKENS = (150, 500)
"""How much is noted of a part, at least and at most."""
TOKENS_PER_WORD = 3  # as context.py estimates them
ANSWER_TOKENS = 1500
MESSAGE_TOKENS = 8
"""Of what a chat template puts around a message."""
AGAIN_TOKENS = 250
"""Of a request that shows the model its own answer."""
HALVINGS = 6
"""Of what turns out too long; then one in 64 of it is left, and it is not its length."""
MOST_LEVELS = 8
"""Of notes on notes."""


class NothingWritten(InferenceFailed):
    pass


async def each(work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """Results in the order of the items. With the first error, or when cancelled, the others end, too."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> R:
        async with places:
            return await work(item)

    running = [asyncio.create_task(one(item)) for item in items]
    try:
        return await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Writer:
    """For one caller. Raises PromptTooLong where a single request is, and InferenceFailed where nothing can be made
    short enough."""

    def __init__(self, language_model: LanguageModel, context_tokens: int) -> None:
        self._language_model = language_model
        self._context_tokens = context_tokens
        self._places = asyncio.Semaphore(AT_ONCE)
        self.answer_tokens = max(1, min(ANSWER_TOKENS, context_tokens // 3))

    def room(self, messages: Sequence[Message]) -> int:
        """Tokens that these messages, an answer, and asking for it again leave for material."""
        used = sum(tokens(message.content) + MESSAGE_TOKENS for message in messages)
        return max(1, min(PART_TOKENS, self._context_tokens - self.answer_tokens - AGAIN_TOKENS - used))

    async def write(self, messages: Sequence[Message], max_tokens: int = 0) -> AsyncGenerator[str, None]:
        """As it comes, at most LONGEST_TEXT_CHARS and as many tokens, or `answer_tokens`. To close it ends the model's
        work."""
        request = CompletionRequest(list(messages), max_tokens or self.answer_tokens)
        written = 0
        async with self._places:
            # The protocol says that it can be closed; its type does not.
            chunks = cast("AsyncGenerator[CompletionChunk, None]", self._language_model.complete(request))
            async with aclosing(chunks):
                async for chunk in chunks:
                    if chunk.text:
                        yield chunk.text
                    written += len(chunk.text)
                    if written > LONGEST_TEXT_CHARS:
                        return

    async def whole(self, messages: Sequence[Message], max_tokens: int = 0) -> str:
        async with aclosing(self.write(messages, max_tokens)) as pieces:
            return "".join([piece async for piece in pieces])

    async def data(self, messages: Sequence[Message], fit: Callable[[Any], R]) -> R | None:
        """What `fit` makes of the model's JSON. After something Unusable it is shown what was wrong and asked once
        more; None where that is no better."""
        answer = await self.whole(messages)
        try:
            return fit(read(answer))
        except Unusable as problem:
            # No more than room is kept for.
            shown = clipped(answer, AGAIN_TOKENS // 3)
            again = prompts.again(messages, shown or ELLIPSIS, clipped(str(problem), AGAIN_TOKENS // 6))
        try:
            return fit(read(await self.whole(again)))
        except (Unusable, PromptTooLong):
            return None

    async def over(self, part: Part, work: Callable[[Part], Awaitable[R]], halvings: int = HALVINGS) -> list[R]:
        """Its result, or those of its halves where it turns out too long, in order."""
        try:
            return [await work(part)]
        except PromptTooLong:
            if not halvings:
                raise too_small() from None
        return [result for half in part.smaller() for result in await self.over(half, work, halvings - 1)]

    async def asking(
        self, task: str, source: Source, focus: str, allowed: Addresses
    ) -> AsyncGenerator[list[Message], None]:
        """The task on the source, or on notes of it where it is too long. Each prompt is shorter than the one before,
        for when that turned out too long."""
        room = self.room(prompts.about("", task, source.language))
        for _ in range(HALVINGS):
            source = await self._condensed(source, room, focus, allowed)
            (material,) = parts(source, room)
            yield prompts.about(material.text, task, source.language)
            room //= 2

    async def _condensed(self, source: Source, room: int, focus: str, allowed: Addresses) -> Source:
        """Notes on the source, which is not empty, and on these, until there is one part."""
        for _ in range(MOST_LEVELS):
            if len(parts(source, room)) <= 1:
                return source
            source = await self._notes(source, room, focus, allowed)
        raise too_small()

    async def _notes(self, source: Source, room: int, focus: str, allowed: Addresses) -> Source:
        """At least four of them fit into `room`."""
        pieces = self.pieces(source, _note(focus, 0))
        least, most = NOTE_TOKENS
        length = max(1, min(room // 4, max(least, min(most, room // len(pieces)))))

        async def note(part: Part) -> str:
            asked = prompts.about(part.text, _note(focus, length), source.language)
            return clipped(clean(await self.whole(asked, length), allowed), length)

        notes = await each(lambda part: self.over(part, note), pieces)
        sentences = [Sentence(text) for of_part in notes for text in of_part if text]
        if not sentences:
            raise NothingWritten("The language model wrote nothing.")
        return Source(tuple(sentences), source.language)

    def pieces(self, source: Source, task: str) -> list[Part]:
        """What the task can be asked about at once."""
        return parts(source, self.room(prompts.about("", task, source.language)))


def _note(focus: str, length: int) -> str:
    return prompts.CONDENSE.format(focus=focus, words=length // TOKENS_PER_WORD)


def credit(names: Iterable[str]) -> str:
    """Each once. `names` may be of several, and empty where nobody made anything."""
    return " + ".join(dict.fromkeys(name for several in names if several for name in several.split(" + ")))


def too_small() -> InferenceFailed:
    return InferenceFailed("The language model's context is too small for this.")
