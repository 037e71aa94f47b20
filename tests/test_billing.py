"""What a transcription needs and costs: minutes, credits, places, in the order in which they are asked for."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.accounts.callers import Caller
from api.accounts.keys import load_secret
from api.accounts.limits import LocalLimiter
from api.accounts.plans import load_plans
from api.accounts.reception import Reception
from api.errors import ClientGone, InferenceFailed, MonthUsedUp, NoBalance, NoCredits, TooManyAtOnce
from api.speech import Transcript
from api.storage.database import Database
from api.transcripts.jobs import Jobs
from tests.business import (
    KINDS,
    LEASE_S,
    Customer,
    customer,
    pcm,
    serving,
    settings_of,
    speech,
    until,
    with_database,
)
from tests.running import FakeService
from tests.servers import PostgresServer

NewCustomer = Callable[..., Customer]
LONG_S = 600.0  # no lease ends during a test
SLOW_S = "0.4"  # what the fakes take for a window


@pytest.fixture(scope="module", params=KINDS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    with serving(request.param, tmp_path_factory.mktemp("spool"), request, fake_delay_s=SLOW_S) as service:
        yield service


@contextmanager
def talking(customer: Customer, query: str = "") -> Iterator[ClientConnection]:
    """A live session that has begun."""
    url = f"{customer.service.url.replace('http', 'ws')}/v1/stream?token={customer.key}&language=en{query}"
    with connect(url, compression=None) as client:
        assert json.loads(client.recv(timeout=10))["status"] == "ready"
        yield client


def messages(client: ClientConnection) -> list[dict[str, Any]]:
    """All that come until it is closed."""
    received = []
    try:
        while True:
            received.append(json.loads(client.recv(timeout=20)))
    except ConnectionClosed:
        return received


def test_a_started_minute_is_a_credit(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=10)
    assert anna.transcribe(speech(59)).status_code == 200
    assert anna.balance() == 9
    assert anna.transcribe(speech(61)).status_code == 200
    assert anna.balance() == 7
    assert anna.transcribe(speech(150), channels="split").status_code == 200
    assert anna.balance() == 4


def test_what_fails_costs_nothing(service: FakeService, new_customer: NewCustomer) -> None:
    anna = new_customer(credits=3)
    for recording, fields in (
        (b"no audio at all", {}),
        (speech(1), {"model": "nonsense"}),
        (speech(1), {"language": "klingon"}),
        (speech(1), {"response_format": "docm"}),
        (b"", {}),
    ):
        assert anna.transcribe(recording, **fields).status_code == 400
        assert anna.balance() == 3
    # A client that leaves in the middle of the work, and one in the middle of its upload.
    with pytest.raises(httpx.ReadTimeout):
        anna.client.post("/v1/transcribe", files={"file": speech(100)}, timeout=0.5)
    with upload(anna, 10_000_000) as connection:
        connection.sendall(b"x" * 1000)
        until(lambda: anna.ledger() == 2)
    until(lambda: anna.balance() == 3)
    service.assert_nothing_left()


def test_fifty_requests_at_once_spend_exactly_the_ten_credits_there_are(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=10)
    recording = speech(1)

    def until_it_may(_: int) -> int:
        while True:
            with httpx.Client(base_url=anna.service.url, headers=anna.headers, timeout=60) as client:
                answer = client.post("/v1/transcribe", files={"file": recording})
            if answer.status_code != 429:
                return answer.status_code
            time.sleep(0.1)

    with ThreadPoolExecutor(50) as pool:
        statuses = sorted(pool.map(until_it_may, range(50)))
    assert statuses == 10 * [200] + 40 * [402]
    assert anna.balance() == 0
    refused = anna.transcribe(recording)
    assert refused.json() == {"error": "No credits remaining. Upgrade your plan."}


def test_less_than_the_first_minute_costs_is_not_enough_to_begin(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=Decimal("1.4"))
    assert anna.transcribe(speech(1)).status_code == 200
    refused = anna.transcribe(speech(1))
    assert refused.status_code == 402
    assert refused.json() == {"error": "Not enough credits: 1 is needed, 0.4 remain. Upgrade your plan."}
    with connect(f"{anna.service.url.replace('http', 'ws')}/v1/stream?token={anna.key}") as client:
        assert [message["error"] for message in messages(client)] == [refused.json()["error"]]
    assert anna.balance() == 0.4


def as_a_replica(who: Customer, work: Callable[[Jobs, Caller], Awaitable[None]]) -> None:
    """With jobs of a process of ours, on the service's database; what may be spent is asked of the service."""
    settings = settings_of(who.service)

    async def run(database: Database) -> None:
        limiter = LocalLimiter(LONG_S)
        secret = load_secret(settings.secret, database.url.database if database.is_sqlite else None)
        reception = Reception(database, limiter, load_plans(settings.plans), secret)
        await work(Jobs(database, limiter, LONG_S), await reception.identify(who.key, "192.0.2.1", []))

    with_database(who.service, run)


