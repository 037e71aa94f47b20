"""What the tests share: the real service as `tritone up` starts it, and the API alone over fake inference."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import imageio_ffmpeg
import psutil
import pytest
from hypothesis import HealthCheck, settings

from api.storage.database import Database, database_url
from api.storage.migrate import migrate
from tests import contract
from tests.business import Customer, customer
from tests.running import OPEN_PLANS, PROJECT, FakeService, start_fake_service, stop_fake_service
from tests.servers import PostgresServer, free_ports, postgres_server, redis_server  # noqa: F401 (fixtures)

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")
# What a shell starts with & ignores Ctrl-C, and so would all that is started and interrupted here.
signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(__file__).resolve().parent / "data"
START_TIMEOUT_S = 240
PUBLIC_IDS = ["large-v3-turbo", "large-v3", "medium", "small"]


@dataclass(frozen=True)
class Clip:
    path: Path
    language: str
    text: str
    word_starts: list[float | None]


@dataclass
class Stack:
    """A running `tritone up`. What it prints is read as it comes."""

    process: subprocess.Popen[str]
    url: str
    metrics_url: str
    home: Path
    lines: list[str]
    waiting: queue.Queue[str]
    reader: threading.Thread = field(init=False)

    @property
    def key(self) -> str:
        """The one that it prints when it is ready."""
        return next(line for line in self.lines if line.startswith("demo key ")).removeprefix("demo key ")

    def wait_for(self, text: str, timeout_s: float = START_TIMEOUT_S) -> str:
        """The next line that has `text` in it."""
        give_up = time.monotonic() + timeout_s
        while True:
            try:
                line = self.waiting.get(timeout=max(0.01, give_up - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line with {text!r}; the service said: {self.lines}") from None
            if text in line:
                return line

    def child(self, name: str) -> psutil.Process:
        """The running child with `name` in its command line."""
        for child in psutil.Process(self.process.pid).children():
            if name in " ".join(child.cmdline()):
                return child
        raise AssertionError(f"no child {name}")


def start_stack(home: Path) -> Stack:
    port, grpc, metrics = free_ports(3)
    environment = {
        **os.environ,
        "TRITONE_HOME": str(home),
        "PORT": str(port),
        "TRITON_GRPC_PORT": str(grpc),
        "TRITON_METRICS_PORT": str(metrics),
        "TRITONE_PLANS": str(OPEN_PLANS),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "up"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    stack = Stack(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics}/metrics", home, [], queue.Queue())

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            stack.lines.append(line.rstrip())
            stack.waiting.put(line.rstrip())

    stack.reader = threading.Thread(target=read, daemon=True)
    stack.reader.start()
    return stack


def stop_stack(stack: Stack) -> None:
    stack.process.send_signal(signal.SIGINT)
    end_of(stack)


def end_of(stack: Stack) -> None:
    """Wait until it has ended, and nothing that it started runs on."""
    stack.process.wait(timeout=60)
    stack.reader.join()
    assert stack.process.stdout is not None
    stack.process.stdout.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = start_stack(tmp_path_factory.mktemp("tritone"))
    try:
        stack.wait_for("tritone ready")
        yield stack
    finally:
        stop_stack(stack)


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with contract.client(stack.url) as client:
        yield client


@pytest.fixture(scope="session")
def models(stack: Stack) -> Path:
    """The exported demo models."""
    return stack.home / "model_repository"


@pytest.fixture(scope="session")
def sentence_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's text embedding by itself: its version directory."""
    from export_scripts import text_embedding  # torch comes with it, which most tests do without

    repository = tmp_path_factory.mktemp("text_embedding")
    text_embedding.main(["--to", str(repository)])
    return repository / "text_embedding" / "1"


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    references = json.loads((DATA / "references.json").read_text())
    return [Clip(DATA / r["file"], r["language"], r["text"], r["word_starts"]) for r in references]


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database of either kind, with its tables. Whoever uses it closes it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/tritone.db"
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        url = postgres.create_database(f"test_{uuid4().hex}")
    migrate(database_url(url, ""))
    return Database(database_url(url, ""))


@pytest.fixture(scope="session")
def fake_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    service = start_fake_service(tmp_path_factory.mktemp("spool"), max_upload_bytes=4 * 1024**2, max_audio_s=3600)
    yield service
    stop_fake_service(service)


@pytest.fixture
def new_customer(service: FakeService) -> Iterator[Callable[..., Customer]]:
    """Makes customers of the module's `service`."""
    with ExitStack() as clients:

        def make(plan: str = "paid", credits: Decimal | int = 0, **key: Any) -> Customer:
            made = customer(service, plan, credits, **key)
            clients.enter_context(made.client)
            return made

        yield make


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)
