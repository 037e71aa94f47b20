"""Live sessions side by side, in real time: how long words take to appear, and how many sessions a machine carries.

    make up                                # in one terminal
    .venv/bin/python -m bench.stream       # in another

Meetings in voices that no training had are spoken into N sessions at once, each its own. Times are wall-clock, from the
moment at which a word's last sample has been spoken, which is when the generator says that it ends:

* in a partial: until it first appears in one, at its place; committed: until it is part of what stays
* final: from the endpoint, which is the last word's end and the silence that was asked for, to the phrase's `text`
* WER: of the last message, and of POST /v1/transcribe on the same audio
* a partial every: between those of a session, while somebody speaks
* keeps up: every session's last message comes within two seconds of its last sample

With more than one number of `--files`, each number of sessions is measured beside each of them in turn, and the last
columns compare with the first of them: `--sessions 8 --files 0 48` says how much later words come beside 48 clients
that send files without pause.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import httpx
import msgspec
import numpy as np
import soundfile
from websockets.asyncio.client import connect

from bench.live import SAMPLE_RATE_HZ, SEED, Heard, p50, p95, speech, words_of
from bench.service import authorization, cpu_seconds, family, listener, window_counts
from export_scripts.demo.whisper.held_out import Recording
from export_scripts.scoring import word_error_rate

T = TypeVar("T")
KEEPS_UP_S = 2.0
SPREAD_S = 1.0
"""Sessions begin within this, not all at once."""
LEAD_S = 5.0
"""Who sends files began so long before, so that what is measured is beside a steady load and not beside its start."""


@dataclass(frozen=True)
class Measured:
    """A row of the table; latencies in s. `partial_p95` is that of words in partials."""

    cells: list[str]
    partial_p95: float
    final_p95: float


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running service (%(default)s)")
    parser.add_argument("--metrics", default="http://127.0.0.1:8002/metrics", help="Triton's (%(default)s)")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 8, 32], help="N (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="of each session (%(default)s)")
    parser.add_argument("--frame-ms", type=int, default=100, help="of audio in a message (%(default)s)")
    parser.add_argument("--config", default="{}", help="JSON, sent by every session (%(default)s)")
    parser.add_argument(
        "--files", type=int, nargs="+", default=[0], help="clients that send recordings meanwhile (%(default)s)"
    )
    arguments = parser.parse_args(argv)
    config = msgspec.json.decode(arguments.config, type=dict[str, object])
    recordings = speech(arguments.seconds)
    file_wer = word_error_rate([r.text for r in recordings], asyncio.run(transcribe(arguments.url, recordings)))
    print(f"\nWER of the file route on the same audio: {file_wer:.1%}\n")
    columns = (
        "sessions", "beside clients",
        "in a partial: p50", "p95", "committed: p50", "p95", "final: p50", "p95", "WER", "a partial every",
        "cores", "of them the API", "windows a call", "keeps up",
        *(("in a partial: p95, times the first", "final: p95, times the first") if len(arguments.files) > 1 else ()),
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for sessions in arguments.sessions:
        first: Measured | None = None
        for files in arguments.files:
            row = measure(arguments, config, recordings, sessions, files)
            first = first or row
            ratios = (row.partial_p95 / first.partial_p95, row.final_p95 / first.final_p95)
            more = [f"×{ratio:.2f}" for ratio in ratios] if len(arguments.files) > 1 else []
            print(f"| {' | '.join([*row.cells, *more])} |", flush=True)


async def transcribe(url: str, recordings: Sequence[Recording]) -> list[str]:
    async with httpx.AsyncClient(base_url=url, headers=authorization(), timeout=600) as client:
        return [await send_file(client, recording) for recording in recordings]


async def send_file(client: httpx.AsyncClient, recording: Recording) -> str:
    file = io.BytesIO()
    soundfile.write(file, recording.samples, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    answer = await client.post("/v1/transcribe", files={"file": file.getvalue()}, data={"diarize": "false"})
    return str(answer.raise_for_status().json()["text"])


def measure(
    arguments: argparse.Namespace, config: dict[str, object], recordings: list[Recording], sessions: int, files: int
) -> Measured:
    port = httpx.URL(arguments.url).port or 80
    service, api = family(port), [listener(port)]

    def counters() -> tuple[float, ...]:
        times = cpu_seconds(service), cpu_seconds(api), time.perf_counter()
        return *times, *window_counts(arguments.metrics)

    heard, before = asyncio.run(all_sessions(arguments, config, recordings, sessions, files, counters))
    cpu, api_cpu, elapsed, windows, calls = (now - then for now, then in zip(counters(), before, strict=True))
    silence_s = float(str(config.get("min_silence_ms", 500))) / 1000
    in_partial = [late for one in heard for late in one.lateness(one.in_partial)]
    committed = [late for one in heard for late in one.lateness(one.committed)]
    final = [late - silence_s for one in heard for late in one.lateness(one.in_final, before_silence_s=silence_s)]
    gaps = [after - before for one in heard for before, after in pairwise(one.partial_times)]
    behind = max(one.ended - one.recording.duration_s for one in heard)
    cells = [
        str(sessions),
        str(files),
        *(f"{1000 * of:.0f} ms" for times in (in_partial, committed, final) for of in (p50(times), p95(times))),
        f"{word_error_rate([one.recording.text for one in heard], [one.text for one in heard]):.1%}",
        f"{1000 * p50(gaps):.0f} ms",
        f"{cpu / elapsed:.2f}",
        f"{api_cpu / elapsed:.2f}",
        f"{windows / calls:.1f}",
        "yes" if behind <= KEEPS_UP_S else f"no, {behind:.1f} s behind",
    ]
    return Measured(cells, p95(in_partial), p95(final))


async def all_sessions(
    arguments: argparse.Namespace,
    config: dict[str, object],
    recordings: list[Recording],
    sessions: int,
    files: int,
    counters: Callable[[], T],
) -> tuple[list[Heard], T]:
    """And the counters as they were when the first began."""
    rng = random.Random(SEED)

    async def one(number: int) -> Heard:
        await asyncio.sleep(rng.uniform(0, SPREAD_S))
        return await session(arguments, config, recordings[number % len(recordings)])

    async def send_files() -> None:
        async with httpx.AsyncClient(base_url=arguments.url, headers=authorization(), timeout=600) as client:
            await asyncio.sleep(rng.uniform(0, SPREAD_S))
            while True:
                await send_file(client, rng.choice(recordings))

    busy = [asyncio.create_task(send_files()) for _ in range(files)]
    try:
        if busy:
            await asyncio.sleep(LEAD_S)
        before = counters()
        return await asyncio.gather(*map(one, range(sessions))), before
    finally:
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def session(arguments: argparse.Namespace, config: dict[str, object], recording: Recording) -> Heard:
    heard = Heard(recording, words_of(recording.text))
    pcm = (np.clip(recording.samples, -1, 1) * 32767).astype("<i2").tobytes()
    frame_s = arguments.frame_ms / 1000
    frame_bytes = 2 * int(frame_s * SAMPLE_RATE_HZ)
    url = arguments.url.replace("http", "ws", 1) + "/v1/stream"
    async with connect(url, additional_headers=authorization(), compression=None, max_size=None) as socket:
        await socket.send(msgspec.json.encode(config).decode())
        assert msgspec.json.decode(await socket.recv())["status"] == "ready"
        begun = time.perf_counter()

        async def speak() -> None:
            for number, start in enumerate(range(0, len(pcm), frame_bytes), start=1):
                # A frame can be sent when its last sample has been spoken.
                await asyncio.sleep(begun + number * frame_s - time.perf_counter())
                await socket.send(pcm[start : start + frame_bytes])
            await socket.send('{"action": "stop"}')

        speaking = asyncio.create_task(speak())
        async for message in socket:
            heard.note(msgspec.json.decode(message), time.perf_counter() - begun)
        await speaking
    return heard


if __name__ == "__main__":
    main()