def heard(seconds: float, *, too_noisy: bool = False) -> Transcript:
    return Transcript("en", 1.0, seconds, (), "small", too_noisy=too_noisy)


def test_a_minute_may_cost_a_credit_and_a_part_of_one(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=10)

    async def balance() -> int | float:
        return await asyncio.to_thread(anna.balance)

    async def work(jobs: Jobs, caller: Caller) -> None:
        async with jobs.open(caller) as job:
            assert await balance() == 9
            job.percent = 130  # as where only the form says what is wanted
            await job.cover(60.0)
            assert await balance() == 8.7
            await job.cover(61.0)
            assert (await balance(), job.cost) == (7.4, 0)
            await job.cover(200.0)
            assert await balance() == 4.8
            await job.complete(heard(61.0))
            assert job.cost == 2600
        assert await balance() == 7.4
        for failure in (InferenceFailed("x"), ClientGone(), ValueError("x")):
            with suppress(type(failure)):
                async with jobs.open(caller) as job:
                    job.percent = 130
                    await job.cover(300.0)
                    assert await balance() == 0.9
                    raise failure
            assert (await balance(), job.cost) == (7.4, 0)
        async with jobs.open(caller) as job:
            job.percent = 130
            with pytest.raises(NoCredits, match=r"7\.8 are needed, 7\.4 remain"):
                await job.cover(301.0)
        async with jobs.open(caller) as job:
            job.percent = 1
            await job.complete(heard(0.6))
        assert await balance() == 7.39

    as_a_replica(anna, work)
    assert '"total":{"requests":2,"minutes":1.03,"credits":2.61}' in anna.client.get("/api/v1/usage/").text


def test_what_is_too_noisy_costs_nothing_and_is_kept(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=4)

    async def work(jobs: Jobs, caller: Caller) -> None:
        async with jobs.open(caller) as job:
            job.percent = 130
            await job.accept("A file", "small")
            await job.cover(150.0)
            await job.complete(heard(150.0, too_noisy=True))
            assert (job.done, job.cost) == (True, 0)
        with suppress(ClientGone):
            async with jobs.open(caller) as job:
                await job.accept("Live", "small")
                await job.cover(90.0)
                job.heard = heard(90.0, too_noisy=True)
                raise ClientGone

    as_a_replica(anna, work)
    assert anna.balance() == 4
    assert anna.client.get("/api/v1/usage/").json()["total"] == {"requests": 2, "minutes": 4.0, "credits": 0}
    listed = anna.client.get("/api/v1/transcripts/").json()["results"]
    assert [(entry["title"], entry["status"]) for entry in listed] == [("Live", "completed"), ("A file", "completed")]


