"""A source and what the models say of it, each asked once; and what follows from that, computed when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from api.errors import InvalidRequest
from api.inference.base import TextAnalyzer, TextEmbedder
from api.inference.contracts import Analysis, AnalysisOptions, Entity, KeyPhrase, Sentiment
from api.intelligence import rules, topics
from api.intelligence.chapters import chapter_starts
from api.intelligence.ranking import SMALL_TALK, Floats, centre_of, relevance, select, unit
from api.intelligence.results import ActionItem, Chapter, Question, Quoted, Topic
from api.intelligence.source import Source, word_count

Task = Literal["sentiment", "key_phrases"]

MOST_SENTENCES: Final = 50_000
"""Ten hours of speech have some fifteen thousand."""
ANALYSIS_BYTES: Final = 100_000
"""Of text in one call; the analyzer takes 1 MB."""
ANALYSIS_TEXTS: Final = 10_000
MOST_TOPICS: Final = 10
MOST_PHRASES: Final = 300
"""That are embedded, of all chapters together."""
TITLE_CHARS: Final = 60
CHAPTER_SUMMARY_CHARS: Final = 400
QUOTE_WORDS: Final = (8, 40)
MOST_QUOTES: Final = 6
DECISION: Final = np.float32(1.15)
"""What is decided says more than its words."""
FEELING: Final = 0.3
"""How much a strong sentiment makes a quote, beside what it says."""


@dataclass(frozen=True)
class Reading:
    """`vectors` (n, d) are of the sentences, `scores` (n,) how much each says; `phrases` are of each chapter. What was
    not asked for is empty."""

    source: Source
    vectors: Floats
    scores: Floats
    centre: Floats
    starts: Sequence[int]
    phrases: Sequence[Sequence[KeyPhrase]] = ()
    phrase_vectors: Mapping[str, Floats] = field(default_factory=dict)
    moods: Sequence[Sentiment] = ()

    @property
    def texts(self) -> list[str]:
        return self.source.texts

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """Of chapters: from which sentence to which."""
        return list(pairwise([*self.starts, len(self.texts)]))

    @cached_property
    def ranked_phrases(self) -> list[tuple[topics.Phrase, float]]:
        known = topics.phrases_of(self.phrases, self.texts, self.source.language, self.source.speakers)
        known = [phrase for phrase in known if phrase.text in self.phrase_vectors]
        return topics.rank(known, self.phrase_vectors, self.centre)

    @cached_property
    def topics(self) -> list[Topic]:
        found = topics.distinct(self.ranked_phrases, self.phrase_vectors, MOST_TOPICS)
        sentences = self.source.sentences
        return [
            Topic(phrase.text, round(score, 3), len(phrase.sentences), sentences[phrase.sentences[0]].start)
            for phrase, score in found
        ]

    @cached_property
    def action_items(self) -> list[ActionItem]:
        return rules.action_items(self.source)

    @cached_property
    def decisions(self) -> list[Quoted]:
        return rules.decisions(self.source)

    @cached_property
    def questions(self) -> list[Question]:
        return rules.questions(self.source)

    def best(
        self, most: int, chars: int, *, span: tuple[int, int] | None = None, statements: bool = False
    ) -> list[int]:
        """The sentences that say most and each something else, in the order of the source, of so many characters at
        most all together; at least one where there is any. `statements` leaves out questions and tasks."""
        first, end = span or (0, len(self.texts))
        other = {
            at - first for at in range(first, end) if statements and (self._asks[at] or self.texts[at] in self._tasks)
        }
        chosen, left = list[int](), chars
        for place in select(self.vectors[first:end], self.scores[first:end], most, without=other):
            length = len(self.texts[first + place])
            if length <= left or not chosen:
                chosen.append(first + place)
                left -= length
        return sorted(chosen)

    @cached_property
    def _asks(self) -> list[bool]:
        return [rules.is_question(text, self.source.language) for text in self.texts]

    def text_of(self, places: Sequence[int]) -> str:
        return " ".join(self.texts[place] for place in places)

    @cached_property
    def chapters(self) -> list[Chapter]:
        titles = list[str]()
        for number, span in enumerate(self.spans):
            titles.append(self._title(number, span, {title.casefold() for title in titles}))
        return [self._chapter(title, span) for title, span in zip(titles, self.spans, strict=True)]

    def _chapter(self, title: str, span: tuple[int, int]) -> Chapter:
        sentences = self.source.sentences[slice(*span)]
        ends = [sentence.end for sentence in sentences if sentence.end is not None]
        following = self.source.sentences[span[1]].start if span[1] < len(self.texts) else None
        summary = self.text_of(
            self.best(2, CHAPTER_SUMMARY_CHARS, span=span, statements=True) or self.best(1, 1, span=span)
        )
        end = max(ends) if ends else following
        return Chapter(title, summary, sentences[0].start, end, sentences[0].segment_order)

    def _title(self, number: int, span: tuple[int, int], taken: Collection[str]) -> str:
        """The phrase that is most of this chapter, or its first words of all where there is none."""
        own = self.phrases[number : number + 1]
        known = topics.phrases_of(own, self.texts, self.source.language, self.source.speakers)
        inside = [
            phrase
            for phrase in known
            if phrase.text in self.phrase_vectors
            and phrase.text.casefold() not in taken
            and 2 * sum(span[0] <= at < span[1] for at in phrase.sentences) > len(phrase.sentences)
        ]
        ranked = topics.rank(inside, self.phrase_vectors, self._centre_of(span))
        if ranked:
            return capitalised(ranked[0][0].text)
        return shortened(self.text_of(self.best(1, 1, span=span)), TITLE_CHARS)

    def _centre_of(self, span: tuple[int, int]) -> Floats:
        """What the chapter is about: its sentences, by how much each says."""
        return unit(self.scores[slice(*span)] @ self.vectors[slice(*span)])

    @cached_property
    def quotes(self) -> list[Quoted]:
        return [rules.quoted(self.source.sentences[place]) for place in self._quotable(MOST_QUOTES)]

    def _quotable(self, most: int) -> list[int]:
        least, longest = QUOTE_WORDS
        no_quotes = {
            place
            for place, text in enumerate(self.texts)
            if not least <= word_count(text) <= longest or self._asks[place] or text in self._tasks
        }
        scores = self.scores
        if self.moods:
            strength = np.array([abs(mood.compound) for mood in self.moods], np.float32)
            scores = (1 - FEELING) * scores + FEELING * strength
        return sorted(select(self.vectors, scores, most, without=no_quotes))

    @cached_property
    def _tasks(self) -> set[str]:
        return {item.text for item in self.action_items}


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def shortened(text: str, chars: int) -> str:
    """At most so many characters, cut between words where it is too long."""
    if len(text) <= chars:
        return text
    cut = text[: chars - 1]
    words, _, _ = cut.rpartition(" ")
    return f"{(words or cut).rstrip(' ,;:–—-')}…"


async def read(source: Source, embedder: TextEmbedder, analyzer: TextAnalyzer, tasks: Collection[Task]) -> Reading:
    """Raises InvalidRequest where it has too many sentences, or the analyzer does not know its language for a task."""
    if len(source.sentences) > MOST_SENTENCES:
        raise InvalidRequest(f"This has {len(source.sentences):,} sentences; {MOST_SENTENCES:,} can be read at once.")
    if not source.sentences:
        return Reading(source, np.zeros((0, 1), np.float32), np.zeros(0, np.float32), np.zeros(1, np.float32), [])
    small_talk = SMALL_TALK.get(source.language, SMALL_TALK["en"])
    vectors = (await embedder.embed_texts([*source.texts, *small_talk])).embeddings
    reading = await asyncio.to_thread(_structured, source, vectors[: -len(small_talk)], vectors[-len(small_talk) :])
    if "key_phrases" in tasks:
        most = MOST_PHRASES // len(reading.spans)
        phrases = [(await _phrases(analyzer, source, span))[:most] for span in reading.spans]
        texts = list(dict.fromkeys(phrase.text for of_chapter in phrases for phrase in of_chapter))
        embedded = (await embedder.embed_texts(texts)).embeddings if texts else ()
        reading = replace(reading, phrases=phrases, phrase_vectors=dict(zip(texts, embedded, strict=True)))
    if "sentiment" in tasks:
        reading = replace(reading, moods=await moods_of(source, analyzer))
    return reading


async def moods_of(source: Source, analyzer: TextAnalyzer) -> list[Sentiment]:
    """Of each sentence. Raises InvalidRequest where the analyzer knows none in the language."""
    found = await _analyzed(analyzer, source.texts, "sentiment", source.language)
    return [mood for one in found for mood in one.sentiment]


async def entities_of(source: Source, analyzer: TextAnalyzer) -> list[list[Entity]]:
    """Of each sentence."""
    found = await _analyzed(analyzer, source.texts, "entities", source.language)
    return [of_sentence for one in found for of_sentence in one.entities]


def _structured(source: Source, vectors: Floats, small_talk: Floats) -> Reading:
    decided = np.array([rules.is_decision(text, source.language) for text in source.texts])
    scores = relevance(vectors, small_talk, source.texts) * np.where(decided, DECISION, np.float32(1))
    scores /= scores.max()
    times = [sentence.start for sentence in source.sentences if sentence.start is not None]
    opens = [rules.opens_subject(text, source.language) for text in source.texts]
    starts = chapter_starts(vectors, scores, opens, times if len(times) == len(source.texts) else None)
    return Reading(source, vectors, scores, centre_of(vectors, small_talk), starts)


async def _phrases(analyzer: TextAnalyzer, source: Source, span: tuple[int, int]) -> list[KeyPhrase]:
    found = await _analyzed(analyzer, source.texts[slice(*span)], "key_phrases", source.language)
    return sorted((phrase for one in found for phrase in one.key_phrases), key=lambda phrase: -phrase.relevance)


async def _analyzed(
    analyzer: TextAnalyzer, texts: Sequence[str], task: Literal["entities", "sentiment", "key_phrases"], language: str
) -> list[Analysis]:
    options = AnalysisOptions((task,), language)
    return [await analyzer.analyze(portion, options) for portion in portions(texts, ANALYSIS_BYTES)]


def portions(texts: Sequence[str], most_bytes: int) -> Iterator[Sequence[str]]:
    """In order, as many texts in each as fit; one that does not is alone."""
    first = size = 0
    for place, text in enumerate(texts):
        length = len(text.encode())
        if place > first and (size + length > most_bytes or place - first == ANALYSIS_TEXTS):
            yield texts[first:place]
            first, size = place, 0
        size += length
    if texts:
        yield texts[first:]
