"""Telephone numbers in rows of digits, judged by phonenumbers, the library that Presidio's own recogniser asks.

That one matches how numbers are written; how they are said is another matter, and so is what it would make of the other
numbers of a conversation. So what counts here is how the digits are grouped, and which words are near.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import Any

import phonenumbers
from digit_runs import PAUSE, Window
from vocabulary import primary

SURE, LIKELY, POSSIBLE = 0.7, 0.5, 0.4
"""Of a number with its country, one said in its country's groups, one that any other number might be."""
SHORTEST, LONGEST = 7, 15  # digits; the latter by E.164

# Where numbers without a country are from.
REGIONS = {
    "en": ("US", "GB", "AU", "IN", "IE", "NZ"),
    "es": ("ES", "MX", "AR", "CO", "CL", "US"),
    "de": ("DE", "AT", "CH"),
    "fr": ("FR", "BE", "CH", "CA"),
    "it": ("IT", "CH"),
    "pt": ("BR", "PT"),
    "nl": ("NL", "BE"),
    **{
        code: (code.upper(),) for code in ("pl", "ru", "tr", "fi", "hu", "ro", "sk", "hr", "lt", "lv", "bg", "id", "th")
    },
    **{"sv": ("SE",), "da": ("DK",), "no": ("NO",), "nb": ("NO",), "cs": ("CZ",), "el": ("GR",), "uk": ("UA",)},
    **{"ja": ("JP",), "ko": ("KR",), "zh": ("CN", "TW", "HK"), "ar": ("EG", "SA", "AE"), "he": ("IL",), "hi": ("IN",)},
}
OTHER_REGIONS = ("US",)
WITHOUT_PREFIX = frozenset({("IN", 5)})  # where the 0 is often left away: of Indian mobile numbers
# Of the North American plan. Numbers in its form count, though films and manuals use some that do not exist.
NORTH_AMERICAN = re.compile(r"1?[2-9]\d{9}")
LOCAL = re.compile(r"[2-9]\d{6}")
DATE = re.compile(r"(?:19|20)\d{6}|\d{4}(?:19|20)\d{2}")


def score(window: Window, language: str) -> float:
    """How likely the digits are a telephone number, words around them not counted; 0 if they are none."""
    digits = window.digits
    if not SHORTEST <= len(digits) <= LONGEST or not window.whole or _is_counting(window):
        return 0.0
    if window.international:
        return _international(digits, LIKELY)
    if digits.startswith("00"):
        return _international(digits.removeprefix("00"), 0.0)
    if DATE.fullmatch(digits) and len(window.ends) > 1:
        return 0.0
    regions = REGIONS.get(primary(language), OTHER_REGIONS)
    best = _north_american(window) if "US" in regions else 0.0
    for region in regions:
        if best < LIKELY:
            best = max(best, _national(digits, window.ends, region))
    return min(best, POSSIBLE) if _is_list(window) else best


def _international(digits: str, unknown: float) -> float:
    """`unknown` is for a number that is as long as its country's and fits no plan of it."""
    try:
        parsed = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:
        return 0.0
    if phonenumbers.is_valid_number(parsed):
        return SURE
    return unknown if phonenumbers.is_possible_number(parsed) and len(digits) > 9 else 0.0


def _north_american(window: Window) -> float:
    digits, ends = window.digits, window.ends
    if NORTH_AMERICAN.fullmatch(digits):
        groups = [len(digits) - 7, len(digits) - 4]
        exists = digits[-7] not in "01"
        return LIKELY if (set(groups) <= set(ends) and exists) or groups == window.marked[-2:] else POSSIBLE
    if not LOCAL.fullmatch(digits) or 3 not in ends or (digits[2] == digits[6] == "0"):
        return 0.0
    return LIKELY if window.marked == [3] else POSSIBLE


def _national(digits: str, ends: list[int], region: str) -> float:
    """Likely where the area code, or what the country's custom takes for it, is a group of its own."""
    prefix, pattern = _plan(region)
    dialled = bool(prefix) and digits.startswith(prefix)
    if not pattern.fullmatch(digits) and not (dialled and pattern.fullmatch(digits.removeprefix(prefix))):
        return 0.0
    parsed = phonenumbers.parse(digits, region)
    if not phonenumbers.is_valid_number(parsed):
        return 0.0
    written = re.findall(r"\d+", phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))
    area = len(written[0]) + len(digits) - sum(map(len, written))
    complete = dialled or prefix != "0" or (region, area) in WITHOUT_PREFIX
    return LIKELY if complete and len(ends) > 1 and area in ends else POSSIBLE


@cache
def _plan(region: str) -> tuple[str, re.Pattern[str]]:
    """The prefix of calls within a country, and what any of its numbers looks like behind it."""
    plan: Any = phonenumbers.PhoneMetadata.metadata_for_region(region)
    return plan.national_prefix or "", re.compile(plan.general_desc.national_number_pattern)


def _is_counting(window: Window) -> bool:
    """Whether each digit, or each part, is the one after the last, or the same."""
    rows = list(window.digits), [part.digits for part in window.parts]
    steps = [{int(after) - int(before) for before, after in pairwise(row)} for row in rows]
    return any(step in ({0}, {1}, {-1}) for step in steps)


def _is_list(window: Window) -> bool:
    """Whether it may be several numbers: "74, 11, 42, 10 and 74"."""
    listed = all(part.separation == PAUSE for part in window.parts[1:])
    return listed and all(len(part.digits) < 3 and part.digits[0] != "0" for part in window.parts)
