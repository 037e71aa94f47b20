"""Limits that all processes share through Redis, and what one of them does while Redis is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import uuid4

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api import metrics
from api.accounts.limits import Limiter, LocalLimiter, Standing, Window

log = logging.getLogger(__name__)

TIMEOUT_S = 1.0
RETRY_S = 1.0
MAX_CONNECTIONS = 32
AWAY = (RedisError, OSError)  # a TimeoutError is an OSError
T = TypeVar("T")

# A window is a hash of the period that was last counted and its count, so that a count never reaches into the next
# period whatever the moment at which keys expire. A Redis that has lost it is told what the process knows of it.
HIT = """
local limit, period_s, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now_s = tonumber(redis.call('TIME')[1])
local period = math.floor(now_s / period_s)
local stored = redis.call('HMGET', KEYS[1], 'period', 'count')
local before = tonumber(stored[1]) == period and tonumber(stored[2]) or 0
local count = before
if tonumber(stored[1]) ~= period and tonumber(ARGV[4]) == period then
    count = tonumber(ARGV[5])
end
local allowed = count + math.max(cost, 1) <= limit
if allowed then
    count = count + cost
end
if count ~= before then
    redis.call('HSET', KEYS[1], 'period', period, 'count', count)
    redis.call('EXPIREAT', KEYS[1], (period + 1) * period_s)
end
return {allowed and 1 or 0, count, (period + 1) * period_s - now_s, period}
"""

# Answers what is counted then, or -1 where this period is not being counted.
GIVE_BACK = """
local stored = redis.call('HMGET', KEYS[1], 'period', 'count')
if stored[1] ~= ARGV[1] then
    return -1
end
local count = math.max(0, tonumber(stored[2]) - tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'count', count)
return count
"""

# KEYS[2] says that the leases of this process are here; -1 asks for them, because Redis has lost its memory.
ACQUIRE = """
if redis.call('EXISTS', KEYS[2]) == 0 then
    return -1
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return 0
end
redis.call('ZADD', KEYS[1], now_ms + ARGV[3], ARGV[1])
redis.call('PEXPIREAT', KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
return 1
"""

# The leases ARGV[2], ARGV[4], … of the subjects KEYS[2], KEYS[3], …, and the milliseconds that each has left.
REGISTER = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
for i = 2, #KEYS do
    redis.call('ZADD', KEYS[i], now_ms + ARGV[2 * i - 1], ARGV[2 * i - 2])
    redis.call('PEXPIREAT', KEYS[i], redis.call('ZRANGE', KEYS[i], -1, -1, 'WITHSCORES')[2])
end
"""


class RedisLimiter:
    """`known` is what this process knows: its own leases, and the counts that Redis reported to it.

    Raises RedisError or OSError when Redis does not answer. `timeout_s` bounds each step: waiting for a connection,
    connecting, an answer. Nothing cancels a command halfway: its caller goes, and it ends by itself.
    """

    def __init__(self, url: str, lease_s: float, timeout_s: float = TIMEOUT_S) -> None:
        self.known = LocalLimiter(lease_s)
        self._lease_ms = round(1000 * lease_s)
        self._registration = f"tritone:process:{uuid4()}"
        self._running: set[asyncio.Future[Any]] = set()
        self._client = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=timeout_s,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                protocol=2,  # the newer one does not notice an answer that was left unread
                retry=Retry(NoBackoff(), 0),
            )
        )
        self._hit = self._client.register_script(HIT)
        self._give_back = self._client.register_script(GIVE_BACK)
        self._acquire = self._client.register_script(ACQUIRE)
        self._register = self._client.register_script(REGISTER)

    async def hit(self, window: Window, cost: int = 1) -> Standing:
        known_period, known_count = self.known.last(window)
        arguments = [window.limit, window.period_s, cost, known_period, known_count]
        allowed, count, reset_s, period = await self._answer(self._hit([_window_key(window)], arguments))
        self.known.learn(window, period, count)
        return Standing(window, bool(allowed), max(0, window.limit - count), reset_s, period)

    async def give_back(self, standing: Standing, cost: int = 1) -> None:
        window = standing.window
        count = await self._answer(self._give_back([_window_key(window)], [standing.period, cost]))
        if count >= 0:
            self.known.learn(window, standing.period, count)
        else:
            await self.known.give_back(standing, cost)

    async def acquire(self, subject: str, lease: str, limit: int) -> bool:
        taking = self._start(self._take(subject, lease, limit))
        try:
            taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._start(self._undo(taking, subject, lease))
            raise
        if taken and not await self.known.acquire(subject, lease, limit):
            # While Redis was away, or slow, this process handed out as many itself, which Redis has not heard of.
            self._start(self._client.zrem(_leases_key(subject), lease))
            return False
        return taken

    async def release(self, subject: str, lease: str) -> None:
        await self.known.release(subject, lease)  # first: a lease that Redis does not hear of is not renewed
        await self._answer(self._client.zrem(_leases_key(subject), lease))

    async def renew(self) -> None:
        await self.known.renew()
        await self.register()

    async def close(self) -> None:
        while self._running:
            await asyncio.wait(self._running)
        await self._client.aclose()

    async def register(self) -> None:
        """Tells Redis of all leases of this process, whatever the limits."""
        await self._answer(self._tell())

    async def _take(self, subject: str, lease: str, limit: int) -> bool:
        keys = [_leases_key(subject), self._registration]
        arguments = [lease, str(limit), str(self._lease_ms)]
        taken = await self._acquire(keys, arguments)
        if taken < 0:
            await self._tell()
            taken = await self._acquire(keys, arguments)
        return bool(taken == 1)

    async def _tell(self) -> None:
        leases = list(self.known.leases())
        keys, arguments = [self._registration], [str(self._lease_ms)]
        for subject, lease, left_s in leases:
            keys.append(_leases_key(subject))
            arguments += [lease, str(round(1000 * left_s))]
        await self._register(keys, arguments)
        for subject, lease, _ in leases:
            if not self.known.holds(subject, lease):  # released meanwhile, perhaps before it was told
                await self._client.zrem(_leases_key(subject), lease)

    async def _undo(self, taking: asyncio.Future[bool], subject: str, lease: str) -> None:
        """Nobody waits for the place any more."""
        if await taking:
            await self._client.zrem(_leases_key(subject), lease)

    async def _answer(self, command: Awaitable[T]) -> T:
        return await asyncio.shield(self._start(command))

    def _start(self, command: Awaitable[T]) -> asyncio.Future[T]:
        task = asyncio.ensure_future(command)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waited has been told


