"""The service against what else there is, on one machine in one run, with the same model and the same files.

    make up                                   # in one terminal
    .venv/bin/python -m bench.transcribe      # in another

* service: recognition alone, as all others do; service and speakers: with who says what, as is its default. Windows a
  call are those of Whisper there and of the segmentation of speakers here
* pipeline: the service's own way from file to text with the engines in this process: what API and Triton add to it
* batched: faster-whisper's BatchedInferencePipeline in this process, with all cores
* plain server: an ASGI server that calls faster-whisper per request in a thread (bench/plain_server.py)

Machines differ and are seldom idle: the ratios of one run are what to compare. A row that was measured several times
shows its fastest round.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from faster_whisper import BatchedInferencePipeline, WhisperModel

from api.audio.media import DecoderLimits
from api.inference.contracts import SPEAKER_SEGMENTATION, WHISPER_PREFIX
from api.recognition.catalog import SpeechModel
from api.recognition.pipeline import Transcriber, TranscriptionOptions
from bench.in_process import InProcess
from bench.recordings import Clip, clips, write_recording
from bench.service import authorization, cpu_seconds, family, window_counts
from export_scripts.scoring import word_error_rate

CORES = os.cpu_count() or 1
LIMITS = DecoderLimits(audio_s=36_000, cpu_s=600, memory_bytes=2 * 1024**3)
BATCH = 8
START_TIMEOUT_S = 60


@dataclass(frozen=True)
class Outcome:
    audio_per_s: float
    requests_per_s: float
    p50_s: float
    p95_s: float
    cores: float
    wer: float
    windows_per_call: float | None = None


@dataclass(frozen=True)
class Answer:
    clip: Clip
    seconds: float
    text: str


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running service (%(default)s)")
    parser.add_argument("--metrics", default="http://127.0.0.1:8002/metrics", help="Triton's (%(default)s)")
    parser.add_argument("--models", type=Path, default=Path(".tritone/model_repository"), help="(%(default)s)")
    parser.add_argument("--model", default="whisper-demo", help="of those (%(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--requests", type=int, default=128, help="per number of clients (%(default)s)")
    parser.add_argument("--minutes", type=float, default=10, help="of the long recording (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="each contender's turns (%(default)s)")
    arguments = parser.parse_args(argv)
    weights = arguments.models / arguments.model / "1" / "weights"
    short = clips()
    work = [short[number % len(short)] for number in range(arguments.requests)]
    rows: dict[str, list[Outcome]] = {}

    def turn(name: str, measure: Callable[[], Outcome]) -> None:
        rows.setdefault(name, []).append(measure())
        print(f"  {name}: {rows[name][-1].audio_per_s:.0f} audio s/s", file=sys.stderr, flush=True)

    fields = {"model": arguments.model.removeprefix("whisper-")}
    service = Service(arguments.url, arguments.metrics, {**fields, "diarize": "false"})
    speakers = Service(arguments.url, arguments.metrics, fields, SPEAKER_SEGMENTATION)
    with tempfile.TemporaryDirectory() as folder, plain_server(weights) as plain:
        long = [write_recording(Path(folder) / "long.flac", arguments.minutes)]
        pipeline = InProcess(arguments.models, arguments.model, threads=1)
        batched = WhisperModel(str(weights), device="auto", compute_type="default", cpu_threads=CORES)
        for server in (service, speakers, plain):
            server.measure(short, 1)  # warm
        for _ in range(arguments.rounds):
            for clients in arguments.clients:
                turn(f"service, {clients} clients", partial(service.measure, work, clients))
                turn(f"service and speakers, {clients} clients", partial(speakers.measure, work, clients))
            turn("pipeline", partial(measure_pipeline, pipeline, work[: 2 * len(short)]))
            turn("batched", partial(measure_batched, batched, work[: 2 * len(short)]))
            for clients in arguments.clients:
                turn(f"plain server, {clients} clients", partial(plain.measure, work, clients))
            turn("service, long", partial(service.measure, long, 1))
            turn("service and speakers, long", partial(speakers.measure, long, 1))
            turn("batched, long", partial(measure_batched, batched, long))
            turn("plain server, long", partial(plain.measure, long, 1))
    print_tables({name: max(outcomes, key=lambda o: o.audio_per_s) for name, outcomes in rows.items()}, arguments)
    added = [one.p50_s - other.p50_s for one, other in zip(rows["service, 1 clients"], rows["pipeline"], strict=True)]
    print(f"\nAPI and Triton add {1000 * statistics.median(added):.1f} ms to a lone clip, at the median.")


def print_tables(best: dict[str, Outcome], arguments: argparse.Namespace) -> None:
    columns = ("audio s/s", "requests/s", "p50", "p95", "cores", "WER", "windows a call", "against the plain server")
    print(f"| short clips | {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, outcome in best.items():
        if name.endswith("long"):
            continue
        plain = best.get(f"plain server,{name.partition(',')[2]}")
        cells = (
            f"{outcome.audio_per_s:.1f}",
            f"{outcome.requests_per_s:.1f}",
            f"{1000 * outcome.p50_s:.0f} ms",
            f"{1000 * outcome.p95_s:.0f} ms",
            f"{outcome.cores:.2f}",
            f"{outcome.wer:.1%}",
            f"{outcome.windows_per_call:.1f}" if outcome.windows_per_call else "",
            f"×{outcome.audio_per_s / plain.audio_per_s:.2f}" if plain and name.startswith("service") else "",
        )
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n| one recording of {arguments.minutes:g} min | audio s/s | cores | WER | against batched |")
    print("|---|---|---|---|---|")
    for name, outcome in best.items():
        if name.endswith("long"):
            against = outcome.audio_per_s / best["batched, long"].audio_per_s
            row = (f"{outcome.audio_per_s:.0f}", f"{outcome.cores:.2f}", f"{outcome.wer:.1%}", f"×{against:.2f}")
            print(f"| {name.removesuffix(', long')} | {' | '.join(row)} |")


class Service:
    """Something that answers POST /v1/transcribe; `metrics` are Triton's, where it is behind it, of `models` there."""

    def __init__(
        self,
        url: str,
        metrics: str | None = None,
        fields: Mapping[str, str] | None = None,
        models: str = WHISPER_PREFIX,
    ) -> None:
        self._url = url
        self._metrics = metrics
        self._models = models
        self._fields = fields or {}
        self._processes = family(httpx.URL(url).port or 80)

    def measure(self, work: Sequence[Clip], clients: int) -> Outcome:
        windows, calls = self._counts()
        cpu = cpu_seconds(self._processes)
        started = time.perf_counter()
        answers = asyncio.run(self._send(work, clients))
        elapsed = time.perf_counter() - started
        used = cpu_seconds(self._processes) - cpu
        windows, calls = (after - before for after, before in zip(self._counts(), (windows, calls), strict=True))
        return outcome(answers, elapsed, used / elapsed, windows / calls if calls else None)

    def _counts(self) -> tuple[int, int]:
        return window_counts(self._metrics, self._models) if self._metrics else (0, 0)

    async def _send(self, work: Sequence[Clip], clients: int) -> list[Answer]:
        waiting = list(work)
        answers: list[Answer] = []

        async def client(session: httpx.AsyncClient) -> None:
            while waiting:
                clip = waiting.pop()
                body = clip.path.read_bytes()
                started = time.perf_counter()
                answer = await session.post("/v1/transcribe", files={"file": body}, data=self._fields)
                elapsed = time.perf_counter() - started
                answers.append(Answer(clip, elapsed, answer.raise_for_status().json()["text"]))

        limits = httpx.Limits(max_connections=clients)
        headers = authorization()
        async with httpx.AsyncClient(base_url=self._url, headers=headers, timeout=600, limits=limits) as session:
            await asyncio.gather(*(client(session) for _ in range(clients)))
        return answers


