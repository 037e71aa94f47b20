"""Sentiment by VADER: a lexicon, and rules for English."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

LANGUAGE = "en"
# VADER's time grows with the square of a text's words; of a longer one, the mean of its parts counts.
PART_CHARACTERS = 2000
EMOJI_CHARACTERS = 20  # VADER reads an emoji as the words that describe it
LAST_LETTERS = "\u2000"


class Sentiment(msgspec.Struct, frozen=True):
    """`compound` is from -1 to 1; the others are shares of the text, with a sum of 1."""

    compound: float
    positive: float
    neutral: float
    negative: float


class SentimentScorer:
    def __init__(self) -> None:
        self._vader = SentimentIntensityAnalyzer()

    def score(self, text: str) -> Sentiment:
        """A text without words is neutral."""
        compound = positive = negative = 0.0
        for part in _parts(text):
            scores, share = self._vader.polarity_scores(part), len(part) / max(len(text), 1)
            compound += share * scores["compound"]
            positive += share * scores["pos"]
            negative += share * scores["neg"]
        return Sentiment(compound, positive, max(0.0, 1 - positive - negative), negative)


def _parts(text: str) -> Iterator[str]:
    """All of the text, cut at spaces where there are any."""
    start = space = length = 0
    for at, character in enumerate(text):
        space = at if character == " " else space
        length += EMOJI_CHARACTERS if character > LAST_LETTERS else 1
        if length > PART_CHARACTERS:
            end = space if space > start else at
            yield text[start:end]
            start, length = end, at - end
    yield text[start:]
