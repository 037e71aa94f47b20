"""A text as pieces that a voice can speak in one go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from unicodedata import category

from api.sentences import sentence_spans
from api.speech import is_spoken

AFTER_CLAUSE = re.compile(r"(?<=[,;:–—])(?=\s)|(?<=[，；：、،؛])")
AFTER_SPACE = re.compile(r"(?<=\s)(?=\S)")

Splitter = Callable[[str], list[str]]


def pieces(text: str, language: str, most_bytes: int) -> list[str]:
    """In order, each of at most so many bytes (four at least) of UTF-8 and with something in it that can be spoken.

    As many whole sentences as fit. A sentence that does not fit is cut after commas, a clause between words, a word
    between letters. White space becomes one space; nothing else is lost but what has no sound.
    """

    def sentences(whole: str) -> list[str]:
        """A line ends a sentence, too: headings have no full stop."""
        parts = list[str]()
        for line in filter(None, (" ".join(line.split()) for line in whole.splitlines())):
            begins = (begin for begin, _ in sentence_spans(language, line, len(line)))
            parts += (line[begin:next_] for begin, next_ in pairwise([*begins, len(line)]))
            parts.append(" ")
        return parts

    splitters = (sentences, AFTER_CLAUSE.split, AFTER_SPACE.split, _letters, list)
    packed = (piece.strip() for piece in _packed(text, most_bytes, *splitters))
    return [piece for piece in packed if any(map(is_spoken, piece))]


def _packed(text: str, most_bytes: int, split: Splitter, *finer: Splitter) -> Iterator[str]:
    """Runs of what `split` makes of the text; what is too long by itself is split finer."""
    run = ""
    for part in split(text):
        if _size(run + part) <= most_bytes:
            run += part
            continue
        yield run
        run = part
        if _size(part) > most_bytes:
            *full, run = _packed(part, most_bytes, *finer)
            yield from full
    yield run


def _letters(word: str) -> list[str]:
    """Each with the marks on it."""
    starts = [place for place, character in enumerate(word) if place == 0 or category(character)[0] != "M"]
    return [word[start:stop] for start, stop in pairwise([*starts, len(word)])]


def _size(text: str) -> int:
    """White space at the ends is not spoken."""
    return len(text.strip().encode())
