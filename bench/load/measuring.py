"""One level of load: so many users of each kind for so long, by Locust in a process of its own, and what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bench.live import quantile
from bench.load import outcomes
from bench.load.outcomes import BEGUN, END_TO_FINAL, WORD_TO_PARTIAL, Outcome
from bench.service import window_counts
from tests.servers import die_with_us

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
WARM_UP_S = 3.0
DRAIN_S = 60
"""What is under way when a level ends is waited for, so that slow answers count as well as fast ones."""
START_LIMIT_S = 120.0  # Locust and the recordings
USERS = ("Uploads", "Texts", "Live")
MODELS = {"whisper": "whisper-", "speakers": "speaker_segmentation", "embedding": "text_embedding"}
"""Whose batches are looked at, by the beginning of their names in Triton."""


class Latency(msgspec.Struct, frozen=True):
    """In s."""

    count: int
    p50: float
    p95: float
    p99: float


class Level(msgspec.Struct, frozen=True):
    """Rates are of what ended while all users were there, per s; latencies of what began while they were. `fill` is
    requests per execution in Triton."""

    users: dict[str, int]
    seconds: float
    requests_per_s: float
    audio_s_per_s: float
    latencies: dict[str, Latency]
    fill: dict[str, float]
    right: int
    wrong: int
    shed: int
    limited: int
    problems: list[str]

    @property
    def concurrency(self) -> int:
        return sum(self.users.values())


GROUPS: Mapping[str, Callable[[Outcome], bool]] = {
    "clips": lambda one: one.kind.startswith("clip"),
    "longer recordings": lambda one: one.kind.startswith("longer"),
    "texts": outcomes.is_text,
    WORD_TO_PARTIAL: lambda one: one.kind == WORD_TO_PARTIAL,
    END_TO_FINAL: lambda one: one.kind == END_TO_FINAL,
}


def measure(
    host: str, key: str, metrics_url: str, recordings: Path, users: Mapping[str, int], seconds: float, *options: str
) -> Level:
    """Raises SystemExit where Locust does not start."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "outcomes.jsonl"
        file.touch()
        log = Path(folder) / "locust.log"
        process = _locust(host, key, recordings, users, seconds, file, log, *options)
        try:
            began = _begun(process, file, log) + WARM_UP_S
            time.sleep(max(0.0, began - time.time()))
            before = {name: window_counts(metrics_url, model) for name, model in MODELS.items()}
            time.sleep(max(0.0, began + seconds - WARM_UP_S - time.time()))
            after = {name: window_counts(metrics_url, model) for name, model in MODELS.items()}
            ended = time.time()
            process.wait(2 * DRAIN_S)
        finally:
            _end(process)
        return summarize(
            outcomes.read(file), dict(users), began, ended, {n: _fill(before[n], after[n]) for n in MODELS}
        )


def summarize(told: list[Outcome], users: dict[str, int], began: float, ended: float, fill: dict[str, float]) -> Level:
    """`began` and `ended`, in s since the epoch: from when to when all users were there."""
    counted = [one for one in told if began <= one.began < ended]
    finished = [one for one in outcomes.of_requests(told) if one.what == "right" and began <= one.ended < ended]
    right = [one for one in counted if one.what == "right"]
    groups = {name: [one.seconds for one in right if belongs(one)] for name, belongs in GROUPS.items()}
    return Level(
        users,
        ended - began,
        len(finished) / (ended - began),
        sum(one.audio_s for one in finished) / (ended - began),
        {name: _latency(times) for name, times in groups.items() if times},
        fill,
        outcomes.count(counted, "right"),
        outcomes.count(counted, "wrong"),
        outcomes.count(counted, "shed"),
        outcomes.count(counted, "limited"),
        sorted({f"{one.kind}: {one.problem}" for one in counted if one.what == "wrong"})[:20],
    )


def _latency(times: list[float]) -> Latency:
    return Latency(len(times), *(quantile(times, share) for share in (0.5, 0.95, 0.99)))


def _fill(before: tuple[int, int], after: tuple[int, int]) -> float:
    requests, executions = (now - then for now, then in zip(after, before, strict=True))
    return requests / executions if executions else 0.0


def _locust(
    host: str, key: str, recordings: Path, users: Mapping[str, int], run_s: float, file: Path, log: Path, *options: str
) -> subprocess.Popen[bytes]:
    there = {name: count for name, count in users.items() if count}
    count = sum(there.values())
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", host),
        *("--users", str(count), "--spawn-rate", str(count), "--run-time", f"{run_s:.0f}s"),
        *("--stop-timeout", str(DRAIN_S), "--exit-code-on-error", "0", "--only-summary", "--loglevel", "WARNING"),
        *("--recordings", str(recordings), "--outcomes", str(file), *options),
        *("--config-users", *(json.dumps({"user_class_name": name, "fixed_count": n}) for name, n in there.items())),
        "--",
        *there,
    ]
    environment = {**os.environ, "TRITONE_KEY": key}
    with log.open("wb") as said:
        return subprocess.Popen(
            command,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,  # Ctrl-C reaches the measurement, which ends it
            preexec_fn=die_with_us(signal.SIGKILL),
        )


def _begun(process: subprocess.Popen[bytes], file: Path, log: Path) -> float:
    """When all users were there, in s since the epoch."""
    give_up = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < give_up:
        for one in outcomes.read(file):
            if one.kind == BEGUN:
                return one.began
        time.sleep(0.05)
    raise SystemExit(f"Locust did not start. It said:\n{log.read_text()[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
