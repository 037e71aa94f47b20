"""Personal data in a text, as it is written and as it is said.

Presidio's recognisers look at the text as it stands, and at what is said in it as it would be written. Each finding has
its place in the text, a score, and yields to a longer one that it overlaps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import phones
from addresses import addresses, ip_addresses
from banking import CARD_LENGTHS, ibans, is_card
from digit_runs import Part, Window, runs, windows
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    CryptoRecognizer,
    IbanRecognizer,
    IpRecognizer,
    UsSsnRecognizer,
)
from recognizers import LinearUrlRecognizer, NamedEntityRecognizer, OfflineEmailRecognizer
from spoken import Token, joins, tokens
from vocabulary import Vocabulary, Words, vocabulary

SCORE_THRESHOLD = 0.5
"""From here on a finding counts. Presidio gives 1 to what has right check digits and 0.4 to any telephone number."""
CONTEXT_BONUS = 0.35
"""For a word that fits nearby, as Presidio's LemmaContextAwareEnhancer; as much is taken off for one that does not."""
WORDS_BEFORE, WORDS_AFTER = 8, 5
WITHOUT_WORDS_BONUS, PHONE_DIGITS = 0.1, 10
"""In a language of which no such words are known, so many digits that fit the country's plan are enough."""
TYPES = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "URL", "CRYPTO")
SSN_DIGITS = 9
SSN_GROUPS = [3, 5]  # digits before the end of each but the last
# Patterns need time that may grow with the square of a text's length, so they see a few thousand characters of it.
PIECE_CHARACTERS = 4000
OVERLAP_CHARACTERS = 500  # as long as somebody spells an address


class Entity(msgspec.Struct, frozen=True):
    """`type` is Presidio's name of it (EMAIL_ADDRESS, PERSON, …); the span is in characters of the text."""

    type: str
    start: int
    end: int
    score: float


class EntityFinder:
    def __init__(self, pipeline: Path | None = None) -> None:
        """`pipeline` is a folder with a spaCy pipeline that finds names."""
        self._email, self._url, self._ip = OfflineEmailRecognizer(), LinearUrlRecognizer(), IpRecognizer()
        self._card, self._iban, self._ssn = CreditCardRecognizer(), IbanRecognizer(), UsSsnRecognizer()
        self._written = [self._email, self._url, self._ip, self._iban, CryptoRecognizer()]
        self._names = NamedEntityRecognizer(pipeline) if pipeline else None

    @property
    def types(self) -> list[str]:
        return [*TYPES, *(self._names.types if self._names else [])]

    def find(self, text: str, language: str) -> list[Entity]:
        """In order, none overlapping another."""
        patterns: list[Entity] = []
        names: list[Entity] = []
        words = vocabulary(language)
        for start, piece in pieces(text):
            patterns += _inside(start, piece, text, [*self._as_written(piece), *self._as_said(piece, language, words)])
            if self._names:
                found = self._names.analyze(piece, language)
                names += _inside(start, piece, text, [Entity(r.entity_type, r.start, r.end, r.score) for r in found])
        counting = [entity for entity in patterns if entity.score >= SCORE_THRESHOLD]
        return disjoint(counting, names)

    def _as_written(self, text: str) -> Iterator[Entity]:
        for recognizer in self._written:
            for result in recognizer.analyze(text, recognizer.supported_entities):
                end = result.end
                while result.entity_type == "URL" and text[end - 1] in ".,;:!?…":
                    end -= 1
                yield Entity(result.entity_type, result.start, end, float(result.score))

    def _as_said(self, text: str, language: str, words: Vocabulary) -> Iterator[Entity]:
        sequence = tokens(text)
        for address in addresses(sequence, words):
            for recognizer in (self._email, self._url):
                for result in recognizer.analyze(address.written, recognizer.supported_entities):
                    if (result.start, result.end) == (0, len(address.written)):
                        yield Entity(result.entity_type, address.start, address.end, float(result.score))
        for address in ip_addresses(sequence, words):
            for result in self._ip.analyze(address.written, self._ip.supported_entities):
                yield Entity(result.entity_type, address.start, address.end, float(result.score))
        for iban, first, last in ibans(sequence, words):
            if self._iban.validate_result(iban):
                yield Entity("IBAN_CODE", sequence[first].start, sequence[last].end, 1.0)
        for run in runs(text, sequence, words):
            yield from self._in_run(run, sequence, language, words)

    def _in_run(self, run: Sequence[Part], sequence: list[Token], language: str, words: Vocabulary) -> Iterator[Entity]:
        for window in windows(run, *CARD_LENGTHS):
            if is_card(window) and self._card.validate_result(window.digits):
                yield _entity("CREDIT_CARD", window, sequence, 1.0)
        for window in windows(run, SSN_DIGITS, SSN_DIGITS):
            if score := self._ssn_score(window):
                score += _context(window, sequence, words.ssn_cues, words)
                yield _entity("US_SSN", window, sequence, score)
        for window in windows(run, phones.SHORTEST, phones.LONGEST):
            if score := phones.score(window, language):
                score += 0 if window.international else _phone_bonus(window, sequence, words)
                yield _entity("PHONE_NUMBER", window, sequence, score)

    def _ssn_score(self, window: Window) -> float:
        """Without a word that says so, only its groups tell a social security number from others; 0 if it is none."""
        digits, grouped = window.digits, window.marked == SSN_GROUPS or window.ends[:-1] == SSN_GROUPS
        written = f"{digits[:3]}-{digits[3:5]}-{digits[5:]}"
        if not window.whole or not {*window.ends} >= {*SSN_GROUPS} or self._ssn.invalidate_result(written):
            return 0.0
        return SCORE_THRESHOLD if grouped else SCORE_THRESHOLD - 0.2


