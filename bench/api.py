"""What the business layer costs: the same routes without it, with SQLite, and with PostgreSQL and Redis.

    .venv/bin/python -m bench.api

Inference is fake and answers at once, so what is measured is the API alone. A cheap route, GET /v1/models, is asked
by one client and by several: behind the gate with a key, and in an application that has only that route. Then a second
of audio is transcribed: by an account that pays for it and keeps its transcript, and by nobody, on a plan that counts
nothing.
Contenders take turns in one run. Redis and PostgreSQL (Debian's redis-server and postgresql) are started for it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from litestar.di import Provide

from api import admin
from api.app import MsgspecLitestar
from api.http.drain import Drain
from api.http.models import ModelsController
from api.inference.deployments import Deployments
from api.inference.fake import FakeRegistry
from api.recognition.catalog import ModelCatalog
from api.server import serve
from api.settings import Settings, from_env
from api.storage.database import database_url
from api.storage.migrate import migrate
from tests.business import speech
from tests.servers import PostgresServer, RedisServer, free_ports

PLANS = """
[anonymous]
max_file_mb = 100
concurrency = 1000
requests_per_minute = 100000000

[paid]
max_file_mb = 100
concurrency = 1000
requests_per_minute = 100000000
minutes_per_month = 0
"""
ROUTE = "/v1/models"
BOUNDARY = "B"


@dataclass
class Contender:
    """A running API. `key` is that of an account with credits; without one nobody is asked for theirs."""

    port: int
    key: str = ""
    latencies_s: list[float] = field(default_factory=list)
    p50s_s: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    transcriptions_s: dict[str, list[float]] = field(default_factory=lambda: {"anonymous": [], "paid": []})

    def ask(self, requests: int) -> list[float]:
        """Seconds of each, one after another over one connection."""
        return self._send(requests, "GET", ROUTE, b"", {"Authorization": f"Bearer {self.key}"} if self.key else {})

    def transcribe(self, requests: int, form: bytes, *, paid: bool) -> list[float]:
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        if paid:
            headers["Authorization"] = f"Bearer {self.key}"
        return self._send(requests, "POST", "/v1/transcribe", form, headers)

    def _send(self, requests: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> list[float]:
        connection, seconds = HTTPConnection("127.0.0.1", self.port), []
        for _ in range(requests):
            began = time.perf_counter()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            seconds.append(time.perf_counter() - began)
            assert answer.status == 200, answer.status
        connection.close()
        return seconds


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="each contender's turns (%(default)s)")
    parser.add_argument("--requests", type=int, default=200, help="in each turn (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="of the throughput (%(default)s)")
    parser.add_argument("--serve-bare", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve_bare:
        serve_bare(arguments.serve_bare)
        return
    with ExitStack() as running:
        bare = running.enter_context(bare_route())
        layered = {
            "SQLite": running.enter_context(whole({})),
            "PostgreSQL and Redis": running.enter_context(whole(running.enter_context(servers()))),
        }
        everyone = {"without": bare, **layered}
        for number in range(arguments.rounds + 1):
            for contender in everyone.values():
                measure(contender, arguments, warming=number == 0)
            print(f"  round {number} of {arguments.rounds}", file=sys.stderr, flush=True)
    print_tables(everyone, arguments)


def measure(contender: Contender, arguments: argparse.Namespace, *, warming: bool) -> None:
    latencies = contender.ask(arguments.requests)
    began = time.perf_counter()
    with ThreadPoolExecutor(arguments.clients) as pool:
        list(pool.map(contender.ask, [arguments.requests // 4] * arguments.clients))
    rate = arguments.clients * (arguments.requests // 4) / (time.perf_counter() - began)
    forms = form_of(speech(1))
    transcriptions = {
        who: contender.transcribe(arguments.requests // 10, forms, paid=who == "paid")
        for who in contender.transcriptions_s
        if contender.key
    }
    if not warming:
        contender.latencies_s += latencies
        contender.p50s_s.append(statistics.median(latencies))
        contender.rates.append(rate)
        for who, seconds in transcriptions.items():
            contender.transcriptions_s[who] += seconds


def print_tables(everyone: dict[str, Contender], arguments: argparse.Namespace) -> None:
    bare = everyone["without"]
    print(f"| `GET {ROUTE}` | p50 | p95 | added at the median | requests/s, {arguments.clients} clients |")
    print("|---|---|---|---|---|")
    for name, contender in everyone.items():
        added = statistics.median(mine - base for mine, base in zip(contender.p50s_s, bare.p50s_s, strict=True))
        p95 = statistics.quantiles(contender.latencies_s, n=20)[-1]
        print(
            f"| {name} | {ms(statistics.median(contender.latencies_s))} | {ms(p95)} | "
            f"{ms(added) if contender is not bare else ''} | {statistics.median(contender.rates):.0f} |"
        )
    print("\n| a second of audio | p50, nobody's | p50, paid and kept | added |\n|---|---|---|---|")
    for name, contender in everyone.items():
        if contender.key:
            anonymous, paid = (statistics.median(seconds) for seconds in contender.transcriptions_s.values())
            print(f"| {name} | {ms(anonymous)} | {ms(paid)} | {ms(paid - anonymous)} |")


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


def form_of(recording: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return head.encode() + recording + f"\r\n--{BOUNDARY}--\r\n".encode()


@contextmanager
def bare_route() -> Iterator[Contender]:
    (port,) = free_ports(1)
    with served([sys.executable, "-m", "bench.api", "--serve-bare", str(port)], {}, port):
        yield Contender(port)


def serve_bare(port: int) -> None:
    catalog = ModelCatalog(Deployments(FakeRegistry()), {})
    app = MsgspecLitestar([ModelsController], dependencies={"catalog": Provide(lambda: catalog, sync_to_thread=False)})
    app.state.drain = Drain()
    serve(app, Settings(port=port, log_level="warning"))


@contextmanager
def whole(settings: dict[str, str]) -> Iterator[Contender]:
    (port,) = free_ports(1)
    with TemporaryDirectory() as home:
        plans = Path(home) / "plans.toml"
        plans.write_text(PLANS)
        environment = {"TRITONE_HOME": home, "TRITONE_PLANS": str(plans), "PORT": str(port), **settings}
        chosen = from_env(environment)
        migrate(database_url(chosen.database_url, chosen.home))
        asyncio.run(admin.create_account(chosen, "bench", "", "paid"))
        asyncio.run(admin.credit(chosen, "bench", 10**6, ""))
        (key,) = asyncio.run(admin.create_key(chosen, "bench", "bench", ("transcribe",), None))
        with served([sys.executable, "-m", "tests.fake_service"], environment, port):
            yield Contender(port, key)


@contextmanager
def served(command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        while True:
            try:
                HTTPConnection("127.0.0.1", port).request("GET", "/")
                break
            except ConnectionRefusedError:
                assert process.poll() is None, "it does not start"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    redis, postgres = RedisServer(), PostgresServer()
    redis.start()
    postgres.start()
    try:
        database = postgres.create_database(f"bench_{uuid4().hex}")
        yield {"DATABASE_URL": database, "REDIS_URL": redis.url, "TRITONE_SECRET": "of the bench"}
    finally:
        redis.stop()
        postgres.stop()
        postgres.remove()


if __name__ == "__main__":
    main()
