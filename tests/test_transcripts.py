"""Stored transcripts through HTTP, on both databases: found, corrected, handed out, deleted for good."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from pypdf import PdfReader

from api.storage.database import Database
from api.storage.tables import transcripts
from tests.business import KINDS, Customer, customer, serving, speech, until, with_database
from tests.running import FakeService

NewCustomer = Callable[..., Customer]
EXPORTS = ("txt", "srt", "vtt", "json", "csv", "docx", "pdf")


@pytest.fixture(scope="module", params=KINDS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    with serving(request.param, tmp_path_factory.mktemp("spool"), request, fake_delay_s="0.2") as service:
        yield service


@pytest.fixture
def anna(new_customer: NewCustomer) -> Customer:
    return new_customer("house")


def test_what_was_transcribed_is_kept(anna: Customer) -> None:
    answer = anna.transcribe(speech(3))
    id_ = answer.headers["X-Transcript-Id"]
    assert answer.json()["id"] == id_
    stored = anna.client.get(f"/api/v1/transcripts/{id_}/").json()
    assert stored["status"] == "completed"
    assert (stored["title"], stored["language"], stored["model"]) == ("talk", "en", "large-v3-turbo")
    for name in ("text", "duration", "speakers"):
        assert stored[name] == answer.json()[name]
    for order, (kept, said) in enumerate(zip(stored["segments"], answer.json()["segments"], strict=True)):
        assert kept == {**said, "segment_order": order}


def test_what_is_kept_has_words_whatever_was_answered(anna: Customer) -> None:
    id_ = anna.transcribe(speech(3), response_format="txt").headers["X-Transcript-Id"]
    stored = anna.client.get(f"/api/v1/transcripts/{id_}/").json()
    assert stored["speakers"] == ["Speaker 1"]
    assert len(stored["segments"][0]["words"]) == 3


def test_what_is_declined_is_not_kept(anna: Customer) -> None:
    answer = anna.transcribe(speech(1), store="false")
    assert answer.status_code == 200
    assert "X-Transcript-Id" not in answer.headers
    assert "id" not in answer.json()
    assert anna.client.get("/api/v1/transcripts/").json()["count"] == 0
    assert anna.client.get("/api/v1/usage/").json()["total"]["requests"] == 1


def test_it_is_queued_then_processing_then_completed_or_failed(anna: Customer) -> None:
    seen: list[str] = []

    def status() -> str:
        listed = anna.client.get("/api/v1/transcripts/").json()["results"]
        seen.extend(entry["status"] for entry in listed[:1])
        return seen[-1] if seen else ""

    with ThreadPoolExecutor() as pool:
        running = pool.submit(anna.transcribe, speech(300))
        until(lambda: status() == "processing")
        assert running.result().status_code == 200
    assert status() == "completed"
    anna.transcribe(b"RIFF no audio")
    entry = anna.client.get("/api/v1/transcripts/?status=failed").json()["results"][0]
    assert "no audio or video" in entry["error"]


def test_pages_lead_on_as_in_django(anna: Customer) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: anna.transcribe(speech(1)), range(5)))
    url, seen, pages = "/api/v1/transcripts/?limit=2&language=en", [], 0
    while url:
        page = anna.client.get(url).json()
        assert set(page) == {"count", "next", "previous", "results"}
        seen += [entry["id"] for entry in page["results"]]
        url, pages = page["next"], pages + 1
        anna.transcribe(speech(1))  # what comes meanwhile moves nothing
    assert pages == 3
    assert len(seen) == len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)
    assert page["previous"].startswith(f"{anna.service.url}/api/v1/transcripts/?")
    assert anna.client.get("/api/v1/transcripts").json()["count"] == 8


def test_lists_are_filtered(anna: Customer) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    anna.client.post("/v1/transcribe", files={"file": ("Überblick.wav", speech(1))})
    anna.transcribe(b"RIFF no audio")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()

    def count(**filters: Any) -> int:
        answer = anna.client.get("/api/v1/transcripts/", params=filters)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["count"])

    assert count() == 2
    assert (count(status="completed"), count(status="failed"), count(status="queued")) == (1, 1, 0)
    assert (count(language="en"), count(language="es")) == (1, 0)
    assert (count(created_after=before.isoformat()), count(created_before=before.isoformat())) == (2, 0)
    assert (count(created_after=tomorrow), count(created_before=tomorrow)) == (0, 2)
    assert (count(q="TONE"), count(q="überBLICK"), count(q="%"), count(q="nobody said this")) == (1, 1, 0, 0)
    for wrong in (
        "status=done",
        "language=xx-klingon",
        "created_after=soon",
        "limit=0",
        "limit=x",
        "cursor=x",
        "page=2",
    ):
        answer = anna.client.get(f"/api/v1/transcripts/?{wrong}")
        assert answer.status_code == 400, (wrong, answer.text)
        assert wrong.partition("=")[0] in answer.json()["error"]


def test_a_person_corrects_it(anna: Customer) -> None:
    id_ = anna.transcribe(speech(3)).headers["X-Transcript-Id"]
    url = f"/api/v1/transcripts/{id_}/"
    changed = anna.client.patch(
        url,
        json={
            "title": "Monday",
            "speakers": {"Speaker 1": "Maria"},
            "segments": [{"segment_order": 0, "text": "tone of voice tone"}],
        },
    )
    assert changed.status_code == 200, changed.text
    body = anna.client.get(url).json()
    assert body == changed.json()
    assert (body["title"], body["speakers"], body["text"]) == ("Monday", ["Maria"], "tone of voice tone")
    words = body["segments"][0]["words"]
    assert [word["word"] for word in words] == ["tone", "of", "voice", "tone"]
    assert {word["speaker"] for word in words} == {"Maria"}
    assert all(0 <= word["start"] <= word["end"] <= 3 for word in words)
    assert anna.client.get("/api/v1/transcripts/?q=voice").json()["count"] == 1
    assert anna.client.get(f"{url}export/vtt/").text.count("of voice") == 1
    for wrong in (
        {},
        {"title": ""},
        {"speakers": {"Speaker 9": "X"}},
        {"segments": [{"segment_order": 7, "text": "x"}]},
        {"segments": [{"segment_order": 0}]},
        {"text": "all of it"},
    ):
        answer = anna.client.patch(url, json=wrong)
        assert answer.status_code == 400, (wrong, answer.text)
        assert answer.json()["error"]
    assert anna.client.get(url).json() == body


def test_it_is_handed_out_in_every_format(anna: Customer) -> None:
    file = ('=Résumé, "final"/2.wav', speech(3))
    id_ = anna.client.post("/v1/transcribe", files={"file": file}).headers["X-Transcript-Id"]
    for format_ in EXPORTS:
        answer = anna.client.get(f"/api/v1/transcripts/{id_}/export/{format_}/")
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].count("charset") <= 1
        disposition = answer.headers["Content-Disposition"]
        assert disposition.startswith('attachment; filename="')
        assert f".{format_}\"; filename*=UTF-8''" in disposition
        assert disposition.isascii()
        if format_ == "pdf":
            text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages)
            assert "tone tone tone" in text
        elif format_ == "docx":
            assert answer.content.startswith(b"PK")
        elif format_ == "csv":
            rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
            assert rows[0]["text"] == "tone tone tone"
        else:
            assert "tone tone tone" in answer.text
    unknown = anna.client.get(f"/api/v1/transcripts/{id_}/export/exe/")
    assert unknown.status_code == 404
    assert "pdf" in unknown.json()["error"]
    anna.transcribe(b"RIFF no audio")
    failed = anna.client.get("/api/v1/transcripts/?status=failed").json()["results"][0]["id"]
    assert anna.client.get(f"/api/v1/transcripts/{failed}/export/txt/").status_code == 409


def test_deleted_means_deleted(service: FakeService, anna: Customer) -> None:
    id_ = anna.transcribe(speech(1)).headers["X-Transcript-Id"]
    url = f"/api/v1/transcripts/{id_}/"
    secret = "unmistakable"
    anna.client.patch(url, json={"segments": [{"segment_order": 0, "text": secret}]})
    assert anna.client.delete(url).status_code == 204
    assert anna.client.delete(url).status_code == 404
    assert anna.client.get(url).status_code == 404

    async def rows(database: Database) -> int:
        async with database.reading() as connection:
            found = await connection.execute(sa.select(transcripts.c.id).where(transcripts.c.text.contains(secret)))
            return len(found.all())

    assert with_database(service, rows) == 0
    for file in Path(service.home.name).glob("tritone.db*"):
        assert secret.encode() not in file.read_bytes(), f"{file} still has it"


def test_a_transcript_that_is_deleted_while_it_is_made_stays_deleted(anna: Customer) -> None:
    with ThreadPoolExecutor() as pool:
        running = pool.submit(anna.transcribe, speech(300))
        until(lambda: anna.client.get("/api/v1/transcripts/?status=processing").json()["count"] == 1)
        id_ = anna.client.get("/api/v1/transcripts/").json()["results"][0]["id"]
        assert anna.client.delete(f"/api/v1/transcripts/{id_}/").status_code == 204
        assert running.result().status_code == 200
    assert anna.client.get("/api/v1/transcripts/").json()["count"] == 0


def test_usage_is_told_by_day_and_model(new_customer: NewCustomer) -> None:
    anna = new_customer(credits=10)
    anna.transcribe(speech(61))
    anna.transcribe(speech(30), model="small")
    anna.transcribe(b"RIFF no audio")
    usage = anna.client.get("/api/v1/usage/").json()
    assert len(usage["days"]) == 30
    assert usage["total"] == {"requests": 2, "minutes": 1.52, "credits": 3}
    today = usage["days"][-1]
    assert today["date"] == usage["end"]
    assert today["models"] == {
        "large-v3-turbo": {"requests": 1, "minutes": 1.02, "credits": 2},
        "small": {"requests": 1, "minutes": 0.5, "credits": 1},
    }
    assert all(day["requests"] == 0 and day["models"] == {} for day in usage["days"][:-1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_older_than_the_retention_is_deleted(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with serving(kind, tmp_path, request, retention_days=7) as service, customer(service, "house").client as client:
        for _ in range(2):
            assert client.post("/v1/transcribe", files={"file": speech(1)}).status_code == 200
        old = client.get("/api/v1/transcripts/").json()["results"][0]["id"]

        async def age(database: Database) -> None:
            async with database.writing() as connection:
                await connection.execute(
                    sa.update(transcripts)
                    .where(transcripts.c.id == UUID(old))
                    .values(created_at=datetime.now(UTC) - timedelta(days=8))
                )

        with_database(service, age)
        until(lambda: client.get(f"/api/v1/transcripts/{old}/").status_code == 404)
        assert client.get("/api/v1/transcripts/").json()["count"] == 1


def test_a_private_cloud_gets_its_accounts_requests_and_nobody_elses(
    service: FakeService, new_customer: NewCustomer
) -> None:
    anna, ben = new_customer(credits=5), new_customer("house")
    assert anna.client.get("/api/v1/cloud/").json() == {"count": 0, "instances": []}
    added = service.tritone("cloud", "add", anna.name, "127.0.0.1:9", "--name", "cellar")  # nobody listens there
    answer = anna.client.get("/api/v1/cloud/").json()
    assert answer["count"] == 1
    (instance,) = answer["instances"]
    assert (instance["name"], instance["url"], instance["status"]) == ("cellar", "127.0.0.1:9", "unavailable")
    assert instance["error"]
    assert anna.transcribe(speech(1)).status_code == 503, "its audio goes nowhere else"
    assert anna.balance() == 5
    assert anna.client.get("/v1/models").status_code == 503
    assert ben.transcribe(speech(1)).status_code == 200
    assert instance["id"] in added
    service.tritone("cloud", "remove", instance["id"])
    assert anna.transcribe(speech(1)).status_code == 200


def test_a_private_cloud_answers_for_its_account(
    service: FakeService, new_customer: NewCustomer, stack: Any, clips: list[Any]
) -> None:
    """What stands in for the models hears nothing but tones; the account's own Triton knows words."""
    anna = new_customer("house")
    grpc = next(line for line in stack.lines if line.startswith("triton gRPC ")).removeprefix("triton gRPC ")
    service.tritone("cloud", "add", anna.name, grpc)
    (instance,) = anna.client.get("/api/v1/cloud/").json()["instances"]
    assert (instance["status"], instance["error"]) == ("ok", "")
    assert instance["models"]["whisper-demo"] == "ready"
    answer = anna.transcribe(clips[0].path.read_bytes(), model="demo")
    assert answer.json()["text"] == clips[0].text
    others = httpx.get(f"{service.url}/v1/models").json()["models"]
    assert "demo" not in [model["id"] for model in others]
