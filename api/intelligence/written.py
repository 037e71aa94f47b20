"""What a language model answers, over classical means: they find what is verbatim, and take over where it fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from api.errors import PromptTooLong
from api.inference.base import LanguageModel
from api.inference.contracts import Message
from api.intelligence import prompts
from api.intelligence.classical import Classical
from api.intelligence.composing import Composer
from api.intelligence.context import clipped, latest, said, tokens
from api.intelligence.picking import Picker
from api.intelligence.results import (
    AnalysisResult,
    ChatAnswer,
    ChatSource,
    Generated,
    GenerateType,
    ReadingType,
    Style,
    Summary,
    Turn,
)
from api.intelligence.safety import Addresses, Cleaner, addresses
from api.intelligence.source import Sentence, Source
from api.intelligence.writing import HALVINGS, NothingWritten, Writer, too_small

MOST_PASSAGES = 12
HISTORY_SHARE = 4
"""A chat's history has a fourth of the room at most, and so has a question."""


class Written:
    """For one caller. `name` stands in what it answers. Its streams end the model's work when they are closed, and so
    does cancelling anything else."""

    def __init__(self, language_model: LanguageModel, name: str, context_tokens: int, classical: Classical) -> None:
        self.name = name
        self.classical = classical
        self._writer = Writer(language_model, context_tokens)
        self._picker = Picker(self._writer, classical, name)
        self._composer = Composer(self._writer, self._picker, classical, name)
        self._context_tokens = context_tokens

    async def summarize(self, source: Source, style: Style) -> Summary:
        async with aclosing(self.tell_summary(source, style)) as told:
            *_, whole = [piece async for piece in told]
        assert isinstance(whole, Summary)
        return whole

    async def tell_summary(self, source: Source, style: Style) -> AsyncGenerator[str | Summary, None]:
        """Pieces of the text as they are written, and then the whole."""
        text = ""
        try:
            async with aclosing(self._summary(source, style)) as pieces:
                async for piece in pieces:
                    text += piece
                    yield piece
            whole = Summary(text, style, self.name)
        except NothingWritten:
            whole = await self.classical.summarize(source, style)
            yield whole.summary
        yield whole

    async def _summary(self, source: Source, style: Style) -> AsyncGenerator[str, None]:
        """Raises NothingWritten, also about nothing."""
        if not source.sentences:
            raise NothingWritten("There is nothing to summarise.")
        allowed = addresses(source.texts)
        focus = prompts.FOCUS.get(style, prompts.EVERYTHING)
        readable = await self._picker.readable(source)
        asking = self._writer.asking(prompts.SUMMARIES[style], readable, focus, allowed)
        async with aclosing(self._streamed(asking, allowed)) as pieces:
            async for piece in pieces:
                yield piece

    async def analyze(self, source: Source, type_: ReadingType) -> AnalysisResult:
        return await self._picker.read(source, type_)

    async def generate(self, source: Source, type_: GenerateType) -> Generated:
        return await self._composer.generate(source, type_)

    async def answer(self, question: str, sources: Sequence[ChatSource], history: Sequence[Turn]) -> ChatAnswer:
        """Raises PromptTooLong where the question is."""
        async with aclosing(self.tell_answer(question, sources, history)) as told:
            *_, whole = [piece async for piece in told]
        assert isinstance(whole, ChatAnswer)
        return whole

    async def tell_answer(
        self, question: str, sources: Sequence[ChatSource], history: Sequence[Turn]
    ) -> AsyncGenerator[str | ChatAnswer, None]:
        """Its sources are those that the model was shown. Raises PromptTooLong where the question is."""
        text = ""
        try:
            async with aclosing(self._answer(question, sources, history)) as pieces:
                async for piece in pieces:
                    text += piece
                    yield piece
            whole = ChatAnswer(text, _nearest(sources, self._room(question)), self.name)
        except NothingWritten:
            whole = await self.classical.answer(question, sources, history)
            yield whole.answer
        yield whole

    async def _answer(
        self, question: str, sources: Sequence[ChatSource], history: Sequence[Turn]
    ) -> AsyncGenerator[str, None]:
        """Raises NothingWritten, also out of nothing."""
        if not sources:
            raise NothingWritten("There is nothing to answer from.")
        allowed = addresses([question, *(source.text for source in sources)])
        async with aclosing(self._streamed(self._chatting(question, sources, history), allowed)) as pieces:
            async for piece in pieces:
                yield piece

    async def _chatting(
        self, question: str, sources: Sequence[ChatSource], history: Sequence[Turn]
    ) -> AsyncGenerator[list[Message], None]:
        """With fewer passages and turns each time, for when the prompt before turned out too long."""
        room = self._room(question)
        for _ in range(HALVINGS):
            passages = sorted(_nearest(sources, room), key=lambda passage: passage.segment_order)
            text = "\n".join(clipped(_line(passage), room) for passage in passages)
            turns = latest([turn.question + turn.answer for turn in history], room // HISTORY_SHARE)
            yield prompts.chat(text, question, history[len(history) - turns :])
            room //= 2

    def _room(self, question: str) -> int:
        if tokens(question) > self._context_tokens // HISTORY_SHARE:
            raise PromptTooLong("The question is longer than the language model can read.")
        return self._writer.room(prompts.chat("", question, []))

    async def _streamed(
        self, asking: AsyncGenerator[list[Message], None], allowed: Addresses
    ) -> AsyncGenerator[str, None]:
        """The answer to the first prompt that is not too long, fit to be shown."""
        async with aclosing(asking):
            async for messages in asking:
                cleaner, begun = Cleaner(allowed), False
                try:
                    async with aclosing(self._writer.write(messages)) as pieces:
                        async for piece in pieces:
                            if shown := cleaner.feed(piece):
                                yield shown
                                begun = True
                except PromptTooLong:
                    if begun:
                        raise
                    continue
                if shown := cleaner.finish():
                    yield shown
                elif not begun:
                    raise NothingWritten("The language model wrote nothing.")
                return
        raise too_small()


def _nearest(sources: Sequence[ChatSource], room: int) -> list[ChatSource]:
    """The nearest to the question, at most MOST_PASSAGES, that fit beside the history; one at least."""
    room -= room // HISTORY_SHARE
    nearest = sorted(sources, key=lambda source: -source.score)[:MOST_PASSAGES]
    fitting = latest([_line(source) for source in reversed(nearest)], room)
    return nearest[: max(1, fitting)]


def _line(source: ChatSource) -> str:
    return f"[{source.segment_order}] {_clock(source.start)} {said(Sentence(source.text, source.speaker))}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
