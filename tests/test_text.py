"""Routes that work on text, over fake models: what they answer, refuse and cost, and where they look."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest
import sqlalchemy as sa

from api.storage.database import Database
from api.storage.tables import chat_turns, segment_vectors
from tests.business import KINDS, Customer, customer, serving, speech, until, with_database
from tests.running import FakeService, stop_fake_service
from tests.running import start_fake_service as start

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
text.default = { requests_per_minute = 1000, credits = 2 }
text.embed = { requests_per_minute = 3 }

[house]
max_file_mb = 100
concurrency = 9
requests_per_minute = 10000
text.default = { requests_per_minute = 10000 }

["one at a time"]
max_file_mb = 100
concurrency = 1
requests_per_minute = 10000
text.default = { requests_per_minute = 10000 }

[silent]
max_file_mb = 100
concurrency = 9
requests_per_minute = 10000
text.embed = { requests_per_minute = 5 }
"""
TALK = (
    "The launch of the new website is on Monday. Maria will write the press release by Friday. "
    "We decided to keep the old logo. Who pays for the hosting? The budget for hosting is good. "
    "Send the invoice to billing@example.com, please. The weather was bad again."
)
STYLES = ["brief", "detailed", "action_items", "bullet_points", "bullets"]
ANALYSES = ["sentiment", "topics", "entities", "action_items", "questions", "pii_redact"]
DOCUMENTS = [
    *("blog_post", "social_media", "newsletter", "key_quotes", "show_notes", "meeting_notes", "study_guide"),
    *("flashcards", "quiz", "chapter_markers"),
]
ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/embed", {"texts": ["a"]}),
    ("/v1/summarize", {"text": TALK}),
    ("/v1/analyze", {"text": TALK, "type": "topics"}),
    ("/v1/generate", {"text": TALK, "type": "quiz"}),
    ("/api/v1/transcripts/{id}/chat/", {"question": "Who?"}),
    ("/api/v1/transcripts/{id}/analyze/", {"type": "questions"}),
    ("/api/v1/transcripts/{id}/generate/", {"type": "flashcards"}),
]


