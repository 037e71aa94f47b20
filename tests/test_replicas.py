"""Two API processes that share PostgreSQL and Redis, under load, and what becomes of it when something dies."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.business import Customer, customer, serving, speech, until
from tests.running import FakeService
from tests.servers import RedisServer

LEASE_S = 6.0  # on a machine that is busy with 200 clients a lease must outlast some seconds of standing still
PLANS = """
[paid]
max_file_mb = 100
concurrency = 5
requests_per_minute = 1000000
minutes_per_month = 0

[two]
max_file_mb = 100
concurrency = 2
requests_per_minute = 1000000
"""


@dataclass
class Replicas:
    services: list[FakeService]
    log: Path

    def most_at_once(self) -> int:
        """Recognitions, over all replicas."""
        changes = sorted(tuple(map(float, line.split())) for line in self.log.read_text().splitlines())
        running = most = 0
        for _, change in changes:
            running += int(change)
            most = max(most, running)
        return most


@pytest.fixture
def replicas(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replicas]:
    """The first may be killed: the second outlives it."""
    (tmp_path / "plans.toml").write_text(PLANS)
    log = tmp_path / "log"
    log.touch()
    monkeypatch.setenv("FAKE_LOG", str(log))
    spools = tmp_path / "one", tmp_path / "other"
    shared = {"plans": tmp_path / "plans.toml", "fake_delay_s": "0.3", "lease_s": LEASE_S}
    with ExitStack() as both:
        one = both.enter_context(serving("postgresql+redis", spools[0], request, **shared))
        shared |= {"database_url": one.environment["DATABASE_URL"], "redis_url": one.environment["REDIS_URL"]}
        other = both.enter_context(serving("postgresql+redis", spools[1], request, **shared))
        yield Replicas([one, other], log)


@asynccontextmanager
async def load(customer: Customer, services: list[FakeService], clients: int) -> AsyncIterator[Counter[int]]:
    """So many clients send without pause while the context lasts; how often each status came."""
    statuses = Counter[int]()
    recording, over = speech(1), asyncio.Event()

    async def client(service: FakeService) -> None:
        async with httpx.AsyncClient(base_url=service.url, headers=customer.headers, timeout=60) as session:
            while not over.is_set():
                answer = await session.post("/v1/transcribe", files={"file": recording})
                statuses[answer.status_code] += 1
                if answer.status_code == 429:
                    assert int(answer.headers["Retry-After"]) >= 1
                    await asyncio.sleep(0.3)

    running = [asyncio.create_task(client(services[number % len(services)])) for number in range(clients)]
    try:
        yield statuses
    finally:
        over.set()
        await asyncio.gather(*running)


def test_two_hundred_clients_never_have_more_places_than_their_plan(replicas: Replicas) -> None:
    anna = customer(replicas.services[0], credits=10_000)
    anna.client.close()

    async def run() -> Counter[int]:
        async with load(anna, replicas.services, clients=200) as statuses:
            await asyncio.sleep(6)
        return statuses

    statuses = asyncio.run(run())
    assert set(statuses) == {200, 429}
    assert replicas.most_at_once() == 5
    assert anna.ledger() == 10_000 - statuses[200]


def test_a_killed_replica_keeps_no_place_beyond_its_lease(replicas: Replicas) -> None:
    doomed, living = replicas.services
    with customer(doomed, "two").client as to_doomed, httpx.Client(timeout=60) as to_living:
        url, headers = f"{living.url}/v1/transcribe", dict(to_doomed.headers)

        async def occupy() -> None:
            async with httpx.AsyncClient(headers=headers, timeout=60) as session:
                both = [session.post(f"{doomed.url}/v1/transcribe", files={"file": speech(300)}) for _ in range(2)]
                running = asyncio.gather(*both, return_exceptions=True)
                await asyncio.to_thread(until, lambda: replicas.most_at_once() == 2)
                doomed.process.kill()
                assert all(isinstance(outcome, httpx.TransportError) for outcome in await running)

        headers = {"Authorization": headers["authorization"]}
        asyncio.run(occupy())
        killed_at = time.monotonic()
        statuses = []
        while 200 not in statuses:
            statuses.append(to_living.post(url, files={"file": speech(1)}, headers=headers).status_code)
            assert time.monotonic() < killed_at + LEASE_S + 30
            time.sleep(0.1)
    assert set(statuses) == {429, 200}, "the places were still taken at first"


def test_redis_may_stop_and_come_back_under_load(replicas: Replicas, redis_server: RedisServer) -> None:
    anna = customer(replicas.services[0], credits=10_000)
    anna.client.close()

    def shared() -> list[float]:
        texts = [httpx.get(f"{service.url}/metrics").text for service in replicas.services]
        return [float(re.search(r"^tritone_limiter_shared (\S+)", text, re.MULTILINE)[1]) for text in texts]  # type: ignore[index]

    async def run() -> Counter[int]:
        async with load(anna, replicas.services, clients=20) as statuses:
            await asyncio.sleep(1)
            assert shared() == [1, 1]
            redis_server.kill()
            await asyncio.sleep(2)
            assert shared() == [0, 0]
            before = statuses[200]
            redis_server.start()  # here: it ends with the thread that starts it
            await asyncio.sleep(3)
            assert statuses[200] > before
        return statuses

    try:
        statuses = asyncio.run(run())
    except BaseException:
        redis_server.start()  # others need it
        raise
    assert set(statuses) == {200, 429}
    until(lambda: shared() == [1, 1])
    for service in replicas.services:
        text = httpx.get(f"{service.url}/metrics").text
        assert float(re.search(r"^tritone_limiter_fallbacks_total (\S+)", text, re.MULTILINE)[1]) > 0  # type: ignore[index]
    assert anna.ledger() == 10_000 - statuses[200]
    assert replicas.most_at_once() <= 2 * 5, "without Redis each process has the plan's limit"
