"""What the rules know of languages; of others than these, nothing."""

from __future__ import annotations

from typing import Final

from api.intelligence.grammar.base import Grammar, Headings
from api.intelligence.grammar.english import ENGLISH
from api.intelligence.grammar.spanish import SPANISH

GRAMMARS: Final[dict[str, Grammar]] = {"en": ENGLISH, "es": SPANISH}


def headings_of(language: str) -> Headings:
    """English ones where there are none."""
    return GRAMMARS.get(language, ENGLISH).headings