@pytest.fixture(scope="module", params=KINDS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    folder = tmp_path_factory.mktemp("text")
    (folder / "plans.toml").write_text(PLANS)
    with serving(request.param, folder / "spool", request, plans=folder / "plans.toml") as service:
        yield service


@pytest.fixture
def anna(new_customer: Callable[..., Customer]) -> Customer:
    return new_customer("house")


def kept(customer: Customer, *texts: str) -> str:
    """The id of a transcript with these segments."""
    id_ = customer.transcribe(speech(2 * len(texts)), diarize="false").headers["X-Transcript-Id"]
    there = len(customer.client.get(f"/api/v1/transcripts/{id_}/").json()["segments"])
    assert there == 1
    corrected = [{"segment_order": 0, "text": " ".join(texts)}]
    assert customer.client.patch(f"/api/v1/transcripts/{id_}/", json={"segments": corrected}).status_code == 200
    return id_


def test_embeddings_are_unit_vectors_in_order(anna: Customer) -> None:
    texts = [f"number {place}" for place in range(2048)]
    answer = anna.client.post("/v1/embed", json={"texts": texts}).json()
    vectors = np.array(answer["embeddings"])
    assert (vectors.shape, answer["dimensions"], answer["model"]) == ((2048, 384), 384, "Fake text_embedding")
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    alone = anna.client.post("/v1/embed", json={"texts": [texts[1234]]}).json()["embeddings"][0]
    assert vectors[1234].tolist() == alone


@pytest.mark.parametrize("style", STYLES)
def test_summaries(anna: Customer, style: str) -> None:
    answer = anna.client.post("/v1/summarize", json={"text": TALK, "style": style}).json()
    assert (answer["style"], answer["model"]) == (style, "extractive-fake text_embedding")
    if style == "action_items":
        assert "press release" in answer["summary"]


@pytest.mark.parametrize("type_", ANALYSES)
def test_analyses(anna: Customer, type_: str) -> None:
    answer = anna.client.post("/v1/analyze", json={"text": TALK, "type": type_}).json()
    assert answer["type"] == type_
    telling: dict[str, Callable[[], Any]] = {
        "sentiment": lambda: answer["strongest"],
        "topics": lambda: answer["topics"],
        "entities": lambda: [one for one in answer["entities"] if one["text"] == "billing@example.com"],
        "action_items": lambda: [one for one in answer["action_items"] if one["assignee"] == "Maria"],
        "questions": lambda: [one for one in answer["questions"] if one["text"] == "Who pays for the hosting?"],
        "pii_redact": lambda: answer["redacted_text"] == TALK.replace("billing@example.com", "[EMAIL_ADDRESS]"),
    }
    assert telling[type_]()
    for span in answer.get("spans", []):
        assert TALK[span["start"] : span["end"]] == span["text"] == "billing@example.com"


@pytest.mark.parametrize("type_", DOCUMENTS)
def test_documents(anna: Customer, type_: str) -> None:
    answer = anna.client.post("/v1/generate", json={"text": TALK, "type": type_}).json()
    assert (answer["type"], answer["content"]["type"]) == (type_, type_)
    assert answer["text"].strip()


def test_segments_instead_of_text_have_times(anna: Customer) -> None:
    segments = [
        {"start": 12.0, "end": 14.0, "text": "Can you send the report by Friday?", "speaker": "Eva", "words": []},
        {"start": 15.5, "end": 16.0, "text": "Yes, I will send it.", "speaker": "Tom"},
    ]
    (asked,) = anna.client.post("/v1/analyze", json={"segments": segments, "type": "questions"}).json()["questions"]
    assert (asked["speaker"], asked["start"], asked["segment_order"]) == ("Eva", 12.0, 0)
    assert asked["answer"] == "Yes, I will send it."


LONG = "word " * 2_100_000
WRONG: list[tuple[str, Any, int, str]] = [
    ("/v1/embed", {}, 400, "texts"),
    ("/v1/embed", {"texts": []}, 400, "1 to 2048 texts"),
    ("/v1/embed", {"texts": "one"}, 400, "1 to 2048 texts"),
    ("/v1/embed", {"texts": ["a"] * 2049}, 400, "1 to 2048 texts"),
    ("/v1/embed", {"texts": ["a", " \n"]}, 400, "empty"),
    ("/v1/embed", {"texts": ["a", "b\0c"]}, 400, "control characters"),
    ("/v1/embed", {"texts": [LONG]}, 413, "8192 kB"),
    ("/v1/summarize", {"text": ""}, 400, "text must be text that is not empty"),
    ("/v1/summarize", {"text": "\x01\x02binary"}, 400, "control characters"),
    ("/v1/summarize", {"text": LONG}, 413, "8192 kB"),
    ("/v1/summarize", {"text": LONG[:1_000_001]}, 413, "1000000 characters"),
    ("/v1/summarize", {"text": TALK, "style": "haiku"}, 400, "one of brief, detailed, action_items"),
    ("/v1/summarize", {"text": TALK, "segments": [{"text": "a", "start": 0, "end": 1}]}, 400, "instead of it"),
    ("/v1/summarize", {"segments": [{"text": " ", "start": 0, "end": 1}]}, 400, "no text"),
    ("/v1/summarize", {"segments": [{"text": "a", "start": 2, "end": 1}]}, 400, "segments[0] ends before"),
    ("/v1/summarize", {"text": "a\n" * 60_000}, 413, "50000 lines"),
    ("/v1/summarize", {"text": TALK, "stream": "yes"}, 400, "true or false"),
    ("/v1/summarize", b"", 400, "body is empty"),
    ("/v1/summarize", {"style": "brief"}, 400, "Send text"),
    ("/v1/summarize", {"text": TALK, "language": "tlh"}, 400, "/v1/languages"),
    ("/v1/analyze", {"text": TALK}, 400, "type must be one of sentiment"),
    ("/v1/analyze", {"text": TALK, "type": "mood"}, 400, "one of sentiment, topics, entities"),
    ("/v1/generate", {"text": TALK, "type": "novel"}, 400, "one of blog_post, social_media"),
    ("/v1/generate", {"text": 7, "type": "quiz"}, 400, "text must be text"),
    ("/v1/generate", b"\xff\xfe\x00", 400, "no JSON"),
    ("/v1/generate", b"[]", 400, "The body is not right"),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "why"), WRONG, ids=[f"{w[0]}-{w[3]}-{n}" for n, w in enumerate(WRONG)]
)
def test_what_is_wrong_is_said(anna: Customer, path: str, body: Any, status: int, why: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = anna.client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, why in answer.json()["error"]) == (status, True), answer.text[:300]


