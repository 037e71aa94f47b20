"""How many short clips a second a running service transcribes, how long each waits, and how right they are.

    .venv/bin/python -m bench.load --url http://127.0.0.1:8000 --metrics http://127.0.0.1:8002/metrics --baseline

`--baseline` runs faster-whisper in this process first, two worker threads over the same clips and the same weights, and
gives the service's figures as a ratio to it: machines differ, ratios taken in one run are what to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

CLIPS = Path(__file__).resolve().parent.parent / "tests" / "data"


@dataclass(frozen=True)
class Clip:
    path: Path
    text: str


@dataclass(frozen=True)
class Outcome:
    requests_per_s: float
    p50_s: float
    p95_s: float
    wer: float


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--metrics", help="Triton's metrics: how many windows each engine call served")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 48])
    parser.add_argument("--requests", type=int, default=96, help="requests per number of clients (%(default)s)")
    parser.add_argument("--clips", type=Path, default=CLIPS, help="a folder with references.json")
    parser.add_argument("--baseline", action="store_true", help="faster-whisper in this process, with two threads")
    parser.add_argument(
        "--weights",
        type=Path,
        default=Path(".tritone/model_repository/whisper-demo/1/weights"),
        help="the weights that the baseline loads (%(default)s)",
    )
    arguments = parser.parse_args(argv)
    references = json.loads((arguments.clips / "references.json").read_text())
    clips = [Clip(arguments.clips / reference["file"], reference["text"]) for reference in references]
    baseline = None
    if arguments.baseline:
        baseline = measure_baseline(arguments.weights, clips, arguments.requests)
        print(f"{'faster-whisper, 2 threads':28}{_row(baseline)}")
    for clients in arguments.clients:
        before = window_counts(arguments.metrics)
        outcome = asyncio.run(measure_service(arguments.url, clips, clients, arguments.requests))
        after = window_counts(arguments.metrics)
        ratio = f"   ×{outcome.requests_per_s / baseline.requests_per_s:.2f}" if baseline else ""
        windows, calls = after[0] - before[0], after[1] - before[1]
        merged = f"   {windows / calls:.1f} windows a call" if calls else ""
        print(f"{f'service, {clients} clients':28}{_row(outcome)}{ratio}{merged}")


async def measure_service(url: str, clips: Sequence[Clip], clients: int, requests: int) -> Outcome:
    waiting = list(range(requests))
    times: list[float] = []
    texts: list[tuple[str, str]] = []

    async def client(session: httpx.AsyncClient) -> None:
        while waiting:
            clip = clips[waiting.pop() % len(clips)]
            started = time.perf_counter()
            answer = await session.post("/v1/transcribe", files={"file": clip.path.read_bytes()})
            times.append(time.perf_counter() - started)
            texts.append((clip.text, answer.raise_for_status().json()["text"]))

    async with httpx.AsyncClient(base_url=url, timeout=300, limits=httpx.Limits(max_connections=clients)) as session:
        started = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        return _outcome(time.perf_counter() - started, times, texts)


def measure_baseline(weights: Path, clips: Sequence[Clip], requests: int) -> Outcome:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(weights), device="cpu", compute_type="float32", cpu_threads=1, num_workers=2)
    times: list[float] = []
    texts: list[tuple[str, str]] = []

    def one(number: int) -> None:
        clip = clips[number % len(clips)]
        started = time.perf_counter()
        segments, _ = model.transcribe(
            str(clip.path), word_timestamps=True, vad_filter=True, condition_on_previous_text=False
        )
        text = " ".join(segment.text.strip() for segment in segments)
        times.append(time.perf_counter() - started)
        texts.append((clip.text, text))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(one, range(4)))  # warm
        times.clear()
        texts.clear()
        started = time.perf_counter()
        list(threads.map(one, range(requests)))
        return _outcome(time.perf_counter() - started, times, texts)


def window_counts(metrics: str | None) -> tuple[int, int]:
    """Windows recognised and engine calls made by all Whisper models so far, from Triton's own counters."""
    if metrics is None:
        return 0, 0
    text = httpx.get(metrics).text
    totals = []
    for counter in ("nv_inference_request_success", "nv_inference_exec_count"):
        values = re.findall(rf'^{counter}{{model="whisper-[^}}]*}} (\d+)', text, re.MULTILINE)
        totals.append(sum(map(int, values)))
    return totals[0], totals[1]


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Levenshtein distance over words without case and punctuation, and the number of reference words."""
    expected, got = (re.sub(r"[^\w\s]", "", text.lower()).split() for text in (reference, hypothesis))
    row = list(range(len(got) + 1))
    for i, word in enumerate(expected, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1], len(expected)


def _outcome(elapsed: float, times: Sequence[float], texts: Sequence[tuple[str, str]]) -> Outcome:
    errors = [word_errors(reference, hypothesis) for reference, hypothesis in texts]
    return Outcome(
        requests_per_s=len(times) / elapsed,
        p50_s=float(np.percentile(times, 50)),
        p95_s=float(np.percentile(times, 95)),
        wer=sum(wrong for wrong, _ in errors) / sum(words for _, words in errors),
    )


def _row(outcome: Outcome) -> str:
    return (
        f"{outcome.requests_per_s:6.1f} requests/s   p50 {outcome.p50_s:5.2f} s   p95 {outcome.p95_s:5.2f} s"
        f"   WER {outcome.wer:.1%}"
    )


if __name__ == "__main__":
    main()
