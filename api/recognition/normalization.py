"""One form for what can be written in several: digits, entities, invisible characters, accents, spaces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from html.entities import html5
from typing import Final
from unicodedata import category, decimal, normalize

from api.speech import Segment, Word, text_of

ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
ESCAPED: Final = re.compile(rf"(?:&amp;|&#0*38;|&#[xX]0*26;)(?={ENTITY.pattern[1:]})")
"""An ampersand that keeps an entity from being one: somebody spoke about markup."""
VISIBLE_FORMAT: Final = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")
"""Unicode counts these signs of numbers and verses as format characters, and they are seen all the same."""
ZWNJ, ZWJ = "\u200c", "\u200d"
JOINING: Final = "\u0620-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u17ff\u1820-\u18aa"
"""Arabic, Syriac, N'Ko and Mandaic, the scripts of India, Burmese, Khmer, Mongolian: there, joiners decide how letters
look, and what words mean."""
PICTURE: Final = "\u2600-\u27bf\ufe0f\U0001f000-\U0001faff"
NEEDLESS_JOINER: Final = re.compile(
    rf"(?<![{JOINING}{PICTURE}])[{ZWNJ}{ZWJ}]|(?<=[{PICTURE}])(?:{ZWNJ}|{ZWJ}(?![{PICTURE}]))"
)
MARKS_IN_NUMBERS: Final = {"\u066b": ".", "\u066c": ","}
MARK_IN_NUMBER: Final = re.compile(r"(?<=[0-9])[\u066b\u066c](?=[0-9])")


def normalized(segments: Sequence[Segment]) -> list[Segment]:
    """Their words and texts in one form. Words of nothing visible go, and so do segments of such words."""
    done = (_segment(segment) for segment in segments)
    return [segment for segment in done if segment.text]


def normalized_text(text: str) -> str:
    """Digits in ASCII, entities unescaped, Unicode's form C, single spaces, and nothing that hides or turns around what
    stands there. Done twice it is the same."""
    # One step can make work for another: the Greek question mark is a semicolon in form C, which may end an entity.
    while (once := _once(text)) != text:
        text = once
    return text


def _segment(segment: Segment) -> Segment:
    words = tuple(_words(segment.words))
    agree = text_of(segment.words) == segment.text
    return replace(segment, text=text_of(words) if agree else normalized_text(segment.text), words=words)


def _words(words: Sequence[Word]) -> list[Word]:
    done, gap = list[Word](), ""
    for word in words:
        gap = gap or (" " if word.text[:1].isspace() else "")
        if text := normalized_text(word.text):
            done.append(replace(word, text=gap + text))
            gap = ""
        if word.text[-1:].isspace():
            gap = " "
    return done


def _once(text: str) -> str:
    text = "".join(map(_character, _unescaped(text)))
    text = NEEDLESS_JOINER.sub("", text)
    text = MARK_IN_NUMBER.sub(lambda mark: MARKS_IN_NUMBERS[mark[0]], text)
    return " ".join(normalize("NFC", text).split())


def _unescaped(text: str) -> str:
    if "&" not in text:
        return text
    kept = {found.start() for found in ESCAPED.finditer(text)}
    # The entity behind such an ampersand has none of its own, so ENTITY does not find it.
    return ENTITY.sub(lambda found: found[0] if found.start() in kept else _meaning(found[0]), text)


def _meaning(entity: str) -> str:
    """Of an entity with its semicolon; without one, `&notice` would become `¬ice`."""
    return unescape(entity) if entity[1] == "#" or entity[1:] in html5 else entity


def _character(character: str) -> str:
    match category(character):
        case "Nd":
            return str(decimal(character))
        case "Cc" | "Cs":
            return character if character.isspace() else ""
        case "Cf":
            return character if VISIBLE_FORMAT.match(character) or character in (ZWNJ, ZWJ) else ""
        case _:
            return character
