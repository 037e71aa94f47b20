"""What the tests share: the real service as `tritone up` starts it, and the API alone over fake inference."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import imageio_ffmpeg
import psutil
import pytest

PROJECT = Path(__file__).resolve().parent.parent
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
    with httpx.Client(base_url=stack.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def models(stack: Stack) -> Path:
    """The exported demo models."""
    return stack.home / "model_repository"


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    references = json.loads((DATA / "references.json").read_text())
    return [Clip(DATA / r["file"], r["language"], r["text"], r["word_starts"]) for r in references]


@dataclass
class FakeService:
    """The API over fake inference in a process of its own, with its temporary files in a folder of its own."""

    process: psutil.Popen
    url: str
    spool: Path
    client: httpx.Client

    def open_files(self) -> list[str]:
        links = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                links.append(str(link.readlink()))
        return links

    def leftovers(self) -> list[str]:
        """Temporary files, named or not, and processes that should be gone."""
        children = [str(child) for child in self.process.children(recursive=True)]
        return [name for name in self.open_files() if str(self.spool) in name] + children

    def assert_nothing_left(self) -> None:
        give_up = time.monotonic() + 5
        while self.leftovers() and time.monotonic() < give_up:
            time.sleep(0.05)
        assert self.leftovers() == []
        assert list(self.spool.iterdir()) == []


def start_fake_service(spool: Path, fake_delay_s: str = "0", **settings: Any) -> FakeService:
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "PORT": str(port),
        "TRITONE_SPOOL_DIR": str(spool),
        "FAKE_DELAY_S": fake_delay_s,
        **{f"TRITONE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    process = psutil.Popen([sys.executable, "-m", "tests.fake_service"], cwd=PROJECT, env=environment)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
    for _ in range(200):
        try:
            client.get("/v1/languages")
            break
        except httpx.TransportError:
            time.sleep(0.05)
    return FakeService(process, f"http://127.0.0.1:{port}", spool, client)


def stop_fake_service(service: FakeService) -> None:
    service.client.close()
    service.process.terminate()
    service.process.wait(30)


@pytest.fixture(scope="session")
def fake_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    service = start_fake_service(tmp_path_factory.mktemp("spool"), max_upload_bytes=4 * 1024**2, max_audio_s=3600)
    yield service
    stop_fake_service(service)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)
