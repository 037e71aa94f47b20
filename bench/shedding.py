"""What overload does to those who are let in, and how fast the others are told.

    .venv/bin/python -m bench.shedding

Starts a service of its own that takes --bound recordings at the same time, and sends it clips: from one client, from as
many as the bound, and from many more. Who is refused (503 with Retry-After) waits as long as it is told, or with
--impatient half a second. The p95 of those who are let in is compared with that of one client, and of as many as the
bound. Ends with status 1 if any answer was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.clients import Load, latencies, problems, times
from bench.live import p95
from bench.local import Service, tritone_up
from bench.recordings import clips

WARM_UP_S = 3.0


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bound", type=int, default=2, help="TRITONE_MAX_RECORDINGS (%(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[16, 64], help="beyond the bound (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of each number of clients (%(default)s)")
    parser.add_argument("--impatient", action="store_true", help="ask again after half a second, whatever was said")
    parser.add_argument("--speakers", action="store_true", help="tell speakers apart")
    parser.add_argument("--home", type=Path, help="a TRITONE_HOME to keep; default: a temporary one")
    arguments = parser.parse_args(argv)
    with tritone_up(arguments.home, max_recordings=arguments.bound) as service:
        wrong = asyncio.run(measure(service, arguments))
    for problem in wrong:
        print(problem)
    sys.exit(1 if wrong else 0)


async def measure(service: Service, arguments: argparse.Namespace) -> list[str]:
    """What was wrong."""
    columns = (
        "clients", "let in", "p50", "p95", "longest", "p95, times that of one",
        f"p95, times that of {arguments.bound}", "refused", "share", "p50", "p95", "longest",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    fields = {"diarize": str(arguments.speakers).lower()}
    wrong: list[str] = []
    p95s: list[float] = []
    await level(Load(service.url, service.key, clips(), fields), arguments.bound, WARM_UP_S)
    for clients in (1, arguments.bound, *arguments.clients):
        load = Load(service.url, service.key, clips(), fields, patient=not arguments.impatient)
        await level(load, clients, arguments.seconds)
        admitted, refused = times(load.answers, "right"), times(load.answers, "refused")
        wrong += problems(load.answers)
        p95s.append(p95(admitted))
        cells = [
            str(clients),
            str(len(admitted)),
            *latencies(admitted),
            *(f"×{p95s[-1] / base:.2f}" for base in (p95s[0], p95s[min(1, len(p95s) - 1)])),
            str(len(refused)),
            f"{len(refused) / len(load.answers):.0%}",
            *latencies(refused),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    return wrong


async def level(load: Load, clients: int, seconds: float) -> None:
    async with load.of(clients):
        await asyncio.sleep(seconds)


if __name__ == "__main__":
    main()