def measure_pipeline(inference: InProcess, work: Sequence[Clip]) -> Outcome:
    return asyncio.run(_measure_pipeline(inference, work))


async def _measure_pipeline(inference: InProcess, work: Sequence[Clip]) -> Outcome:
    transcriber = Transcriber(
        inference.inference(), LIMITS, decoders=asyncio.Semaphore(1), windows_in_flight=1, beam_size=5
    )
    model = SpeechModel("demo", "demo", "1", inference.card)
    answers = []
    cpu, started = time.process_time(), time.perf_counter()
    for clip in work:
        began = time.perf_counter()
        with clip.path.open("rb") as file:
            transcript = await transcriber.transcribe(file.fileno(), TranscriptionOptions(model))
        answers.append(Answer(clip, time.perf_counter() - began, transcript.text))
    elapsed = time.perf_counter() - started
    return outcome(answers, elapsed, (time.process_time() - cpu) / elapsed)


def measure_batched(model: WhisperModel, work: Sequence[Clip]) -> Outcome:
    batched = BatchedInferencePipeline(model)
    answers = []
    cpu, started = time.process_time(), time.perf_counter()
    for clip in work:
        began = time.perf_counter()
        segments, _ = batched.transcribe(
            str(clip.path), batch_size=BATCH, word_timestamps=True, without_timestamps=False
        )
        text = " ".join(segment.text.strip() for segment in segments)
        answers.append(Answer(clip, time.perf_counter() - began, text))
    elapsed = time.perf_counter() - started
    return outcome(answers, elapsed, (time.process_time() - cpu) / elapsed)


@contextmanager
def plain_server(weights: Path) -> Iterator[Service]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, "-m", "bench.plain_server", str(weights), str(port)])
    try:
        give_up = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.TransportError:
                if time.monotonic() > give_up or process.poll() is not None:
                    raise SystemExit("The plain server does not start.") from None
                time.sleep(0.1)
        yield Service(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def outcome(answers: Sequence[Answer], elapsed: float, cores: float, windows_per_call: float | None = None) -> Outcome:
    times = sorted(answer.seconds for answer in answers)
    return Outcome(
        audio_per_s=sum(answer.clip.seconds for answer in answers) / elapsed,
        requests_per_s=len(answers) / elapsed,
        p50_s=statistics.median(times),
        p95_s=times[min(len(times) - 1, int(0.95 * len(times)))],
        cores=cores,
        wer=word_error_rate([answer.clip.text for answer in answers], [answer.text for answer in answers]),
        windows_per_call=windows_per_call,
    )


if __name__ == "__main__":
    main()
