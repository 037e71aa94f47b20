"""A client of 60db, from its contract alone: sixtydb_client.py URL KEY WAV LANGUAGE ENCODING ORDER

It uploads the recording, then streams it, and prints what it understood of both as JSON. With the ENCODING `mulaw` it
is a telephone, with binary frames of 60 ms; with `linear` a page in a browser, with base64 in JSON. ORDER is what it
waits for before it sends audio: `session_started`, `connected`, or `nothing`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import sys
import wave
from array import array
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import websockets

FRAME_S = 0.06


def upload(url: str, key: str, path: str, language: str) -> dict[str, Any]:
    with Path(path).open("rb") as file:
        answer = httpx.post(
            f"{url}/stt",
            headers={"Authorization": f"Bearer {key}"},
            files={"file": (path.rpartition("/")[2], file, "audio/wav")},
            data={"language": language, "return_timestamps": "word", "include_confidence": "true"},
            timeout=60,
        )
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


def mu_law(sample: int) -> int:
    """As textbooks on telephony have it."""
    magnitude = min(abs(sample), 32635) + 132
    exponent = int(math.log2(magnitude)) - 7
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | (magnitude >> (exponent + 3)) & 15) & 0xFF


def frames(path: str, encoding: str) -> tuple[int, Iterator[bytes | str]]:
    with wave.open(path) as recording:
        rate = recording.getframerate()
        pcm = recording.readframes(recording.getnframes())
    size = 2 * int(rate * FRAME_S)
    cut = (pcm[start : start + size] for start in range(0, len(pcm), size))
    if encoding == "mulaw":
        return rate, (bytes(map(mu_law, array("h", frame))) for frame in cut)
    message = {"type": "audio", "encoding": encoding, "sample_rate": rate}
    return rate, (json.dumps({**message, "audio": base64.b64encode(frame).decode()}) for frame in cut)


async def events(socket: Any, heard: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    async for message in socket:
        heard.append(json.loads(message))
        yield heard[-1]


async def stream(url: str, key: str, path: str, language: str, encoding: str, order: str) -> dict[str, Any]:
    rate, audio = frames(path, encoding)
    config = {"encoding": encoding, "sample_rate": rate, "utterance_end_ms": 500, "continuous_mode": True}
    start = json.dumps({"type": "start", "languages": [language], "config": config})
    heard: list[dict[str, Any]] = []

    async with websockets.connect(
        f"{url.replace('http', 'ws', 1)}/ws/stt?apiKey={key}", ping_interval=30, ping_timeout=10
    ) as socket:

        async def speak() -> None:
            for frame in audio:
                await socket.send(frame)
                await asyncio.sleep(FRAME_S / 3)
            await socket.send(json.dumps({"type": "stop"}))

        if order == "nothing":
            await socket.send(start)
            await speak()
        async for event in events(socket, heard):
            if event["type"] == "connection_established" and order != "nothing":
                await socket.send(start)
            elif event["type"] == order:
                await speak()
            elif event["type"] == "session_stopped":
                break
        await socket.wait_closed()
        final = [event for event in heard if event["type"] == "transcription" and event["is_final"]]
        return {
            "text": " ".join(event["text"] for event in final if event["speech_final"]),
            "language": final[-1]["language"] if final else None,
            "types": [event["type"] for event in heard],
            "bill": heard[-1]["billing_summary"],
            "close_code": socket.close_code,
        }


if __name__ == "__main__":
    url, key, path, language, encoding, order = sys.argv[1:]
    uploaded = upload(url, key, path, language)
    streamed = asyncio.run(stream(url, key, path, language, encoding, order))
    print(json.dumps({"upload": uploaded, "stream": streamed}))