class SharedLimiter:
    """The limits in Redis. While it is away each process limits by itself, going on from what it knows.

    Hits of an outage are not added in Redis afterwards, leases are. Raises nothing of Redis's.
    """

    def __init__(self, redis: RedisLimiter, retry_s: float = RETRY_S) -> None:
        self._redis = redis
        self._retry_s = retry_s
        self._retry_at: float | None = None  # while Redis is away
        self._probing = False
        metrics.LIMITER_SHARED.set(1)

    async def hit(self, window: Window, cost: int = 1) -> Standing:
        return await self._ask(lambda limiter: limiter.hit(window, cost))

    async def give_back(self, standing: Standing, cost: int = 1) -> None:
        await self._ask(lambda limiter: limiter.give_back(standing, cost))

    async def acquire(self, subject: str, lease: str, limit: int) -> bool:
        return await self._ask(lambda limiter: limiter.acquire(subject, lease, limit))

    async def release(self, subject: str, lease: str) -> None:
        await self._ask(lambda limiter: limiter.release(subject, lease))

    async def renew(self) -> None:
        await self._ask(lambda limiter: limiter.renew())

    async def close(self) -> None:
        await self._redis.close()

    async def _ask(self, question: Callable[[Limiter], Awaitable[T]]) -> T:
        if await self._reachable():
            try:
                return await question(self._redis)
            except AWAY as error:
                self._lost(error)
        metrics.LIMITER_FALLBACKS.inc()
        return await question(self._redis.known)

    async def _reachable(self) -> bool:
        """One caller at a time tries a Redis that was away; before anything else it hears of our leases."""
        if self._retry_at is None:
            return True
        if self._probing or time.monotonic() < self._retry_at:
            return False
        self._probing = True
        try:
            await self._redis.register()
        except AWAY as error:
            self._lost(error)
            return False
        finally:
            self._probing = False
        self._retry_at = None
        metrics.LIMITER_SHARED.set(1)
        log.info("Redis is back: limits are shared again.")
        return True

    def _lost(self, error: Exception) -> None:
        if self._retry_at is None:
            metrics.LIMITER_SHARED.set(0)
            log.warning("Redis is away, each process limits by itself: %s: %s", type(error).__name__, error)
        self._retry_at = time.monotonic() + self._retry_s


def _window_key(window: Window) -> str:
    return f"tritone:window:{window.period_s}:{window.subject}"


def _leases_key(subject: str) -> str:
    return f"tritone:leases:{subject}"
