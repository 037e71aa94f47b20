"""How much a subject may do: hits counted in windows of time, and places held by leases."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

MAX_SUBJECTS = 100_000  # about 22 MB for each length of period


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` in each period of `period_s` seconds, counted from the epoch, so that a day is UTC's."""

    subject: str
    limit: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a subject stands in a window now; `period` is the number of the period it was counted in."""

    window: Window
    allowed: bool
    remaining: int
    reset_s: int
    """Whole seconds until the period ends, at least 1."""
    period: int


class Limiter(Protocol):
    async def hit(self, window: Window, cost: int = 1) -> Standing:
        """A refused hit is not counted. Cost 0 only looks whether a hit of 1 would be allowed."""
        ...

    async def give_back(self, standing: Standing, cost: int = 1) -> None:
        """Takes what was counted off the period it was counted in, never below zero, unless that period is over."""
        ...

    async def acquire(self, subject: str, lease: str, limit: int) -> bool:
        """Takes one of `limit` places, held until released, or until not renewed for `lease_s`."""
        ...

    async def release(self, subject: str, lease: str) -> None:
        """May be repeated."""
        ...

    async def renew(self) -> None:
        """Keeps all leases that were handed out here and neither released nor expired; due every lease_s / 3."""
        ...

    async def close(self) -> None: ...


class LocalLimiter:
    """The limits of one process.

    For each length of period it counts `max_subjects` subjects at most. The one that was hit longest ago is forgotten
    then, and has a fresh allowance: whoever commands so many addresses does not need it.
    """

    def __init__(
        self, lease_s: float, clock: Callable[[], float] = time.time, *, max_subjects: int = MAX_SUBJECTS
    ) -> None:
        self._lease_s = lease_s
        self._clock = clock
        self._max_subjects = max_subjects
        self._counts: dict[int, tuple[int, OrderedDict[str, int]]] = {}  # by length of period, of one period each
        self._leases: dict[str, dict[str, float]] = {}  # when each expires, by subject
        self._swept = clock()

    async def hit(self, window: Window, cost: int = 1) -> Standing:
        now = self._clock()
        period = int(now // window.period_s)
        last, count = self.last(window)
        if last != period:
            count = 0
        allowed = count + max(cost, 1) <= window.limit
        if allowed:
            count += cost
        self.learn(window, period, count)
        reset_s = (period + 1) * window.period_s - int(now)
        return Standing(window, allowed, max(0, window.limit - count), reset_s, period)

    async def give_back(self, standing: Standing, cost: int = 1) -> None:
        last, count = self.last(standing.window)
        if last == standing.period:
            self.learn(standing.window, last, max(0, count - cost))

    async def acquire(self, subject: str, lease: str, limit: int) -> bool:
        now = self._clock()
        if now - self._swept >= self._lease_s:
            self._sweep(now)
        live = [held for held, expires in self._leases.get(subject, {}).items() if expires > now]
        allowed = lease in live or len(live) < limit
        if allowed:
            self._leases.setdefault(subject, {})[lease] = self._clock() + self._lease_s
        return allowed

    async def release(self, subject: str, lease: str) -> None:
        held = self._leases.get(subject, {})
        held.pop(lease, None)
        if not held:
            self._leases.pop(subject, None)

    async def renew(self) -> None:
        now = self._clock()
        self._sweep(now)
        for held in self._leases.values():
            held.update(dict.fromkeys(held, now + self._lease_s))

    async def close(self) -> None:
        pass

    def last(self, window: Window) -> tuple[int, int]:
        """The period that was counted last, whether it is over or not, and the count in it."""
        if window.period_s not in self._counts:
            return 0, 0
        period, counts = self._counts[window.period_s]
        return period, counts.get(window.subject, 0)

    def learn(self, window: Window, period: int, count: int) -> None:
        """`count` is what has been counted, wherever that was."""
        if window.period_s not in self._counts or self._counts[window.period_s][0] != period:
            now = self._clock()
            self._counts = {
                length: counted for length, counted in self._counts.items() if (counted[0] + 1) * length > now
            }
            self._counts[window.period_s] = (period, OrderedDict())
        counts = self._counts[window.period_s][1]
        if count:
            counts[window.subject] = count
            counts.move_to_end(window.subject)
            if len(counts) > self._max_subjects:
                counts.popitem(last=False)
        else:
            counts.pop(window.subject, None)

    def leases(self) -> Iterator[tuple[str, str, float]]:
        """Subject, lease, and the seconds it has left, of all that have not expired."""
        now = self._clock()
        for subject, held in self._leases.items():
            for lease, expires in held.items():
                if expires > now:
                    yield subject, lease, expires - now

    def holds(self, subject: str, lease: str) -> bool:
        return self._leases.get(subject, {}).get(lease, 0.0) > self._clock()

    def _sweep(self, now: float) -> None:
        live = {
            subject: {lease: expires for lease, expires in held.items() if expires > now}
            for subject, held in self._leases.items()
        }
        self._leases = {subject: held for subject, held in live.items() if held}
        self._swept = now
