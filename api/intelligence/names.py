"""Names by how they are written: words with a capital where none is due."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from api.intelligence.grammar import GRAMMARS
from api.intelligence.grammar.base import words_of

ALL_NOUNS_LARGE: Final = frozenset({"de", "lb"})
LARGE = r"[A-ZÀ-ÖØ-ÞΑ-ΩА-ЯЁ]"
WORD = rf"{LARGE}[\w'’-]*\w|{LARGE}(?=\.?\s{LARGE})"
JOINED = r"(?: (?:of|of the|de|del|de la|da|do|di|von|van|van der|la|le|el|al|bin|&)(?= [A-ZÀ-ÖØ-Þ]))?"
NAME: Final = re.compile(rf"(?<![\w'’-])(?:{WORD})(?:{JOINED}\.? (?:{WORD}|\d+(?!\S*\d)))*")
OPENS = re.compile(r"""[.!?…:;]["'”’»)]*\s+["'“‘«(¿¡\s]*$|^[\W_]*$|["“«(¿¡]$""")
POSSESSIVE = re.compile(r"['’]s?$")
CALENDAR = words_of(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december lunes martes miércoles jueves viernes sábado domingo enero febrero marzo "
    "abril mayo junio julio agosto septiembre octubre noviembre diciembre"
)
NEVER = frozenset({"i", "i'm", "i'll", "i've", "i'd", "ok", "tv", "am", "pm", "todo"})
MOST_LARGE_SHARE = 0.6
"""Of the words within a sentence; where more are written large, it is a heading."""
LONGEST_NAME_CHARS = 60


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in a sentence, and its characters there."""

    name: str
    sentence: int
    start: int
    end: int


def mentions(texts: Sequence[str], language: str, known: Sequence[str] = ()) -> list[Mention]:
    """In order. The first word of a sentence belongs to a name where it is one of the `known` or, elsewhere, written
    large within a sentence."""
    if language in ALL_NOUNS_LARGE:
        return []
    ordinary = _ordinary(language)
    inside = {word for name in known for word in name.split()}
    for text in texts:
        inside |= {word for match in _names(text) if not _opens(text, match.start()) for word in match[0].split()}
    found = list[Mention]()
    for place, text in enumerate(texts):
        for match in _names(text):
            mention = _mention(match, place, _opens(text, match.start()), inside, ordinary)
            if mention is not None:
                found.append(mention)
    return found


def _ordinary(language: str) -> frozenset[str]:
    grammar = GRAMMARS.get(language)
    return NEVER | CALENDAR | (grammar.no_names if grammar else frozenset())


def _names(text: str) -> Iterator[re.Match[str]]:
    words = text.split()
    large = sum(word[:1].isupper() for word in words[1:])
    if large <= max(2, MOST_LARGE_SHARE * len(words)):
        yield from NAME.finditer(text)


def _opens(text: str, at: int) -> bool:
    """Whether a capital is due there."""
    return OPENS.search(text[max(0, at - 8) : at]) is not None


def _mention(
    match: re.Match[str], place: int, opens: bool, inside: set[str], ordinary: frozenset[str]
) -> Mention | None:
    start, words = match.start(), match[0].split(" ")
    while words and (
        not words[0][:1].isupper()
        or POSSESSIVE.sub("", words[0]).casefold() in ordinary
        or (opens and words[0] not in inside)
    ):
        start += len(words.pop(0)) + 1
        opens = False
    name = POSSESSIVE.sub("", " ".join(words))
    while name.rpartition(" ")[2].casefold().removesuffix("s") in CALENDAR:
        name = name.rpartition(" ")[0]
    if len(name) < 2 or len(name) > LONGEST_NAME_CHARS or name.isdigit():
        return None
    return Mention(name, place, start, start + len(name))
