"""A real Redis and a real PostgreSQL, each on a port and in a folder of its own, gone with the tests."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from redis import Redis

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
PR_SET_PDEATHSIG = 1  # linux/prctl.h
POSTGRES_USER = "postgres"  # Debian's; the server refuses to run as root


class RedisServer:
    """Keeps nothing on disk: started again, it has the same port and an empty memory."""

    def __init__(self) -> None:
        self._program = program("redis-server", "redis-server")
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._database = 0
        self.url = f"redis://127.0.0.1:{self._port}/{self._database}"

    def start(self) -> None:
        command = [self._program, "--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--appendonly", "no"]
        self._process = launch(command, signal.SIGKILL)
        wait_until(self._process, self._answers)

    def stop(self) -> None:
        self._signal(signal.SIGCONT)  # a paused process does not stop
        self._signal(signal.SIGTERM)
        self._wait()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._wait()

    def pause(self) -> None:
        """It still accepts connections, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def empty_database(self) -> str:
        """The URL of another one each time, of the fifteen beside the first."""
        self._database = self._database % 15 + 1
        url = f"redis://127.0.0.1:{self._port}/{self._database}"
        with Redis.from_url(url) as client:
            client.flushdb()
        return url

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_TIMEOUT_S)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class PostgresServer:
    """Over TCP alone, without passwords, and nothing is safe on its disk."""

    def __init__(self) -> None:
        self._initdb, self._postgres, self._is_ready, self._createdb = (
            program(name, "postgresql", "/usr/lib/postgresql/*/bin")
            for name in ("initdb", "postgres", "pg_isready", "createdb")
        )
        (self._port,) = free_ports(1)
        self._user = POSTGRES_USER if os.geteuid() == 0 else None
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self._url("postgres")

    def start(self) -> None:
        """Started again, it has what it had."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="tritone-postgres-"))
            if self._user:
                shutil.chown(self._folder, self._user, self._user)
            initdb = [self._initdb, f"--pgdata={self._folder}", "--username=postgres", "--auth=trust", "--no-sync"]
            subprocess.run(
                [*initdb, "--encoding=UTF8", "--no-locale"],
                check=True,
                cwd="/",
                stdout=subprocess.DEVNULL,
                user=self._user,
                group=self._user,
            )
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "full_page_writes=off"]
        options = [word for setting in settings for word in ("-c", setting)]
        command = [self._postgres, "-D", str(self._folder), "-p", str(self._port), *options]
        self._process = launch(command, signal.SIGQUIT, self._user)
        wait_until(self._process, self._answers)

    def stop(self) -> None:
        """At once, whoever is connected."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_TIMEOUT_S)

    def remove(self) -> None:
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def create_database(self, name: str) -> str:
        """Its URL."""
        subprocess.run([self._createdb, *self._address(), name], check=True)
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def _address(self) -> list[str]:
        return ["--host=127.0.0.1", f"--port={self._port}", "--username=postgres"]

    def _answers(self) -> bool:
        return subprocess.run([self._is_ready, "--quiet", *self._address()]).returncode == 0


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


def program(name: str, package: str, folders: str = "") -> str:
    """Its path; the newest of several versions. The test is skipped without it, and fails where tests must run."""
    found = shutil.which(name)
    if found is None and folders:
        found = max((str(path) for path in Path("/").glob(f"{folders.lstrip('/')}/{name}")), default=None)
    return found or missing(name, package)


def missing(name: str, package: str) -> NoReturn:
    reason = f"{name} is not installed (apt install {package})"
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


def launch(command: list[str], end: signal.Signals, user: str | None = None) -> subprocess.Popen[bytes]:
    """Ctrl-C does not reach it, because the fixtures stop it; `end` does when the tests are killed."""
    return subprocess.Popen(
        command,
        cwd="/",  # which any user may enter
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        user=user,
        group=user,
        preexec_fn=die_with_us(end),  # runs after the change of user, which would undo it
    )


def die_with_us(end: signal.Signals) -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def before_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, end)

    return before_exec


def wait_until(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    while not ready():
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        assert time.monotonic() < give_up, f"{process.args!r} does not answer"
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
