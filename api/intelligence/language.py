"""Which language a text is in, where nobody says."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from api.languages import LANGUAGES

LOOKED_AT_CHARS: Final = 5000
FEWEST_LETTERS: Final = 20
"""Of less it would be a guess."""


def language_of(text: str) -> str:
    """Its code, one of those that LANGUAGES has; en where it is too short to tell."""
    beginning = text[:LOOKED_AT_CHARS]
    if sum(map(str.isalpha, beginning)) < FEWEST_LETTERS:
        return "en"
    code: str = _identifier().classify(beginning)[0]
    return code


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # 30 MB, where a language is asked for

    identifier = LanguageIdentifier.from_pickled_model(MODEL_FILE)
    identifier.set_languages([code for code in identifier.nb_classes if code in LANGUAGES])
    return identifier
