"""Rate windows and leases: in one process, through Redis, and while Redis is away."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from redis.asyncio import Redis

from api.accounts.limits import Limiter, LocalLimiter, Standing, Window
from api.accounts.shared_limits import RedisLimiter, SharedLimiter
from api.metrics import REGISTRY, exposition
from tests.servers import RedisServer

T = TypeVar("T")
FOREVER_S = 4_000_000_000  # one period from the epoch to 2096: none ends during a test
LONG_S = 600.0  # no lease ends during a test
SHORT_S = 1.5
PATIENCE_S = 30.0
Limiters = Callable[[float], AbstractAsyncContextManager[Limiter]]
names = (f"account:{number}" for number in count())


def window(limit: int, period_s: int = FOREVER_S) -> Window:
    return Window(next(names), limit, period_s)


@pytest.fixture(params=["local", "redis", "shared"])
def limiters(request: pytest.FixtureRequest) -> Limiters:
    """Makes a limiter whose leases last so long."""
    kind: str = request.param
    url = "" if kind == "local" else request.getfixturevalue("redis_server").url

    @asynccontextmanager
    async def limiter(lease_s: float) -> AsyncIterator[Limiter]:
        made: Limiter = LocalLimiter(lease_s) if kind == "local" else RedisLimiter(url, lease_s, PATIENCE_S)
        made = SharedLimiter(made) if isinstance(made, RedisLimiter) and kind == "shared" else made
        before = fallbacks()
        yield made
        await made.close()
        assert fallbacks() == before  # it was Redis that answered

    return limiter


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that may be hurt."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()


def through(server: RedisServer) -> RedisLimiter:
    """With the patience of a test: a busy machine is no outage."""
    return RedisLimiter(server.url, LONG_S, PATIENCE_S)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110 — nobody tells when Redis is back
            await asyncio.sleep(0.02)


def fallbacks() -> float:
    return REGISTRY.get_sample_value("tritone_limiter_fallbacks_total") or 0.0


def shared() -> bool:
    return REGISTRY.get_sample_value("tritone_limiter_shared") == 1.0


def test_hits_are_allowed_up_to_the_limit(limiters: Limiters) -> None:
    async def run() -> None:
        async with limiters(LONG_S) as limiter:
            three = window(3)
            answers = [await limiter.hit(three) for _ in range(5)]
            assert [answer.allowed for answer in answers] == [True, True, True, False, False]
            assert [answer.remaining for answer in answers] == [2, 1, 0, 0, 0]
            assert (await limiter.hit(replace(three, subject=next(names)))).remaining == 2
            assert (await limiter.hit(replace(three, period_s=FOREVER_S + 1))).remaining == 2
            assert (await limiter.hit(replace(three, limit=5))).remaining == 1  # a plan may change; the count stays
            assert (await limiter.hit(replace(three, limit=2))).remaining == 0

    asyncio.run(run())


def test_a_refused_hit_and_a_look_are_not_counted(limiters: Limiters) -> None:
    async def run() -> None:
        async with limiters(LONG_S) as limiter:
            ten = window(10)
            assert (await limiter.hit(ten, cost=0)).remaining == 10
            assert (await limiter.hit(ten, cost=8)).remaining == 2
            refused = await limiter.hit(ten, cost=3)
            assert (refused.allowed, refused.remaining) == (False, 2)
            assert (await limiter.hit(ten, cost=0)).allowed
            assert (await limiter.hit(ten, cost=2)).allowed
            assert not (await limiter.hit(ten, cost=0)).allowed

    asyncio.run(run())


def test_what_is_given_back_may_be_used_again(limiters: Limiters) -> None:
    async def run() -> None:
        async with limiters(LONG_S) as limiter:
            two = window(2)
            standing = await limiter.hit(two, cost=2)
            await limiter.give_back(standing)
            assert (await limiter.hit(two, cost=0)).remaining == 1
            await limiter.give_back(standing, cost=5)
            assert (await limiter.hit(two, cost=0)).remaining == 2
            await limiter.give_back(replace(standing, window=window(2)))  # of which nothing was counted
            assert (await limiter.hit(two, cost=2)).allowed

    asyncio.run(run())


def test_a_period_begins_with_a_whole_allowance_and_what_is_over_is_not_given_back(limiters: Limiters) -> None:
    async def run() -> None:
        async with limiters(LONG_S) as limiter:
            one = window(1, period_s=2)
            while True:  # until both hits, and what is between them, fell into their two periods
                old = await limiter.hit(one)
                if not old.allowed:
                    continue
                assert 1 <= old.reset_s <= 2

                async def over(old: Standing = old) -> bool:
                    return (await limiter.hit(one, cost=0)).period > old.period

                await eventually(over)
                new = await limiter.hit(one)
                assert new.allowed
                await limiter.give_back(old)
                if (now := await limiter.hit(one, cost=0)).period == new.period:
                    assert not now.allowed
                    break

    asyncio.run(run())


def test_callers_at_the_same_time_share_one_allowance(limiters: Limiters) -> None:
    async def run() -> None:
        async with limiters(LONG_S) as limiter:
            forty = window(40)
            standings = await asyncio.gather(*(limiter.hit(forty) for _ in range(100)))
            assert sum(standing.allowed for standing in standings) == 40
            subject = next(names)
            taken = await asyncio.gather(*(limiter.acquire(subject, f"job-{n}", 7) for n in range(100)))
            assert sum(taken) == 7

    asyncio.run(run())


def test_places_are_taken_up_to_the_limit_and_free_once_released(limiters: Limiters) -> None:
    async def run() -> None:
        async with limiters(LONG_S) as limiter:
            subject = next(names)
            assert await limiter.acquire(subject, "a", 2)
            assert await limiter.acquire(subject, "b", 2)
            assert not await limiter.acquire(subject, "c", 2)
            assert await limiter.acquire(subject, "a", 2)  # its own already
            assert await limiter.acquire(next(names), "c", 2)
            await limiter.release(subject, "c")  # never had
            assert not await limiter.acquire(subject, "c", 2)
            await limiter.release(subject, "a")
            await limiter.release(subject, "a")
            await limiter.renew()
            assert await limiter.acquire(subject, "c", 2)
            assert not await limiter.acquire(subject, "d", 2)

    asyncio.run(run())


def test_a_lease_lasts_while_it_is_renewed_and_no_longer(limiters: Limiters) -> None:
    async def run() -> None:
        async with limiters(SHORT_S) as limiter:
            subject = next(names)
            assert await limiter.acquire(subject, "a", 1)
            for _ in range(30):  # for one and a half of its times
                await asyncio.sleep(SHORT_S / 20)
                await limiter.renew()
                assert not await limiter.acquire(subject, "b", 1)
            await eventually(lambda: limiter.acquire(subject, "b", 1))
            await limiter.renew()  # what has expired does not come back
            assert not await limiter.acquire(subject, "a", 1)
            await limiter.release(subject, "b")
            assert await limiter.acquire(subject, "a", 1)

    asyncio.run(run())


def test_a_place_whose_lease_has_expired_is_free_though_others_are_held(limiters: Limiters) -> None:
    async def run() -> None:
        async with limiters(SHORT_S) as limiter:
            subject = next(names)
            assert await limiter.acquire(subject, "a", 2)

            async def third() -> bool:
                assert await limiter.acquire(subject, "b", 2)
                return await limiter.acquire(subject, "c", 2)

            assert not await third()
            await eventually(third)

    asyncio.run(run())


def now(call: Coroutine[Any, Any, T]) -> T:
    """The result of what never waits."""
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")


SUBJECTS, LEASES = st.sampled_from(["a", "b"]), st.sampled_from(["1", "2", "3"])


class LocalLimits(RuleBasedStateMachine):
    """LocalLimiter beside a model that forgets nothing."""

    lease_s = 10.0

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0
        self.limiter = LocalLimiter(self.lease_s, lambda: self.time)
        self.counts: dict[tuple[str, int, int], int] = {}
        self.expiries: dict[tuple[str, str], float] = {}
        self.standings: list[Standing] = []

    def live(self, subject: str) -> set[str]:
        return {lease for (of, lease), expires in self.expiries.items() if of == subject and expires > self.time}

    @rule(passed_s=st.sampled_from([0.25, 1.0, 3.0, 7.0, 10.0]))
    def pass_time(self, passed_s: float) -> None:
        self.time += passed_s

    @rule(subject=SUBJECTS, limit=st.integers(0, 6), period_s=st.sampled_from([1, 7, 60]), cost=st.integers(0, 3))
    def hit(self, subject: str, limit: int, period_s: int, cost: int) -> None:
        standing = now(self.limiter.hit(Window(subject, limit, period_s), cost))
        period = int(self.time // period_s)
        counted = self.counts.get((subject, period_s, period), 0)
        allowed = counted + max(1, cost) <= limit
        counted += cost if allowed else 0
        self.counts[subject, period_s, period] = counted
        assert (standing.allowed, standing.remaining, standing.period) == (allowed, max(0, limit - counted), period)
        assert 1 <= standing.reset_s <= period_s
        assert 0 <= self.time + standing.reset_s - (period + 1) * period_s < 1
        self.standings.append(standing)

    @rule(data=st.data(), cost=st.integers(1, 3))
    def give_back(self, data: st.DataObject, cost: int) -> None:
        if self.standings:
            standing = data.draw(st.sampled_from(self.standings))
            now(self.limiter.give_back(standing, cost))
            key = standing.window.subject, standing.window.period_s, standing.period
            self.counts[key] = max(0, self.counts[key] - cost)

    @rule(subject=SUBJECTS, lease=LEASES, limit=st.integers(0, 2))
    def acquire(self, subject: str, lease: str, limit: int) -> None:
        live = self.live(subject)
        taken = now(self.limiter.acquire(subject, lease, limit))
        assert taken == (lease in live or len(live) < limit)
        if taken:
            self.expiries[subject, lease] = self.time + self.lease_s

    @rule(subject=SUBJECTS, lease=LEASES)
    def release(self, subject: str, lease: str) -> None:
        now(self.limiter.release(subject, lease))
        self.expiries.pop((subject, lease), None)

    @rule()
    def renew(self) -> None:
        now(self.limiter.renew())
        for subject, lease in self.expiries:
            if lease in self.live(subject):
                self.expiries[subject, lease] = self.time + self.lease_s

    @invariant()
    def holds_what_is_live(self) -> None:
        held = {(subject, lease): left_s for subject, lease, left_s in self.limiter.leases()}
        assert held == {key: expires - self.time for key, expires in self.expiries.items() if expires > self.time}


TestLocalLimits = LocalLimits.TestCase
TestLocalLimits.settings = settings(max_examples=150, stateful_step_count=40)


def test_an_expired_lease_frees_its_place_at_once() -> None:
    time = 0.0
    limiter = LocalLimiter(10, lambda: time)
    time = 5.0
    assert now(limiter.acquire("account", "a", 2))
    time = 12.0  # expired leases are cleared away now, and not again within 10 s
    assert now(limiter.acquire("account", "b", 2))
    assert not now(limiter.acquire("account", "c", 2))
    time = 15.0
    assert now(limiter.acquire("account", "c", 2))


def test_memory_is_bounded_whoever_comes() -> None:
    time = 0.0
    limiter = LocalLimiter(10, lambda: time, max_subjects=1000)
    for number in range(5000):
        now(limiter.hit(Window("regular", 10**6, 86400)))
        now(limiter.hit(Window(f"ip:{number}", 5, 86400)))
        now(limiter.hit(Window(f"ip:{number}", 5, 60)))
        now(limiter.acquire(f"ip:{number}", "lease", 1))
        time += 0.01
    assert held_by(limiter) <= 2 * 1000 + 2100  # leases of two times 10 s
    assert now(limiter.hit(Window("regular", 10**6, 86400), cost=0)).remaining == 10**6 - 5000
    time += 2 * 86400
    now(limiter.hit(window(1, 60)))
    now(limiter.renew())
    assert held_by(limiter) == 1


def held_by(limiter: LocalLimiter) -> int:
    subjects = sum(len(subjects) for _, subjects in limiter._counts.values())
    return subjects + sum(len(leases) for leases in limiter._leases.values())


def test_processes_share_limits_and_give_back_to_each_other(redis_server: RedisServer) -> None:
    async def run() -> None:
        one, other = through(redis_server), through(redis_server)
        three, subject = window(3), next(names)
        standing = await one.hit(three, cost=3)
        assert not (await other.hit(three)).allowed
        await other.give_back(standing, cost=2)
        assert (await one.hit(three, cost=0)).remaining == 2  # not what it last knew
        assert await one.acquire(subject, "a", 1)
        assert not await other.acquire(subject, "b", 1)
        await one.release(subject, "a")
        assert await other.acquire(subject, "b", 1)
        await one.close()
        await other.close()

    asyncio.run(run())


def test_a_count_ends_with_its_period_whenever_its_key_expires(server: RedisServer) -> None:
    async def run() -> None:
        limiter, one = through(server), window(1, period_s=1)
        await limiter.hit(one)
        async with Redis.from_url(server.url) as client:
            assert await client.persist(f"tritone:window:1:{one.subject}")

        async def allowed() -> bool:
            return (await limiter.hit(one)).allowed

        await eventually(allowed)
        await limiter.close()

    asyncio.run(run())


def test_a_renewed_lease_is_kept_from_other_processes(redis_server: RedisServer) -> None:
    async def run() -> None:
        one, brief = RedisLimiter(redis_server.url, SHORT_S), RedisLimiter(redis_server.url, SHORT_S / 10)
        subject = next(names)
        assert await one.acquire(subject, "a", 2)
        assert await brief.acquire(subject, "b", 2)
        await asyncio.sleep(SHORT_S / 3)  # b has expired, and a is still there
        assert not await brief.acquire(subject, "c", 1)
        for _ in range(30):  # for one and a half of its times
            await asyncio.sleep(SHORT_S / 20)
            await one.renew()
            assert not await brief.acquire(subject, "c", 1)
        await eventually(lambda: brief.acquire(subject, "c", 2))
        await one.close()
        await brief.close()

    asyncio.run(run())


def test_a_renewal_does_not_bring_a_released_lease_back(server: RedisServer) -> None:
    async def run() -> None:
        limiter = through(server)
        async with Redis.from_url(server.url) as client:
            for _ in range(30):
                subject = next(names)
                assert await limiter.acquire(subject, "a", 1)
                await client.script_flush()  # so the renewal goes to Redis three times, and the release overtakes it
                renewal = asyncio.create_task(limiter.renew())
                await asyncio.sleep(0)
                await asyncio.sleep(0)  # by now it has begun
                await limiter.release(subject, "a")
                await renewal
                assert await limiter.acquire(subject, "b", 1)
        await limiter.close()

    asyncio.run(run())


def test_every_key_is_ours_and_expires(server: RedisServer) -> None:
    async def run() -> None:
        limiter = through(server)
        async with Redis.from_url(server.url) as client:

            async def assert_keys(number: int) -> None:
                keys = [key async for key in client.scan_iter()]
                assert len(keys) == number
                for key in keys:
                    assert key.startswith(b"tritone:")
                    assert await client.pttl(key) > 0

            await limiter.give_back(await limiter.hit(window(1)))
            await limiter.acquire("account", "a", 1)
            await assert_keys(3)
            await client.flushall()
            await limiter.renew()
            await assert_keys(2)
        await limiter.close()

    asyncio.run(run())


def test_scripts_that_redis_has_forgotten_are_sent_again(server: RedisServer) -> None:
    async def run() -> None:
        limiter, three = through(server), window(3)
        standing = await limiter.hit(three)
        async with Redis.from_url(server.url) as client:
            await client.script_flush()
            assert (await limiter.hit(three)).remaining == 1
            await client.script_flush()
            await limiter.give_back(standing)
            await client.script_flush()
            assert await limiter.acquire("account", "a", 1)
            await client.script_flush()
            await limiter.renew()
        await limiter.close()

    asyncio.run(run())


def test_a_place_that_nobody_waited_for_is_free_again(server: RedisServer) -> None:
    async def run() -> None:
        limiter = through(server)
        assert await limiter.acquire("account", "waited for", 2)
        server.pause()
        waiting = asyncio.create_task(limiter.acquire("account", "cancelled", 2))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        server.resume()
        await limiter.close()  # waits for what runs in the background
        async with Redis.from_url(server.url) as client:
            assert await client.zrange("tritone:leases:account", 0, -1) == [b"waited for"]

    asyncio.run(run())


def test_a_caller_who_has_gone_is_not_told_of_an_outage(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        limiter = through(server)
        await limiter.renew()
        server.pause()
        waiting = asyncio.create_task(limiter.acquire("account", "cancelled", 2))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        server.kill()
        await limiter.close()

    asyncio.run(run())
    gc.collect()  # when asyncio complains of errors that nobody has seen
    assert caplog.records == []


def test_an_outage_neither_forgets_nor_hands_out_afresh(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "api.accounts.shared_limits")

    async def run() -> None:
        limiter = SharedLimiter(through(server), retry_s=0.0)
        other = through(server)
        five, used_up = window(5), window(1)
        await other.hit(five)
        standing = await limiter.hit(five, cost=4)
        await limiter.give_back(standing)
        assert (await other.hit(used_up)).allowed
        assert not (await limiter.hit(used_up)).allowed
        assert await limiter.acquire("account", "a", 3)
        assert await limiter.acquire("account", "b", 3)
        assert shared()

        server.kill()
        before = fallbacks()
        assert (await limiter.hit(five)).allowed
        assert not (await limiter.hit(five)).allowed
        assert not (await limiter.hit(used_up)).allowed
        await limiter.give_back(standing)
        assert await limiter.acquire("account", "c", 3)
        assert not await limiter.acquire("account", "d", 3)
        await limiter.release("account", "a")
        await limiter.renew()
        assert fallbacks() == before + 8
        assert not shared()

        server.start()

        async def back() -> bool:
            await limiter.hit(window(1))
            return shared()

        await eventually(back)
        assert not await other.acquire("account", "e", 2)  # b and c are there again, from an empty memory
        assert await other.acquire("account", "e", 3)
        assert (await limiter.hit(five, cost=0)).remaining == 1
        assert (await other.hit(five, cost=0)).remaining == 1
        assert not (await limiter.hit(used_up)).allowed
        await limiter.release("account", "b")
        await limiter.release("account", "c")
        assert await other.acquire("account", "f", 2)
        await limiter.close()
        await other.close()

    asyncio.run(run())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_restart_that_nobody_noticed_loses_nothing(server: RedisServer) -> None:
    async def run() -> None:
        limiter, two = SharedLimiter(through(server)), window(2)
        assert await limiter.acquire("account", "a", 2)
        standing = await limiter.hit(two, cost=2)
        before = fallbacks()
        server.stop()
        server.start()
        await asyncio.sleep(0.1)  # the connections are seen to have ended
        assert await limiter.acquire("account", "b", 2)
        assert not await limiter.acquire("account", "c", 2)
        await limiter.give_back(standing)
        assert (await limiter.hit(two)).allowed
        assert not (await limiter.hit(two)).allowed
        assert fallbacks() == before
        await limiter.close()

    asyncio.run(run())


class Counting(RedisLimiter):
    """How often it was tried, and by how many at the same time."""

    tries = at_once = most_at_once = 0

    async def hit(self, window: Window, cost: int = 1) -> Standing:
        self.tries += 1
        return await super().hit(window, cost)

    async def register(self) -> None:
        self.tries += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await super().register()
        finally:
            self.at_once -= 1


def test_a_redis_that_hangs_is_tried_once_in_a_while_by_one_caller(server: RedisServer) -> None:
    async def run() -> None:
        redis = Counting(server.url, LONG_S, timeout_s=1.0)
        limiter, many = SharedLimiter(redis, retry_s=LONG_S), window(10_000)
        await limiter.hit(many)
        server.pause()
        tries = redis.tries
        for _ in range(100):
            assert (await limiter.hit(many)).allowed
        assert redis.tries == tries + 1  # and not again before retry_s

        limiter = SharedLimiter(redis, retry_s=0.0)
        await limiter.hit(many)
        assert not shared()
        for _ in range(2):
            await asyncio.gather(*(limiter.hit(many) for _ in range(20)))
        assert redis.most_at_once == 1

        server.resume()

        async def back() -> bool:
            assert (await limiter.hit(many)).allowed
            return shared()

        await eventually(back)
        await limiter.close()

    asyncio.run(run())


def test_a_caller_who_goes_while_redis_is_tried_does_not_end_the_trying(server: RedisServer) -> None:
    async def run() -> None:
        limiter = SharedLimiter(through(server), retry_s=0.0)
        server.kill()
        await limiter.hit(window(1))
        server.start()
        server.pause()
        trying = asyncio.create_task(limiter.hit(window(1)))
        await asyncio.sleep(0.1)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        server.resume()
        await limiter.hit(window(1))
        assert shared()
        await limiter.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"-LOADING Redis is loading the dataset in memory\r\n", id="loading"),
        pytest.param(b"-MISCONF Redis is configured to save RDB snapshots\r\n", id="disk-full"),
        pytest.param(b"-NOAUTH Authentication required.\r\n", id="no-password"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n", id="another-server"),
        pytest.param(b"", id="hangs-up"),
    ],
)
def test_nothing_that_redis_answers_reaches_the_caller(answer: bytes) -> None:
    connections = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(OSError):
            while command := await reader.readline():  # "*" and the number of words, each on two lines
                for _ in range(2 * int(command[1:])):
                    await reader.readline()
                writer.write(answer)
                await writer.drain()
                if not answer:
                    break
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(converse, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            limiter, one = SharedLimiter(RedisLimiter(f"redis://127.0.0.1:{port}", LONG_S), retry_s=0.0), window(1)
            standing = await limiter.hit(one)
            assert standing.allowed
            assert not (await limiter.hit(one)).allowed
            await limiter.give_back(standing)
            assert (await limiter.hit(one)).allowed
            assert await limiter.acquire("account", "a", 1)
            assert not await limiter.acquire("account", "b", 1)
            await limiter.renew()
            await limiter.release("account", "a")
            assert await limiter.acquire("account", "b", 1)
            assert not shared()
            assert connections <= 9  # each call tries once: what is sent twice may count twice
            await limiter.close()

    asyncio.run(run())


def test_metrics_are_exposed() -> None:
    text = exposition().decode()
    for name in ("tritone_limiter_fallbacks_total", "tritone_limiter_shared", "process_resident_memory_bytes"):
        assert f"\n{name} " in text