def test_why_a_job_is_refused(new_customer: NewCustomer) -> None:
    async def with_credits(jobs: Jobs, caller: Caller) -> None:
        async with jobs.open(caller) as job:
            job.percent = 130
            with pytest.raises(NoCredits, match=r"1\.3 are needed, 1\.2 remain\.") as refused:
                await job.cover(0.0)
        assert refused.type is NoCredits
        async with jobs.open(caller) as job:
            await job.complete(heard(1.0))
        assert job.cost == 1000

    async def without(jobs: Jobs, caller: Caller) -> None:
        with pytest.raises(NoBalance):
            async with jobs.open(caller):
                pass

    async def with_minutes(jobs: Jobs, caller: Caller) -> None:
        async with jobs.open(caller) as job:
            job.percent = 130
            await job.complete(heard(461 * 60.0))
        assert job.cost == 599_300
        with pytest.raises(MonthUsedUp, match=r"leave 0\.7, and 1 is needed"):
            async with jobs.open(caller):
                pass

    async def without_minutes(jobs: Jobs, caller: Caller) -> None:
        async with jobs.open(caller) as job:
            await job.complete(heard(600 * 60.0))
        with pytest.raises(MonthUsedUp, match="are used up"):
            async with jobs.open(caller):
                pass

    async def at_once(jobs: Jobs, caller: Caller) -> None:
        for work in (lambda: jobs.open(caller), lambda: jobs.errand(caller, "summarize")):
            async with work(), work():
                with pytest.raises(TooManyAtOnce) as refused:
                    async with work():
                        pass
            assert refused.value.limit == 2

    async def for_nothing(jobs: Jobs, caller: Caller) -> None:
        async with jobs.open(caller) as job:
            job.percent = 130
            await job.complete(heard(100.0))
        assert job.cost == 0

    as_a_replica(new_customer(credits=Decimal("1.2")), with_credits)
    as_a_replica(new_customer(), without)
    as_a_replica(new_customer("free"), with_minutes)
    as_a_replica(new_customer("free"), without_minutes)
    as_a_replica(new_customer("free"), at_once)
    as_a_replica(new_customer("house"), for_nothing)


def test_a_recording_that_costs_more_than_there_is_is_refused_before_it_is_listened_to(
    new_customer: NewCustomer,
) -> None:
    anna = new_customer(credits=2)
    answer = anna.transcribe(speech(200))
    assert answer.status_code == 402
    assert "4 are needed, 2 remain" in answer.json()["error"]
    assert anna.balance() == 2
    entry = anna.client.get("/api/v1/transcripts/").json()["results"][0]
    assert (entry["status"], entry["error"]) == ("failed", answer.json()["error"])


def test_a_recording_that_does_not_say_how_long_it_is_is_paid_as_it_goes(new_customer: NewCustomer) -> None:
    endless = bytearray(speech(200))
    endless[4:8] = endless[40:44] = b"\xff\xff\xff\xff"  # as programs write that do not know the length yet
    anna = new_customer(credits=3)
    assert anna.transcribe(bytes(endless)).status_code == 402
    assert anna.balance() == 3
    ben = new_customer(credits=4)
    assert ben.transcribe(bytes(endless)).status_code == 200
    assert ben.balance() == 0


def test_the_free_plans_minutes_go_first_and_come_again_next_month(new_customer: NewCustomer) -> None:
    anna = new_customer("free")
    account = anna.client.get("/api/v1/account/").json()
    assert account["allowance"]["minutes"] == account["allowance"]["remaining"] == 600
    assert anna.transcribe(speech(61)).status_code == 200
    assert anna.client.get("/api/v1/account/").json()["allowance"]["remaining"] == 598
    anna.service.tritone("account", "plan", anna.name, "paid")
    assert anna.balance() == 0
    anna.service.tritone("account", "plan", anna.name, "free")
    assert anna.balance() == 598, "changing plans makes no minutes"


def test_a_live_session_pays_what_was_heard(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=5)
    with talking(anna) as client:
        client.send(pcm(61))
        client.send('{"action": "stop"}')
        last = messages(client)[-1]
    assert last["is_final"]
    assert anna.balance() == 3
    stored = anna.client.get(f"/api/v1/transcripts/{last['id']}/").json()
    assert (stored["text"], stored["status"], stored["duration"]) == (last["text"], "completed", 61.0)


def test_a_live_session_ends_when_the_credits_do_and_loses_no_word(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=1)
    with talking(anna) as client:
        for _ in range(7):
            client.send(pcm(10))
        received = messages(client)
    error, last = received[-2:]
    assert "credits" in error["error"]
    assert last["is_final"]
    assert last["duration"] == 60.0
    assert last["text"].count("tone") >= 50
    assert anna.balance() == 0