@pytest.mark.parametrize(("path", "body"), ROUTES)
def test_who_may(service: FakeService, new_customer: Callable[..., Customer], path: str, body: Any) -> None:
    path = path.format(id=uuid4())
    assert service.client.post(path, json=body).status_code == 401
    assert new_customer("house", scopes=("transcribe", "account")).client.post(path, json=body).status_code == 403
    refused = new_customer("silent").client.post(path, json=body)
    if path == "/v1/embed":
        assert refused.status_code == 200
    else:
        assert (refused.status_code, "silent" in refused.json()["error"]) == (403, True)


def test_each_route_has_a_limit_of_its_own(new_customer: Callable[..., Customer]) -> None:
    bert = new_customer("paid", credits=10)
    # A minute may end in between: of seven, two minutes have room for six.
    answers = [bert.client.post("/v1/embed", json={"texts": ["a"]}) for _ in range(7)]
    assert [answer.status_code for answer in answers[:3]].count(200) >= 1
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Limit"] == "3"
    assert bert.client.post("/v1/summarize", json={"text": TALK}).status_code == 200


def test_only_so_many_at_the_same_time(writing: FakeService) -> None:
    asked = {"text": TALK, "stream": True}
    with customer(writing, "one at a time").open() as carl, ExitStack() as leaving:
        url = f"{writing.url}/v1/summarize"
        first = leaving.enter_context(httpx.stream("POST", url, json=asked, headers=carl.headers))
        told = first.iter_raw(10)
        next(told)
        refused = carl.client.post("/v1/summarize", json=asked)
        assert (refused.status_code, "1 at the same time" in refused.json()["error"]) == (429, True)
        leaving.close()
        until(lambda: carl.client.post("/v1/summarize", json={"text": TALK}).status_code == 200)


def test_what_it_costs(new_customer: Callable[..., Customer]) -> None:
    bert = new_customer("paid", credits=5)
    assert bert.client.post("/v1/summarize", json={"text": TALK}).status_code == 200
    assert bert.balance() == 3
    assert bert.client.post("/v1/embed", json={"texts": ["a"]}).status_code == 200
    assert bert.client.post("/v1/summarize", json={"text": ""}).status_code == 400
    assert bert.client.post(f"/api/v1/transcripts/{uuid4()}/chat/", json={"question": "Who?"}).status_code == 404
    assert bert.balance() == 3
    assert bert.client.post("/v1/generate", json={"text": TALK, "type": "quiz"}).status_code == 200
    refused = bert.client.post("/v1/analyze", json={"text": TALK, "type": "topics"})
    assert (refused.status_code, bert.balance()) == (402, 1)
    days = bert.client.get("/api/v1/usage/").json()["days"]
    assert {name: used["credits"] for day in days for name, used in day["models"].items()} == {
        "generate": 2,
        "summarize": 2,
    }


def test_a_chat_tells_its_sources_and_remembers(anna: Customer) -> None:
    id_ = kept(anna, "The launch is on Monday and Maria writes the press release.")
    url = f"/api/v1/transcripts/{id_}/chat/"
    first = anna.client.post(url, json={"question": "When is the launch?"}).json()
    assert "Monday" in first["answer"]
    assert [source["segment_order"] for source in first["sources"]] == [0]
    assert 0 < first["sources"][0]["score"] <= 1
    second = anna.client.post(url, json={"question": "And who?", "session_id": first["session_id"]}).json()
    assert second["session_id"] == first["session_id"]
    named = anna.client.post(url, json={"question": "Who?", "session_id": "my own"}).json()
    assert named["session_id"] == "my own"

    async def turns(database: Database) -> list[tuple[str, str]]:
        async with database.reading() as connection:
            rows = await connection.execute(
                sa.select(chat_turns.c.session, chat_turns.c.question).order_by(chat_turns.c.id)
            )
            return [tuple(row) for row in rows if row.session in (first["session_id"], "my own")]

    assert with_database(anna.service, turns) == [
        (first["session_id"], "When is the launch?"),
        (first["session_id"], "And who?"),
        ("my own", "Who?"),
    ]


