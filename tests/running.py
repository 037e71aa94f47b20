"""The API over fake inference, as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import IO, Any

import httpx
import psutil

from api.settings import environment_name, from_env
from api.storage.database import database_url
from api.storage.migrate import migrate
from tests import contract
from tests.servers import free_ports

PROJECT = Path(__file__).resolve().parent.parent
OPEN_PLANS = PROJECT / "tests" / "data" / "open_plans.toml"


@dataclass
class FakeService:
    """The API over fake inference in a process of its own, with its temporary files in a folder of its own."""

    process: psutil.Popen
    url: str
    spool: Path
    client: httpx.Client
    environment: dict[str, str]
    home: TemporaryDirectory[str]

    def tritone(self, *arguments: str) -> str:
        """What the command-line program prints that works on this service's database."""
        command = [sys.executable, "-m", "api.cli", *arguments]
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

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


def start_fake_service(
    spool: Path,
    fake_delay_s: str = "0",
    fakes: Mapping[str, str] = MappingProxyType({}),
    program: Sequence[str] = ("tests.fake_service",),
    log: IO[bytes] | None = None,
    **settings: Any,
) -> FakeService:
    """Settings by their names in lower case; without others, who sends no key is not limited. `fakes` are the variables
    of tests/fake_service.py. Another `program` may be the real one, over the Triton that the settings name. What it
    writes to stderr goes to the file `log`, if there is one."""
    (port,) = free_ports(1)
    home = TemporaryDirectory()
    given = {
        "home": home.name,
        "plans": OPEN_PLANS,
        "spool_dir": spool,
        "port": port,
        "log_level": "warning",
        **settings,
    }
    environment = {
        **os.environ,
        "FAKE_DELAY_S": fake_delay_s,
        **fakes,
        **{environment_name(name): str(value) for name, value in given.items()},
    }
    chosen = from_env(environment)
    migrate(database_url(chosen.database_url, chosen.home))
    process = psutil.Popen([sys.executable, "-m", *program], cwd=PROJECT, env=environment, stderr=log)
    client = contract.client(f"http://127.0.0.1:{port}")
    for _ in range(400):
        try:
            client.get("/v1/languages")
            break
        except httpx.TransportError:
            time.sleep(0.05)
    return FakeService(process, f"http://127.0.0.1:{port}", spool, client, environment, home)


def stop_fake_service(service: FakeService) -> None:
    service.client.close()
    with suppress(psutil.NoSuchProcess):  # a test may have ended it
        service.process.terminate()
        service.process.wait(30)
    service.home.cleanup()
