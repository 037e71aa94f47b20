"""Where one subject ends and another begins.

The best partition of all: sentences of a chapter should be near their common centre, each further chapter costs
something, and one that begins the way people begin a new subject costs less. What says much counts more than chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from api.intelligence.ranking import Floats

MOST_CHAPTERS: Final = 20
LEAST_SENTENCES: Final = 5
LEAST_S: Final = 15.0
PENALTY: Final = 3.5
"""For a further chapter, in variances of a sentence: by chance alone, a border would gain about one."""
DISCOUNT: Final = 0.7
"""Of it, where a new subject is announced."""
MOST_CANDIDATES: Final = 1000
"""Borders that are considered: what it takes grows with their square."""

Sums = npt.NDArray[np.float64]


def chapter_starts(
    vectors: Floats, scores: Floats, opens: Sequence[bool], times: Sequence[float] | None = None
) -> list[int]:
    """The first sentence of each chapter; the first one begins with the first sentence.

    `scores` (n,) says how much a sentence counts, `opens` whether it sounds like the beginning of a subject; `times`
    are those of the sentences' starts, if they are known.
    """
    if not len(vectors):
        return []
    weighted = vectors * scores[:, None]
    borders = _candidates(weighted, np.array(opens, bool))
    sums = np.zeros((len(borders), vectors.shape[1]), np.float64)
    sums[1:] = np.cumsum(np.add.reduceat(weighted, borders[:-1], axis=0, dtype=np.float64), axis=0)
    products = sums @ sums.T
    variance = (float((weighted.astype(np.float64) ** 2).sum()) - products[-1, -1] / len(vectors)) / len(vectors)
    announced = np.append(np.array(opens, bool), False)[borders]
    costs = PENALTY * max(variance, 1e-9) * (1 - DISCOUNT * announced)
    costs[0] = 0.0
    clock = None if times is None else np.append(np.asarray(times, np.float64), np.inf)[borders]
    return _partition(products, borders, costs, clock)


def _candidates(weighted: Floats, opens: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Places of sentences that chapters may begin at, and the end. Of a long text one for every so many sentences:
    where a subject is announced, or else the one that is least like the one before."""
    size = len(weighted)
    stride = -(-size // MOST_CANDIDATES)
    if stride == 1:
        return np.arange(size + 1)
    unlike = 10.0 * opens[1:] - np.einsum("nd,nd->n", weighted[1:], weighted[:-1])
    places = [first + 1 + int(unlike[first : first + stride].argmax()) for first in range(0, size - 1, stride)]
    return np.unique([0, *places, size])


def _partition(products: Sums, borders: npt.NDArray[np.intp], costs: Sums, clock: Sums | None) -> list[int]:
    """Dynamic programming over the number of chapters and the first border of the last one. What is too short for two
    chapters is one."""
    squares = np.diag(products)
    count = len(borders)
    best = np.full((MOST_CHAPTERS + 1, count), -np.inf)
    best[0, 0] = 0.0
    came_from = np.zeros((MOST_CHAPTERS + 1, count), np.intp)
    for end in range(1, count):
        length = borders[end] - borders[:end]
        gains = (squares[end] + squares[:end] - 2 * products[:end, end]) / length - costs[:end]
        allowed = length >= LEAST_SENTENCES
        if clock is not None:
            allowed &= clock[end] - clock[:end] >= LEAST_S
        allowed[0] |= end == count - 1
        totals = best[:-1, :end] + np.where(allowed, gains, -np.inf)
        came_from[1:, end] = totals.argmax(axis=1)
        best[1:, end] = totals.max(axis=1)
    starts = list[int]()
    at = count - 1
    for chapters in range(int(best[:, -1].argmax()), 0, -1):
        at = int(came_from[chapters, at])
        starts.append(int(borders[at]))
    return starts[::-1]
