"""Texts as tokens, and the numbers that words and digits say."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from vocabulary import Vocabulary

LETTERS = r"(?:[^\W\d_][\u0300-\u036f]*)+"  # with accents that are characters of their own
TOKEN = re.compile(rf"{LETTERS}(?:['’]{LETTERS})*|\d+|\S")
LONGEST_NUMBER = 19  # digits in one piece; a card has no more


class Token(NamedTuple):
    """A word, a row of digits or a sign. `word` is folded; `glued`: nothing is between it and the one before."""

    word: str
    start: int
    end: int
    glued: bool

    @property
    def numeric(self) -> bool:
        return self.word.isdecimal()

    @property
    def verbal(self) -> bool:
        return self.word[0].isalpha()


def tokens(text: str) -> list[Token]:
    found: list[Token] = []
    for match in TOKEN.finditer(text):
        glued = bool(found) and found[-1].end == match.start()
        found.append(Token(fold(match[0]), match.start(), match.end(), glued))
    return found


def fold(word: str) -> str:
    """Without case and accents, and with the digits of all scripts as 0 to 9."""
    if word.isascii():
        return word.lower()
    if word.isdecimal():
        return "".join(str(unicodedata.decimal(digit)) for digit in word)
    apart = unicodedata.normalize("NFD", word.casefold())
    return "".join(mark for mark in apart if not unicodedata.combining(mark)) or word


def joins(character: str) -> bool:
    """Whether it makes one word with a digit or letter beside it, as it would not in Chinese."""
    return character.isalnum() and unicodedata.east_asian_width(character) not in "WF"


def sign(at: int, sequence: list[Token], words: Vocabulary) -> tuple[str, int]:
    """The sign that is written or said from a token on, and how many tokens say it; ("", 0) if there is none."""
    for length in (2, 1):
        said = tuple(token.word for token in sequence[at : at + length])
        if len(said) == length and said in words.signs:
            return words.signs[said], length
    word = sequence[at].word
    return (word, 1) if word in {".", "@", "_", "-", "+", "/", ":"} else ("", 0)


def number(at: int, sequence: list[Token], words: Vocabulary) -> tuple[str, int]:
    """The digits that are said from a token on, and how many tokens say them; ("", 0) if there are none.

    A number is what is said in one breath: "four", "double five", "forty-two", "one hundred ninety two".
    """
    token = sequence[at]
    if token.word in words.repeats and at + 1 < len(sequence):
        digit = _below_hundred(sequence[at + 1].word, words)
        if len(digit) == 1:
            return digit * words.repeats[token.word], 2
    if token.numeric:
        if len(token.word) > LONGEST_NUMBER:
            return "", 0
        if len(token.word) == 1 and _is(sequence, at + 1, words.hundred):
            return _hundreds(int(token.word), at + 2, sequence, words, 2)
        return token.word, 1
    if token.word in words.hundreds:
        return _hundreds(words.hundreds[token.word] // 100, at + 1, sequence, words, 1)
    if token.word in words.numbers and 0 < words.numbers[token.word] < 10 and _is(sequence, at + 1, words.hundred):
        return _hundreds(words.numbers[token.word], at + 2, sequence, words, 2)
    return _tens(at, sequence, words)


def _hundreds(count: int, rest: int, sequence: list[Token], words: Vocabulary, said: int) -> tuple[str, int]:
    """With what follows, if it belongs: "eight hundred, five five five" is 800 and three fives."""
    linked = _is(sequence, rest, words.hundred_link)
    digits, length = _tens(rest + linked, sequence, words) if rest + linked < len(sequence) else ("", 0)
    if digits and (linked or len(digits) == 2 or words.hundreds) and not sequence[rest + linked].numeric:
        return str(100 * count + int(digits)), said + linked + length
    return str(100 * count), said


def _tens(at: int, sequence: list[Token], words: Vocabulary) -> tuple[str, int]:
    word = sequence[at].word
    if word not in words.tens:
        digits = _below_hundred(word, words)
        return digits, 1 if digits else 0
    link = at + 1
    if words.tens_link is None:
        linked = link < len(sequence) and sequence[link].word == "-" and sequence[link].glued
    else:
        linked = _is(sequence, link, words.tens_link)
    unit = link + linked
    if unit < len(sequence) and (linked or words.tens_link is None):
        digit = words.numbers.get(sequence[unit].word, 0)
        if 0 < digit < 10:
            return str(words.tens[word] + digit), unit + 1 - at
    return str(words.tens[word]), 1


def _below_hundred(word: str, words: Vocabulary) -> str:
    if word in words.numbers:
        return str(words.numbers[word])
    return word if word.isdecimal() and len(word) == 1 else ""


def _is(sequence: list[Token], at: int, word: str | None) -> bool:
    return word is not None and at < len(sequence) and sequence[at].word == word
