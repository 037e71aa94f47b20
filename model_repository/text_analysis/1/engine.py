"""What stands in texts: personal data by Presidio, sentiment by VADER, key phrases by YAKE. Nothing here is learned but
the names of people, places and organisations, for which a spaCy pipeline may lie beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from entities import Entity, EntityFinder
from phrases import KeyPhrase, key_phrases
from sentiment import LANGUAGE as SENTIMENT_LANGUAGE
from sentiment import Sentiment, SentimentScorer
from vocabulary import primary

MAX_TEXTS = 20_000
MAX_BYTES = 1_000_000  # of all texts of a request, in UTF-8
PIPELINE = "ner"  # the folder in weights/


class AnalysisOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to find out about texts; `language` is that of all of them."""

    tasks: Annotated[tuple[Literal["entities", "sentiment", "key_phrases"], ...], msgspec.Meta(min_length=1)]
    language: str = "en"


class Analysis(msgspec.Struct, frozen=True):
    """`entities` and `sentiment` have one entry for each text, in order; `key_phrases` are of all texts together, the
    best first. What was not asked for is empty."""

    entities: list[list[Entity]] = []
    sentiment: list[Sentiment] = []
    key_phrases: list[KeyPhrase] = []


class RequestError(ValueError):
    """One request cannot be answered; the others in its batch can."""


@dataclass(frozen=True)
class Request:
    texts: Sequence[str]
    options: AnalysisOptions


class TextAnalysisEngine:
    def __init__(self, weights: Path) -> None:
        pipeline = weights / PIPELINE
        self._finder = EntityFinder(pipeline if pipeline.is_dir() else None)
        self._scorer = SentimentScorer()

    @property
    def entity_types(self) -> list[str]:
        return self._finder.types

    def analyze(self, requests: Sequence[Request]) -> list[Analysis | RequestError]:
        """The analysis of each request, or that request's own error."""
        return [RequestError(problem) if (problem := _problem(one)) else self._analyze(one) for one in requests]

    def _analyze(self, request: Request) -> Analysis:
        tasks, language = request.options.tasks, request.options.language
        return Analysis(
            [self._finder.find(text, language) for text in request.texts] if "entities" in tasks else [],
            [self._scorer.score(text) for text in request.texts] if "sentiment" in tasks else [],
            key_phrases(request.texts, language) if "key_phrases" in tasks else [],
        )


def _problem(request: Request) -> str | None:
    if len(request.texts) > MAX_TEXTS:
        return f"TEXTS may be {MAX_TEXTS:,} at most; these are {len(request.texts):,}."
    size = sum(len(text.encode()) for text in request.texts)
    if size > MAX_BYTES:
        return f"TEXTS may have {MAX_BYTES:,} bytes together; these have {size:,}."
    language = request.options.language
    if "sentiment" in request.options.tasks and primary(language) != SENTIMENT_LANGUAGE:
        return f"Sentiment is known of English alone; the language of these texts is {language!r}."
    return None