@pytest.mark.parametrize("what", ["chat", "analyze", "generate"])
def test_nobody_looks_into_another_s_transcript(new_customer: Callable[..., Customer], what: str) -> None:
    mine, theirs = new_customer("house"), new_customer("house")
    id_ = kept(theirs, "The secret is the launch on Monday.")
    body = {"question": "What is the secret?", "type": "topics" if what == "analyze" else "quiz"}
    assert mine.client.post(f"/api/v1/transcripts/{id_}/{what}/", json=body).status_code == 404
    assert theirs.client.post(f"/api/v1/transcripts/{id_}/{what}/", json=body).status_code == 200
    assert mine.client.get("/api/v1/transcripts/", params={"q": "secret launch"}).json()["count"] == 0


def test_what_is_looked_for_is_found_by_its_meaning(anna: Customer) -> None:
    late = kept(anna, "The invoice was late again.")
    kept(anna, "The weather is nice.")
    found = anna.client.get("/api/v1/transcripts/", params={"q": "late invoice"}).json()
    assert [(one["id"], one["match"]["segment_order"]) for one in found["results"]] == [(late, 0)]
    assert found["results"][0]["match"]["score"] >= 0.4
    # After a correction the old meaning is gone.
    corrected = {"segments": [{"segment_order": 0, "text": "The parcel came in time."}]}
    anna.client.patch(f"/api/v1/transcripts/{late}/", json=corrected)
    assert anna.client.get("/api/v1/transcripts/", params={"q": "late invoice"}).json()["count"] == 0
    assert anna.client.get("/api/v1/transcripts/", params={"q": "in time parcel"}).json()["count"] == 1
    assert anna.client.get("/api/v1/transcripts/", params={"q": "TIME."}).json()["count"] == 1


def test_what_is_deleted_takes_meaning_and_chats_along(anna: Customer) -> None:
    id_ = kept(anna, "The launch is on Monday.")
    anna.client.post(f"/api/v1/transcripts/{id_}/chat/", json={"question": "When?"})

    async def count(database: Database) -> int:
        async with database.reading() as connection:
            counts = [
                (await connection.execute(sa.select(sa.func.count()).where(table.c.transcript_id == UUID(id_))))
                for table in (segment_vectors, chat_turns)
            ]
            return sum(counted.scalar_one() for counted in counts)

    assert anna.client.post(f"/api/v1/transcripts/{id_}/chat/", json={"question": "When?"}).status_code == 200
    anna.client.delete(f"/api/v1/transcripts/{id_}/")
    assert with_database(anna.service, count) == 0


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    """A service with a language model, where somebody hears an e-mail address."""
    folder = tmp_path_factory.mktemp("writing")
    (folder / "plans.toml").write_text(PLANS)
    fakes = {"FAKE_WRITER": "0.05 " + "The team agreed. " * 10, "FAKE_HEARD": "eva@example.com"}
    service = start(folder, fakes=fakes, plans=folder / "plans.toml")
    yield service
    stop_fake_service(service)


