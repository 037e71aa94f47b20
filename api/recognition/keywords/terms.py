"""The terms of a request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api.errors import InvalidRequest
from api.speech import is_spoken

DEFAULT_WEIGHT: Final = 1.5
MAX_WEIGHT: Final = 10.0
MAX_KEYWORDS: Final = 500
MAX_TERM_CHARS: Final = 100
MAX_TERM_WORDS: Final = 10
WEIGHTED: Final = re.compile(r"(?P<term>.*\S)\s*:\s*(?P<weight>[-+]?(?:\d+\.?\d*|\.\d+))?", re.DOTALL)
TIME_OF_DAY: Final = re.compile(r"\d\d?(:\d\d){1,2}")


@dataclass(frozen=True, slots=True)
class Keyword:
    """A term of one word or several, as it is written. The larger its weight, 0 to 10, the likelier it is said."""

    term: str
    weight: float = DEFAULT_WEIGHT


def parse_keywords(text: str | Sequence[str]) -> tuple[Keyword, ...]:
    """Of "Acme:5,XYZ Pharma:8,off-side", or of a list of such entries, which may have commas in them.

    A weight above MAX_WEIGHT is as good as that. What comes twice, but for case, counts once, with the larger weight. A
    time such as 12:30 is a term, and so is what has a colon before anything but a number.

    Raises InvalidRequest.
    """
    entries = re.split(r"[,\r\n]", text) if isinstance(text, str) else text
    heaviest = dict[str, Keyword]()
    for keyword in (_keyword(entry.strip()) for entry in entries if entry.strip()):
        known = heaviest.setdefault(keyword.term.casefold(), keyword)
        if keyword.weight > known.weight:
            heaviest[keyword.term.casefold()] = keyword
        if len(heaviest) > MAX_KEYWORDS:
            raise InvalidRequest(f"There may be {MAX_KEYWORDS} keywords.")
    return tuple(heaviest.values())


def _keyword(entry: str) -> Keyword:
    parts = None if TIME_OF_DAY.fullmatch(entry) else WEIGHTED.fullmatch(entry)
    term, number = (parts["term"], parts["weight"]) if parts else (entry, None)
    term = " ".join(term.split())
    if len(term) > MAX_TERM_CHARS:
        raise InvalidRequest(f"A keyword may have {MAX_TERM_CHARS} characters; {term[:20]!r}… has {len(term)}.")
    if len(term.split()) > MAX_TERM_WORDS:
        raise InvalidRequest(f"A keyword may have {MAX_TERM_WORDS} words; {term[:20]!r}… has {len(term.split())}.")
    if not term.isprintable() or not any(map(is_spoken, term)):
        raise InvalidRequest(f"A keyword must be text that can be said, not {term!r:.50}.")
    weight = DEFAULT_WEIGHT if number is None else float(number)
    if weight <= 0:
        raise InvalidRequest(f"The weight of {term!r:.50} must be above 0 and at most {MAX_WEIGHT:g}, not {number}.")
    return Keyword(term, min(weight, MAX_WEIGHT))


def hotwords(keywords: Sequence[Keyword]) -> tuple[str, ...]:
    """For the decoder: the heaviest first."""
    return tuple(keyword.term for keyword in sorted(keywords, key=lambda keyword: -keyword.weight))
