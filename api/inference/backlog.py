"""How much may be in work at the same time, and when there is likely to be room again."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

from api.errors import Overloaded
from api.metrics import RECORDINGS_IN_WORK, SHED, TEXTS_IN_WORK

REMEMBERED: Final = 32
"""Places that became free, by which it is told how fast they do."""
UNKNOWN_S: Final = 5.0
LONGEST_S: Final = 60
IN_WORK: Final = {"recordings": RECORDINGS_IN_WORK, "texts": TEXTS_IN_WORK}


class Backlog:
    """Places for pieces of work of one kind. Who finds none is refused at once: nobody waits here."""

    def __init__(
        self, kind: Literal["recordings", "texts"], most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kind = kind
        self._most = most
        self._clock = clock
        self._taken = 0
        self._refused = 0  # since there was room, less those for whom there has been some since
        self._freed: deque[float] = deque(maxlen=REMEMBERED)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of them while the context lasts. Raises Overloaded."""
        if self._taken >= self._most:
            self._refused += 1
            SHED.labels(self._kind).inc()
            raise Overloaded(
                f"The service is at its limit: {self._most} {self._kind} are in work. Try again later.",
                self._retry_after_s(),
            )
        self._taken += 1
        with IN_WORK[self._kind].track_inprogress():
            try:
                yield
            finally:
                self._taken -= 1
                self._refused = max(0, self._refused - 1)
                self._freed.append(self._clock())

    def _retry_after_s(self) -> int:
        """The turn of whoever is refused now comes when as many places have become free as were refused before."""
        if not self._freed:
            return math.ceil(UNKNOWN_S)
        each_s = (self._clock() - self._freed[0]) / len(self._freed)
        return max(1, min(math.ceil(self._refused * each_s), LONGEST_S))


class Admission:
    """What may be in work on one Triton, or on all that are shared."""

    def __init__(self, *, max_recordings: int, max_texts: int) -> None:
        self.recordings = Backlog("recordings", max_recordings)
        self.texts = Backlog("texts", max_texts)
