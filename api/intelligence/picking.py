"""What a language model finds in a source. It names sentences by their numbers; what they say, who says it and when is
then the source's own. Parts that it gives no usable answer about are left to classical means, whose name is added."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final, TypeVar

import msgspec

from api.errors import InvalidRequest
from api.intelligence import picks, prompts
from api.intelligence.classical import Classical
from api.intelligence.context import Part
from api.intelligence.drafts import fit
from api.intelligence.results import (
    ActionItemsResult,
    AnalysisResult,
    KeyQuotes,
    MeetingNotes,
    QuestionsResult,
    Quoted,
    ReadingType,
    TopicsResult,
)
from api.intelligence.safety import addresses, clean
from api.intelligence.source import Sentence, Source
from api.intelligence.writing import Writer, credit, each, too_small

D = TypeVar("D")
R = TypeVar("R")

MOST_PARTS: Final = 64
"""Of a source that the model reads through."""
MOST_QUOTES: Final = 10

PICKS: Final[Mapping[ReadingType, tuple[prompts.Task, type[Any], Callable[[Source, Part, Any], list[Any]]]]] = {
    "topics": (prompts.TOPICS, picks.PickedTopics, picks.topics),
    "action_items": (prompts.ACTION_ITEMS, picks.PickedTasks, picks.tasks),
    "questions": (prompts.QUESTIONS, picks.PickedQuestions, picks.questions),
}
RESULTS: Final[Mapping[ReadingType, Callable[[list[Any], str], AnalysisResult]]] = {
    "topics": lambda found, model: TopicsResult(picks.merged(found), model),
    "action_items": ActionItemsResult,
    "questions": QuestionsResult,
}


class Picker:
    def __init__(self, writer: Writer, classical: Classical, name: str) -> None:
        self._writer = writer
        self._classical = classical
        self._name = name

    async def read(self, source: Source, type_: ReadingType) -> AnalysisResult:
        """Entities are for recognisers, and so is sentiment in the languages that they have a lexicon of."""
        if type_ == "sentiment":
            return await self._sentiment(source)
        if type_ == "entities":
            return await self._classical.analyze(source, type_)

        async def otherwise(part: Source) -> tuple[list[Any], str]:
            result = await self._classical.analyze(part, type_)
            return getattr(result, type_), result.model

        found, model = await self._gathered(source, *PICKS[type_], otherwise)
        return RESULTS[type_](list(chain.from_iterable(found)), model)

    def is_too_much(self, source: Source) -> bool:
        """More than MOST_PARTS."""
        return len(self._writer.pieces(source, "")) > MOST_PARTS

    async def readable(self, source: Source) -> Source:
        """The source, or where it is too much the sentences of each of its parts that say most."""
        while len(pieces := self._writer.pieces(source, "")) > MOST_PARTS:
            share = MOST_PARTS / len(pieces)
            best = await each(partial(self._best, source, share), pieces)
            sentences = tuple(sentence for of_part in best for sentence in of_part)
            if len(sentences) == len(source.sentences):
                raise too_small()
            source = replace(source, sentences=sentences)
        return source

    async def _best(self, source: Source, share: float, part: Part) -> tuple[Sentence, ...]:
        whole = _of(source, part)
        most, chars = len(whole.sentences), sum(map(len, whole.texts))
        return (await self._classical.best(whole, max(1, int(share * most)), int(share * chars))).sentences

    async def points(self, source: Source) -> tuple[picks.Points, str]:
        async def otherwise(part: Source) -> tuple[picks.Points, str]:
            made = await self._classical.generate(part, "meeting_notes")
            notes = made.content
            assert isinstance(notes, MeetingNotes)
            return picks.Points(notes.decisions, notes.action_items, notes.open_questions), made.model

        found, model = await self._gathered(source, prompts.MEETING_POINTS, picks.PickedPoints, picks.points, otherwise)
        lists = zip(*map(msgspec.structs.astuple, found), strict=True)
        return picks.Points(*(list(chain.from_iterable(of_parts)) for of_parts in lists)), model

    async def quotes(self, source: Source) -> tuple[list[Quoted], str]:
        """The best of each part first, then the second of each, and so on."""

        async def otherwise(part: Source) -> tuple[list[Quoted], str]:
            made = await self._classical.generate(part, "key_quotes")
            assert isinstance(made.content, KeyQuotes)
            return made.content.quotes, made.model

        found, model = await self._gathered(source, prompts.QUOTES, picks.PickedQuotes, picks.quotes, otherwise)
        return [quote for rank in zip_longest(*found) for quote in rank if quote is not None][:MOST_QUOTES], model

    async def _sentiment(self, source: Source) -> AnalysisResult:
        try:
            return await self._classical.analyze(source, "sentiment")
        except InvalidRequest:
            if self.is_too_much(source):
                raise
            answers = await self._picked(source, prompts.MOODS, picks.PickedMoods)
            judged = [(part, moods) for part, moods in answers if moods is not None]
            if not judged:
                raise
        return picks.sentiment(source, judged, self._name)

    async def _gathered(
        self,
        source: Source,
        task: prompts.Task,
        kind: type[D],
        found: Callable[[Source, Part, D], R],
        otherwise: Callable[[Source], Awaitable[tuple[R, str]]],
    ) -> tuple[list[R], str]:
        """What is found in each part, and by whom. `otherwise` looks where the model's answer is of no use, and through
        a source that is too much, or empty."""
        if self.is_too_much(source) or not source.sentences:
            result, name = await otherwise(source)
            return [result], name
        results, names = list[R](), list[str]()
        for part, picked in await self._picked(source, task, kind):
            if picked is None:
                result, name = await otherwise(_of(source, part))
            else:
                result, name = found(source, part, picked), self._name
            results.append(result)
            names.append(name)
        return results, credit(names)

    async def _picked(self, source: Source, task: prompts.Task, kind: type[D]) -> list[tuple[Part, D | None]]:
        asked = prompts.as_json(task)
        without_others = partial(clean, allowed=addresses(source.texts))

        def fitted(value: Any) -> D:
            result: D = fit(value, kind, without_others)
            return result

        async def pick(part: Part) -> tuple[Part, D | None]:
            messages = prompts.about(part.numbered, asked, source.language)
            return part, await self._writer.data(messages, fitted)

        pieces = self._writer.pieces(source, asked)
        return list(chain.from_iterable(await each(lambda part: self._writer.over(part, pick), pieces)))


def _of(source: Source, part: Part) -> Source:
    return replace(source, sentences=source.sentences[part.first : part.first + len(part.sentences)])
