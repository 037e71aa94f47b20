"""Where the sentences of a text begin and stop, and its words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from sentencex import segment

from api.languages import base_of

LONGEST_SENTENCE_CHARS: Final = 1000
"""Speech without punctuation is cut at spaces."""
LOOKED_AT_CHARS: Final = 2000
"""sentencex takes the square of a text's length where marks are many, and lets nothing else run meanwhile."""
# sentencex takes these for abbreviations (Maine, number, …), which they hardly are where they end what somebody says.
NO_ABBREVIATION = re.compile(r"""(?<!\w)(?:me|[Nn]o|[Oo][Kk]|in|id|es)\.(?=\s+["'“‘«¿¡(]*[A-ZÀ-ÖØ-Þ])""")
ENDS_IN_SPACE = re.compile(r"\s\Z")
BREAKS = re.compile(r"[\s。！？｡]")

UNSPACED_SENTENCES: Final = frozenset({"zh", "yue", "ja"})
"""Languages in which a sentence begins right behind another."""
UNSPACED_LANGUAGES: Final = frozenset({*UNSPACED_SENTENCES, "th", "lo", "km", "my", "bo"})
"""And so do words; what there are of spaces are marks."""
LATIN = re.compile("[0-9A-Za-z]")
SPACED_WORD = re.compile(r"\s*\S+")
# A word of Latin letters or a number; or a character with the marks on it and the punctuation behind it.
UNSPACED_WORD = re.compile(
    r"\s*(?:[(\[{「『（《〈“‘]*(?:[0-9A-Za-z]+(?:[.,:'’/-][0-9A-Za-z]+)*|\w)[^\w\s(\[{「『（《〈“‘]*|\S)"
)


def words_of(text: str, language: str) -> list[str]:
    """Each with the white space before it, so that joined they are the text, but for white space at its end."""
    return (UNSPACED_WORD if base_of(language) in UNSPACED_LANGUAGES else SPACED_WORD).findall(text)


def gap_between(before: str, after: str, language: str) -> str:
    """What a language writes between two parts of a text. Also where words are not spaced, English ones are."""
    if base_of(language) not in UNSPACED_LANGUAGES:
        return " "
    return (
        " " if before[-1:].isalnum() and before[-1:].isascii() and after[:1].isalnum() and after[:1].isascii() else ""
    )


def sentence_spans(language: str, text: str, longest: int = LONGEST_SENTENCE_CHARS) -> Iterator[tuple[int, int]]:
    """Together they hold all but white space; none has more than `longest` characters."""
    begin = 0
    for stop in _ends(language, text):
        borders = [begin, *(found.end() for found in NO_ABBREVIATION.finditer(text, begin, stop)), stop]
        for part in pairwise(borders):
            yield from short_spans(text, *part, longest)
        begin = stop


def _ends(language: str, text: str) -> Iterator[int]:
    """Of the sentences. Behind a mark of ASCII there must be white space: ASP.NET and example.com are one word."""
    start = end = 0
    while start < len(text):
        window = text[start : start + LOOKED_AT_CHARS]
        is_last = start + len(window) == len(text)
        pieces = segment(language, window)
        # The last sentence of a window may go on behind it; it is looked at once more with what follows.
        whole = pieces if is_last or len(pieces) < 2 else pieces[:-1]
        for piece in whole:
            end += len(piece)
            if ENDS_IN_SPACE.search(piece) or not piece[-1:].isascii() or end == len(text):
                yield end
        if len(pieces) < 2 and not is_last:
            end = _break(text, start, end)
            yield end
        start = end


def _break(text: str, start: int, end: int) -> int:
    """The last place in a window at which no word is cut."""
    places = [found.end() for found in BREAKS.finditer(text, start + LOOKED_AT_CHARS // 2, end)]
    return places[-1] if places else end


def short_spans(text: str, begin: int, stop: int, longest: int = LONGEST_SENTENCE_CHARS) -> Iterator[tuple[int, int]]:
    """The part without white space around it, in pieces where it is too long."""
    while begin < stop:
        end = min(stop, begin + longest)
        if end < stop:
            space = text.rfind(" ", begin + 1, end + 1)
            end = space if space > 0 else end
        piece = text[begin:end]
        if piece.strip():
            yield begin + len(piece) - len(piece.lstrip()), begin + len(piece.rstrip())
        begin = end