class TestWithALanguageModel:
    @pytest.fixture
    def service(self, writing: FakeService) -> FakeService:
        return writing

    def events(self, answer: httpx.Response) -> list[tuple[str, Any]]:
        blocks = [block.split("\n") for block in "".join(answer.iter_text()).strip().split("\n\n")]
        return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]

    def test_it_writes(self, anna: Customer) -> None:
        whole = anna.client.post("/v1/summarize", json={"text": TALK}).json()
        assert (whole["model"], whole["summary"]) == ("fake language_model", ("The team agreed. " * 10).strip())

    def test_a_stream_says_the_same(self, anna: Customer) -> None:
        with anna.client.stream("POST", "/v1/summarize", json={"text": TALK, "stream": True}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            *deltas, done = self.events(answer)
        assert len(deltas) > 5
        assert done[0] == "done"
        assert done[1] == anna.client.post("/v1/summarize", json={"text": TALK}).json()
        assert "".join(delta["delta"] for _, delta in deltas).strip() == done[1]["summary"]

    def test_who_leaves_a_stream_pays_for_what_was_told(
        self, writing: FakeService, new_customer: Callable[..., Customer]
    ) -> None:
        bert = new_customer("paid", credits=7)
        asked = {"text": TALK, "stream": True}
        with httpx.stream("POST", f"{writing.url}/v1/summarize", json=asked, headers=bert.headers) as answer:
            next(answer.iter_raw(10))
        until(lambda: bert.balance() == 5)
        with bert.client.stream("POST", "/v1/summarize", json=asked) as answer:
            answer.read()
        assert bert.balance() == 3
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{writing.url}/v1/summarize", json={"text": TALK}, headers=bert.headers, timeout=0.3)
        until(lambda: bert.balance() == 3)

    def test_a_chat_streams_and_remembers(self, anna: Customer) -> None:
        id_ = kept(anna, "The team agreed on Monday.")
        url = f"/api/v1/transcripts/{id_}/chat/"
        with anna.client.stream("POST", url, json={"question": "When?", "stream": True}) as answer:
            *_, (name, done) = self.events(answer)
        assert (name, done["sources"][0]["segment_order"], done["model"]) == ("done", 0, "fake language_model")

    def test_personal_data_is_neither_answered_nor_kept(self, anna: Customer) -> None:
        recording = {"file": ("call with eva@example.com.wav", speech(3))}
        answer = anna.client.post("/v1/transcribe", files=recording, data={"redact": "pii"})
        id_ = answer.headers["X-Transcript-Id"]
        told = [answer.text, anna.client.get(f"/api/v1/transcripts/{id_}/").text]
        told += [anna.client.get(f"/api/v1/transcripts/{id_}/export/{format_}/").text for format_ in ("srt", "csv")]
        assert all("[EMAIL_ADDRESS]" in one and "eva" not in one for one in told)
        assert answer.json()["segments"][0]["words"][0]["word"].strip() == "[EMAIL_ADDRESS]"

    def test_personal_data_is_left_out_of_exports(self, anna: Customer) -> None:
        recording = {"file": ("call with eva@example.com.wav", speech(3))}
        id_ = anna.client.post("/v1/transcribe", files=recording).headers["X-Transcript-Id"]
        anna.client.patch(f"/api/v1/transcripts/{id_}/", json={"speakers": {"Speaker 1": "eva@example.com"}})
        for format_ in ("txt", "srt", "vtt", "json", "csv"):
            url = f"/api/v1/transcripts/{id_}/export/{format_}/"
            assert "eva@example.com" in anna.client.get(url).text
            redacted = anna.client.get(url, params={"redact": "pii"})
            assert "[EMAIL_ADDRESS]" in redacted.text
            assert "eva" not in redacted.text + str(redacted.headers)
        assert anna.client.get(url, params={"redact": "names"}).status_code == 400
        assert anna.transcribe(speech(1), redact="names").status_code == 400


def test_what_is_not_installed_says_how(tmp_path: Path) -> None:
    service = start(tmp_path, fakes={"FAKE_MISSING": "text_embedding text_analysis"}, plans="")
    try:
        with customer(service, "house").open() as anna:
            for path, body in ROUTES[:4]:
                answer = anna.client.post(path, json=body)
                assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
                assert "tritone export text_embedding" in answer.json()["error"]
            answer = anna.transcribe(speech(1), redact="pii")
            assert (answer.status_code, "tritone export text_analysis" in answer.json()["error"]) == (503, True)
            assert anna.transcribe(speech(1)).status_code == 200
            assert anna.client.get("/api/v1/transcripts/", params={"q": "tone"}).json()["count"] == 1
    finally:
        stop_fake_service(service)
