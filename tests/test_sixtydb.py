"""The 60db API: what its clients send, what they read, what they are refused with, and what it costs."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from api import errors
from api.compat.sixtydb.answers import CHUNK_S, Shown, transcript_body
from api.compat.sixtydb.errors import SixtyDbDialect
from api.speech import LanguageDetection, Segment, Transcript, Word
from tests import contract
from tests.business import Customer, customer, pcm, serving, speech, until
from tests.conftest import Clip, Stack
from tests.running import PROJECT, FakeService
from tests.servers import free_ports
from tests.test_billing import NewCustomer, talking

PLANS = """
[anonymous]
max_file_mb = 1
concurrency = 1
requests_per_minute = 1000
[free]
max_file_mb = 10
concurrency = 2
requests_per_minute = 1000
minutes_per_month = 4
[paid]
max_file_mb = 100
concurrency = 3
requests_per_minute = 1000
minutes_per_month = 0
refinement = true
[hasty]
max_file_mb = 100
concurrency = 3
requests_per_minute = 2
[house]
max_file_mb = 2048
concurrency = 1000
requests_per_minute = 60000
"""
ALWAYS = {
    *("request_id", "text", "language", "language_name", "languages", "language_source", "snr_db", "duration_sec"),
    *("processing_ms", "rtf", "segments", "words", "warnings", "warning_codes", "language_detection"),
}
SEGMENT = {"start", "end", "language", "language_name", "text", "confidence", "words"}


SILENCE = bytes(32_000)  # a second of it


def talk(seconds: int) -> bytes:
    """A WAV: of each five seconds, three are a tone. Noise is what is heard in between, and there is none."""
    return speech(seconds)[:44] + seconds // 5 * (SILENCE + pcm(3) + SILENCE)


SPEECH = talk(5)


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    folder = tmp_path_factory.mktemp("sixtydb")
    plans = folder / "plans.toml"
    plans.write_text(PLANS)
    unsure = {"FAKE_PROBABILITY": "0.6"}
    with serving(
        "sqlite", folder / "spool", request, plans=plans, fake_delay_s="0.2", fakes=unsure, snr_floor_db=3
    ) as service:
        yield service


@pytest.fixture
def anna(service: FakeService, new_customer: NewCustomer) -> Iterator[Customer]:
    yield new_customer(credits=100)
    service.assert_nothing_left()


def stt(customer: Customer, recording: bytes = SPEECH, /, field: str = "file", **fields: str) -> httpx.Response:
    return customer.client.post("/stt", files={field: ("talk.wav", recording)}, data=fields)


def heard(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def refused(answer: httpx.Response, status: int, code: str, *parts: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert list(body) == ["success", "error_code", "message", "error", "details"]
    assert body["success"] is False
    assert body["error_code"] == code
    assert body["message"] == body["error"]
    for part in parts:
        assert part in body["message"]
    details: dict[str, Any] = body["details"]
    return details


def test_a_request_with_nothing_but_a_file(anna: Customer) -> None:
    body = heard(stt(anna))
    assert body.keys() == ALWAYS
    assert re.fullmatch("req_[0-9a-f]{32}", body["request_id"])
    assert body["text"] == "tone tone tone"
    assert (body["language"], body["language_name"], body["languages"]) == ("en", "English", ["en"])
    assert body["duration_sec"] == 5
    assert body["processing_ms"] >= 200
    assert body["rtf"] == pytest.approx(body["processing_ms"] / 5000, abs=0.001)
    assert (body["warnings"], body["warning_codes"]) == ([], [])
    assert body["language_source"] == "lid_per_segment"
    detection = body["language_detection"]
    assert detection["mode"] == "lid_per_segment"
    assert detection["candidates"] == ["en", "es"]
    assert detection["segment_count"] == 1
    assert detection["lid_calls"] >= 1
    (segment,) = body["segments"]
    assert segment.keys() == SEGMENT
    assert segment["text"] == body["text"]
    assert (segment["language"], segment["language_name"]) == ("en", "English")
    assert 0 <= segment["start"] < segment["end"] <= 5
    assert segment["words"] == body["words"] == 3 * [{"word": "tone"}]


def test_words_have_what_is_asked_for(anna: Customer) -> None:
    times = heard(stt(anna, return_timestamps="word"))["words"]
    assert [word.keys() for word in times] == 3 * [{"word", "start", "end"}]
    assert [word["start"] for word in times] == sorted(word["start"] for word in times)
    sure = heard(stt(anna, include_confidence="true", return_timestamps="none"))["words"]
    assert sure == 3 * [{"word": "tone", "confidence": 0.6}]
    both = heard(stt(anna, include_confidence="1", return_timestamps="word"))
    assert both["segments"][0]["words"] == both["words"]
    assert both["words"][0].keys() == {"word", "start", "end", "confidence"}


@pytest.mark.parametrize("yes", ["true", "True", "TRUE", "1"])
def test_speakers_are_numbered_as_they_appear(anna: Customer, yes: str) -> None:
    voice = np.frombuffer(pcm(4), dtype="<i2")
    body = heard(stt(anna, talk(10)[:44] + SILENCE + (10 * voice).tobytes() + voice.tobytes() + SILENCE, diarize=yes))
    assert [segment.keys() for segment in body["segments"]] == 2 * [SEGMENT | {"speakers"}]
    assert [segment["speakers"] for segment in body["segments"]] == [
        [{"speaker": f"SPEAKER_0{number}", "start": segment["start"], "end": segment["end"]}]
        for number, segment in enumerate(body["segments"])
    ]


def test_without_diarize_nothing_is_said_of_speakers_and_their_number_is_not_read(anna: Customer) -> None:
    for no in ("false", "False", "0", ""):
        body = heard(stt(anna, diarize=no, min_speakers="many", max_speakers="-1"))
        assert body["segments"][0].keys() == SEGMENT


def test_bounds_of_speakers(anna: Customer) -> None:
    for bounds in ({"min_speakers": "0", "max_speakers": "-3"}, {"min_speakers": "1", "max_speakers": "1"}):
        assert heard(stt(anna, diarize="true", **bounds))["segments"][0]["speakers"]
    contradiction = stt(anna, diarize="true", min_speakers="3", max_speakers="2")
    refused(contradiction, 400, "INVALID_REQUEST", "min_speakers", "3 is more than 2")


def test_old_clients_call_the_file_audio(anna: Customer) -> None:
    assert heard(stt(anna, field="audio"))["text"] == "tone tone tone"
    refused(stt(anna, field="recording"), 400, "INVALID_REQUEST", "`recording`", "in the field `file`")


def test_fields_and_models_that_there_are_not_are_no_error(anna: Customer) -> None:
    body = heard(stt(anna, model="60db-stt-v01", response_format="json", lid_flapping="aggressive"))
    assert body["text"] == "tone tone tone"
    assert body["warning_codes"] == ["model_not_available"]
    assert heard(stt(anna, model="small"))["warning_codes"] == []


@pytest.mark.parametrize(
    ("field", "value", "wrong", "right"),
    [
        ("language", "klingon", "'klingon'", "auto or one of en, es"),
        ("languages", "en,klingon", "'klingon'", "en, es"),
        ("diarize", "maybe", "'maybe'", "true or false"),
        ("include_confidence", "2", "'2'", "true or false"),
        ("return_timestamps", "segment", "'segment'", "none or word"),
        ("keywords", "Acme:0", "0", "above 0 and at most 10"),
    ],
)
def test_what_a_field_may_be(anna: Customer, field: str, value: str, wrong: str, right: str) -> None:
    refused(stt(anna, **{field: value}), 400, "INVALID_REQUEST", wrong, right)


def test_a_language_that_is_known_is_not_looked_for(anna: Customer) -> None:
    for fields in ({"language": "es"}, {"language": "ES"}, {"languages": "es"}, {"languages": " es ,"}):
        body = heard(stt(anna, **fields))
        assert (body["language"], body["language_name"]) == ("es", "Spanish")
        assert body["language_source"] == "fast_path"
        assert body["language_detection"] == {
            "mode": "fast_path", "candidates": ["es"], "segment_count": 1, "lid_calls": 0,
        }  # fmt: skip


def test_a_language_that_is_not_known_is_looked_for_among_candidates(anna: Customer) -> None:
    for fields in ({}, {"language": "auto"}, {"language": "", "languages": "en,es"}, {"languages": "es,en"}):
        body = heard(stt(anna, **fields))
        assert body["language_source"] == "lid_per_segment"
        assert sorted(body["language_detection"]["candidates"]) == ["en", "es"]


def test_a_recording_longer_than_a_chunk_says_which_chunk_each_segment_is_of(anna: Customer) -> None:
    body = heard(stt(anna, talk(230)))
    assert body["language_source"] == body["language_detection"]["mode"] == "long_audio_chunked"
    assert {segment["chunk_idx"] for segment in body["segments"]} == {0, 1, 2}
    assert all(segment["chunk_idx"] == int(segment["start"] // 90) for segment in body["segments"])
    known = heard(stt(anna, talk(230), language="en"))
    assert known["language_source"] == "fast_path"
    assert known["segments"][0].keys() == SEGMENT


def test_a_keyword_stands_in_the_place_of_what_was_heard(anna: Customer) -> None:
    body = heard(stt(anna, keywords="Tony:10, Quartz"))
    assert body["text"] == body["segments"][0]["text"] == "Tony Tony Tony"
    assert body["words"] == 3 * [{"word": "Tony", "boosted": True, "original": "tone"}]


def test_how_far_speech_is_above_its_noise(anna: Customer) -> None:
    noise, loudness = np.random.default_rng(1).normal(0, 500, 5 * 16_000), np.frombuffer(talk(5)[44:], "<i2") / 1638
    clear, drowned = (noise + loud * loudness for loud in (2000, 600))
    body = heard(stt(anna, talk(5)[:44] + clear.astype("<i2").tobytes()))
    assert body["snr_db"] == pytest.approx(9, abs=1)
    assert body["text"] == "tone tone tone"
    balance = anna.balance()
    dropped = heard(stt(anna, talk(5)[:44] + drowned.astype("<i2").tobytes(), diarize="true"))
    assert (dropped["text"], dropped["segments"], dropped["language"]) == ("", [], None)
    assert dropped["warning_codes"] == ["low_snr_dropped"]
    assert dropped["snr_db"] < 3
    assert anna.balance() == balance


def test_silence_is_no_error(anna: Customer) -> None:
    body = heard(stt(anna, SPEECH[:44] + 5 * SILENCE, language="en"))
    assert body.keys() == ALWAYS
    assert (body["text"], body["segments"], body["words"]) == ("", [], [])
    assert (body["language"], body["language_name"], body["languages"]) == (None, None, [])
    assert body["warning_codes"] == ["no_speech_detected"]
    assert body["warnings"][0].keys() == {"code", "message", "affected_segments"}


def test_every_error_has_its_code(service: FakeService, new_customer: NewCustomer) -> None:
    anna = new_customer(credits=1)
    no_key = service.client.post("/stt", files={"file": speech(1)})
    refused(no_key, 401, "UNAUTHENTICATED", "Authorization: Bearer")
    assert no_key.headers["WWW-Authenticate"] == "Bearer"
    for wrong in ("Bearer tt_live_wrong", "Basic YTpi", "Bearer"):
        answer = service.client.post("/stt", files={"file": speech(1)}, headers={"Authorization": wrong})
        refused(answer, 401, "UNAUTHENTICATED")
    refused(stt(new_customer(scopes=("account",))), 403, "FORBIDDEN", "transcribe")
    refused(stt(new_customer()), 402, "ZERO_BALANCE")
    refused(stt(anna, talk(65)), 402, "INSUFFICIENT_CREDITS")
    refused(stt(new_customer("free"), talk(245)), 402, "INSUFFICIENT_CREDITS")
    refused(stt(new_customer("free"), bytes(11 * 1024**2)), 413, "FILE_TOO_LARGE", "10 MB")
    refused(stt(anna, b"no recording" * 100), 400, "INVALID_AUDIO")
    refused(anna.client.post("/stt"), 400, "INVALID_REQUEST", "in the field `file`")
    refused(anna.client.post("/stt", data={"language": "en"}), 400, "INVALID_REQUEST", "in the field `file`")
    refused(anna.client.get("/stt"), 405, "METHOD_NOT_ALLOWED")
    refused(anna.client.get("/stt/nothing"), 404, "NOT_FOUND")
    assert anna.balance() == 1
    service.assert_nothing_left()


def test_too_many_requests_a_minute(new_customer: NewCustomer) -> None:
    hasty = new_customer("hasty")
    answers = [hasty.client.get("/stt/languages") for _ in range(6)]  # the minute may change once on the way
    details = refused(next(answer for answer in answers if answer.status_code == 429), 429, "STT_UPSTREAM_RATE_LIMIT")
    refusal = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refusal.headers["Retry-After"]) == details["retry_after"] <= 60


def test_files_and_live_sessions_have_their_places_together(new_customer: NewCustomer) -> None:
    bert = new_customer("free")
    with talking(bert), talking(bert):
        assert refused(stt(bert), 429, "STT_CONCURRENCY_LIMIT")["limit"] == 2
    until(lambda: stt(bert).status_code == 200)


def test_what_it_costs(anna: Customer, new_customer: NewCustomer) -> None:
    assert heard(stt(anna, talk(65)))["segments"]
    assert anna.balance() == 98
    assert heard(stt(anna, diarize="true"))["segments"]
    assert anna.balance() == pytest.approx(96.7)
    refused(stt(anna, b"no recording", diarize="true"), 400, "INVALID_AUDIO")
    assert anna.balance() == pytest.approx(96.7)
    refused(stt(new_customer(credits=1), diarize="true"), 402, "INSUFFICIENT_CREDITS")


def test_nothing_of_it_is_kept(anna: Customer) -> None:
    heard(stt(anna))
    assert anna.client.get("/api/v1/transcripts/").json()["count"] == 0


def test_a_client_that_leaves_takes_its_work_along_and_pays_nothing(
    service: FakeService, new_customer: NewCustomer
) -> None:
    anna, recording = new_customer(credits=20), talk(600)
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    head = (
        f"POST /stt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {anna.key}\r\n"
        f"Content-Length: {len(part) + len(recording) + 9}\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as leaves:
        leaves.sendall(head.encode() + part + recording + b"\r\n--B--\r\n")
        until(lambda: anna.ledger() < 15 and any("ffmpeg" in name for name in service.leftovers()))
    service.assert_nothing_left()
    until(lambda: anna.balance() == 20)


def test_without_models_it_says_so_and_costs_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (nothing_there,) = free_ports(1)
    away = {"program": ("api.cli", "serve"), "triton_url": f"127.0.0.1:{nothing_there}", "triton_patience_s": 1}
    with serving("sqlite", tmp_path / "spool", request, **away) as service, customer(service, credits=3).open() as anna:
        for answer in (stt(anna), anna.client.get("/stt/languages"), anna.client.get("/stt/models")):
            details = refused(answer, 503, "STT_UPSTREAM_UNAVAILABLE", "not available")
            assert int(answer.headers["Retry-After"]) == details["retry_after"] > 0
        assert anna.ledger() == 3


def test_errors_that_no_request_can_ask_for() -> None:
    dialect = SixtyDbDialect()
    for failure, status, code, close_code in (
        (errors.InferenceFailed("It answered with an error."), 503, "STT_UPSTREAM_UNAVAILABLE", 1011),
        (errors.NoRoom("The disk is full.", 30), 503, "STT_UPSTREAM_UNAVAILABLE", 1011),
        (errors.ClientGone("The client left."), 499, "STT_CLIENT_CANCELLED", 1008),
        (errors.TritoneError("It failed."), 500, "INTERNAL_ERROR", 1011),
        (errors.TooManyAtOnce("Two at a time.", 5, 2), 429, "STT_CONCURRENCY_LIMIT", 1008),
    ):
        refusal, farewell = dialect.refusal(failure), dialect.farewell(failure)
        assert (refusal.status, refusal.body.error_code) == (status, code)
        assert farewell.close_code == close_code
        (message,) = msgspec.to_builtins(farewell.messages)
        assert message == {"type": "error", **msgspec.to_builtins(refusal.body)}


@pytest.mark.parametrize("query", ["", "?apiKey=tt_live_wrong", "?token=tt_live_wrong", "?apiKey="])
def test_a_socket_without_a_right_key_is_told_so(service: FakeService, query: str) -> None:
    with connect(f"{service.url.replace('http', 'ws')}/ws/stt{query}") as client:
        message = json.loads(client.recv(timeout=10))
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=10)
    assert (message["type"], message["error_code"]) == ("error", "UNAUTHENTICATED")
    assert client.close_code == 1008


def test_languages_and_models_with_a_key_and_without(service: FakeService, anna: Customer) -> None:
    for client in (service.client, anna.client):
        answer = client.get("/stt/languages").json()
        assert answer["success"] is True
        languages = [{"code": "en", "name": "English"}, {"code": "es", "name": "Spanish"}]
        assert answer["data"]["languages"] == [{"code": "auto", "name": "Auto-detect"}, *languages]
        assert answer["data"]["total"] == 2
        assert {"word_timestamps", "speaker_diarization"} <= set(answer["data"]["features"])
        models = client.get("/stt/models").json()["data"]
        assert [(model["id"], model["model_name"], model["languages"]) for model in models[:2]] == [
            ("small", "Fake small", 2),
            ("large-v3-turbo", "Fake large-v3-turbo", 2),
        ]
        assert {(model["type"], model["category"]) for model in models} == {("stt", "speech-to-text")}
    wrong = service.client.get("/stt/models", headers={"Authorization": "Bearer tt_live_wrong"})
    refused(wrong, 401, "UNAUTHENTICATED")


def test_a_context_needs_a_plan_and_a_language_model(new_customer: NewCustomer) -> None:
    for plan, why in (("free", "plan"), ("paid", "No language model")):
        body = heard(stt(new_customer(plan, credits=3), context="A piano lesson. The teacher is called Tony."))
        assert body["text"] == "tone tone tone"
        assert body["warning_codes"] == ["llm_refinement_not_in_plan"]
        assert why in body["warnings"][0]["message"]


def test_a_context_refines_the_text(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)
    writer = {"FAKE_WRITER": "0 [1] Tone, tone! Tone."}
    with serving("sqlite", tmp_path / "spool", request, plans=plans, fakes=writer) as service:
        for plan, text, codes in (
            ("paid", "Tone, tone! Tone.", []),
            ("free", "tone tone tone", ["llm_refinement_not_in_plan"]),
        ):
            with customer(service, plan, credits=3).open() as anna:
                body = heard(stt(anna, context="A piano lesson.", keywords="Tony"))
                assert (body["text"], body["warning_codes"]) == (text, codes)
                assert body["segments"][0]["text"] == text
                assert " ".join(word["word"] for word in body["words"]) == text
                assert heard(stt(anna))["text"] == "tone tone tone"


PLAIN = Shown()


def word(text: str, start: float, original: str | None = None) -> Word:
    return Word(f" {text}", start, start + 0.4, 0.8, original)


def segment(*words: Word, **more: Any) -> Segment:
    text = "".join(word.text for word in words).strip()
    return Segment(words[0].start, words[-1].end, text, 0.8, words, -0.1, 0.0, 1.0, **more)


def answered(*segments: Segment, shown: Shown = PLAIN, **more: Any) -> dict[str, Any]:
    fields = {"detection": LanguageDetection(given=False, calls=2), "language": "en", "duration": 20.0, **more}
    transcript = Transcript(language_probability=1.0, segments=segments, model="small", **fields)
    body = transcript_body("req_1", transcript, shown, processing_s=0.5, known=["en", "hi"])
    answer: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    return answer


def test_what_the_fakes_never_say() -> None:
    hindi = segment(word("meeting", 1.0), word("hai", 2.0), language="hi", code_switch=True, speaker="Speaker 2")
    english = segment(word("Acme", 3.0, "ack me"), word("calls", 4.0), language="en", speaker="Speaker 1")
    last = segment(word("bye", 6.0), language="en", speaker="Speaker 2")
    shown = Shown(times=True, confidence=True, speakers=True)
    body = answered(hindi, english, last, shown=shown, snr_db=17.26, warnings=("It is damaged.",), speakers=("a", "b"))
    assert body["language_source"] == "mixed"
    assert (body["language"], body["languages"]) == ("en", ["hi", "en"])
    assert body["language_detection"] == {
        "mode": "mixed",
        "candidates": ["en", "hi"],
        "segment_count": 3,
        "lid_calls": 2,
    }
    assert [segment["language_name"] for segment in body["segments"]] == ["Hindi", "English", "English"]
    assert [segment["speakers"][0]["speaker"] for segment in body["segments"]] == [
        *("SPEAKER_00", "SPEAKER_01", "SPEAKER_00"),
    ]
    assert body["words"][2] == {
        "word": "Acme", "start": 3.0, "end": 3.4, "confidence": 0.8, "boosted": True, "original": "ack me",
    }  # fmt: skip
    assert body["words"][3].keys() == {"word", "start", "end", "confidence"}
    assert body["snr_db"] == 17.3
    assert body["warning_codes"] == ["partial_result", "inline_code_switch_partial"]
    assert [warning["affected_segments"] for warning in body["warnings"]] == [[], [0]]
    noisy = answered(too_noisy=True, snr_db=-12.0, language=None)
    assert (noisy["text"], noisy["language"], noisy["snr_db"]) == ("", None, -12.0)
    assert noisy["warning_codes"] == ["low_snr_dropped"]


@given(
    given_=st.booleans(),
    duration=st.sampled_from([CHUNK_S, CHUNK_S + 0.1]) | st.floats(0, 1e5),
    starts=st.lists(st.tuples(st.floats(0, 9e4), st.sampled_from(["en", "hi"]), st.sampled_from("abc")), max_size=6),
)
def test_every_answer_is_whole(given_: bool, duration: float, starts: list[tuple[float, str, str]]) -> None:
    """Whatever is in it: the fields that clients rely on, and each means the same everywhere."""
    segments = [segment(word("x", start), language=code, speaker=name) for start, code, name in sorted(starts)]
    detection = LanguageDetection(given_)
    body = answered(*segments, shown=Shown(speakers=True), duration=duration, detection=detection)
    assert body.keys() == ALWAYS
    mode = body["language_source"]
    assert mode == body["language_detection"]["mode"]
    assert (mode == "fast_path") == given_
    assert (mode == "long_audio_chunked") == (not given_ and duration > CHUNK_S)
    assert all(("chunk_idx" in segment) == (mode == "long_audio_chunked") for segment in body["segments"])
    spoken = [segment["speakers"][0]["speaker"] for segment in body["segments"]]
    assert list(dict.fromkeys(spoken)) == [f"SPEAKER_{number:02}" for number in range(len(set(spoken)))]
    assert body["warning_codes"] == ([] if segments else ["no_speech_detected"])


def test_the_demo_models_speak_it(stack: Stack, clips: list[Clip]) -> None:
    with contract.client(stack.url, {"Authorization": f"Bearer {stack.key}"}) as client:
        for clip in clips[:3]:
            fields = {
                "languages": "en,es",
                "return_timestamps": "word",
                "include_confidence": "true",
                "diarize": "true",
            }
            body = heard(client.post("/stt", files={"file": clip.path.read_bytes()}, data=fields))
            assert body["text"] == clip.text
            assert body["language"] == clip.language
            assert [word["word"] for word in body["words"]] == clip.text.split()
            assert [word["start"] for word in body["words"]] == pytest.approx(clip.word_starts, abs=0.2)
            assert {speaker["speaker"] for part in body["segments"] for speaker in part["speakers"]} == {"SPEAKER_00"}
            assert body["warning_codes"] == []


def test_nothing_else_knows_of_it() -> None:
    """What the service is must not depend on whose clients it serves."""
    knows = [
        str(path.relative_to(PROJECT))
        for folder in ("api", "model_repository", "export_scripts", "bench")
        for path in (PROJECT / folder).rglob("*")
        if path.suffix in (".py", ".pbtxt", ".toml") and re.search(rb"(?i)sixty_?db|\b60_?db", path.read_bytes())
    ]
    assert [path for path in knows if not path.startswith(("api/compat/sixtydb/", "api/app.py"))] == []
    assert "api/app.py" in knows
