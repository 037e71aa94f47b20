"""Which of several Tritons a call goes to."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, TypeVar

E = TypeVar("E")


class Fitness(IntEnum):
    """How much is known in favour of an endpoint for a version of a model; the lower the better."""

    READY = 0
    UNKNOWN = 1
    """It is well, and did not say what it has."""
    FAILING = 2
    """It is well, and the version there has just failed."""
    AWAY = 3
    HUNG = 4
    """A call to it may take as long as calls may."""


class Standing(NamedTuple):
    """How an endpoint stands for a call, the lower the better: by what it is, and then by what it has to do.

    Work is counted in calls. Bytes would say less: Whisper pads every window to the same length, a text's bytes are not
    its tokens, and what each call may hold is bounded. The calls of the same model go first, because those are what the
    model's instances and batches are filled with; those of all models after that, because they share the processors.
    """

    fitness: Fitness
    of_model: int
    of_all: int


def best(
    standings: Mapping[E, Standing], tried: Collection[E] = (), draw: Callable[[Sequence[E]], E] = random.choice
) -> E | None:
    """The one with the least to do among the fittest, by lot where several are alike; none where all were tried.

    What is not well is a last resort for a call that has been nowhere yet: one that has should wait rather.
    """
    left = {
        endpoint: standing
        for endpoint, standing in standings.items()
        if endpoint not in tried and (standing.fitness <= Fitness.UNKNOWN or not tried)
    }
    least = min(left.values(), default=None)
    return None if least is None else draw([endpoint for endpoint, standing in left.items() if standing == least])
