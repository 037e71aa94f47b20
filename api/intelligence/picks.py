"""What a language model picks out of a part, by the numbers of its sentences, and what these are in the source. Numbers
that no sentence has, and words that none says, are left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import msgspec
from msgspec import Struct

from api.intelligence.context import Part
from api.intelligence.drafts import fit
from api.intelligence.results import (
    ActionItem,
    Mood,
    Question,
    Quoted,
    QuotedMood,
    SentimentResult,
    SpeakerMood,
    Topic,
)
from api.intelligence.source import Source

MOST_TOPICS = 20
SHORTEST_QUOTE_CHARS = 12
STRONGEST = 3
LONGEST_WAIT = 10
"""Sentences between a question and what can be its answer."""


class PickedTopic(Struct):
    topic: str
    sentences: list[int]


class PickedTopics(Struct):
    topics: list[PickedTopic]


class PickedTask(Struct):
    sentence: int
    assignee: str | None = None
    due: str | None = None


class PickedTasks(Struct):
    action_items: list[PickedTask]


class PickedQuestion(Struct):
    sentence: int
    answer: int | None = None


class PickedQuestions(Struct):
    questions: list[PickedQuestion]


class PickedPoints(Struct):
    decisions: list[int]
    action_items: list[PickedTask]
    questions: list[int]


class PickedQuotes(Struct):
    """Numbers of sentences, or what they say."""

    quotes: list[Any]


class PickedMood(Struct):
    sentence: int
    score: float


class PickedMoods(Struct):
    score: float
    sentences: list[PickedMood]


class Points(Struct):
    """What a meeting came to."""

    decisions: list[Quoted]
    action_items: list[ActionItem]
    open_questions: list[Question]


def topics(source: Source, part: Part, picked: PickedTopics) -> list[Topic]:
    named = [(topic.topic, places(part, topic.sentences)) for topic in picked.topics]
    return [Topic(name, 0, len(about), source.sentences[about[0]].start) for name, about in named if name and about]


def tasks(source: Source, part: Part, picked: PickedTasks | PickedPoints) -> list[ActionItem]:
    by_place = {part.place(task.sentence): task for task in reversed(picked.action_items)}
    items = list[ActionItem]()
    for place in sorted(place for place in by_place if place is not None):
        task, text = by_place[place], source.sentences[place].text
        assignee = task.assignee if task.assignee in source.speakers else verbatim(task.assignee, text)
        items.append(ActionItem(**said(source, place), assignee=assignee, due=verbatim(task.due, text)))
    return items


def questions(source: Source, part: Part, picked: PickedQuestions) -> list[Question]:
    answers = {part.place(question.sentence): question.answer for question in reversed(picked.questions)}
    return [
        Question(**said(source, place), answer=answer(source, place, part.place(answers[place] or 0)))
        for place in sorted(place for place in answers if place is not None)
    ]


def points(source: Source, part: Part, picked: PickedPoints) -> Points:
    return Points(
        [Quoted(**said(source, place)) for place in places(part, picked.decisions)],
        tasks(source, part, picked),
        [Question(**said(source, place)) for place in places(part, picked.questions)],
    )


def quotes(source: Source, part: Part, picked: PickedQuotes) -> list[Quoted]:
    """The best first."""
    found = dict.fromkeys(quoted(source, part, given) for given in picked.quotes)
    return [Quoted(**said(source, place)) for place in found if place is not None]


def places(part: Part, numbers: Iterable[int]) -> list[int]:
    """In the source, of those that there are, in order."""
    return sorted({place for number in numbers if (place := part.place(number)) is not None})


def said(source: Source, place: int) -> dict[str, Any]:
    sentence = source.sentences[place]
    return {field: getattr(sentence, field) for field in Quoted.__struct_fields__}


def verbatim(words: str | None, text: str) -> str | None:
    """As the text writes them, if it does."""
    found = re.search(re.escape(words), text, re.IGNORECASE) if words else None
    return found[0] if found else None


def answer(source: Source, question: int, answer: int | None) -> str | None:
    """What somebody else says soon after it."""
    if answer is None or not question < answer <= question + LONGEST_WAIT:
        return None
    asked, said = source.sentences[question], source.sentences[answer]
    return said.text if asked.speaker is None or said.speaker != asked.speaker else None


def quoted(source: Source, part: Part, given: Any) -> int | None:
    """The place of a sentence, by its number or by enough of its words."""
    if isinstance(given, str) and len(given) >= SHORTEST_QUOTE_CHARS:
        wanted = _plain(given)
        places = range(part.first, part.first + len(part.sentences))
        return next((place for place in places if wanted in _plain(source.sentences[place].text)), None)
    try:
        number: int = fit(given, int, str)
    except ValueError:
        return None
    return part.place(number)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip("\"'“”„«»‘’ ")


def merged(topics: Iterable[Topic]) -> list[Topic]:
    """Those of the same name as one, the most frequent first."""
    by_name = dict[str, Topic]()
    for topic in topics:
        name = topic.topic.casefold()
        if known := by_name.get(name):
            start = known.start if known.start is not None else topic.start
            topic = Topic(known.topic, 0, known.mentions + topic.mentions, start)
        by_name[name] = topic
    frequent = sorted(by_name.values(), key=lambda topic: -topic.mentions)[:MOST_TOPICS]
    return [
        Topic(topic.topic, topic.mentions / frequent[0].mentions, topic.mentions, topic.start) for topic in frequent
    ]


def _mood(score: float) -> Mood:
    score = max(-1.0, min(1.0, score))
    return Mood("positive" if score >= 0.05 else "negative" if score <= -0.05 else "neutral", round(score, 4))


def sentiment(source: Source, picked: Sequence[tuple[Part, PickedMoods]], model: str) -> SentimentResult:
    """Of the parts that were judged; a sentence that was not named is neutral."""
    scores = dict[int, float]()
    for part, moods in picked:
        scores.update(dict.fromkeys(range(part.first, part.first + len(part.sentences)), 0.0))
        for of_sentence in moods.sentences:
            if (place := part.place(of_sentence.sentence)) is not None:
                scores[place] = _mood(of_sentence.score).score
    moods_of = {place: _mood(score) for place, score in scores.items()}
    shares = Counter(mood.label for mood in moods_of.values())
    spoken = [
        (speaker, [scores[n] for n in scores if source.sentences[n].speaker == speaker]) for speaker in source.speakers
    ]
    ranked = sorted(scores, key=scores.__getitem__)
    strongest = sorted({*ranked[:STRONGEST], *ranked[-STRONGEST:]})
    return SentimentResult(
        sentiment=_mood(sum(len(part.sentences) * moods.score for part, moods in picked) / len(scores)),
        positive=shares["positive"] / len(scores),
        neutral=shares["neutral"] / len(scores),
        negative=shares["negative"] / len(scores),
        speakers=[
            SpeakerMood(**msgspec.structs.asdict(_mood(fmean(own))), speaker=speaker) for speaker, own in spoken if own
        ],
        strongest=[
            QuotedMood(**said(source, place), **msgspec.structs.asdict(moods_of[place]))
            for place in strongest
            if moods_of[place].label != "neutral"
        ],
        model=model,
    )
