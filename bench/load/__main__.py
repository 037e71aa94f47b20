"""How the service does under load: throughput, latency and batches against how many use it, and live sessions beside
files. Writes the section "Under load" of docs/performance.md, with plots.

    make bench                                                                    # a service of its own, six minutes
    .venv/bin/python -m bench.load --url http://127.0.0.1:8000 --step-s 10        # one that runs already, and shorter

Locust's users (bench/load/locustfile.py) check every answer. First a mix, of more and more users: half of them send
recordings, a quarter asks about texts, a quarter speaks. Then live sessions, always as many, beside more and more
clients that send recordings.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bench.load import material, plots, report
from bench.load.measuring import Level, measure
from bench.local import PROJECT, tritone_up
from bench.service import authorization

DOCUMENT = PROJECT / "docs" / "performance.md"
PLOTS = PROJECT / "docs" / "plots"
MIX = {"Uploads": 2, "Texts": 1, "Live": 1}
SECONDS_A_LEVEL = 25.0
SHORTEST_S = 5.0


class Measured(msgspec.Struct, frozen=True):
    mix: list[Level]
    beside: list[Level]

    @property
    def problems(self) -> list[str]:
        return [problem for level in (*self.mix, *self.beside) for problem in level.problems]


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    if arguments.step_s < SHORTEST_S:
        raise SystemExit(f"--step-s {arguments.step_s:g}: at least {SHORTEST_S:g}, of which the first are not counted.")
    if not arguments.print_only:
        try:
            report.around(arguments.document)  # before minutes are spent
        except (OSError, report.NoMarkers) as error:
            raise SystemExit(str(error)) from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what it started, as Ctrl-C does
    measured = msgspec.json.decode(arguments.read.read_bytes(), type=Measured) if arguments.read else run(arguments)
    if arguments.results:
        arguments.results.write_bytes(msgspec.json.encode(measured))
    print(f"{report.of_mix(measured.mix)}\n\n{report.of_live(measured.beside)}")
    if not arguments.print_only:
        pictures = plots.draw(measured.mix, measured.beside, arguments.plots)
        report.write(arguments.document, measured.mix, measured.beside, [arguments.plots / name for name in pictures])
    for problem in measured.problems:
        print(f"wrong: {problem}", file=sys.stderr)
    sys.exit(1 if measured.problems else 0)


def run(arguments: argparse.Namespace) -> Measured:
    with ExitStack() as stack:
        if arguments.url:
            key = authorization().get("Authorization", "").removeprefix("Bearer ")
            host, metrics = arguments.url, arguments.metrics
        else:
            service = stack.enter_context(tritone_up(arguments.home))
            host, metrics, key = service.url, service.metrics_url, service.key
        if arguments.recordings:
            recordings = arguments.recordings
        else:
            recordings = Path(stack.enter_context(TemporaryDirectory(prefix="tritone-load-")))
            material.prepare(recordings)

        def level(users: Mapping[str, int]) -> Level:
            print(f"{time.strftime('%H:%M:%S')} {users}", file=sys.stderr, flush=True)
            return measure(host, key, metrics, recordings, users, arguments.step_s, *arguments.option)

        return Measured(
            [level(_mixed(arguments.mix, users)) for users in arguments.users],
            [level({"Uploads": n, "Texts": 0, "Live": arguments.sessions}) for n in arguments.files],
        )


def _mixed(mix: Mapping[str, int], users: int) -> dict[str, int]:
    """So many users in these proportions, and at least one of each that there are any of."""
    whole = sum(mix.values())
    return {name: max(1, round(users * share / whole)) if share else 0 for name, share in mix.items()}


def _mix(text: str) -> dict[str, int]:
    try:
        given = {name.strip(): int(share) for name, _, share in (part.partition("=") for part in text.split(","))}
    except ValueError:
        given = {}
    if not given or not given.keys() <= MIX.keys() or min(given.values()) < 0 or not any(given.values()):
        raise argparse.ArgumentTypeError(f"{text!r} is no mix such as Uploads=2,Texts=1,Live=1")
    return {name: given.get(name, 0) for name in MIX}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="a running service, with its key in TRITONE_KEY; default: one of its own")
    parser.add_argument("--metrics", default="http://127.0.0.1:8002/metrics", help="of its Triton (%(default)s)")
    parser.add_argument("--home", type=Path, help="a TRITONE_HOME for the one of its own; default: a temporary one")
    parser.add_argument("--recordings", type=Path, help="a folder to send from; default: the demo's recordings")
    parser.add_argument("--users", type=int, nargs="*", default=[4, 8, 16, 32, 64], help="in all (%(default)s)")
    parser.add_argument("--mix", type=_mix, default=MIX, help="of them (Uploads=2,Texts=1,Live=1)")
    parser.add_argument("--sessions", type=int, default=8, help="live, beside files (%(default)s)")
    parser.add_argument("--files", type=int, nargs="*", default=[0, 8, 16, 48], help="clients (%(default)s)")
    parser.add_argument("--step-s", type=float, default=SECONDS_A_LEVEL, help="seconds a level (%(default)s)")
    parser.add_argument("--option", action="append", default=[], help="for Locust, such as --option=--pause=1")
    parser.add_argument("--results", type=Path, help="a file to write the figures to, as JSON")
    parser.add_argument("--read", type=Path, help="such a file: draw and write, but measure nothing")
    parser.add_argument("--print-only", action="store_true", help="change neither document nor plots")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="with the markers (docs/performance.md)")
    parser.add_argument("--plots", type=Path, default=PLOTS, help="a folder beside it (docs/plots)")
    return parser


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
