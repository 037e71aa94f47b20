"""What a long recording costs: speed, and the API's memory against a short one.

    .venv/bin/python -m bench.long --url http://127.0.0.1:8000 --minutes 1 120

The recording is the demo model's clips in English again and again, with pauses; each line tells how many of its words
came back wrong or out of order. The API is found by the port that it listens on.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from bench.recordings import write_recording
from bench.service import listener
from export_scripts.scoring import word_error_rate


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 120])
    arguments = parser.parse_args(argv)
    api = listener(httpx.URL(arguments.url).port or 80)
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as folder:
            recording = write_recording(Path(folder) / "recording.flac", minutes)
            peak, over = [0], threading.Event()
            watch = threading.Thread(target=_watch, args=(api, peak, over))
            watch.start()
            started = time.perf_counter()
            with recording.path.open("rb") as stream:
                answer = httpx.post(f"{arguments.url}/v1/transcribe", files={"file": stream}, timeout=None)
            elapsed = time.perf_counter() - started
            over.set()
            watch.join()
        text = answer.raise_for_status().json()["text"]
        print(
            f"{minutes:6g} min   {elapsed:7.1f} s   {recording.seconds / elapsed:5.1f} audio s per s"
            f"   {len(text.split()):6} words   WER {word_error_rate([recording.text], [text]):.2%}"
            f"   API at most {peak[0] / 1024**2:.1f} MiB",
            flush=True,
        )


def _watch(process: psutil.Process, peak: list[int], over: threading.Event) -> None:
    while not over.wait(0.05):
        peak[0] = max(peak[0], process.memory_info().rss)


if __name__ == "__main__":
    main()
