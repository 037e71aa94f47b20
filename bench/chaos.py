"""What requests go through, and what stays behind, when Triton is killed again and again under load.

    .venv/bin/python -m bench.chaos --url http://127.0.0.1:8000

Kills the Triton of the `tritone up` on this machine that serves the URL. Ends with status 1 unless every request ended
right or in 503 with `Retry-After`, the service came back by itself each time, and nothing more is there than before.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import psutil

from bench.recordings import clips
from bench.service import authorization, listener

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_PREFIX = "--backend-config=python,shm-region-prefix-name="
LOAD_S = 3.0  # at most, from a recovery to the next kill, so that kills meet requests at every stage
PAUSE_S = 0.5  # of a client whose request was not answered with 200
REQUEST_LIMIT_S = 180.0  # far more than the service's patience with a Triton that is away
RECOVERY_LIMIT_S = 120.0
EQUAL_LOOKS, MOST_LOOKS, BETWEEN_LOOKS_S = 3, 30, 0.5  # until nothing changes any more
POOLED_THREADS = 6  # gRPC's and asyncio's pools are bounded, but grow when they like
POOLED_SOCKETS = 1  # gRPC's channel may have one more once it has had to connect again

ALLOWED = {"threads": POOLED_THREADS, "open_files": POOLED_SOCKETS}


@dataclass(frozen=True)
class Footprint:
    """What the service holds of the machine, in numbers."""

    processes: int
    shared_memory_regions: int
    decoders: int
    open_files: int
    temporary_files: int
    threads: int

    def exceeds(self, other: Footprint) -> list[str]:
        was, now, allowed = asdict(other), asdict(self), ALLOWED
        more = [name for name in was if now[name] > was[name] + allowed.get(name, 0)]
        return [f"{name.replace('_', ' ')}: {was[name]} before, {now[name]} after" for name in more]


@dataclass(frozen=True)
class Service:
    """A running `tritone up`: the process that watches over the others, and its API."""

    url: str
    up: psutil.Process
    api: psutil.Process
    shared_memory_prefix: str

    def triton(self) -> psutil.Process | None:
        """None while there is none."""
        return _triton(self.up)

    def session(self, clients: int) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=clients)
        return httpx.AsyncClient(
            base_url=self.url, headers=authorization(), timeout=REQUEST_LIMIT_S, limits=limits, trust_env=False
        )

    def footprint(self) -> Footprint:
        files = [_target(link) for link in Path(f"/proc/{self.api.pid}/fd").iterdir()]
        return Footprint(
            # Triton's and its models', by what they were given: one whose Triton was killed has lost its parent.
            processes=sum(self.shared_memory_prefix in argument for argument in _arguments_of_all_processes()),
            shared_memory_regions=len(list(SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*"))),
            decoders=len(self.api.children()),
            open_files=len(files),
            temporary_files=sum(file.endswith("(deleted)") for file in files),
            threads=self.api.num_threads(),
        )


@dataclass
class Tally:
    """What became of the requests."""

    right: int = 0
    refused: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    last_right: float = 0.0

    def take(self, answer: httpx.Response, text: str) -> bool:
        """Whether the answer is the right text."""
        if answer.status_code == 503 and answer.headers.get("Retry-After", "").isdecimal():
            self.refused += 1
            return False
        if answer.status_code != 200:
            return self.fail(f"{answer.status_code}: {answer.text[:200]}")
        if (heard := answer.json()["text"]) != text:
            return self.fail(f"{heard!r} instead of {text!r}")
        self.right += 1
        self.last_right = time.monotonic()
        return True

    def fail(self, what: str) -> bool:
        self.wrong[what] += 1
        return False


@dataclass(frozen=True)
class Outcome:
    tally: Tally
    recoveries_s: Sequence[float]
    before: Footprint
    after: Footprint

    def failures(self) -> list[str]:
        wrong = [f"{count} × {what}" for what, count in self.tally.wrong.items()]
        return wrong + [f"left behind: {what}" for what in self.after.exceeds(self.before)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args(argv)
    outcome = asyncio.run(kill_under_load(find_service(arguments.url), arguments.clients, arguments.kills))
    tally = outcome.tally
    print(f"{tally.right} right, {tally.refused} in 503 with Retry-After, {tally.wrong.total()} otherwise")
    print(f"back after {', '.join(f'{seconds:.1f}' for seconds in outcome.recoveries_s)} s")
    for name, before in asdict(outcome.before).items():
        print(f"{name.replace('_', ' '):24}{before:4} before {asdict(outcome.after)[name]:4} after")
    for failure in outcome.failures():
        print(failure)
    sys.exit(1 if outcome.failures() else 0)


def find_service(url: str) -> Service:
    api = listener(httpx.URL(url).port or 80)
    up = api.parent()
    triton = _triton(up) if up else None
    if up is None or triton is None:
        raise SystemExit(f"What listens at {url} was not started by a `tritone up` that has a Triton running.")
    (prefix,) = (a.removeprefix(SHARED_MEMORY_PREFIX) for a in triton.cmdline() if a.startswith(SHARED_MEMORY_PREFIX))
    return Service(url, up, api, prefix)


async def kill_under_load(service: Service, clients: int, kills: int) -> Outcome:
    recordings = [clip.path.read_bytes() for clip in clips()]
    async with service.session(clients) as session:
        # At once, and no fewer than there will be: pools that grow with the load have then grown.
        warming = (recordings * math.ceil(clients / len(recordings)))[: max(clients, len(recordings))]
        answers = await asyncio.gather(*(_transcribe(session, recording) for recording in warming))
    turns = itertools.cycle(
        [(clip, str(answer.raise_for_status().json()["text"])) for clip, answer in zip(warming, answers, strict=True)]
    )
    before = await _settled(service)
    tally, over = Tally(), asyncio.Event()

    async def client(session: httpx.AsyncClient) -> None:
        while not over.is_set():
            recording, text = next(turns)
            try:
                right = tally.take(await _transcribe(session, recording), text)
            except httpx.HTTPError as error:
                right = tally.fail(repr(error))
            if not right:
                await asyncio.sleep(PAUSE_S)

    recoveries: list[float] = []
    async with service.session(clients) as session, asyncio.TaskGroup() as load:
        for _ in range(clients):
            load.create_task(client(session))
        try:
            for _ in range(kills):
                await asyncio.sleep(random.uniform(0, LOAD_S))
                recoveries.append(await _kill(service, tally))
        except TimeoutError:
            tally.fail(f"the service was not back within {RECOVERY_LIMIT_S:g} s")
        finally:
            over.set()
    return Outcome(tally, recoveries, before, await _settled(service))


async def _transcribe(session: httpx.AsyncClient, recording: bytes) -> httpx.Response:
    return await session.post("/v1/transcribe", files={"file": recording})


async def _kill(service: Service, tally: Tally) -> float:
    """How long it took until a new Triton gave a right answer. Raises TimeoutError when it does not."""
    old, killed = service.triton(), time.monotonic()
    assert old is not None
    old.kill()
    async with asyncio.timeout(RECOVERY_LIMIT_S):
        await _until(lambda: service.triton() not in (old, None))
        started = time.monotonic()
        await _until(lambda: tally.last_right > started)
    return tally.last_right - killed


async def _until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0.1)


async def _settled(service: Service) -> Footprint:
    """The footprint when it has stopped changing: connections and what hangs on them take a moment to close."""
    looks: list[Footprint] = []
    while len(looks) < MOST_LOOKS:
        looks.append(service.footprint())
        if looks[-EQUAL_LOOKS:] == EQUAL_LOOKS * looks[-1:]:
            break
        await asyncio.sleep(BETWEEN_LOOKS_S)
    return looks[-1]


def _triton(up: psutil.Process) -> psutil.Process | None:
    for child in up.children():
        with suppress(psutil.Error):
            if child.name() == "tritonserver":
                return child
    return None


def _arguments_of_all_processes() -> list[str]:
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed since it was listed
        return ""


if __name__ == "__main__":
    main()
