"""Keyword boosting: terms that may well be said, and how much that counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api.speech import Segment

DEFAULT_WEIGHT: Final = 1.5
MAX_WEIGHT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Keyword:
    """A term of one word or several, as it is to be written. The larger its weight, 0 to 10, the likelier it is said."""

    term: str
    weight: float = DEFAULT_WEIGHT


def parse_keywords(text: str) -> tuple[Keyword, ...]:
    """Of "Acme:5,XYZ Pharma:8,off-side". Raises InvalidRequest."""
    raise NotImplementedError


def hotwords(keywords: Sequence[Keyword]) -> tuple[str, ...]:
    """For the decoder: the heaviest first."""
    raise NotImplementedError


def boosted(segments: Sequence[Segment], keywords: Sequence[Keyword]) -> list[Segment]:
    """The segments with keywords in the place of words that were hardly understood and sound like them.

    Each segment is one speaker's; no keyword reaches from one into the next.
    """
    raise NotImplementedError
