"""What enhancing a long recording costs: speed, processor time, and the API's memory against a short one.

    .venv/bin/python -m bench.enhance_long --url http://127.0.0.1:8000 --minutes 1 120

The recording is the demo's clips in English again and again, with white noise 15 dB below them. Each line tells how
many seconds of it are enhanced in a second, and in a second of one processor (the API, its ffmpeg and Triton together),
how much memory the API took at most, and how loud the answer is. With `--at-once 8` so many are sent at the same time;
the last column is how many blocks Triton had in a batch. The API is found by the port that it listens on, and Triton as
its neighbour under `tritone up`.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import soundfile

from api.audio.loudness import LoudnessMeter
from bench.recordings import SAMPLE_RATE_HZ, write_recording
from bench.service import authorization, cpu_seconds, family, listener, window_counts

SNR_DB = 15
HEADER_BYTES = 44
BLOCK_SAMPLES = 60 * SAMPLE_RATE_HZ
ENHANCER = "speech_enhancer"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--metrics-url", default="http://127.0.0.1:8002/metrics")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 120])
    parser.add_argument("--at-once", type=int, default=1)
    arguments = parser.parse_args(argv)
    port = httpx.URL(arguments.url).port or 80
    api, processes = listener(port), family(port)
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as folder:
            recording = Path(folder) / "noisy.flac"
            seconds = write_noisy(recording, minutes)
            peak, over = [0], threading.Event()
            watch = threading.Thread(target=_watch, args=(api, peak, over))
            watch.start()
            cpu, windows = cpu_seconds(processes), window_counts(arguments.metrics_url, ENHANCER)
            started = time.perf_counter()
            with ThreadPoolExecutor(arguments.at_once) as threads:
                answers = list(
                    threads.map(enhance, [arguments.url] * arguments.at_once, [recording] * arguments.at_once)
                )
            elapsed = time.perf_counter() - started
            cpu = cpu_seconds(processes) - cpu
            over.set()
            watch.join()
        blocks, calls = (
            now - then for now, then in zip(window_counts(arguments.metrics_url, ENHANCER), windows, strict=True)
        )
        for said, loudness, audio_s in answers:
            assert abs(audio_s - seconds) < 0.01, f"{audio_s} s came back of {seconds} s"
            assert abs(said - loudness) < 0.1, f"said {said} LUFS, is {loudness}"
        audio = seconds * arguments.at_once
        print(
            f"{minutes:6g} min × {arguments.at_once}   {elapsed:7.1f} s   {audio / elapsed:5.1f} audio s per s"
            f"   {audio / cpu:5.1f} per processor s   {answers[0][1]:.1f} LUFS"
            f"   API at most {peak[0] / 1024**2:.1f} MiB   {blocks / calls:.1f} blocks a batch",
            flush=True,
        )


def write_noisy(path: Path, minutes: float) -> float:
    """Returns how long it is, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        clean = write_recording(Path(folder) / "clean.flac", minutes)
        rng = np.random.default_rng(1)
        with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as file:
            for block in soundfile.blocks(clean.path, blocksize=BLOCK_SAMPLES, dtype="float32"):
                noise = rng.standard_normal(block.size) * block.std() * 10 ** (-SNR_DB / 20)
                file.write(np.clip(block + noise, -1, 1))
    return clean.seconds


def enhance(url: str, recording: Path) -> tuple[float, float, float]:
    """How loud the answer says it is and how loud it is, in LUFS, and how long, in seconds."""
    with (
        recording.open("rb") as stream,
        httpx.stream(
            "POST", f"{url}/v1/enhance-audio", files={"file": stream}, headers=authorization(), timeout=None
        ) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise SystemExit(answer.read().decode())
        pieces = answer.iter_bytes(1024 * 1024)
        head = next(pieces)
        rate_hz, rest = int.from_bytes(head[24:28], "little"), bytearray(head[HEADER_BYTES:])
        meter, samples = LoudnessMeter(rate_hz, 1), 0
        while rest:
            pcm = np.frombuffer(bytes(rest[: len(rest) // 2 * 2]), dtype="<i2")
            meter.push(pcm.astype(np.float32)[:, None] / 32767)
            samples += pcm.size
            rest = rest[2 * pcm.size :] + next(pieces, b"")
    return float(answer.headers["X-Loudness"]), meter.integrated(), samples / rate_hz


def _watch(process: psutil.Process, peak: list[int], over: threading.Event) -> None:
    while not over.wait(0.05):
        peak[0] = max(peak[0], process.memory_info().rss)


if __name__ == "__main__":
    main()
