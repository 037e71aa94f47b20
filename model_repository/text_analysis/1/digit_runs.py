"""Rows of digits as people say and write them, and what may be read from them.

"4111 1111, one one one one, uh, 1-1-1-1" is one run of 16 digits. Where its parts end tells phone numbers from other
numbers, and a comma tells where one number ends and the next begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spoken import Token, joins, number, sign
from vocabulary import Vocabulary

JOINT, SPACE, MARK, PAUSE = range(4)
"""What separates two parts, from weak to strong: the hyphens of 5-5-5, nothing, a hyphen or the like, a comma or a
filler."""
LONGEST_RUN = 64  # parts; nobody says more in a row
SHORTEST_RUN = 7  # digits
THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?!,?\d)")
CURRENCIES = frozenset("$€£¥₹")
SEPARATORS = {
    "-": MARK,
    ".": MARK,
    "/": MARK,
    "(": SPACE,
    ")": SPACE,
    ",": PAUSE,
    ";": PAUSE,
    "…": PAUSE,
    "–": MARK,
    "—": PAUSE,
}


@dataclass(frozen=True, slots=True)
class Part:
    """Digits said in one breath: the tokens from `first` to before `after`, and what separates them from the part
    before."""

    digits: str
    first: int
    after: int
    separation: int
    international: bool = False
    """A plus stands before it."""


@dataclass(frozen=True, slots=True)
class Window:
    """Some parts of a run that may be one number."""

    parts: Sequence[Part]
    whole: bool
    """Its speaker pauses behind it, or all of the run are groups of digits."""

    @property
    def digits(self) -> str:
        return "".join(part.digits for part in self.parts)

    @property
    def ends(self) -> list[int]:
        """How many digits there are before the end of each part."""
        ends: list[int] = []
        for part in self.parts:
            ends.append((ends[-1] if ends else 0) + len(part.digits))
        return ends

    @property
    def marked(self) -> list[int]:
        """Of these, where the separation is the strongest; none if all are alike and no more than spaces."""
        separations = [part.separation for part in self.parts[1:]]
        strongest = max(separations, default=SPACE)
        if strongest <= SPACE and len(set(separations)) < 2:
            return []
        return [end for end, separation in zip(self.ends, separations, strict=False) if separation == strongest]

    @property
    def international(self) -> bool:
        return self.parts[0].international

    @property
    def first(self) -> int:
        return self.parts[0].first - self.international

    @property
    def last(self) -> int:
        return self.parts[-1].after - 1


def runs(text: str, sequence: list[Token], words: Vocabulary) -> Iterator[list[Part]]:
    """The rows of at least seven digits."""
    run: list[Part] = []
    at = 0
    while at < len(sequence):
        digits, length = number(at, sequence, words)
        exclaimed = not run and sequence[at].word == "oh" and _is_comma(at + 1, sequence)
        if not length or exclaimed:
            at += 1
            continue
        after = at + length
        separation = _separation(run[-1].after, at, sequence, words) if run else None
        international = _plus_before(at, sequence, words)
        amount_end = _amount(at, after, text, sequence, words)
        if run and separation == MARK and len(run[-1].digits) == len(digits) == 1:
            separation = JOINT
        if not amount_end and _measured(after, sequence, words):
            # A card number is not an amount, whatever comes after it.
            known = sum(len(part.digits) for part in run) if separation not in {None, PAUSE} else 0
            amount_end = after if known + len(digits) < SHORTEST_RUN else 0
        if separation is None or amount_end or international or len(run) == LONGEST_RUN:
            yield from _long_enough(run)
            run = []
        if not amount_end:
            run.append(Part(digits, at, after, SPACE if separation is None else separation, international))
        at = amount_end or after
    yield from _long_enough(run)


def windows(run: Sequence[Part], shortest: int, longest: int) -> Iterator[Window]:
    """What may be one number of so many digits, by where it starts, the longest first.

    Single digits belong together from pause to pause; groups of digits may begin a number anywhere.
    """
    groups = all(len(part.digits) > 1 for part in run)
    separations = {part.separation for part in run[1:]}
    pause = max(separations) if len(separations) > 1 else None
    for first, part in enumerate(run):
        if first and not groups and part.separation != pause:
            continue
        ends: list[int] = []
        total = 0
        for after, following in enumerate(run[first:], first + 1):
            total += len(following.digits)
            if total > longest:
                break
            if total >= shortest:
                ends.append(after)
        for after in reversed(ends):
            yield Window(run[first:after], groups or after == len(run) or run[after].separation == pause)


def _long_enough(run: list[Part]) -> Iterator[list[Part]]:
    if sum(len(part.digits) for part in run) >= SHORTEST_RUN:
        yield run


def _separation(end: int, start: int, sequence: list[Token], words: Vocabulary) -> int | None:
    """How strongly the tokens in between separate two numbers; None if these have nothing to do with each other."""
    strongest = SPACE
    at = end
    while at < start:
        token = sequence[at]
        said, length = sign(at, sequence, words)
        if token.word in words.fillers:
            strongest, length = PAUSE, 1
        elif said == "-" and length:
            strongest = max(strongest, MARK)
        elif token.word in SEPARATORS:
            inside = token.glued and at + 1 < len(sequence) and sequence[at + 1].glued
            if token.word in "./" and not inside:
                return None
            if token.word == "." and min(len(sequence[at - 1].word), len(sequence[at + 1].word)) < 2:
                return None  # a decimal point
            strongest, length = max(strongest, SEPARATORS[token.word]), 1
        else:
            return None
        at += length
    return strongest


def _is_comma(at: int, sequence: list[Token]) -> bool:
    return at < len(sequence) and sequence[at].word == ","


def _plus_before(at: int, sequence: list[Token], words: Vocabulary) -> bool:
    return at > 0 and sign(at - 1, sequence, words) == ("+", 1)


def _amount(at: int, after: int, text: str, sequence: list[Token], words: Vocabulary) -> int:
    """Behind the number if it is an amount, a time or a part of a word, and not a row of digits; otherwise 0."""
    thousands = THOUSANDS.match(text, sequence[at].start)
    if thousands:
        while after < len(sequence) and sequence[after].start < thousands.end():
            after += 1
        return after
    before = sequence[at - 1].word if at else ""
    if before in CURRENCIES or (
        at and sequence[at].glued and ((before[-1].isalpha() and joins(before[-1])) or before in ":_#@")
    ):
        return after
    if after == len(sequence):
        return 0
    following = sequence[after]
    within = following.glued and (joins(following.word[0]) or following.word in "_@" or _is_time(after, sequence))
    return after if within or following.word in CURRENCIES or following.word in "%°" else 0


def _measured(after: int, sequence: list[Token], words: Vocabulary) -> bool:
    """Whether the next words say what the number before them is an amount of."""
    following = [token.word for token in sequence[after : after + 2]]
    return any(" ".join(following[:count]) in words.quantities for count in (1, 2) if len(following) >= count)


def _is_time(colon: int, sequence: list[Token]) -> bool:
    return sequence[colon].word == ":" and colon + 1 < len(sequence) and sequence[colon + 1].glued
