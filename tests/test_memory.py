"""Memory is flat: in the size of an upload and in the length of a recording."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import soundfile
from websockets.sync.client import connect

from tests.running import FakeService, start_fake_service, stop_fake_service
from tests.test_bad_input import upload_head

MIB = 1024**2


class Peak:
    bytes = 0


@contextmanager
def peak_memory(service: FakeService) -> Iterator[Peak]:
    """The largest resident size of the API's process while the context lasts."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            peak.bytes = max(peak.bytes, service.process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        over.set()
        watching.join()


def test_a_large_upload(tmp_path: Path) -> None:
    """1.9 GB that end as no recording at all: what is measured is the upload."""
    size, block = 1_900_000_000, bytes(MIB)
    service = start_fake_service(tmp_path)
    try:
        at_rest = service.process.memory_info().rss
        with peak_memory(service) as peak, socket.create_connection(("127.0.0.1", port(service))) as connection:
            connection.sendall(upload_head(size))
            for _ in range(size // len(block)):
                connection.sendall(block)
            connection.sendall(bytes(size % len(block)) + b"\r\n--B--\r\n")
            assert b"HTTP/1.1 400 " in connection.recv(4000)
        assert peak.bytes - at_rest <= 8 * MIB
        service.assert_nothing_left()
    finally:
        stop_fake_service(service)


def test_a_long_recording(tmp_path: Path) -> None:
    """Two hours of speech, as the fake hears it, against a minute of it, each in a fresh process."""
    peaks, rests = {}, {}
    for minutes in (1, 120):
        recording = tmp_path / f"{minutes}.flac"
        write_tones(recording, minutes)
        spool = tmp_path / str(minutes)
        spool.mkdir()
        service = start_fake_service(spool, fake_delay_s="0.05")
        try:
            with peak_memory(service) as peak, recording.open("rb") as stream:
                answer = service.client.post("/v1/transcribe", files={"file": stream}, timeout=300)
            assert answer.json()["duration"] == 60.0 * minutes
            assert len(answer.json()["segments"]) >= 2 * minutes
            peaks[minutes] = peak.bytes
            rests[minutes] = service.process.memory_info().rss
            service.assert_nothing_left()
        finally:
            stop_fake_service(service)
    assert peaks[120] - peaks[1] <= 48 * MIB
    assert rests[120] - rests[1] <= 24 * MIB


def test_a_long_live_session(tmp_path: Path) -> None:
    """An hour of speech without a pause, as fast as it is taken, against its first ten minutes."""
    time_s = np.arange(16_000) / 16_000
    second = (8000 * np.sin(2 * np.pi * 440 * time_s)).astype("<i2").tobytes()
    service = start_fake_service(tmp_path)
    try:
        address = service.url.replace("http", "ws", 1) + "/v1/stream?model=small&language=en"
        with connect(address, compression=None) as client:
            reader = threading.Thread(target=lambda: last.extend(client))
            last: deque[str | bytes] = deque(maxlen=1)
            reader.start()
            peaks = []
            for minutes in (10, 50):
                with peak_memory(service) as peak:
                    for _ in range(60 * minutes):
                        client.send(second)
                peaks.append(peak.bytes)
            client.send(b"")
            reader.join()
        ended = json.loads(last[0])
        assert (ended["is_final"], ended["duration"]) == (True, 3600.0)
        assert peaks[1] - peaks[0] <= 8 * MIB
    finally:
        stop_fake_service(service)


def write_tones(path: Path, minutes: int) -> None:
    """4 s of a loud tone and 1 s of silence, over and over."""
    time_s = np.arange(4 * 16_000) / 16_000
    tone = (8000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)
    phrase = np.concatenate([tone, np.zeros(16_000, dtype=np.int16)])
    with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
        for _ in range(12 * minutes):
            file.write(phrase)


def port(service: FakeService) -> int:
    return httpx.URL(service.url).port or 0
