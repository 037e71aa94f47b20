"""A Whisper version deployed and rolled back again and again while clients transcribe.

    .venv/bin/python -m bench.versions
    .venv/bin/python -m bench.versions --rounds 5 --reload

Starts a service of its own with two versions of the demo model. The second is the first, but writes capitals alone, so
that every word tells which version heard it. A file mixes versions if it has words of both, and its answer lies if it
names the other version. With --reload the second is unloaded after each rollback, so that each deployment loads it
under load; that waits half a minute each time, because a version stays for as long as somebody may still choose it.
Ends with status 1 if any request failed, any file mixed versions, or any answer named the wrong one.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.clients import Answer, Load, latencies, problems, times
from bench.local import Service, home, tritone_up
from bench.recordings import write_recording

MODEL = "whisper-demo"
PUBLIC_ID = "demo"
MINUTES = (0.4, 0.7, 1.0)  # several windows each, so that there is something to mix
UNLOAD_LIMIT_S = 120.0
LOUD = """

from msgspec.structs import replace


class TritonPythonModel(TritonPythonModel):
    def _response(self, answer):
        if isinstance(answer, Recognition):
            answer = replace(answer, segments=[
                replace(one, text=one.text.upper(), words=[replace(w, word=w.word.upper()) for w in one.words])
                for one in answer.segments
            ])
        return super()._response(answer)
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of a deployment and a rollback (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="(%(default)s)")
    parser.add_argument("--pause-s", type=float, default=4, help="after each change (%(default)s)")
    parser.add_argument("--reload", action="store_true", help="unload the second version after each rollback")
    parser.add_argument("--home", type=Path, help="a TRITONE_HOME to keep; default: a temporary one")
    arguments = parser.parse_args(argv)
    with home(arguments.home) as folder, tritone_up(folder) as service:
        make_loud_version(folder / "model_repository" / MODEL)
        wrong = asyncio.run(measure(service, arguments))
    for problem in wrong:
        print(problem)
    sys.exit(1 if wrong else 0)


def make_loud_version(model: Path) -> None:
    """Version 2, out of version 1, unless it is there from the time before."""
    if (model / "2").exists():
        return
    made = model.with_name(f".{model.name}-2")
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(model / "1", made)
    code, manifest = made / "model.py", made / "manifest.json"
    with code.open("a") as file:
        file.write(LOUD)
    told = json.loads(manifest.read_text())
    told["sha256"][code.name] = hashlib.sha256(code.read_bytes()).hexdigest()
    told["bytes"][code.name] = code.stat().st_size
    manifest.write_text(json.dumps(told))
    made.rename(model / "2")


async def measure(service: Service, arguments: argparse.Namespace) -> list[str]:
    """What was wrong."""
    with TemporaryDirectory() as folder:
        recordings = [write_recording(Path(folder) / f"{minutes}.flac", minutes) for minutes in MINUTES]
        load = Load(service.url, service.key, recordings, {"model": PUBLIC_ID, "diarize": "false", "language": "en"})
        changes: list[float] = []
        async with load.of(arguments.clients):
            await asyncio.sleep(arguments.pause_s)
            for number in range(1, arguments.rounds + 1):
                for action in (("deploy", MODEL, "--version", "2"), ("rollback", MODEL)):
                    began = time.monotonic()
                    await change(service, *action)
                    changes.append(time.monotonic() - began)
                    await asyncio.sleep(arguments.pause_s)
                if arguments.reload:
                    await unload(service)
                print(f"  round {number} of {arguments.rounds}", file=sys.stderr, flush=True)
    return told(load.answers, changes)


def told(answers: Sequence[Answer], changes: Sequence[float]) -> list[str]:
    heard = Counter(one.version for one in answers if one.what == "right")
    mixed = [one for one in answers if one.what == "right" and version_of(one.text) is None]
    lied = [one for one in answers if one.what == "right" and version_of(one.text) not in (None, one.version)]
    refused = times(answers, "refused")
    versions = ", ".join(f"{count} by version {version or '?'}" for version, count in sorted(heard.items()))
    print(f"{len(changes)} changes, each in {' / '.join(latencies(changes))} (p50, p95, longest)")
    print(f"{heard.total()} right: {versions}; {' / '.join(latencies(times(answers, 'right')))}")
    print(f"{len(refused)} refused, {len(times(answers, 'wrong'))} wrong, {len(mixed)} of mixed versions")
    wrong = [f"mixed: {one.text!r}" for one in mixed]
    wrong += [f"said to be of version {one.version!r}: {one.text!r}" for one in lied]
    wrong += [f"{len(refused)} refused"] if refused else []
    wrong += [] if heard.keys() >= {"1", "2"} else ["not both versions were ever used, so this shows nothing"]
    return wrong + problems(answers)


def version_of(text: str) -> str | None:
    """By its capitals; None where there are words of both. A single letter can be of either."""
    words = [word for word in text.split() if sum(map(str.isalpha, word)) > 1]
    loud = sum(word == word.upper() for word in words)
    return {0: "1", len(words): "2"}.get(loud)


async def change(service: Service, *action: str) -> None:
    """Raises SystemExit where it fails."""
    done = await asyncio.to_thread(service.tritone, "models", *action)
    if done.returncode != 0:
        raise SystemExit(f"tritone models {' '.join(action)} failed: {done.stdout}{done.stderr}")


async def unload(service: Service) -> None:
    """As soon as nobody can choose it any more."""
    give_up = time.monotonic() + UNLOAD_LIMIT_S
    while True:
        done = await asyncio.to_thread(service.tritone, "models", "unload", MODEL, "--version", "2")
        if done.returncode == 0:
            return
        if time.monotonic() > give_up:
            raise SystemExit(f"Version 2 could not be unloaded: {done.stdout}{done.stderr}")
        await asyncio.sleep(3)


if __name__ == "__main__":
    main()
