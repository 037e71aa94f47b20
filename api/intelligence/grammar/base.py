"""What the rules have to know of a language. Patterns see text without accents on vowels (`PLAIN`), which recognisers
often leave out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

PLAIN: Final = str.maketrans("áéíóúàèìòùâêîôûÁÉÍÓÚÀÈÌÒÙ’‘", "aeiouaeiouaeiouAEIOUAEIOU''")
"""One character for one, so that places stay."""

NAME: Final = r"(?-i:[A-ZÀ-ÖØ-Þ][\w'-]*\w)(?: (?-i:[A-ZÀ-ÖØ-Þ][\w'-]*\w| \d+))?"
"""A word or two, written large; \"Speaker 1\" is one, too."""
NOTED: Final = re.compile(
    rf"\b(?-i:TODO|TO-DO|To-do) ?[:\-–] ?"
    rf"|\b(?:action (?:item|point)|accion|tarea|pendiente)s?(?: (?:for|para) (?P<who>{NAME}))? ?[:\-–] ?",
    re.IGNORECASE,
)
"""Says by itself that a task follows, in any language."""


Doer = Literal["speaker", "named", "addressed", "nobody"]


@dataclass(frozen=True, slots=True)
class Cue:
    """Words that give a task to somebody. A `dated` one counts only where it is said until when."""

    pattern: re.Pattern[str]
    doer: Doer
    dated: bool = False


@dataclass(frozen=True, slots=True)
class Headings:
    """The words of ours in a document."""

    summary: str
    topics: str
    attendees: str
    speakers: str
    decisions: str
    action_items: str
    open_questions: str
    chapters: str
    quotes: str
    links: str
    overview: str
    key_points: str
    terms: str
    review_questions: str
    conclusion: str
    answer: str
    due: str
    conjunction: str
    untitled: str
    what_is: str
    what_was_said: str
    no_action_items: str
    nothing_near: str
    nothing_said: str


@dataclass(frozen=True, slots=True)
class Grammar:
    tasks: tuple[Cue, ...]
    due: re.Pattern[str]
    doubt: re.Pattern[str]
    """Before a task, this takes it back."""
    asks_about: re.Pattern[str]
    """A question that begins like this asks about a task, and gives none."""
    decision: re.Pattern[str]
    no_decision: re.Pattern[str]
    """Anywhere in a sentence, this takes its decision back."""
    question: re.Pattern[str]
    """How a question begins that has no mark."""
    tag: re.Pattern[str]
    """How one ends."""
    no_question: re.Pattern[str]
    """With a mark, and nobody waits for an answer."""
    no_answer: re.Pattern[str]
    """How something begins that was said after a question, about something else."""
    opening: re.Pattern[str]
    """How people begin with another subject."""
    definition: re.Pattern[str]
    """`term` is what it defines."""
    no_topic: re.Pattern[str]
    """What sounds like a key phrase, and is half a sentence."""
    no_names: frozenset[str]
    """Words that are written large without being names, in lower case."""
    stop_words: frozenset[str]
    """Words that no topic begins or ends with."""
    headings: Headings


def pattern(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.IGNORECASE)


def cue(expression: str, doer: Doer, *, dated: bool = False) -> Cue:
    return Cue(pattern(expression), doer, dated)


def any_of(*patterns: str) -> str:
    """A group of alternatives; of two that begin alike, the first one given is taken."""
    return f"(?:{'|'.join(patterns)})"


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())
