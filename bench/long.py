"""What a long recording costs: speed, and the API's memory against a short one.

    .venv/bin/python -m bench.long --url http://127.0.0.1:8000 --minutes 1 120

The recording is the demo model's clips in English again and again, with pauses; each line tells how many of its words
came back wrong or out of order. The API is found by the port that it listens on. With `--live 20` it is no file but a
live session, into which the recording is spoken twenty times as fast as it is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil
import soundfile
from websockets.sync.client import connect

from bench.recordings import SAMPLE_RATE_HZ, write_recording
from bench.service import authorization, listener
from export_scripts.scoring import word_error_rate


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 120])
    parser.add_argument("--live", type=float, metavar="SPEED", help="speak it into a live session, so much faster")
    arguments = parser.parse_args(argv)
    api = listener(httpx.URL(arguments.url).port or 80)
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as folder:
            recording = write_recording(Path(folder) / "recording.flac", minutes)
            peak, over = [0], threading.Event()
            watch = threading.Thread(target=_watch, args=(api, peak, over))
            watch.start()
            started = time.perf_counter()
            if arguments.live:
                text = _speak(arguments.url, recording.path, arguments.live)
            else:
                with recording.path.open("rb") as stream:
                    answer = httpx.post(
                        f"{arguments.url}/v1/transcribe",
                        headers=authorization(),
                        files={"file": stream},
                        data={"store": "false"},
                        timeout=None,
                    )
                text = answer.raise_for_status().json()["text"]
            elapsed = time.perf_counter() - started
            over.set()
            watch.join()
        print(
            f"{minutes:6g} min   {elapsed:7.1f} s   {recording.seconds / elapsed:5.1f} audio s per s"
            f"   {len(text.split()):6} words   WER {word_error_rate([recording.text], [text]):.2%}"
            f"   API at most {peak[0] / 1024**2:.1f} MiB",
            flush=True,
        )


def _speak(url: str, recording: Path, speed: float) -> str:
    """The last message's text of a live session."""
    address = url.replace("http", "ws", 1) + "/v1/stream"
    with connect(address, additional_headers=authorization(), compression=None, max_size=None) as client:

        def speak() -> None:
            begun, sent = time.perf_counter(), 0
            for block in soundfile.blocks(recording, blocksize=1600, dtype="int16"):
                sent += len(block)
                time.sleep(max(0.0, begun + sent / SAMPLE_RATE_HZ / speed - time.perf_counter()))
                client.send(block.tobytes())
            client.send(b"")

        speaking = threading.Thread(target=speak)
        speaking.start()
        text = ""
        for message in client:
            text = json.loads(message)["text"]
        speaking.join()
    return text


def _watch(process: psutil.Process, peak: list[int], over: threading.Event) -> None:
    while not over.wait(0.05):
        peak[0] = max(peak[0], process.memory_info().rss)


if __name__ == "__main__":
    main()
