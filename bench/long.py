"""What a long recording costs: speed, and the API's memory against a short one.

    .venv/bin/python -m bench.long --url http://127.0.0.1:8000 --minutes 1 120

The recording repeats the test clips with pauses between them; the API is found by the port that it listens on.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import psutil
import soundfile

from bench.load import CLIPS

SAMPLE_RATE_HZ = 16_000
PAUSE = np.zeros(SAMPLE_RATE_HZ // 2, dtype=np.int16)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 120])
    arguments = parser.parse_args(argv)
    api = listener(httpx.URL(arguments.url).port or 80)
    with tempfile.TemporaryDirectory() as folder:
        for minutes in arguments.minutes:
            recording = Path(folder) / "recording.flac"
            write_recording(recording, minutes)
            peak, over = [0], threading.Event()
            watch = threading.Thread(target=_watch, args=(api, peak, over))
            watch.start()
            started = time.perf_counter()
            with recording.open("rb") as stream:
                answer = httpx.post(f"{arguments.url}/v1/transcribe", files={"file": stream}, timeout=None)
            elapsed = time.perf_counter() - started
            over.set()
            watch.join()
            words = len(answer.raise_for_status().json()["text"].split())
            print(
                f"{minutes:6g} min   {elapsed:7.1f} s   {minutes * 60 / elapsed:5.1f} audio s per s"
                f"   {words:6} words   API at most {peak[0] / 1024**2:.1f} MiB"
            )


def write_recording(path: Path, minutes: float) -> None:
    clips = [soundfile.read(clip, dtype="int16")[0] for clip in sorted(CLIPS.glob("en-*.flac"))]
    left = int(minutes * 60 * SAMPLE_RATE_HZ)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as file:
        number = 0
        while left > 0:
            phrase = np.concatenate([clips[number % len(clips)], PAUSE])[:left]
            file.write(phrase)
            left -= phrase.size
            number += 1


def listener(port: int) -> psutil.Process:
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return psutil.Process(connection.pid)
    raise SystemExit(f"Nothing on this machine listens on port {port}.")


def _watch(process: psutil.Process, peak: list[int], over: threading.Event) -> None:
    while not over.wait(0.05):
        peak[0] = max(peak[0], process.memory_info().rss)


if __name__ == "__main__":
    main()
