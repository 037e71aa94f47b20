"""A text as the sentences that are translated and everything that stays: paragraphs, indentation, marks of lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from api.languages import base_of
from api.sentences import UNSPACED_SENTENCES, sentence_spans

LONGEST_PIECE_CHARS: Final = 400
"""MADLAD-400 was trained on single sentences; what it is given at once it may cut short when it is long."""
# What a line may begin with in letters, notes and Markdown: bullets, quotation marks of e-mails, headings, numbers.
MARK = re.compile(r"\s*(?:(?:[-*+•–—>]|#{1,6}|\(?\d{1,3}[.)]|\[[ xX]\])\s+)*")
LINE = re.compile(r"[^\n\r]*(?:\r\n|\n|\r)?")
# What stands for personal data that was taken out, with the white space around it.
PLACEHOLDER = re.compile(r"(\s*\[[A-Z][A-Z_]+\]\s*)")


class Role(Enum):
    SENTENCE = "translated"
    GAP = "between two sentences of a line"
    OTHER = "stays as it is"


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    role: Role


def pieces_of(text: str, language: str) -> list[Piece]:
    """Joined they are the text. What has no letters, a time or a rule of dashes, is no sentence."""
    return [piece for line in LINE.findall(text) for piece in _of_line(line, language)]


def _of_line(line: str, language: str) -> Iterator[Piece]:
    mark = MARK.match(line)
    start = at = mark.end() if mark else 0
    yield Piece(line[:start], Role.OTHER)
    for begin, stop in sentence_spans(language, line[start:], LONGEST_PIECE_CHARS):
        begin, stop = start + begin, start + stop
        is_word_cut = at == begin and line[begin - 1 : begin].isalnum()
        yield Piece(line[at:begin], Role.GAP if at > start and not is_word_cut else Role.OTHER)
        yield from _of_sentence(line[begin:stop])
        at = stop
    yield Piece(line[at:], Role.OTHER)


def _of_sentence(sentence: str) -> Iterator[Piece]:
    for place, part in enumerate(PLACEHOLDER.split(sentence)):
        yield Piece(part, Role.OTHER if place % 2 or not any(map(str.isalpha, part)) else Role.SENTENCE)


def put_together(pieces: Iterable[Piece], translations: Mapping[str, str], target: str) -> str:
    """With spaces between sentences where, and only where, the target's language writes them."""
    space = "" if base_of(target) in UNSPACED_SENTENCES else " "
    parts = list[str]()
    for piece in pieces:
        match piece.role:
            case Role.SENTENCE:
                parts.append(translations[piece.text])
            case Role.GAP if not piece.text.strip(" "):
                parts.append(piece.text if space and piece.text else space)
            case _:
                parts.append(piece.text)
    return "".join(parts)
