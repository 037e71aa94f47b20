"""Summaries and analyses made of a reading: sentences as they are, counted and put in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from api.inference.contracts import Entity, Sentiment
from api.intelligence import names
from api.intelligence.grammar import headings_of
from api.intelligence.markdown import bullets, escape, task
from api.intelligence.reading import Reading
from api.intelligence.results import Mood, NamedEntity, QuotedMood, SentimentResult, SpeakerMood, Style
from api.intelligence.source import Sentence, Source

BRIEF_SENTENCES, BRIEF_CHARS = 3, 1500
DETAILED_SHARE, DETAILED_SENTENCES, DETAILED_CHARS = 0.11, (4, 40), 8000
BULLETS_EACH, BULLETS, BULLETS_CHARS = 8, (5, 8), 3000
STRONGEST: Final = 3
MOST_ENTITIES: Final = 200
POSITIVE_FROM: Final = 0.05
"""VADER's limit; negative from minus that."""
PROPER_NOUN: Final = "PROPER_NOUN"


def summary(reading: Reading, style: Style) -> str:
    words = headings_of(reading.source.language)
    if not reading.texts:
        return words.nothing_said
    match style:
        case "brief":
            return brief(reading)
        case "detailed":
            return "\n\n".join(map(reading.text_of, _detailed(reading)))
        case "action_items":
            return bullets(task(item, words) for item in reading.action_items) or words.no_action_items
        case "bullet_points" | "bullets":
            return bullets(escape(reading.texts[place]) for place in key_points(reading))


def brief(reading: Reading) -> str:
    most = min(BRIEF_SENTENCES, -(-len(reading.texts) // BRIEF_SENTENCES))
    return reading.text_of(reading.best(most, BRIEF_CHARS))


def key_points(reading: Reading) -> list[int]:
    return reading.best(_within(len(reading.texts) // BULLETS_EACH, *BULLETS), BULLETS_CHARS)


def _detailed(reading: Reading) -> list[list[int]]:
    """Of each chapter the sentence that says most of it, and then those that say most of all."""
    most = _within(round(DETAILED_SHARE * len(reading.texts)), *DETAILED_SENTENCES)
    most = min(most, -(-len(reading.texts) // 2))
    best_of_each = [place for span in reading.spans for place in reading.best(1, DETAILED_CHARS, span=span)]
    chosen = dict.fromkeys([*best_of_each[:most], *reading.best(most, DETAILED_CHARS)])
    kept, left = list[int](), DETAILED_CHARS
    for place in list(chosen)[:most]:
        if len(reading.texts[place]) <= left:
            kept.append(place)
            left -= len(reading.texts[place])
    paragraphs = [[place for place in sorted(kept) if first <= place < end] for first, end in reading.spans]
    return [paragraph for paragraph in paragraphs if paragraph]


def _within(value: int, least: int, most: int) -> int:
    return max(least, min(value, most))


def sentiment(source: Source, moods: Sequence[Sentiment], model: str) -> SentimentResult:
    """`moods` are of the sentences."""
    labels = [_label(mood.compound) for mood in moods]
    positive, neutral, negative = (
        labels.count(label) / max(1, len(labels)) for label in ("positive", "neutral", "negative")
    )
    said = list(zip(source.sentences, moods, strict=True))
    speakers = [
        SpeakerMood(*_mean([mood for sentence, mood in said if sentence.speaker == speaker]), speaker=speaker)
        for speaker in source.speakers
    ]
    strongest = [_quoted_mood(*said[place]) for place in _strongest([mood.compound for mood in moods])]
    return SentimentResult(Mood(*_mean(moods)), positive, neutral, negative, speakers, strongest, model)


def _label(compound: float) -> Literal["positive", "neutral", "negative"]:
    if abs(compound) < POSITIVE_FROM:
        return "neutral"
    return "positive" if compound > 0 else "negative"


def _mean(moods: Sequence[Sentiment]) -> tuple[Literal["positive", "neutral", "negative"], float]:
    mean = round(sum(mood.compound for mood in moods) / max(1, len(moods)), 4)
    return _label(mean), mean


def _strongest(compounds: Sequence[float]) -> list[int]:
    """Places of the most positive and the most negative ones, in order."""
    order = sorted(range(len(compounds)), key=lambda place: compounds[place])
    negative = [place for place in order[:STRONGEST] if compounds[place] <= -POSITIVE_FROM]
    positive = [place for place in order[-STRONGEST:] if compounds[place] >= POSITIVE_FROM]
    return sorted({*negative, *positive})


def _quoted_mood(sentence: Sentence, mood: Sentiment) -> QuotedMood:
    return QuotedMood(
        text=sentence.text,
        speaker=sentence.speaker,
        start=sentence.start,
        end=sentence.end,
        segment_order=sentence.segment_order,
        label=_label(mood.compound),
        score=round(mood.compound, 4),
    )


def entities(source: Source, found: Sequence[Sequence[Entity]]) -> list[NamedEntity]:
    """What the analyzer `found` in each sentence, and besides what is written like a name; the most frequent first."""
    mentions = dict[tuple[str, str], list[tuple[int, str]]]()
    for place, type_, text in sorted(_mentioned(source, found), key=lambda mention: mention[0]):
        mentions.setdefault((type_, text.casefold()), []).append((place, text))
    listed = [
        NamedEntity(of_one[0][1], type_, len(of_one), source.sentences[of_one[0][0]].start)
        for (type_, _), of_one in mentions.items()
    ]
    return sorted(listed, key=lambda entity: -entity.mentions)[:MOST_ENTITIES]


def _mentioned(source: Source, found: Sequence[Sequence[Entity]]) -> Iterator[tuple[int, str, str]]:
    """Place of the sentence, type, text."""
    for place, of_sentence in enumerate(found):
        for entity in of_sentence:
            yield place, entity.type, source.texts[place][entity.start : entity.end]
    for name in names.mentions(source.texts, source.language, source.speakers):
        if not any(entity.start < name.end and name.start < entity.end for entity in found[name.sentence]):
            yield name.sentence, PROPER_NOUN, name.name
