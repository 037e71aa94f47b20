"""A service of a measurement's own: the demo models, ports that are free, and what it needs in a folder that goes."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import die_with_us, free_ports

PROJECT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 600.0  # the demo models are exported first
STOP_LIMIT_S = 60.0
READY = "tritone ready on "
METRICS = "triton metrics "
GRPC = "triton gRPC "
KEY = "demo key "


@dataclass(frozen=True)
class Service:
    """A running `tritone up`. The key's plan limits next to nothing."""

    url: str
    metrics_url: str
    triton_url: str
    key: str
    home: Path
    environment: Mapping[str, str]

    def tritone(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What the command-line program does for this service."""
        command = [sys.executable, "-m", "api.cli", *arguments]
        return subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False)


@contextmanager
def home(folder: Path | None) -> Iterator[Path]:
    """The folder, or without one a temporary one. In one that is kept the models are exported but once."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="tritone-bench-") as made:
        yield Path(made)


@contextmanager
def tritone_up(folder: Path | None = None, **settings: object) -> Iterator[Service]:
    """From when it is ready. Settings by their names in lower case. Ends with the measurement, however that ends."""
    port, grpc, metrics = free_ports(3)
    with home(folder) as place:
        given = {"TRITONE_HOME": place, "PORT": port, "TRITON_GRPC_PORT": grpc, "TRITON_METRICS_PORT": metrics}
        environment = {
            **os.environ,
            **{name: str(value) for name, value in given.items()},
            **{f"TRITONE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "up"],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the measurement, which ends it
            preexec_fn=die_with_us(signal.SIGTERM),
        )
        try:
            said = _until_ready(process)
            yield Service(
                said[READY], said[METRICS], said[GRPC], said[KEY], place, {**environment, "TRITON_URL": said[GRPC]}
            )
        finally:
            stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _until_ready(process: subprocess.Popen[str]) -> dict[str, str]:
    """What it says by what it says it after. What it says later is thrown away, so that it never waits to be read."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put(line.rstrip())
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    said: dict[str, str] = {}
    heard: list[str] = []
    give_up = time.monotonic() + START_LIMIT_S
    while READY not in said:
        try:
            line = lines.get(timeout=max(0.01, give_up - time.monotonic()))
        except queue.Empty:
            line = ""
        if not line:
            raise SystemExit("\n".join(["The service does not come up. It said:", *heard[-20:]]))
        print(line, file=sys.stderr, flush=True)
        heard.append(line)
        said |= {start: line.removeprefix(start) for start in (READY, METRICS, GRPC, KEY) if line.startswith(start)}
    return said
