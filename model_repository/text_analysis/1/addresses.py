"""Addresses that are said instead of written: "john dot smith at example dot com", "www dot example dot com slash
prices", "192 dot 168 dot 1 dot 10".

Words become signs only around the end of a domain, "dot com", so that "at", "dot" and "plus" stay words elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from spoken import Token, number, sign
from vocabulary import Vocabulary, word_set

LONGEST_WALK = 48  # units of one name; whoever spells needs some
LONGEST_NAME = 4  # words of a name that is said without signs between them: "acme widgets dot com"
# Of the ends of domains (the last labels of the public suffix list), those that people say; "dot" before any other word
# is a word.
DOMAINS = word_set(
    "com org net edu gov mil int info biz io ai app dev tech online store shop site cloud blog xyz club agency studio "
    "design news media live today world health email solutions services group team digital global software systems "
    "network company finance travel academy consulting energy eu uk ca de fr es it nl be ch at se no dk fi pl pt ie br "
    "mx ar cl pe co ve ec uy in jp cn kr au nz za ru ua tr il ae gr cz hu ro us tv me fm gg cat lat ac"
)
# These are words as well, or follow "punto" in a sentence: they need an "at", a "www" or another dot.
WORDS_AS_DOMAINS = word_set(
    "es it be at no in us me live today world health team email news media global company group energy travel online "
    "store shop site de ve"
)


class Kind(Enum):
    WORD = auto()
    LETTER = auto()
    NUMBER = auto()
    SIGN = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Unit:
    """One or more tokens. `written` is what it stands for in an address; `said` is the word for a sign."""

    kind: Kind
    written: str
    start: int
    end: int
    glued: bool
    said: str = ""

    @property
    def is_name(self) -> bool:
        return self.kind in {Kind.WORD, Kind.LETTER, Kind.NUMBER}


@dataclass(frozen=True, slots=True)
class Address:
    """What is said from `start` to `end`, as it is written. `email` or `url`; which of them it is, its form decides."""

    written: str
    start: int
    end: int


def addresses(sequence: list[Token], words: Vocabulary) -> Iterator[Address]:
    """E-mail addresses and URLs, in order, of which at least a sign is said or stands apart."""
    units = _units(sequence, words)
    at = 0
    while at < len(units):
        if not _ends_domain(units, at):
            at += 1
            continue
        first, last = _whole(units, at, words)
        at = last + 1 if last > at else at + 1
        span = units[first : last + 1]
        said = any(unit.said or (index and not unit.glued) for index, unit in enumerate(span))
        if last > first and said:
            yield Address("".join(_written(span)), span[0].start, span[-1].end)


def ip_addresses(sequence: list[Token], words: Vocabulary) -> Iterator[Address]:
    """Four numbers up to 255 with dots between them."""
    at = 0
    while at < len(sequence):
        octets: list[str] = []
        start, last = at, at
        while at < len(sequence) and len(octets) < 4:
            octet, after = _octet(at, sequence, words)
            if not octet:
                break
            octets.append(octet)
            last, at = after - 1, after
            said, length = sign(at, sequence, words) if at < len(sequence) else ("", 0)
            if said != "." or len(octets) == 4:
                break
            at += length
        if len(octets) == 4:
            yield Address(".".join(octets), sequence[start].start, sequence[last].end)
        at = max(at, start + 1)


def _octet(at: int, sequence: list[Token], words: Vocabulary) -> tuple[str, int]:
    """Its digits, and the token after it."""
    digits = ""
    while at < len(sequence) and len(digits) <= 3:
        more, length = number(at, sequence, words)
        if not length:
            break
        digits, at = digits + more, at + length
    return (digits, at) if digits and len(digits) <= 3 and int(digits) <= 255 else ("", at)


def _units(sequence: list[Token], words: Vocabulary) -> list[Unit]:
    units: list[Unit] = []
    at = 0
    while at < len(sequence):
        token = sequence[at]
        written, length = sign(at, sequence, words)
        last = sequence[at + max(length, 1) - 1]
        kind = Kind.SIGN
        if not length:
            named = token.word not in words.not_names
            written = words.letters.get(token.word, token.word) if named else token.word
            kind = Kind.OTHER
            if token.numeric:
                kind = Kind.NUMBER
            elif token.verbal and number(at, sequence, words)[1] and len(token.word) > 1:
                kind, written = Kind.NUMBER, number(at, sequence, words)[0]
            elif token.verbal:
                kind = Kind.LETTER if len(written) == 1 else Kind.WORD
        elif token.word in {".", ":"}:
            # At the end of a sentence these are no signs of an address.
            inside = token.glued and at + 1 < len(sequence) and sequence[at + 1].glued
            kind = Kind.SIGN if inside else Kind.OTHER
        said = token.word if token.verbal and kind is Kind.SIGN else ""
        units.append(Unit(kind, written, token.start, last.end, token.glued, said))
        at += max(length, 1)
    return units


def _ends_domain(units: list[Unit], at: int) -> bool:
    """Whether a dot stands here that the end of a domain follows."""
    if not (0 < at < len(units) - 1 and _is_sign(units, at, ".") and units[at - 1].is_name):
        return False
    return _top_level(units, at + 1) > at


def _top_level(units: list[Unit], at: int) -> int:
    """The last unit of the end of a domain that begins here, one word or spelled; before `at` if there is none.

    Behind a dot that is written any word may be one: the suffix list is asked later.
    """
    if _is_word(units, at):
        joined = at + 1 < len(units) and units[at + 1].glued
        joined = joined and (units[at + 1].is_name or units[at + 1].written in "-_@")
        known = units[at].written in DOMAINS or not units[at - 1].said
        return at if known and not joined else at - 1
    spelled, last = "", at
    while last < len(units) and units[last].kind is Kind.LETTER and len(spelled) < 4:
        spelled += units[last].written
        last += 1
    return last - 1 if spelled in DOMAINS else at - 1


def _whole(units: list[Unit], dot: int, words: Vocabulary) -> tuple[int, int]:
    """The first and the last unit of the address around a dot and the end of a domain; no units, if there is none."""
    domain, last = _name_start(units, dot - 1, ".-", words), _domain_end(units, dot)
    dots = sum(_is_sign(units, index, ".") for index in range(domain, last))
    doubtful = dots == 1 and bool(units[dot].said) and units[last].written in WORDS_AS_DOMAINS
    at = _at_before(units, domain, words)
    name = _local_part(units, at, words) if at is not None else None
    if at is not None and name is not None:
        in_sentence = name == at - 1 and units[at].said == "at" and _is_word(units, last + 1)
        if not (doubtful and in_sentence):
            return name, last
    path = _path_end(units, last)
    if domain and units[domain - 1].written == "www":
        return domain - 1, path
    if domain > 3 and "".join(unit.written for unit in units[domain - 4 : domain]) in {"http://", "https://"}:
        return domain - 4, path
    in_sentence = dots == 1 and units[domain].kind is Kind.WORD and units[domain].written in words.not_names
    return (dot, dot) if (in_sentence or doubtful) and path == last else (domain, path)


def _domain_end(units: list[Unit], dot: int) -> int:
    """The last unit of the domain: "com", or "uk" of "dot co dot uk"."""
    last = _top_level(units, dot + 1)
    while (
        last + 1 < len(units) and _is_sign(units, last + 1, ".") and (further := _top_level(units, last + 2)) > last + 1
    ):
        last = further
    return last


def _at_before(units: list[Unit], domain: int, words: Vocabulary) -> int | None:
    """Where the "at" stands, with at most a few words of a long name between it and the domain."""
    for at in range(domain - 1, max(domain - 1 - LONGEST_NAME, 0), -1):
        if _is_sign(units, at, "@"):
            return at
        if not _is_word(units, at) or units[at].written in words.not_names:
            return None
    return None


def _local_part(units: list[Unit], at: int, words: Vocabulary) -> int | None:
    """Where the name before an "at" begins; None if that is a word of the sentence."""
    if not units[at - 1].is_name:
        return None
    written = not units[at].said and units[at].glued
    first = _name_start(units, at - 1, "._-+", words, written)
    if written:
        return first
    lone = first == at - 1 and units[first].kind is not Kind.NUMBER
    if lone and units[at].said == "at" and units[first].written in words.not_names:
        return None
    if not _is_word(units, first):
        return first
    for longer in range(first, max(first - LONGEST_NAME, 0), -1):
        before = units[longer - 1]
        if before.written in words.address_cues or before.written == ":":
            return longer
        if before.kind is not Kind.WORD or before.written in words.not_names:
            break
    return first


def _name_start(units: list[Unit], last: int, signs: str, words: Vocabulary, written: bool = False) -> int:
    """Where the name begins that ends with a unit: words with signs between them, or letters one by one.

    A `written` one has no spaces.
    """
    first = last
    while first > 0 and last - first < LONGEST_WALK:
        before, beyond = units[first - 1], units[first - 2] if first > 1 else None
        if written and not units[first].glued:
            break
        if _continues(before, units[first]):
            first -= 1
        elif beyond is None or not beyond.is_name or (written and not before.glued):
            break
        elif (before.kind is Kind.SIGN and before.written in signs) or (
            before.written in {",", ".", "-"} and {beyond.kind, units[first].kind} == {Kind.LETTER}
        ):
            first -= 2
        else:
            break
    return first + 1 if first < last and _is_short_word(units, first, words) else first


def _is_short_word(units: list[Unit], at: int, words: Vocabulary) -> bool:
    """Whether what looks like the first letter of a name is a word: "write to", of which "to" is "a" in Spanish."""
    if units[at].written not in words.short_words or units[at + 1].glued or not units[at + 1].is_name:
        return False
    return at > 0 and _is_word(units, at - 1) and units[at - 1].written not in words.address_cues | words.not_names


def _continues(before: Unit, unit: Unit) -> bool:
    """Whether two units without a sign between them are parts of one name."""
    if not before.is_name:
        return False
    if unit.glued or unit.kind is Kind.NUMBER:
        return True
    if before.kind is Kind.LETTER:
        return unit.kind is Kind.LETTER or before.written not in "aeiouy"
    return before.kind is Kind.NUMBER and unit.kind is Kind.LETTER


def _path_end(units: list[Unit], last: int) -> int:
    """The last unit of "slash blog slash 2024"."""
    while last + 2 < len(units) and _is_sign(units, last + 1, "/") and units[last + 2].is_name:
        last += 2
        while last + 1 < len(units) and (
            _is_sign(units, last + 1, "-_.") and last + 2 < len(units) and units[last + 2].is_name
        ):
            last += 2
        while last + 1 < len(units) and units[last + 1].glued and units[last + 1].is_name:
            last += 1
    return last


def _is_word(units: list[Unit], at: int) -> bool:
    return at < len(units) and units[at].kind is Kind.WORD


def _is_sign(units: list[Unit], at: int, signs: str) -> bool:
    return units[at].kind is Kind.SIGN and units[at].written in signs


def _written(span: list[Unit]) -> Iterator[str]:
    for index, unit in enumerate(span):
        if unit.is_name or unit.kind is Kind.SIGN:
            yield unit.written
            web = unit.written == "www" and index + 1 < len(span) and span[index + 1].is_name
            yield "." if web else ""
