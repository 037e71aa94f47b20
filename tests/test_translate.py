"""The route that translates, and transcripts in another language, over fake models."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import docx
import pytest

from tests.business import KINDS, Customer, customer, serving, speech
from tests.running import FakeService, start_fake_service, stop_fake_service

PLANS = """
[anonymous]
max_file_mb = 1
concurrency = 1
requests_per_minute = 1000

[paid]
max_file_mb = 100
concurrency = 9
requests_per_minute = 10000
minutes_per_month = 0
text.translate = { requests_per_minute = 4, credits = 2 }

["one at a time"]
max_file_mb = 100
concurrency = 1
requests_per_minute = 10000
text.default = { requests_per_minute = 1000 }

[house]
max_file_mb = 100
concurrency = 9
requests_per_minute = 10000
text.default = { requests_per_minute = 10000 }
"""


@pytest.fixture(scope="module", params=KINDS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    folder = tmp_path_factory.mktemp("translate")
    (folder / "plans.toml").write_text(PLANS)
    with serving(request.param, folder / "spool", request, plans=folder / "plans.toml") as service:
        yield service


@pytest.fixture
def anna(new_customer: Callable[..., Customer]) -> Customer:
    return new_customer("house")


def test_a_text(anna: Customer) -> None:
    sent = {"text": "Good morning to you. How are you?\n\n- Fine", "target": "es"}
    answer = anna.client.post("/v1/translate", json=sent).json()
    assert answer == {
        "translated_text": "es you. to morning Good es you? are How\n\n- es Fine",
        "source_language": "en",
        "target_language": "es",
        "model": "Fake translator",
    }


def test_texts_in_order_and_a_source_that_the_text_tells(anna: Customer) -> None:
    texts = [f"número {place} de esta lista de oraciones" for place in range(200)]
    answer = anna.client.post("/v1/translate/", json={"texts": texts, "target": "EN", "source": "Auto"}).json()
    assert answer["translations"][150] == {"translated_text": "en oraciones de lista esta de 150 número"}
    assert (len(answer["translations"]), answer["source_language"], answer["target_language"]) == (200, "es", "en")


def test_the_languages_need_no_key(service: FakeService) -> None:
    languages = service.client.get("/v1/translate/languages").json()["languages"]
    assert {"code": "pt", "name": "Portuguese"} in languages
    assert len(languages) == 5


LONG = "word " * 2_100_000
WRONG: list[tuple[Any, int, str]] = [
    ({"target": "es"}, 400, "Send text, or texts"),
    ({"text": "a", "texts": ["b"], "target": "es"}, 400, "one of the two"),
    ({"text": "", "target": "es"}, 400, "text must be text that is not empty"),
    ({"text": " \n", "target": "es"}, 400, "not empty"),
    ({"text": "a\0", "target": "es"}, 400, "control characters"),
    ({"texts": [], "target": "es"}, 400, "1 to 2048 texts"),
    ({"texts": ["a", ""], "target": "es"}, 400, "none of them empty"),
    ({"texts": ["a"] * 2049, "target": "es"}, 400, "1 to 2048 texts"),
    ({"text": LONG, "target": "es"}, 413, "8192 kB"),
    ({"text": LONG[:1_000_001], "target": "es"}, 413, "1000000 characters"),
    ({"texts": [LONG[:600_000]] * 2, "target": "es"}, 413, "in all"),
    ({"text": "a"}, 400, "target must be the code of a language"),
    ({"text": "a", "target": "spanish"}, 400, "Did you mean es (Spanish)?"),
    ({"text": "a", "target": "tlh"}, 400, "/v1/translate/languages"),
    ({"text": "a", "target": 7}, 400, "target must be the code"),
    ({"text": "a", "target": "e" * 36}, 400, "target must be the code"),
    ({"text": "a", "target": "es", "source": ""}, 400, "source must be the code"),
    ({"text": "a", "target": "es", "source": "Klingon!"}, 400, "source must be the code"),
    ({"text": "a\n" * 50_001, "target": "es"}, 413, "50000 lines"),
    (b"", 400, "body is empty"),
]


@pytest.mark.parametrize(("body", "status", "why"), WRONG, ids=[f"{w[2]}-{n}" for n, w in enumerate(WRONG)])
def test_what_is_wrong_is_said(anna: Customer, body: Any, status: int, why: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = anna.client.post("/v1/translate", content=content)
    assert (answer.status_code, why in answer.json()["error"]) == (status, True), answer.text[:300]


def test_who_may_and_what_it_costs(service: FakeService, new_customer: Callable[..., Customer]) -> None:
    body = {"text": "a", "target": "es"}
    assert service.client.post("/v1/translate", json=body).status_code == 401
    assert new_customer("house", scopes=("transcribe",)).client.post("/v1/translate", json=body).status_code == 403
    paying = new_customer("paid", credits=7)
    assert paying.client.post("/v1/translate", json=body).status_code == 200
    assert paying.balance() == 5
    assert paying.client.post("/v1/translate", json={**body, "target": "tlh"}).status_code == 400
    assert paying.balance() == 5
    answer = paying.transcribe(speech(2), translate_to="es")
    assert answer.json()["translated_text"] == "es tone tone"
    assert paying.balance() == 2, "a minute, and a translation"
    export = f"/api/v1/transcripts/{answer.json()['id']}/export/srt/"
    assert paying.client.get(export, params={"translate_to": "es"}).status_code == 200
    assert paying.balance() == 0
    assert paying.client.get(export, params={"translate_to": "es"}).status_code == 429
    assert paying.client.get(export).status_code == 200


@pytest.mark.parametrize("format_", ["json", "verbose_json"])
def test_a_transcript_with_its_translation(anna: Customer, format_: str) -> None:
    answer = anna.transcribe(speech(2), translate_to="de", response_format=format_).json()
    assert (answer["text"], answer["language"]) == ("tone tone", "en")
    assert (answer["translated_text"], answer["target_language"]) == ("de tone tone", "de")
    assert [segment["translation"] for segment in answer["segments"]] == ["de tone tone"]


@pytest.mark.parametrize("format_", ["srt", "vtt", "txt"])
def test_subtitles_in_the_translated_language(anna: Customer, format_: str) -> None:
    assert "de tone tone\n" in anna.transcribe(speech(2), translate_to="de", response_format=format_).text
    plain = anna.transcribe(speech(2), response_format=format_)
    assert "de" not in plain.text.split()
    export = f"/api/v1/transcripts/{plain.headers['X-Transcript-Id']}/export/{format_}/"
    assert "es tone tone\n" in anna.client.get(export, params={"translate_to": "es"}).text
    assert anna.client.get(export).text == plain.text


def test_exports_with_both_languages(anna: Customer) -> None:
    id_ = anna.transcribe(speech(2)).json()["id"]
    rows = anna.client.get(f"/api/v1/transcripts/{id_}/export/csv/?translate_to=es").text.splitlines()
    assert rows[0].endswith(",confidence,translation")
    assert rows[1].endswith(",es tone tone")
    body = anna.client.get(f"/api/v1/transcripts/{id_}/export/json/?translate_to=es").json()
    assert (body["text"], body["translated_text"]) == ("tone tone", "es tone tone")
    letter = anna.client.get(f"/api/v1/transcripts/{id_}/export/docx/?translate_to=es").content
    assert [paragraph.text for paragraph in docx.Document(BytesIO(letter)).paragraphs][-1] == "es tone tone"
    for wrong in ("spanish", "\0"):
        answer = anna.client.get(f"/api/v1/transcripts/{id_}/export/json/", params={"translate_to": wrong})
        assert (answer.status_code, "/v1/translate/languages" in answer.text) == (400, True)


def test_what_is_kept_is_what_was_said(anna: Customer) -> None:
    id_ = anna.transcribe(speech(2), translate_to="de").json()["id"]
    stored = anna.client.get(f"/api/v1/transcripts/{id_}/").json()
    assert ("translation" in stored["segments"][0], stored["segments"][0]["text"]) == (False, "tone tone")
    correction = {"segments": [{"segment_order": 0, "text": "write to maria@example.com"}]}
    assert anna.client.patch(f"/api/v1/transcripts/{id_}/", json=correction).status_code == 200
    for format_ in ("txt", "srt", "json", "csv"):
        export = f"/api/v1/transcripts/{id_}/export/{format_}/"
        assert "write to maria@example.com" in anna.client.get(export).text
        for query in ({"redact": "pii"}, {"redact": "pii", "translate_to": "es"}):
            answer = anna.client.get(export, params=query).text
            assert "maria@" not in answer
            assert "[EMAIL_ADDRESS]" in answer


def test_a_translation_needs_no_place_beside_its_transcription(tmp_path: Path) -> None:
    (tmp_path / "plans.toml").write_text(PLANS)
    (tmp_path / "spool").mkdir()
    slow = start_fake_service(tmp_path / "spool", "1", plans=tmp_path / "plans.toml")
    try:
        with customer(slow, "one at a time").open() as lone, ThreadPoolExecutor() as pool:
            text = pool.submit(lone.client.post, "/v1/translate", json={"text": "a", "target": "es"})
            time.sleep(0.3)
            assert "translated_text" in lone.transcribe(speech(2), translate_to="es").json()
            assert text.result().status_code == 200
    finally:
        stop_fake_service(slow)


def test_a_wrong_language_is_said_before_anything_is_heard(anna: Customer) -> None:
    answer = anna.transcribe(speech(2), translate_to="spanish")
    assert (answer.status_code, "Did you mean es (Spanish)?" in answer.json()["error"]) == (400, True)
    assert anna.client.get("/api/v1/transcripts/").json()["count"] == 0


def test_no_transcript_is_lost_where_the_translation_fails(tmp_path: Path) -> None:
    (tmp_path / "plans.toml").write_text(PLANS)
    (tmp_path / "spool").mkdir()
    away = start_fake_service(tmp_path / "spool", fakes={"FAKE_AWAY": "translator"}, plans=tmp_path / "plans.toml")
    try:
        with customer(away, "paid", credits=10).open() as otto:
            answer = otto.transcribe(speech(2), translate_to="es").json()
            assert (answer["text"], "translated_text" in answer) == ("tone tone", False)
            assert "could not be translated" in answer["warnings"][-1]
            assert otto.balance() == 9, "the minute, and no translation"
            answer = otto.transcribe(speech(2), translate_to="es", response_format="srt")
            assert answer.status_code == 503
            (kept, _) = otto.client.get("/api/v1/transcripts/").json()["results"]
            assert str(kept["id"]) in answer.json()["error"]
            assert otto.balance() == 8
            answer = otto.transcribe(speech(2), translate_to="es", response_format="srt", store="false")
            assert answer.status_code == 503
            assert otto.balance() == 8, "nothing is kept, and nothing is paid"
            away.assert_nothing_left()
    finally:
        stop_fake_service(away)


def test_without_a_translator_the_command_is_named(tmp_path: Path) -> None:
    service = start_fake_service(tmp_path, fakes={"FAKE_MISSING": "translator"})
    try:
        answer = service.client.get("/v1/translate/languages")
        assert answer.status_code == 503
        assert "tritone export translator" in answer.json()["error"]
        assert int(answer.headers["Retry-After"]) >= 600
    finally:
        stop_fake_service(service)