def test_who_leaves_a_live_session_pays_for_what_they_were_told(
    service: FakeService, new_customer: NewCustomer
) -> None:
    anna = new_customer(credits=5)
    with talking(anna) as client:
        client.send(pcm(1))
    until(lambda: anna.balance() == 5)  # nothing was said to them yet
    with talking(anna) as client:
        for _ in range(7):
            client.send(pcm(10))
        while "speaker" not in (message := json.loads(client.recv(timeout=20))) and "words" not in message:
            pass
    until(lambda: anna.client.get("/api/v1/transcripts/?status=completed").json()["count"] == 1)
    assert anna.balance() == 4


def test_words_that_may_still_change_are_words_told(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=5)
    with talking(anna) as client:
        client.send(pcm(10))
        while not json.loads(client.recv(timeout=20)).get("partial"):
            pass
    until(lambda: anna.balance() == 4)


def test_a_live_session_without_audio_costs_nothing(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=5)
    for message in ('{"action": "stop"}', '{"action": "bogus"}', "not json"):
        with talking(anna) as client:
            client.send(message)
            messages(client)
        until(lambda: anna.balance() == 5)
    listed = anna.client.get("/api/v1/transcripts/").json()["results"]
    assert [(entry["status"], entry["error"]) for entry in listed] == 2 * [("failed", "No audio came.")]


def test_places_are_shared_by_files_and_live_sessions(new_customer: NewCustomer) -> None:
    anna = new_customer("free")
    with talking(anna), talking(anna):
        refused = anna.transcribe(speech(1))
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert "2 at the same time" in refused.json()["error"]
        with connect(f"{anna.service.url.replace('http', 'ws')}/v1/stream?token={anna.key}") as third:
            (error,) = messages(third)
            assert "2 at the same time" in error["error"]
            assert error["retry_after"] >= 1
            assert third.close_code == 1013
    until(lambda: anna.transcribe(speech(1)).status_code == 200)
    assert anna.balance() == 599


def test_a_live_session_with_a_wrong_key_is_none(service: FakeService) -> None:
    for query in ("?token=tt_live_wrong", "?token=", "?token=tt_live_wrong&language=en", "?token=tt_live_%00a"):
        with connect(f"{service.url.replace('http', 'ws')}/v1/stream{query}") as client:
            (error,) = messages(client)
            assert "key" in error["error"]
            assert client.close_code == 1008


@contextmanager
def upload(customer: Customer | None, size: int, url: str = "") -> Iterator[socket.socket]:
    """A request for a transcription whose body is announced, and has not been sent."""
    address = httpx.URL(url or customer.service.url)  # type: ignore[union-attr]
    key = f"Authorization: Bearer {customer.key}\r\n" if customer else ""
    head = f"POST /v1/transcribe HTTP/1.1\r\nHost: x\r\n{key}Content-Length: {size}\r\n"
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=B\r\n\r\n".encode())
        yield connection


def test_who_will_be_refused_is_told_before_the_body_comes(service: FakeService, new_customer: NewCustomer) -> None:
    """Key, plan, size, place: the first that is wrong is what is said."""
    rich, poor, large = new_customer(credits=50), new_customer(), 2**31
    wrong = Customer("nobody", "tt_live_wrong", rich.client, service)
    with talking(rich), talking(rich), talking(rich), talking(rich), talking(rich):
        for who, size, status in ((wrong, large, 401), (poor, large, 402), (rich, large * 2, 413), (rich, 1000, 429)):
            with upload(who, size) as connection:
                answer = ""
                while '"}' not in answer:
                    answer += connection.recv(10_000).decode()
                assert answer.startswith(f"HTTP/1.1 {status} "), (status, answer)
                assert '{"error":"' in answer
                assert "connection: close" in answer.lower()
    until(lambda: rich.transcribe(speech(1)).status_code == 200)  # they have left
    with upload(rich, 10_000) as connection:
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(100)  # it is waited for


