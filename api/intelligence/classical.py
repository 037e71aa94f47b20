"""Answers without a language model: out of the source's own sentences, chosen by embeddings, statistics and rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from api.inference.base import TextAnalyzer, TextEmbedder
from api.intelligence import extracts, rules
from api.intelligence.documents import document
from api.intelligence.grammar import headings_of
from api.intelligence.language import language_of
from api.intelligence.markdown import clock, markdown
from api.intelligence.ranking import Floats
from api.intelligence.reading import Reading, Task, entities_of, moods_of, read
from api.intelligence.results import (
    ActionItemsResult,
    AnalysisResult,
    ChatAnswer,
    ChatSource,
    EntitiesResult,
    Generated,
    GenerateType,
    QuestionsResult,
    ReadingType,
    Style,
    Summary,
    TopicsResult,
    Turn,
)
from api.intelligence.source import Source, from_text

SENTIMENT_LANGUAGES: Final = frozenset({"en"})
"""Those in which quotes are chosen by their sentiment, too."""
MOST_PASSAGES, MOST_QUOTED = 50, 3
NEAR: Final = 0.3
"""The cosine from which a sentence may be an answer to a question."""
NEAR_BEST: Final = 0.75
"""And of the best sentence's cosine."""


class Classical:
    """`embedding_name` is that of the embedding's card; `name` is what it makes of it for its own answers."""

    def __init__(self, embedder: TextEmbedder, analyzer: TextAnalyzer, embedding_name: str) -> None:
        self._embedder = embedder
        self._analyzer = analyzer
        self._embedding = embedding_name.rpartition("/")[2].lower().removeprefix("all-")
        self.name = f"extractive-{self._embedding}"

    async def summarize(self, source: Source, style: Style) -> Summary:
        reading = await self._read(source)
        return Summary(await asyncio.to_thread(extracts.summary, reading, style), style, self.name)

    async def tell_summary(self, source: Source, style: Style) -> AsyncGenerator[str | Summary, None]:
        """The text, which is there at once, and then the whole."""
        whole = await self.summarize(source, style)
        yield whole.summary
        yield whole

    async def analyze(self, source: Source, type_: ReadingType) -> AnalysisResult:
        """Raises InvalidRequest where there is no sentiment for the language."""
        match type_:
            case "sentiment":
                moods = await moods_of(source, self._analyzer)
                return await asyncio.to_thread(extracts.sentiment, source, moods, "vader")
            case "topics":
                reading = await self._read(source, "key_phrases")
                return TopicsResult(await asyncio.to_thread(lambda: reading.topics), f"yake+{self._embedding}")
            case "entities":
                found = await entities_of(source, self._analyzer)
                return EntitiesResult(await asyncio.to_thread(extracts.entities, source, found), "presidio+rules")
            case "action_items":
                return ActionItemsResult(await asyncio.to_thread(rules.action_items, source), "rules")
            case "questions":
                return QuestionsResult(await asyncio.to_thread(rules.questions, source), "rules")

    async def generate(self, source: Source, type_: GenerateType) -> Generated:
        quotes = type_ in ("key_quotes", "show_notes") and source.language in SENTIMENT_LANGUAGES
        reading = await self._read(source, "key_phrases", *(("sentiment",) if quotes else ()))
        content = await asyncio.to_thread(document, reading, type_)
        return Generated(type_, content, markdown(content, source.language), self.name)

    async def answer(self, question: str, sources: Sequence[ChatSource], history: Sequence[Turn] = ()) -> ChatAnswer:
        """The sentences that are nearest to the question, and who says them when; the history is not looked at."""
        language = await asyncio.to_thread(language_of, question)
        nothing = ChatAnswer(headings_of(language).nothing_near, [], self.name)
        passages = sources[:MOST_PASSAGES]
        spoken = [(passage, text) for passage in passages for text in from_text(passage.text, language).texts]
        said = list({text.casefold(): (passage, text) for passage, text in reversed(spoken)}.values())[::-1]
        if not said:
            return nothing
        vectors = (await self._embedder.embed_texts([question, *(text for _, text in said)])).embeddings
        quoted = [said[place] for place in nearest(vectors[1:] @ vectors[0])]
        if not quoted:
            return nothing
        orders = {passage.segment_order for passage, _ in quoted}
        answer = "\n".join(_spoken(*one) for one in sorted(quoted, key=lambda one: one[0].segment_order))
        return ChatAnswer(answer, [passage for passage in passages if passage.segment_order in orders], self.name)

    async def tell_answer(
        self, question: str, sources: Sequence[ChatSource], history: Sequence[Turn] = ()
    ) -> AsyncGenerator[str | ChatAnswer, None]:
        whole = await self.answer(question, sources, history)
        yield whole.answer
        yield whole

    async def best(self, source: Source, most: int, chars: int) -> Source:
        """Its sentences that say most, in their order; one at least."""
        reading = await self._read(source)
        places = await asyncio.to_thread(reading.best, most, chars)
        return replace(source, sentences=tuple(source.sentences[place] for place in places))

    async def _read(self, source: Source, *tasks: Task) -> Reading:
        return await read(source, self._embedder, self._analyzer, tasks)


def nearest(cosines: Floats) -> list[int]:
    """Places of those that may answer a question, the best first."""
    order = np.argsort(-cosines, kind="stable")[:MOST_QUOTED]
    return [int(place) for place in order if cosines[place] >= max(NEAR, NEAR_BEST * float(cosines.max()))]


def _spoken(passage: ChatSource, text: str) -> str:
    who = f"{passage.speaker}: " if passage.speaker else ""
    return f"{who}“{text}” [{clock(passage.start)}]"
