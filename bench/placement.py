"""Two Tritons behind one API, one of them killed under load: what becomes of the requests, and who does the work.

    .venv/bin/python -m bench.placement

Starts both and the API. While clients send recordings without pause, the second Triton is killed with SIGKILL, its
models' processes with it, and after a while started again. Ends with status 1 unless every request was answered
rightly, and the second took its share again.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from bench.clients import Load, latencies, problems, times
from bench.local import PROJECT, home
from bench.recordings import clips
from bench.service import window_counts
from tests.running import start_fake_service, stop_fake_service
from tests.served import Triton

MODEL = "demo"
LEAST_SHARE = 0.25
"""Of the windows, that each of two Tritons has to take when both are there."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of each phase (%(default)s)")
    parser.add_argument("--home", type=Path, help="a folder to keep the models in; default: a temporary one")
    arguments = parser.parse_args(argv)
    logging.disable(logging.INFO)  # httpx tells of every request
    with home(arguments.home) as folder, tempfile.TemporaryDirectory() as spool:
        repository = folder / "model_repository"
        export = [sys.executable, "-m", "export_scripts.demo", "--to", str(repository)]
        subprocess.run(export, cwd=PROJECT, check=True, stdout=sys.stderr)
        models = [path.parent.name for path in repository.glob("*/config.pbtxt")]
        tritons = [Triton(repository, folder / f"triton-{number}") for number in (1, 2)]
        try:
            for triton in tritons:
                triton.start(*models)
            api = start_fake_service(
                Path(spool), program=("api.cli", "serve"), triton_url=",".join(one.address for one in tritons)
            )
            try:
                wrong = asyncio.run(measure(api.url, tritons, models, arguments))
            finally:
                stop_fake_service(api)
        finally:
            for triton in tritons:
                triton.stop()
    for problem in wrong:
        print(problem)
    sys.exit(1 if wrong else 0)


async def measure(url: str, tritons: list[Triton], models: list[str], arguments: argparse.Namespace) -> list[str]:
    """What was wrong."""
    load = Load(url, "", clips(), {"model": MODEL})
    wrong: list[str] = []
    columns = ("", "right", "refused", "wrong", "p50", "p95", "longest", "windows, first Triton", "second")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")

    async def phase(name: str, seconds: float) -> list[int]:
        """Windows that each Triton recognised in it."""
        began, before = time.monotonic(), [windows(triton) for triton in tritons]
        await asyncio.sleep(seconds)
        done = [windows(triton) - then for triton, then in zip(tritons, before, strict=True)]
        # By when they ended, so that one which was with the Triton that was killed counts when it was answered.
        answers = [one for one in load.answers if one.began + one.seconds >= began]
        counts = [sum(one.what == what for one in answers) for what in ("right", "refused", "wrong")]
        cells = [name, *map(str, counts), *latencies(times(answers, "right")), *map(str, done)]
        print(f"| {' | '.join(cells)} |", flush=True)
        return done

    async with load.of(arguments.clients):
        await asyncio.sleep(3)
        shares = [await phase("both", arguments.seconds)]
        await asyncio.to_thread(tritons[1].kill)
        await phase("the second is killed", arguments.seconds)
        began = time.monotonic()
        await asyncio.to_thread(tritons[1].start, *models)
        print(f"the second is ready again after {time.monotonic() - began:.1f} s", file=sys.stderr)
        await phase("it comes back", arguments.seconds)
        shares.append(await phase("both again", arguments.seconds))
    for name, (first, second) in zip(("before", "after"), shares, strict=True):
        if min(first, second) < LEAST_SHARE * (first + second):
            wrong.append(f"{name} the kill, of {first + second} windows one Triton took {min(first, second)}")
    wrong += [f"refused: {len(times(load.answers, 'refused'))}"] if times(load.answers, "refused") else []
    return wrong + problems(load.answers)


def windows(triton: Triton) -> int:
    """That it has recognised since it was started; none while it is away."""
    try:
        return window_counts(triton.served.metrics_url)[0]
    except httpx.TransportError:
        return 0


if __name__ == "__main__":
    main()