def test_a_json_body_is_not_waited_for_either(service: FakeService, new_customer: NewCustomer) -> None:
    listener = new_customer(scopes=("transcribe",))
    for method, path in (("PUT", "account"), ("POST", "keys"), ("PATCH", f"transcripts/{uuid4()}")):
        for key, status in ((f"Authorization: Bearer {listener.key}\r\n", 403), ("", 401)):
            address = httpx.URL(service.url)
            with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
                head = f"{method} /api/v1/{path}/ HTTP/1.1\r\nHost: x\r\n{key}Content-Length: 1000000\r\n\r\n"
                connection.sendall(head.encode())
                assert connection.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())


def test_who_is_refused_may_finish_what_they_send(service: FakeService) -> None:
    """A client that reads nothing while it sends gets its answer all the same."""
    with upload(Customer("nobody", "tt_live_wrong", service.client, service), 50_000_000) as connection:
        for _ in range(50):
            connection.sendall(bytes(1_000_000))
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_every_answer_says_how_many_requests_are_left(service: FakeService, new_customer: NewCustomer) -> None:
    anna = new_customer("free")
    left = [
        int(anna.client.get(path).headers["RateLimit-Remaining"]) for path in ("/v1/models", "/nowhere", "/v1/models")
    ]
    assert left in ([119, 118, 117], [119, 118, 119], [119, 119, 118]), "a new minute may begin in between"
    for path in ("/health", "/schema/openapi.json", "/metrics", "/nowhere", "/v1/languages", "/v1/stream"):
        answer = service.client.get(path)
        assert int(answer.headers["RateLimit-Limit"]) == 60
        assert 1 <= int(answer.headers["RateLimit-Reset"]) <= 60
        assert answer.headers["RateLimit-Policy"] == "60;w=60"
    for wrong in ({"Authorization": "Bearer tt_live_wrong"}, {"Authorization": "Basic x"}, {"Host": "a b"}):
        assert int(service.client.get("/v1/models", headers=wrong).headers["RateLimit-Remaining"]) < 60


