"""Documents that a language model writes about a source. Quotations, speakers and times are the source's own; where the
model gives no usable answer, classical means stand in, and their name is added."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, Final, TypeVar

from api.errors import PromptTooLong
from api.intelligence import prompts
from api.intelligence.classical import Classical
from api.intelligence.drafts import ChapterHead, EpisodeHead, MinutesHead, fit
from api.intelligence.markdown import markdown
from api.intelligence.picking import Picker
from api.intelligence.results import (
    BlogPost,
    Chapter,
    ChapterMarkers,
    Content,
    Flashcards,
    Generated,
    GenerateType,
    KeyQuotes,
    MeetingNotes,
    Newsletter,
    Quiz,
    ShowNotes,
    SocialMedia,
    StudyGuide,
)
from api.intelligence.safety import addresses, clean
from api.intelligence.source import Source
from api.intelligence.writing import NothingWritten, Writer, credit, each, too_small

D = TypeVar("D")

WRITTEN_AT_ONCE: Final[Mapping[GenerateType, type[Any]]] = {
    "blog_post": BlogPost,
    "social_media": SocialMedia,
    "newsletter": Newsletter,
    "study_guide": StudyGuide,
    "flashcards": Flashcards,
    "quiz": Quiz,
}

Credited = tuple[Content, str]
"""A content, and who made it."""


class Composer:
    def __init__(self, writer: Writer, picker: Picker, classical: Classical, name: str) -> None:
        self._writer = writer
        self._picker = picker
        self._classical = classical
        self._name = name

    async def generate(self, source: Source, type_: GenerateType) -> Generated:
        try:
            made = await self._content(source, type_) if source.sentences else None
        except NothingWritten:
            made = None
        if made is None:
            return await self._classical.generate(source, type_)
        content, model = made
        return Generated(type_, content, markdown(content, source.language), model)

    async def _content(self, source: Source, type_: GenerateType) -> Credited | None:
        """None where the model gave nothing of use."""
        if kind := WRITTEN_AT_ONCE.get(type_):
            content: Content | None = await self._written(source, prompts.DOCUMENTS[type_], kind)
            return (content, self._name) if content is not None else None
        match type_:
            case "show_notes":
                return await self._show_notes(source)
            case "meeting_notes":
                return await self._meeting_notes(source)
            case "key_quotes":
                quotes, model = await self._picker.quotes(source)
                return (KeyQuotes(quotes), model) if quotes else None
            case _:
                chapters, model = await self._chapters(source)
                return (ChapterMarkers(chapters), model) if chapters else None

    async def _show_notes(self, source: Source) -> Credited | None:
        head = await self._written(source, prompts.DOCUMENTS["show_notes"], EpisodeHead)
        if head is None:
            return None
        notes = (await self._classical.generate(source, "show_notes")).content
        assert isinstance(notes, ShowNotes)
        chapters, named_by = await self._chapters(source)
        quotes, chosen_by = await self._picker.quotes(source)
        content = ShowNotes(
            head.title, head.description, notes.speakers, head.topics, chapters, quotes or notes.quotes, notes.links
        )
        return content, credit([self._name, named_by, chosen_by])

    async def _meeting_notes(self, source: Source) -> Credited | None:
        head = await self._written(source, prompts.DOCUMENTS["meeting_notes"], MinutesHead)
        if head is None:
            return None
        points, found_by = await self._picker.points(source)
        content = MeetingNotes(
            head.title,
            source.speakers,
            head.summary,
            head.topics,
            points.decisions,
            points.action_items,
            points.open_questions,
        )
        return content, credit([self._name, found_by])

    async def _chapters(self, source: Source) -> tuple[list[Chapter], str]:
        """Where they begin is found by classical means; the model says what is in them."""
        by_place = replace(
            source,
            sentences=tuple(replace(sentence, segment_order=place) for place, sentence in enumerate(source.sentences)),
        )
        made = await self._classical.generate(by_place, "chapter_markers")
        assert isinstance(made.content, ChapterMarkers)
        chapters = made.content.chapters
        borders = [*(chapter.segment_order or 0 for chapter in chapters), len(source.sentences)]

        async def head(border: tuple[int, int]) -> ChapterHead | None:
            of_chapter = replace(source, sentences=source.sentences[slice(*border)])
            return await self._written(of_chapter, prompts.CHAPTER, ChapterHead)

        is_too_much = self._picker.is_too_much(source)
        heads = [None] * len(chapters) if is_too_much else await each(head, pairwise(borders))
        named = [
            Chapter(
                written.title if written else chapter.title,
                written.summary if written else chapter.summary,
                chapter.start,
                chapter.end,
                source.sentences[place].segment_order,
            )
            for chapter, place, written in zip(chapters, borders, heads, strict=False)
        ]
        return named, credit(self._name if written else made.model for written in heads)

    async def _written(self, source: Source, task: prompts.Task, kind: type[D]) -> D | None:
        """None where the model gave nothing of use."""
        allowed = addresses(source.texts)

        def fitted(value: Any) -> D:
            result: D = fit(value, kind, partial(clean, allowed=allowed))
            return result

        source = await self._picker.readable(source)
        asking = self._writer.asking(prompts.as_json(task), source, prompts.EVERYTHING, allowed)
        async with aclosing(asking) as prompts_for_it:
            async for messages in prompts_for_it:
                try:
                    return await self._writer.data(messages, fitted)
                except PromptTooLong:
                    continue
        raise too_small()
