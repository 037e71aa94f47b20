"""What of a source a language model reads at once: numbered sentences, packed into parts that fit its context."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from api.intelligence.source import Sentence, Source

BYTES_PER_TOKEN = 3
"""Of UTF-8. In Qwen's vocabulary, speech in English, Spanish or Chinese has 3.3, in Russian, Arabic or Thai more than
four; in Hindi 2.7, in Georgian 2.6, in Burmese 1.8: what is denser than estimated is found out by PromptTooLong."""
SINGLE = string.digits.encode() + string.punctuation.encode()
"""Mostly tokens of their own."""
ELLIPSIS = "…"
LONGEST_NAME_CHARS = 60


def tokens(text: str) -> int:
    """An estimate, rather too high than too low."""
    encoded = text.encode("utf-8", "replace")
    single = len(encoded) - len(encoded.translate(None, SINGLE))
    return -(-(len(encoded) + (BYTES_PER_TOKEN - 1) * single) // BYTES_PER_TOKEN)


def clipped(text: str, budget: int) -> str:
    """As much of the beginning as has at most `budget` tokens, with an ellipsis where it is not all."""
    if tokens(text) <= budget:
        return text
    fits, end = 0, len(text)
    while fits < end:
        middle = (fits + end + 1) // 2
        fits, end = (middle, end) if tokens(text[:middle] + ELLIPSIS) <= budget else (fits, middle - 1)
    return text[:fits] + ELLIPSIS if budget >= tokens(ELLIPSIS) else ""


@dataclass(frozen=True)
class Part:
    """Consecutive sentences; the first of them is the source's `first`th, from 0."""

    first: int
    sentences: tuple[Sentence, ...]

    @cached_property
    def numbered(self) -> str:
        """From 1 on: small numbers cost less, and small models copy them with fewer mistakes."""
        return "\n".join(_line(number, sentence) for number, sentence in enumerate(self.sentences, 1))

    @cached_property
    def text(self) -> str:
        """Each speaker's turn on a line; not longer than `numbered`."""
        turns = groupby(self.sentences, key=lambda sentence: sentence.speaker)
        return "\n".join(_turn(speaker, list(turn)) for speaker, turn in turns)

    def place(self, number: int) -> int | None:
        """Of the sentence with this number in the source; None where there is none."""
        return self.first + number - 1 if 1 <= number <= len(self.sentences) else None

    def smaller(self) -> list[Part]:
        """Its halves; of a single sentence the first half."""
        if len(self.sentences) == 1:
            only = self.sentences[0]
            return [Part(self.first, (replace(only, text=clipped(only.text, tokens(only.text) // 2)),))]
        middle = len(self.sentences) // 2
        return [Part(self.first, self.sentences[:middle]), Part(self.first + middle, self.sentences[middle:])]


def parts(source: Source, budget: int) -> list[Part]:
    """Of at most `budget` tokens each. A sentence that has more by itself is cut."""
    packed, held, room = list[Part](), list[Sentence](), budget
    for place, sentence in enumerate(source.sentences):
        cost = _line_tokens(len(held) + 1, sentence)
        if held and cost > room:
            packed.append(Part(place - len(held), tuple(held)))
            held, room = [], budget
            cost = _line_tokens(1, sentence)
        if cost > room:
            around = _line_tokens(1, replace(sentence, text=""))
            sentence = replace(sentence, text=clipped(sentence.text, max(0, budget - around)))
            cost = budget
        held.append(sentence)
        room -= cost
    if held:
        packed.append(Part(len(source.sentences) - len(held), tuple(held)))
    return packed


def _turn(speaker: str | None, turn: list[Sentence]) -> str:
    if not speaker:
        return "\n".join(said(sentence) for sentence in turn)
    return said(Sentence(" ".join(sentence.text for sentence in turn), speaker))


def said(sentence: Sentence) -> str:
    """On one line, so that nobody can speak a line of somebody else."""
    speaker = " ".join((sentence.speaker or "").split())[:LONGEST_NAME_CHARS]
    text = " ".join(sentence.text.split())
    return f"{speaker}: {text}" if speaker else text


def _line(number: int, sentence: Sentence) -> str:
    return f"[{number}] {said(sentence)}"


def _line_tokens(number: int, sentence: Sentence) -> int:
    return tokens(_line(number, sentence) + "\n")


def latest(texts: Sequence[str], budget: int) -> int:
    """How many of the last of them have at most `budget` tokens together."""
    for count, text in enumerate(reversed(texts)):
        budget -= tokens(text)
        if budget < 0:
            return count
    return len(texts)
