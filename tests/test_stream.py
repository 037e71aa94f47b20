"""WS /v1/stream over fake inference: the conversation itself, in order and out of it."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import pytest
from litestar.exceptions import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.base import ModelVersion, Pcm
from api.inference.contracts import DecodingOptions, Recognition
from api.inference.fake import FakeRecognizer, fake_inference
from tests.business import customer
from tests.running import FakeService, start_fake_service, stop_fake_service
from tests.test_pipeline import service

TONE = (8000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype("<i2").tobytes()
SILENCE = bytes(32_000)
CONFIG = '{"language": "en", "model": "small"}'
STOP = '{"action": "stop"}'
# What stands in for the models takes so long for a window here that a test can look at what happens meanwhile.
SLOW_S = 20.0


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    running = start_fake_service(
        tmp_path_factory.mktemp("live"),
        stream_idle_timeout_s=3,
        max_stream_s=30,
        max_streams=4,
    )
    yield running
    stop_fake_service(running)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    """One place, and models that seem to think for ever."""
    running = start_fake_service(
        tmp_path_factory.mktemp("slow"), fake_delay_s=str(SLOW_S), max_streams=1, stream_buffer_s=1
    )
    yield running
    stop_fake_service(running)


@contextmanager
def conversation(running: FakeService, query: str = "") -> Iterator[ClientConnection]:
    address = running.url.replace("http", "ws", 1) + f"/v1/stream{query}"
    with connect(address, compression=None, max_size=None) as client:
        yield client


def rest(client: ClientConnection) -> tuple[list[dict[str, Any]], int, str]:
    """All that the server still says, and how it closes."""
    messages = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(json.loads(client.recv(timeout=30)))
    assert client.close_code is not None
    return messages, client.close_code, client.close_reason or ""


def receive(client: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(client.recv(timeout=30))
    return message


def is_last(message: dict[str, Any]) -> bool:
    return message["is_final"] is True and message["final"] is True


def test_the_six_steps(live: FakeService) -> None:
    with conversation(live) as client:
        client.send(CONFIG)
        assert receive(client) == {"status": "ready"}
        for _ in range(3):
            client.send(TONE)
        client.send(STOP)
        messages, code, _ = rest(client)
    *before, last = messages
    assert code == 1000
    assert is_last(last)
    texts = [message for message in before if message["text"]]
    assert [message["text"] for message in texts] == ["tone tone tone"]
    assert last == {
        "text": "tone tone tone",
        "is_final": True,
        "final": True,
        "language": "en",
        "duration": 3.0,
        "model": "small",
        "model_version": "1",
    }
    (final,) = texts
    assert set(final) == {"text", "start", "end", "language", "confidence", "words"}
    assert (final["language"], final["confidence"]) == ("en", 0.9)
    assert final["words"] == [{"word": "tone", "start": float(s), "end": s + 0.5} for s in range(3)]
    assert not any("is_final" in message or "final" in message for message in before)


def test_a_handshake_that_is_too_large_is_closed(live: FakeService) -> None:
    address = httpx.URL(live.url)
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        connection.sendall(
            b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"X-Much: " + b"x" * 10_000 + b"\r\n\r\n"
        )
        while connection.recv(1000):
            pass


def test_the_vendors_way(live: FakeService) -> None:
    """A config in the query, audio at once, an empty message at the end, and `text` read of every message."""
    with customer(live, "house").client as keyed:
        key = keyed.headers["authorization"].removeprefix("Bearer ")
    with conversation(live, f"?model=small&language=auto&token={key}") as client:
        client.send(TONE)
        client.send(b"")
        messages, code, _ = rest(client)
    assert code == 1000
    assert all("text" in message for message in messages)
    assert messages[0]["status"] == "ready"
    assert is_last(messages[-1])
    assert messages[-1]["text"] == "tone"


def test_audio_without_any_config_and_before_ready_is_kept(live: FakeService) -> None:
    with conversation(live) as client:
        client.send(TONE)
        client.send(TONE)
        client.send(STOP)
        messages, code, _ = rest(client)
    assert (code, messages[-1]["text"]) == (1000, "tone tone")


def test_a_message_overrides_the_query(live: FakeService) -> None:
    with conversation(live, "?model=small&language=es") as client:
        assert receive(client)["status"] == "ready"
        client.send('{"language": "en"}')
        assert receive(client) == {"status": "ready"}
        client.send(TONE)
        client.send(STOP)
        messages, _, _ = rest(client)
    assert messages[-1]["language"] == "en"


@pytest.mark.parametrize(
    "messages",
    [[STOP], [b""], [CONFIG, STOP], [CONFIG, STOP, STOP], [CONFIG, b"", STOP, "x"], ['{"action": "stop", "why": 1}']],
)
def test_nothing_said(live: FakeService, messages: list[str | bytes]) -> None:
    with conversation(live) as client:
        for message in messages:
            client.send(message)
        said, code, _ = rest(client)
    assert code == 1000
    assert is_last(said[-1])
    assert (said[-1]["text"], said[-1]["language"], said[-1]["duration"]) == ("", None, 0.0)


def test_finals_come_while_the_stream_goes_on(live: FakeService) -> None:
    with conversation(live) as client:
        client.send('{"language": "en", "model": "small", "min_silence_ms": 300}')
        receive(client)
        client.send(TONE + SILENCE)
        while not (message := receive(client))["text"]:
            assert message["partial"].startswith(message["committed"])
        assert message["text"] == "tone"
        client.send(TONE)
        client.send(STOP)
        messages, _, _ = rest(client)
    assert messages[-1]["text"] == "tone tone"
    assert next(m for m in messages if m["text"])["start"] == pytest.approx(1.8, abs=0.1)


def test_with_diarize_every_final_has_a_speaker(live: FakeService) -> None:
    louder = (np.frombuffer(TONE, "<i2") * 2).tobytes()
    with conversation(live, "?model=small&diarize=true") as client:
        for part in (TONE * 4, SILENCE, louder * 4, SILENCE, TONE * 4, SILENCE):
            client.send(part)
        client.send(STOP)
        messages, _, _ = rest(client)
    speakers = [message["speaker"] for message in messages if message["text"] and "speaker" in message]
    assert speakers == ["Speaker 1", "Speaker 2", "Speaker 1"]


WRONG = [
    ("this is not JSON", 1008, "no JSON object"),
    ("[1, 2]", 1008, "no JSON object"),
    ("UklGRiQAAABXQVZFZm10", 1008, "Audio goes into binary messages"),  # audio as text
    (json.dumps({"audio": "x" * 20_000}), 1008, "16384 characters"),
    ('{"model": "huge"}', 1008, "There is no model 'huge'; use one of small, large-v3-turbo"),
    ('{"model": "small", "language": "xx"}', 1008, "does not know the language 'xx'; use auto or one of en, es"),
    ('{"model": "small", "languages": "en,xx"}', 1008, "does not know the language 'xx'; use auto or one of en, es"),
    ('{"model": "small", "language": "en", "languages": ["es"]}', 1008, "language=en is none of languages=es"),
    ('{"model": "small", "min_silence_ms": 5}', 1008, "min_silence_ms must be a whole number from 200 to 5000, not 5"),
    ('{"model": "small", "max_utterance_ms": 500}', 1008, "max_utterance_ms must be at least 3000"),
    ('{"model": "small", "partial_interval_ms": "x"}', 1008, "partial_interval_ms must be a whole number"),
    ('{"model": "small", "diarize": "maybe"}', 1008, "diarize must be true or false"),
    ('{"model": "small", "sample_rate": 8000}', 1008, "sample_rate must be 16000, not 8000"),
    ('{"model": ["small"]}', 1008, "model must be the id of a model"),
    ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", 1008, "no JSON object"),
    (bytes(3_000_000), 1009, "may have 2097152 bytes; this one has 3000000"),
]


@pytest.mark.parametrize(("message", "code", "reason"), WRONG)
def test_a_first_message_that_is_wrong(live: FakeService, message: str | bytes, code: int, reason: str) -> None:
    with conversation(live) as client:
        client.send(message)
        messages, closed, why = rest(client)
    assert closed == code
    error = next(message["error"] for message in messages if "error" in message)
    assert reason in error
    assert why == error[: len(why)]
    assert len(why) > 20


def test_a_query_that_is_wrong(live: FakeService) -> None:
    with conversation(live, "?language=xx&model=small") as client:
        messages, code, _ = rest(client)
    assert code == 1008
    assert "'xx'" in messages[0]["error"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("not JSON", 1008),
        (CONFIG, 1008),  # too late
        ('{"action": "pause"}', 1008),
        (bytes(3_000_000), 1009),
        (bytes(32_000) * 29, 1008),  # longer than a stream may be
    ],
)
def test_what_was_said_before_a_wrong_message_is_not_lost(live: FakeService, message: str | bytes, code: int) -> None:
    with conversation(live) as client:
        client.send(CONFIG)
        client.send(TONE)
        client.send(TONE)
        size = len(message) if code == 1009 else 1_000_000
        for part in (message[start : start + size] for start in range(0, len(message), size)):
            client.send(part)
        messages, closed, _ = rest(client)
    assert closed == code
    assert "error" in messages[-2]
    assert is_last(messages[-1])
    assert messages[-1]["text"].startswith("tone tone")


def test_a_client_that_says_nothing_is_let_go(live: FakeService) -> None:
    with conversation(live) as client:
        client.send(CONFIG)
        client.send(TONE)
        messages, code, reason = rest(client)
    assert code == 1008
    assert "Nothing came for 3 s" in reason
    assert messages[-1]["text"] == "tone"


def test_places_are_bounded(live: FakeService) -> None:
    with conversation(live) as one, conversation(live) as two, conversation(live) as three, conversation(live) as four:
        for client in (one, two, three, four):
            client.send(CONFIG)
            assert receive(client)["status"] == "ready"
        with conversation(live) as fifth:
            messages, code, _ = rest(fifth)
        assert code == 1013
        assert "All 4 places" in messages[0]["error"]
        assert messages[0]["retry_after"] == 10
        one.send(STOP)
        assert rest(one)[1] == 1000
        with conversation(live) as fifth:
            fifth.send(CONFIG)
            assert receive(fifth)["status"] == "ready"


STATES = {
    "nothing sent": [],
    "configured": [CONFIG],
    "speaking": [CONFIG, TONE[:3200]],
    "recognising": [CONFIG, TONE],
    "made to wait": ['{"model": "small", "max_utterance_ms": 3000}', *[TONE] * 30],
    "stopped, and waiting for the last words": [CONFIG, TONE, STOP],
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("way", ["closes", "is reset"])
def test_a_client_that_goes_frees_its_place(slow: FakeService, state: str, way: str) -> None:
    with conversation(slow) as client:
        for message in STATES[state]:
            client.send(message)
        time.sleep(0.3)
        with conversation(slow) as refused:
            assert rest(refused)[1] == 1013
        if way == "closes":
            client.socket.close()
        else:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.close()
    give_up = time.monotonic() + SLOW_S / 2  # long before the models would have answered
    while True:
        with conversation(slow, "?model=small") as next_one:
            message = receive(next_one)
        if message.get("status") == "ready":
            break
        assert time.monotonic() < give_up, message
        time.sleep(0.2)


class Broken(FakeRecognizer):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InferenceUnavailable("It is away.", 7), 1013, {"error": "It is away.", "retry_after": 7}),
        (InferenceFailed("It broke."), 1011, {"error": "It broke."}),
        (ZeroDivisionError(), 1011, {"error": "Something went wrong on our side. It has been logged."}),
    ],
)
def test_models_that_fail_end_the_session(error: Exception, code: int, said: dict[str, Any]) -> None:
    with service(fake_inference(Broken(error))) as client, client.websocket_connect("/v1/stream") as socket:
        socket.send_text(CONFIG)
        socket.send_bytes(TONE)
        assert socket.receive_json() == {"status": "ready"}
        assert socket.receive_json() == {"text": "", **said}
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == code
