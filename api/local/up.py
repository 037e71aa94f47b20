"""`tritone up`: export the demo models if need be, start Triton and the API, transcribe once, then watch over both."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from api.admin import demo_key
from api.local.supervisor import Child
from api.local.triton_server import SHARED_PROCESSORS, TritonServer
from api.settings import Settings
from api.storage.database import database_url
from api.storage.migrate import migrate

PROJECT = Path(__file__).resolve().parent.parent.parent
DEMO_CLIP = PROJECT / "examples" / "meeting.flac"
DEMO_ID = "demo"
PUBLIC_IDS = ("large-v3-turbo", "large-v3", "medium", "small")
START_TIMEOUT_S = 180.0
LOOPBACK = "127.0.0.1"
# -P: not from the folder we were started in, which may have an `api` of its own.
PYTHON = (sys.executable, "-P", "-m")
WATCH_EVERY_S = 3.0
PORT_PATIENCE_S = 4.0
RECOVERY_S = 20.0  # until the API has forgotten that the model was dead


class UpError(Exception):
    """The service does not come up; the message says why."""


@dataclass(frozen=True)
class UpOptions:
    home: Path
    triton_grpc_port: int
    triton_metrics_port: int


def run(settings: Settings, options: UpOptions) -> None:
    """Returns after Ctrl-C or SIGTERM. Raises UpError or TritonNotRunnable."""
    home = options.home.resolve()
    repository = home / "model_repository"
    triton = TritonServer(home, repository, options.triton_grpc_port, options.triton_metrics_port)
    triton.check()
    with _only_one(home):
        _require_free(
            ("PORT", settings.host, settings.port),
            ("TRITON_GRPC_PORT", LOOPBACK, options.triton_grpc_port),
            ("TRITON_METRICS_PORT", LOOPBACK, options.triton_metrics_port),
        )
        # The exporters load torch, which neither this process nor what it starts should carry along.
        exported = subprocess.run(
            [*PYTHON, "export_scripts.demo", "--to", str(repository)],
            env={**SHARED_PROCESSORS, **os.environ},
            check=False,
        )
        if exported.returncode != 0:
            raise UpError("The demo models could not be exported.")
        migrate(database_url(settings.database_url, settings.home))
        key = demo_key(settings)
        asyncio.run(_supervise(settings, options, triton, home / "logs", key))


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Two would write over each other's models, logs and shared memory."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UpError(f"A tritone runs already with {home}; choose another place with TRITONE_HOME.") from None
        yield


async def _supervise(settings: Settings, options: UpOptions, triton: TritonServer, logs: Path, key: str) -> None:
    triton_url = f"{LOOPBACK}:{options.triton_grpc_port}"
    aliases = settings.model_aliases or dict.fromkeys(PUBLIC_IDS, DEMO_ID)
    api_environment = {
        **os.environ,
        "HOST": settings.host,
        "PORT": str(settings.port),
        "TRITON_URL": triton_url,
        "TRITONE_MODEL_ALIASES": json.dumps(aliases),
    }
    server = Child("triton", triton.command(), triton.environment(), logs / "triton.log", _say, triton.clean_up)
    children = [
        server,
        Child("api", [*PYTHON, "api.cli", "serve"], api_environment, logs / "api.log", _say),
    ]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{settings.port}"
    stop = asyncio.Event()
    for signal_ in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_, stop.set)
    running = [asyncio.create_task(child.keep_running()) for child in children]
    stopping = asyncio.create_task(stop.wait())
    smoke = asyncio.create_task(_smoke_transcription(url, logs, key))
    try:
        await _first((smoke, stopping, *running))
        if smoke.done():
            _say(f'heard "{smoke.result()}" in {DEMO_CLIP.relative_to(PROJECT)}')
            _say(f"triton gRPC {triton_url}")
            _say(f"triton metrics http://{LOOPBACK}:{options.triton_metrics_port}/metrics")
            _say(f"demo key {key}")
            _say(f"tritone ready on {url}")
            running.append(asyncio.create_task(_restart_on_crashed_models(url, server)))
            await _first((stopping, *running))
    finally:
        for task in (smoke, stopping, *running):
            task.cancel()
        await asyncio.gather(smoke, stopping, *running, return_exceptions=True)
        triton.clean_up()
    _say("stopped")


async def _restart_on_crashed_models(url: str, server: Child) -> None:
    """A model's process that dies stays dead while Triton lives on, and Triton counts it as ready."""
    async with httpx.AsyncClient(timeout=START_TIMEOUT_S, trust_env=False) as client:
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                models = (await client.get(f"{url}/health")).json()["models"]
            except (httpx.TransportError, ValueError, KeyError):
                continue  # the API itself is down, and being restarted
            crashed = [name for name, state in models.items() if state == "crashed"]
            if crashed:
                _say(f"the process of {', '.join(crashed)} has died; triton is restarted")
                server.kill()
                await asyncio.sleep(RECOVERY_S)


async def _first(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Until one of them is done; if it failed, its error is raised here."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _smoke_transcription(url: str, logs: Path, key: str) -> str:
    """The text of the demo clip, as soon as the service gives it."""
    give_up = time.monotonic() + START_TIMEOUT_S
    failure = "it did not answer"
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=START_TIMEOUT_S, trust_env=False) as client:
        while time.monotonic() < give_up:
            try:
                answer = await client.post(
                    f"{url}/v1/transcribe", files={"file": DEMO_CLIP.read_bytes()}, data={"store": "false"}
                )
            except httpx.TransportError as error:
                failure = str(error)
            else:
                if answer.status_code == 200 and (text := str(answer.json()["text"])):
                    return text
                failure = answer.text
            await asyncio.sleep(0.3)
    raise UpError(f"The service did not transcribe within {START_TIMEOUT_S:g} s: {failure}\nIts logs are in {logs}.")


def _require_free(*addresses: tuple[str, str, int]) -> None:
    """Variable, host and port: all can be bound at once. The processes of a service that was killed get time to end."""
    give_up = time.monotonic() + PORT_PATIENCE_S
    with ExitStack() as probes:
        for variable, host, port in addresses:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            while True:
                try:
                    probe = probes.enter_context(socket.socket(family))
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, port))
                    break
                except OSError as error:
                    if time.monotonic() > give_up:
                        raise UpError(
                            f"Port {port} on {host} cannot be used ({error.strerror}); choose another with {variable}."
                        ) from None
                time.sleep(0.2)


def _say(line: str) -> None:
    with suppress(OSError):  # the disk that the output goes to may be full; that is no reason to stop
        print(line, flush=True)