def _phone_bonus(window: Window, sequence: list[Token], words: Vocabulary) -> float:
    if words.phone_cues:
        return _context(window, sequence, words.phone_cues, words)
    return WITHOUT_WORDS_BONUS if len(window.digits) >= PHONE_DIGITS else 0.0


def _context(window: Window, sequence: list[Token], cues: Words, words: Vocabulary) -> float:
    """The nearest word before the number that says what it is decides; for it, some words after it may speak, too."""
    start = max(window.first - 3 * WORDS_BEFORE, 0)
    spoken = [token.word for token in sequence[start : window.first] if token.verbal][-WORDS_BEFORE:]
    before = [re.split("['’]", word)[0] for word in spoken]  # "my phone's"
    for owner, word in zip([None, *before[:-1]][::-1], reversed(before), strict=False):
        if word in cues or (word in words.number_words and owner in words.owners):
            return CONTEXT_BONUS
        if word in words.other_cues:
            return -CONTEXT_BONUS
    after = sequence[window.last + 1 : window.last + 1 + WORDS_AFTER]
    return CONTEXT_BONUS if any(token.word in cues for token in after) else 0.0


def _entity(kind: str, window: Window, sequence: list[Token], score: float) -> Entity:
    first = window.first
    if first and sequence[first - 1].word == "(" and any(token.word == ")" for token in sequence[first : window.last]):
        first -= 1
    return Entity(kind, sequence[first].start, sequence[window.last].end, round(min(score, 1.0), 2))


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """The whole of a text of usual length; of a longer one overlapping parts, cut at spaces where there are any."""
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        end = start + PIECE_CHARACTERS
        space = text.rfind(" ", end - OVERLAP_CHARACTERS // 4, end)
        end = space if space > 0 else end
        yield start, text[start:end]
        following = text.find(" ", end - OVERLAP_CHARACTERS, end - OVERLAP_CHARACTERS // 2)
        start = following + 1 if following > 0 else end - OVERLAP_CHARACTERS
    yield start, text[start:]


def _inside(start: int, piece: str, text: str, found: Sequence[Entity]) -> Iterator[Entity]:
    """The findings of a piece, by their place in the text, without those that its cuts may have shortened."""
    for entity in found:
        cut = (start > 0 and entity.start == 0) or (start + len(piece) < len(text) and entity.end == len(piece))
        if not cut and not _splits_word(piece, entity):
            yield Entity(entity.type, start + entity.start, start + entity.end, entity.score)


def _splits_word(text: str, entity: Entity) -> bool:
    borders = [at for at in (entity.start, entity.end) if 0 < at < len(text)]
    return any(joins(text[at - 1]) and joins(text[at]) for at in borders)


def disjoint(patterns: Sequence[Entity], names: Sequence[Entity]) -> list[Entity]:
    """Of overlapping entities the longest, then the likeliest; names where nothing else is.

    What may be the address of a computer is none of a telephone, however often it is called.
    """
    taken: list[Entity] = []
    occupied: set[int] = set()
    longest = sorted(patterns, key=lambda e: (e.start - e.end, e.type != "IP_ADDRESS", -e.score, e.start, e.type))
    for entity in [*longest, *sorted(names, key=lambda e: (e.start - e.end, e.start))]:
        span = range(entity.start, entity.end)
        if span and occupied.isdisjoint(span):
            taken.append(entity)
            occupied.update(span)
    return sorted(taken, key=lambda entity: entity.start)
