"""Which terms a span of words may be, and how closely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from api.recognition.keywords.sounds import UNSPACED, heard_as, letters
from api.recognition.keywords.terms import Keyword

MOST_TOLERANCE: Final = 0.55
"""How much of a term may be different, however heavy it is."""
HALF_TOLERANCE_WEIGHT: Final = 0.5
"""Half of that is tolerated for this weight."""
UNTELLING_LETTERS: Final = 2
"""So many letters of any term are met by chance, and no shorter one is looked for; but for characters that stand for
syllables and words."""
MORE_WORDS: Final = 2
"""A term may have been heard as so many words more than it has."""
LONGEST_SPELT: Final = 5
"""A word in capitals up to this length may have been heard letter by letter."""
MOST_WORDS: Final = 12
"""That any term is looked for in: each more costs every word of a recording a comparison with every term."""
TERMS_OF_SPAN: Final = 3
"""No more of them are looked at closely."""
SPANS_AT_ONCE: Final = 1000

Floats = npt.NDArray[np.float32]
Spoken = tuple[str, str]
"""Words in one spelling for all that sound alike, and the classes of their sounds."""


@dataclass(frozen=True)
class Term:
    """A keyword as it is compared."""

    keyword: Keyword

    @cached_property
    def words(self) -> list[str]:
        """What is not spoken, such as the sign in "Procter & Gamble", belongs to the word before it."""
        words = list[str]()
        for word in self.keyword.term.split():
            if words and not (letters(word) and letters(words[-1])):
                words[-1] += f" {word}"
            else:
                words.append(word)
        return words

    @cached_property
    def keys(self) -> list[str]:
        return [letters(word) for word in self.words]

    @cached_property
    def letters(self) -> str:
        return "".join(self.keys)

    @cached_property
    def spoken(self) -> Spoken:
        return spoken(self.keys)

    @cached_property
    def most_words(self) -> int:
        """That it may have been heard as."""
        return min(MOST_WORDS, MORE_WORDS + sum(map(_pronounced, self.words)))

    def tolerated(self, letters: int, *, confirmed: bool = False) -> float:
        """How many of so many of its letters may be different where nothing that was heard is sure. `confirmed`: the
        rest of it was heard as it is."""
        weight = self.keyword.weight
        untelling = 0 if confirmed or UNSPACED.search(self.letters) else UNTELLING_LETTERS
        return MOST_TOLERANCE * weight / (weight + HALF_TOLERANCE_WEIGHT) * (letters - untelling)


def terms_of(keywords: Sequence[Keyword]) -> list[Term]:
    return [term for term in map(Term, keywords) if term.tolerated(len(term.letters)) > 0]


def _pronounced(word: str) -> int:
    """How many words this one may sound like."""
    if word.isupper() and len(word) <= LONGEST_SPELT:
        return len(word)
    return max(1, len(UNSPACED.findall(word)), len(word.replace("-", " ").split()))


def spoken(words: Sequence[str]) -> Spoken:
    spellings, sounds = zip(*map(heard_as, words), strict=True)
    return "".join(spellings), "".join(sounds)


def difference(heard: Spoken, said: Spoken) -> float:
    """The share of letters and of sounds that is different, 0 for the same: the mean of both."""
    from rapidfuzz.distance import Levenshtein

    return sum(Levenshtein.distance(*sides) / max(1, len(sides[1])) for sides in zip(heard, said, strict=True)) / 2


def likeliest(spans: Sequence[Spoken], terms: Sequence[Term]) -> Iterator[tuple[int, int]]:
    """Of each span, the places of the few terms that it is nearest to."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    def shares(of_terms: Sequence[str], of_spans: Sequence[str]) -> Floats:
        lengths = np.array([max(1, len(one)) for one in of_terms], dtype=np.float32)
        distances: npt.NDArray[np.uint16] = cdist(of_terms, of_spans, scorer=Levenshtein.distance, dtype=np.uint16)
        return distances / lengths[:, None]

    lengths = np.array([len(term.letters) for term in terms], dtype=np.float32)[:, None]
    tolerated = np.array([term.tolerated(len(term.letters)) for term in terms], dtype=np.float32)[:, None]
    spellings, sounds = zip(*(term.spoken for term in terms), strict=True)
    for start in range(0, len(spans), SPANS_AT_ONCE):
        of_spans = list(zip(*spans[start : start + SPANS_AT_ONCE], strict=True))
        different = (shares(spellings, of_spans[0]) + shares(sounds, of_spans[1])) / 2
        gains = np.maximum(tolerated - different * lengths, 0)
        for of_rank in np.argsort(-gains, axis=0, kind="stable")[:TERMS_OF_SPAN]:
            for span in np.flatnonzero(gains[of_rank, np.arange(len(of_rank))]):
                yield start + int(span), int(of_rank[span])
