"""Key phrases by YAKE, which needs no model: words count that are frequent, early and seldom beside the same others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yake
from vocabulary import primary

MOST_PHRASES = 30
LONGEST_PHRASE = 3  # words
STOPWORDS = Path(yake.__file__).parent / "core" / "StopwordsList"
ENDED = re.compile(r"[.!?…。！？]\s*$")


class KeyPhrase(msgspec.Struct, frozen=True):
    """As the text writes it; a `relevance` from 0 to 1, the larger the better."""

    text: str
    relevance: float


def key_phrases(texts: Sequence[str], language: str) -> list[KeyPhrase]:
    """Of all texts together, the best first; no phrase goes from one text into another."""
    ended = [text if ENDED.search(text) else f"{text}." for text in texts if text.strip()]
    extractor = yake.KeywordExtractor(lan=_stopwords(language), n=LONGEST_PHRASE, top=MOST_PHRASES)
    found: dict[str, KeyPhrase] = {}
    for phrase, score in extractor.extract_keywords(" ".join(ended)):
        written = _as_written(phrase, texts)
        if written and written.casefold() not in found:
            # YAKE's scores are positive, the smaller the better.
            found[written.casefold()] = KeyPhrase(written, 1 / (1 + max(float(score), 0.0)))
    return list(found.values())


def _as_written(phrase: str, texts: Sequence[str]) -> str | None:
    """YAKE puts one space between the tokens of a phrase; "don't" is two."""
    pattern = re.compile(r"\s*".join(map(re.escape, phrase.split())), re.IGNORECASE)
    return next((" ".join(match[0].split()) for text in texts if (match := pattern.search(text))), None)


def _stopwords(language: str) -> str:
    """YAKE's name of the language's list; English words do no harm in a language that has none."""
    name = {"cs": "cz"}.get(primary(language), primary(language))
    return name if name.isalpha() and (STOPWORDS / f"stopwords_{name}.txt").is_file() else "en"
