"""Card numbers and IBANs as they are said, digit by digit and letter by letter."""

from __future__ import annotations

import re
from collections.abc import Iterator

from digit_runs import SEPARATORS, Window
from spoken import Token, number
from vocabulary import Vocabulary

CARD_LENGTHS = (13, 19)
# Issuers' ranges of ISO/IEC 7812 numbers: Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay and
# Maestro. Presidio's own pattern takes any number that begins with 1, 3, 4, 5 or 6.
CARD = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}(?:\d{3})?|3(?:0[0-59]|[689]\d)\d{11}(?:\d{2})?|35(?:2[89]|[3-8]\d)\d{12}"
    r"|62\d{14,17}|(?:50|5[6-8]|63|67)\d{11,17}"
)
# Characters of a country's IBANs, by the SWIFT registry.
IBAN_LENGTHS = {
    **{"NO": 15, "BE": 16, "DK": 18, "FI": 18, "FO": 18, "GL": 18, "NL": 18, "MK": 19, "SI": 19},
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "XK"), 20),
    **dict.fromkeys(("CH", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "CR", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **{"PT": 25, "ST": 25, "IS": 26, "TR": 26},
    **dict.fromkeys(("FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HU", "LB", "PL", "SV"), 28),
    **{"BR": 29, "EG": 29, "PS": 29, "QA": 29, "UA": 29, "JO": 30, "KW": 30, "MU": 30, "MT": 31, "SC": 31, "LC": 32},
}
LONGEST_LETTERS = 8  # in one piece, of a bank's code


def is_card(window: Window) -> bool:
    """Whether some issuer numbers its cards so; the check digit is another question."""
    return CARD.fullmatch(window.digits) is not None


def ibans(sequence: list[Token], words: Vocabulary) -> Iterator[tuple[str, int, int]]:
    """What is as long as its country's IBANs, with its first and last token; check digits are another question."""
    for first in range(len(sequence)):
        country, at = _country(first, sequence, words)
        if country and (iban := _collect(country, at, sequence, words)):
            yield iban[0], first, iban[1]


def _country(at: int, sequence: list[Token], words: Vocabulary) -> tuple[str, int]:
    """The country that begins an IBAN, and the token after it."""
    if sequence[at].word.upper() in IBAN_LENGTHS:
        return sequence[at].word.upper(), at + 1
    spelled = ""
    while at < len(sequence) and len(spelled) < 2:
        letter = _letters(sequence[at], words)
        if len(letter) != 1 and not (spelled and sequence[at].word in SEPARATORS):
            return "", at
        spelled += letter
        at += 1
    return (spelled, at) if spelled in IBAN_LENGTHS else ("", at)


def _collect(country: str, at: int, sequence: list[Token], words: Vocabulary) -> tuple[str, int] | None:
    """The whole IBAN, if what comes from `at` on completes it, and its last token."""
    said, length = country, IBAN_LENGTHS[country]
    while at < len(sequence) and len(said) < length:
        token = sequence[at]
        digits, count = number(at, sequence, words)
        letters = _letters(token, words)
        if digits and not (token.word == "o" and len(said) > 4 and said[-1].isalpha()):
            said, at = said + digits, at + count
        elif token.word in SEPARATORS or (token.word in words.fillers and len(token.word) > 1):
            at += 1
        elif letters and len(said) > 3:  # check digits come first
            said, at = said + letters, at + 1
        else:
            return None
    return (said, at - 1) if len(said) == length else None


def _letters(token: Token, words: Vocabulary) -> str:
    if token.word in words.letters:
        return words.letters[token.word].upper()
    plain = token.word.isascii() and token.word.isalpha() and len(token.word) <= LONGEST_LETTERS
    return token.word.upper() if plain else ""
