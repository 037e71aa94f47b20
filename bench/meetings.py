"""Meetings with a key: what matters in them, where their topics begin, and which sentence answers which question.

Two are written by hand, many are made from a seed. What the made ones talk about is in bench/data/meeting_topics.toml;
subjects for development and for tests are apart, so that what is tuned on the ones says something about the others.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from api.intelligence.source import Sentence, Source, from_text

DATA: Final = Path(__file__).parent / "data"
SUBJECTS_OF: Final = {
    "dev": ("budget", "outage", "vendor", "office", "training", "accessibility"),
    "test": ("hiring", "feedback", "release", "security", "marketing", "warehouse"),
}
Half = Literal["dev", "test"]
WRITTEN: Final = ("meeting_product", "meeting_library")
ATTENDEES, TOPICS_OF_MEETING, FACTS_OF_TOPIC, DETAILS_OF_TOPIC = 4, (3, 5), (2, 4), (3, 6)
REACTION_CHANCE, ASIDE_CHANCE, AGENDA_CHANCE = 0.25, 0.5, 0.5
PREFIX_CHANCE, SUFFIX_CHANCE = 0.5, 0.4
SECONDS_A_WORD = 0.4
T = TypeVar("T")


@dataclass(frozen=True)
class Meeting:
    """`key_facts` and `topic_starts` are places of sentences; a question stands beside the place of its answer."""

    source: Source
    key_facts: list[int]
    topic_starts: list[int]
    questions: list[tuple[str, int]]


class Task(msgspec.Struct, frozen=True, array_like=True):
    text: str
    assignee: str
    due: str


class Written(msgspec.Struct, frozen=True):
    """A meeting that was written by hand, and what is to be found in it, word for word."""

    title: str
    transcript: str
    topics: list[str]
    key_facts: list[str]
    decisions: list[str]
    action_items: list[Task]
    questions: list[tuple[str, str]]

    def meeting(self) -> Meeting:
        source = from_text(self.transcript, "en", self.title)
        at = source.texts.index
        return Meeting(
            source,
            [at(fact) for fact in self.key_facts],
            [at(topic) for topic in self.topics],
            [(question, at(answer)) for question, answer in self.questions],
        )


def written() -> list[Written]:
    return [msgspec.toml.decode((DATA / f"{name}.toml").read_bytes(), type=Written) for name in WRITTEN]


class Subject(msgspec.Struct, frozen=True):
    openings: list[str]
    facts: list[tuple[str, str]]
    details: list[str]
    asks: list[tuple[str, str]]
    tasks: list[str]


class Chatter(msgspec.Struct, frozen=True):
    greetings: list[str]
    reactions: list[str]
    asides: list[str]
    farewells: list[str]
    before: list[str]
    behind: list[str]


TABLES = tomllib.loads((DATA / "meeting_topics.toml").read_text())
SLOTS = msgspec.convert(TABLES.pop("slots"), dict[str, list[str]])
CHATTER = {half: msgspec.convert(TABLES.pop(f"chatter_{half}"), Chatter) for half in ("dev", "test")}
SUBJECTS = msgspec.convert(TABLES, dict[str, Subject])


def meetings(number: int, seed: object = 1, half: Half = "test") -> Iterator[Meeting]:
    """Made ones."""
    for index in range(number):
        yield _Minutes(random.Random(f"{half}/{seed}/{index}"), half).meeting()


@dataclass
class _Minutes:
    """A meeting in the making: what was said, by whom."""

    rng: random.Random
    half: Half
    said: list[tuple[str, str]] = field(default_factory=list)
    key_facts: list[int] = field(default_factory=list)
    topic_starts: list[int] = field(default_factory=list)
    questions: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chatter = CHATTER[self.half]
        self.people = self.rng.sample(SLOTS["person"], ATTENDEES)
        self.slots = {name: self.rng.sample(values, len(values)) for name, values in SLOTS.items()}

    def meeting(self) -> Meeting:
        for line in _some(self.rng, self.chatter.greetings, 3, 6):
            self._say(line)
        names = self.rng.sample(SUBJECTS_OF[self.half], self.rng.randint(*TOPICS_OF_MEETING))
        if self.rng.random() < AGENDA_CHANCE:
            self._say(f"We have {len(names)} things to talk about: {', '.join(names[:-1])} and {names[-1]}.")
        for place, name in enumerate(names):
            if place and self.rng.random() < ASIDE_CHANCE:
                self._say(self.rng.choice(self.chatter.asides))
                self._say(self.rng.choice(self.chatter.reactions))
            self._discuss(SUBJECTS[name])
        for line in self.chatter.farewells[: self.rng.randint(2, len(self.chatter.farewells))]:
            self._say(line)
        return Meeting(self._source(), self.key_facts, self.topic_starts, self.questions)

    def _discuss(self, subject: Subject) -> None:
        values = self._values()
        self.topic_starts.append(self._say(self.rng.choice(subject.openings).format_map(values)))
        question, answer = self.rng.choice(subject.asks)
        lines: list[tuple[str, ...]] = [
            *_some(self.rng, subject.facts, *FACTS_OF_TOPIC),
            *((self._rambling(detail),) for detail in _some(self.rng, subject.details, *DETAILS_OF_TOPIC)),
            (self.rng.choice(subject.tasks),),
        ]
        self.rng.shuffle(lines)
        lines.insert(self.rng.randint(1, len(lines)), (question, answer, "asked"))
        for line in lines:
            at = self._say(line[0].format_map(values))
            if len(line) == 2:
                self.key_facts.append(at)
                self.questions.append((line[1], at))
            elif len(line) == 3:
                self._say(line[1])
            if self.rng.random() < REACTION_CHANCE:
                self._say(self.rng.choice(self.chatter.reactions))

    def _rambling(self, detail: str) -> str:
        """As long as a fact, mostly."""
        if self.rng.random() < PREFIX_CHANCE:
            detail = self.rng.choice(self.chatter.before) + _uncapitalised(detail)
        if self.rng.random() < SUFFIX_CHANCE:
            detail = detail.rstrip(".") + self.rng.choice(self.chatter.behind) + "."
        return detail

    def _values(self) -> dict[str, str]:
        """One of each slot for a subject, so that what belongs together fits; numbers differ from place to place."""
        picked = {name: values.pop() if len(values) > 1 else values[0] for name, values in self.slots.items()}
        return _Values(self.rng, picked | {"person": self.rng.choice(self.people)})

    def _say(self, text: str) -> int:
        others = [one for one in self.people if one not in text and (not self.said or one != self.said[-1][0])]
        self.said.append((self.rng.choice(others), text))
        return len(self.said) - 1

    def _source(self) -> Source:
        clock = 0.0
        sentences = []
        for order, (speaker, text) in enumerate(self.said):
            end = clock + SECONDS_A_WORD * len(text.split())
            sentences.append(Sentence(text, speaker, clock, end, order))
            clock = end + 0.5
        return Source(tuple(sentences), "en")


class _Values(dict[str, str]):
    def __init__(self, rng: random.Random, picked: dict[str, str]) -> None:
        super().__init__(picked)
        self._rng = rng

    def __missing__(self, slot: str) -> str:
        match slot:
            case "amount":
                return f"{self._rng.randint(3, 190) * 500:,} euros"
            case "percent":
                return f"{self._rng.randint(3, 88)} percent"
            case "number":
                return str(self._rng.randint(5, 90))
        raise KeyError(slot)


def _uncapitalised(text: str) -> str:
    return text if text.startswith(("{", "I ")) else text[:1].lower() + text[1:]


def _some(rng: random.Random, values: Sequence[T], least: int, most: int) -> list[T]:
    return rng.sample(list(values), rng.randint(least, min(most, len(values))))
