"""Which sentences say most, by what an embedding knows of them and by a few signs on their surface.

Tuned on made meetings (bench/summaries.py). Centrality alone prefers talk that could be in any meeting ("I think so,
too"), since that is what a centre of speech is near to; so what all such talk has in common is taken out first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from api.intelligence.source import word_count

Floats = npt.NDArray[np.float32]

SMALL_TALK: Final = {
    "en": (
        "Sorry, you are breaking up, could you say that again?",
        "Yes, I agree with you.",
        "Thanks a lot.",
        "I'm doing fine, how are you?",
        "Let me share my screen.",
        "To be honest, I don't really know what to say.",
        "What I mean is, well, it's just a feeling that I have.",
        "Oh, that's funny.",
        "Goodbye, talk to you soon.",
        "Let's move on to the next point.",
        "Exactly, that's right.",
        "The weather is lovely today.",
    ),
    "es": (
        "Perdona, se corta, ¿puedes repetirlo?",
        "Sí, estoy de acuerdo contigo.",
        "Muchas gracias.",
        "Yo bien, ¿y tú?",
        "Voy a compartir la pantalla.",
        "La verdad es que no sé muy bien qué decir.",
        "Quiero decir, bueno, es solo una sensación que tengo.",
        "Ah, qué gracioso.",
        "Adiós, hablamos pronto.",
        "Pasemos al siguiente punto.",
        "Exacto, eso es.",
        "Hoy hace muy buen tiempo.",
    ),
}
"""What is said anywhere, and says nothing about what a text is about."""

DUPLICATE = 0.95
"""The cosine from which two sentences say the same."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What makes a sentence matter, beside how near it is to what the whole is about."""

    distance_from_small_talk: float = 1.5
    specificity: float = 0.4
    full_length_words: int = 10
    """A shorter sentence counts less in proportion."""
    question: float = 0.5
    start: float = 0.05
    diversity: float = 0.3
    """1 - λ of maximal marginal relevance (Carbonell and Goldstein 1998)."""


WEIGHTS: Final = Weights()
START_SHARE = 0.1
ENOUGH_PARTICULARS = 3
# Numbers, and words that are written large without beginning a sentence; in German that is every noun.
PARTICULAR = re.compile(r"\d[\d.,:]*|(?:(?<=[^\W\d_] )|(?<=[,;] ))[A-ZÀ-ÖØ-ÞΑ-ΩА-Я][^\W\d_]+")
ENDS_AS_QUESTION = ("?", "？", "؟", "?»", '?"', "?”")


def relevance(vectors: Floats, small_talk: Floats, texts: Sequence[str], weights: Weights = WEIGHTS) -> Floats:
    """Of each sentence, 0 to 1, where 1 is the best there is. `vectors` (n, d), `small_talk` (m, d): of unit length."""
    if not len(vectors):
        return np.zeros(0, np.float32)
    chat = unit(small_talk.mean(axis=0))
    scores = (
        vectors @ centre_of(vectors, small_talk)
        + weights.distance_from_small_talk * (1 - vectors @ chat)
        + weights.specificity * np.array([specificity(text) for text in texts], np.float32)
    )
    scores = np.maximum(scores, 1e-6) * np.array([_guard(text, weights) for text in texts], np.float32)
    scores *= 1 + weights.start * np.exp(-np.arange(len(texts)) / max(1.0, START_SHARE * len(texts)))
    return np.asarray(scores / scores.max(), np.float32)


def specificity(text: str) -> float:
    """0 to 1: how many numbers and names a sentence has."""
    return min(len(set(PARTICULAR.findall(text))), ENOUGH_PARTICULARS) / ENOUGH_PARTICULARS


def is_question_by_mark(text: str) -> bool:
    return text.endswith(ENDS_AS_QUESTION)


def _guard(text: str, weights: Weights) -> float:
    length = min(1.0, word_count(text) / weights.full_length_words)
    return max(length, 1e-3) * (weights.question if is_question_by_mark(text) else 1.0)


def centre_of(vectors: Floats, small_talk: Floats) -> Floats:
    """What they are about, without what all talk has in common; of unit length."""
    chat, centre = unit(small_talk.mean(axis=0)), vectors.mean(axis=0)
    return unit(centre - (centre @ chat) * chat)


def unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)


def select(
    vectors: Floats,
    scores: Floats,
    most: int,
    *,
    diversity: float = WEIGHTS.diversity,
    without: Collection[int] = (),
) -> list[int]:
    """At most so many places, in order of choice: each says much and says something else than those before it.

    Fewer, where all the rest says again what is said; then, and where two are equal, the first one stays.
    """
    left = np.ones(len(vectors), bool)
    left[list(without)] = False
    nearest = np.zeros(len(vectors), np.float32)
    chosen = list[int]()
    while len(chosen) < most and left.any():
        marginal = np.where(left, (1 - diversity) * scores - diversity * nearest, -np.inf)
        best = int(marginal.argmax())
        chosen.append(best)
        similarity = vectors @ vectors[best]
        nearest = np.maximum(nearest, similarity)
        left &= similarity < DUPLICATE
        left[best] = False
    return chosen