@pytest.mark.parametrize("kind", KINDS)
def test_requests_a_minute_are_limited(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text("[anonymous]\nmax_file_mb = 1\nconcurrency = 1\nrequests_per_minute = 3\n")
    spool = tmp_path / "spool"
    with serving(kind, spool, request, plans=plans) as service:
        answers = [service.client.get("/v1/languages") for _ in range(8)]
        assert {answer.status_code for answer in answers} == {200, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["RateLimit-Remaining"] == "0"
        assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"]
        assert "3 requests a minute" in refused.json()["error"]
        assert service.client.get("/health").status_code == 200


def test_without_an_anonymous_plan_everything_needs_a_key(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text("[house]\nmax_file_mb = 1\nconcurrency = 1\nrequests_per_minute = 100\n")
    with serving("sqlite", tmp_path / "spool", request, plans=plans) as service:
        for path in ("/v1/models", "/v1/transcribe", "/nowhere"):
            answer = service.client.get(path)
            assert answer.status_code == 401, path
            assert "needs an API key" in answer.json()["error"]
        for path in ("/health", "/metrics", "/schema", "/schema/openapi.json"):
            assert service.client.get(path).status_code == 200, path
        with customer(service, "house").client as client:
            assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_key_there_are_three_a_day(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with serving(kind, tmp_path, request, trusted_proxies="127.0.0.1, 10.0.0.0/8") as service:

        def transcribe(address: str, recording: bytes = speech(1)) -> httpx.Response:
            headers = {"X-Forwarded-For": address}
            return service.client.post("/v1/transcribe", files={"file": recording}, headers=headers)

        assert transcribe("203.0.113.1", b"no audio").status_code == 400, "is none"
        statuses = [transcribe("203.0.113.1") for _ in range(4)]
        assert [answer.status_code for answer in statuses] == [200, 200, 200, 429]
        assert statuses[2].headers["RateLimit-Remaining"] == "0"
        assert statuses[3].headers["RateLimit-Policy"] == "3;w=86400"
        assert 1 <= int(statuses[3].headers["Retry-After"]) <= 86400
        # Whoever writes the header on top of the proxies' own is found behind them; another address is another's.
        assert transcribe("198.51.100.7, 203.0.113.1, 10.1.2.3").status_code == 429
        assert transcribe("203.0.113.2").status_code == 200
        # A household has a whole IPv6 network.
        assert [transcribe(f"2001:db8:1:2::{n}").status_code for n in range(4)] == [200, 200, 200, 429]
        assert transcribe("2001:db8:1:3::1").status_code == 200
        with upload(None, 101 * 1024**2 + 2**22, service.url) as connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_header_that_no_proxy_of_ours_wrote_is_not_believed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with serving("sqlite", tmp_path, request) as service:
        answers = [
            service.client.post(
                "/v1/transcribe", files={"file": speech(1)}, headers={"X-Forwarded-For": f"203.0.113.{number}"}
            )
            for number in range(4)
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]


@pytest.mark.parametrize("kind", KINDS)
def test_what_takes_longer_than_a_lease_keeps_what_it_holds(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with serving(kind, tmp_path, request, fake_delay_s=str(2.5 * LEASE_S)) as service:
        anna = customer(service, credits=5)
        with anna.client, ThreadPoolExecutor() as pool:
            running = [pool.submit(anna.transcribe, speech(1)) for _ in range(5)]
            until(lambda: anna.client.get("/api/v1/transcripts/?status=processing").json()["count"] == 5)
            began = time.monotonic()
            while time.monotonic() < began + 1.8 * LEASE_S:
                assert anna.ledger() == 0
                assert anna.client.get("/api/v1/transcripts/?status=processing").json()["count"] == 5
                time.sleep(0.2)
            assert [one.result().status_code for one in running] == 5 * [200]
            assert anna.balance() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_is_stopped_gives_back_what_its_jobs_hold(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with serving(kind, tmp_path, request, fake_delay_s="60", lease_s=600) as service:
        anna = customer(service, credits=5)
        with anna.client, ThreadPoolExecutor() as pool:
            running = pool.submit(anna.transcribe, speech(1))
            until(lambda: anna.client.get("/api/v1/transcripts/?status=processing").json()["count"] == 1)
            service.process.terminate()
            service.process.wait(60)
            assert running.exception(10) is not None or running.result().status_code >= 500
            assert anna.ledger() == 5


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_process_held_is_free_when_its_lease_runs_out(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with serving(kind, tmp_path, request, fake_delay_s="60") as dying:
        anna = customer(dying, credits=5)
        with anna.client, ThreadPoolExecutor() as pool:
            running = [pool.submit(anna.transcribe, speech(1)) for _ in range(5)]
            until(lambda: anna.client.get("/api/v1/transcripts/?status=processing").json()["count"] == 5)
            assert anna.balance() == 0
            dying.process.kill()
            assert all(one.exception(10) is not None for one in running)
        assert anna.ledger() == 0
        settings = {name: dying.environment[name.upper()] for name in ("database_url", "redis_url") if kind != "sqlite"}
        spool = tmp_path / "spool"
        with serving(
            "sqlite", spool, request, home=dying.home.name, secret="of the tests" * (kind != "sqlite"), **settings
        ) as next_:
            again = Customer(anna.name, anna.key, httpx.Client(base_url=next_.url, headers=anna.headers), next_)
            with again.client:
                until(lambda: again.balance() == 5, timeout_s=3 * LEASE_S + 10)
                assert again.transcribe(speech(1)).status_code == 200
                failed = again.client.get("/api/v1/transcripts/?status=failed").json()
    assert failed["count"] == 5
    assert {entry["error"] for entry in failed["results"]} == {"The service was stopped while it was working on this."}


def test_without_its_database_the_service_says_so_and_recovers(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with serving("postgresql+redis", tmp_path, request) as service:
        anna = customer(service, credits=5)
        with anna.client:
            assert anna.transcribe(speech(1)).status_code == 200
            postgres_server.stop()
            try:
                away = anna.transcribe(speech(1))
                assert away.status_code == 503
                assert int(away.headers["Retry-After"]) >= 1
                assert service.client.post("/v1/transcribe", files={"file": speech(1)}).status_code == 200
            finally:
                postgres_server.start()
            until(lambda: anna.client.get("/api/v1/account/").status_code == 200)
            assert anna.transcribe(speech(1)).status_code == 200
            assert anna.balance() == 3
