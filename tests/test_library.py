"""Stored transcripts: their lives, their pages, what is looked for and what is corrected in them; on both databases."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

import pytest
import sqlalchemy as sa
from httpx import ASGITransport, AsyncClient, Response
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.di import Provide
from sqlalchemy.ext.asyncio import AsyncConnection

from api.accounts.callers import Caller
from api.accounts.credits import Balance
from api.accounts.directory import Holder, create_account
from api.accounts.keys import SCOPES, Scope
from api.accounts.limits import LocalLimiter
from api.accounts.plans import Plan
from api.errors import Conflict, InvalidRequest, NotFound
from api.formats.render import Renderer
from api.http.dialects import Dialects
from api.http.downloads import content_disposition
from api.http.transcripts import TranscriptsController
from api.inference.backlog import Admission
from api.inference.deployments import Deployments
from api.inference.fake import FakeRegistry, fake_inference
from api.intelligence.service import Intelligence
from api.speech import Transcript
from api.storage.database import Database, database_url
from api.storage.ids import new_id
from api.storage.tables import jobs, metadata, transcripts
from api.transcripts import library
from api.transcripts.jobs import Jobs
from api.transcripts.library import Entry, Query, Revision, Status, Stored
from api.transcripts.meaning import Meaning
from api.transcripts.paging import Page, read_cursor
from api.translation.service import Translation
from tests.test_correction import MEETING, spoken

NOW = datetime.now(UTC)


@dataclass
class Shelf:
    """A database in which two have an account, and whoever asks is the first of them."""

    database: Database
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    mine: UUID
    other: UUID

    def do(self, step: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
        """In a transaction of its own."""

        async def transaction() -> Any:
            async with self.database.writing() as connection:
                return await step(connection, *arguments, **named)

        return self.run(transaction())

    def add(self, title: str = "", account: UUID | None = None, id_: UUID | None = None) -> UUID:
        id_ = id_ or new_id()
        self.do(library.begin, id_, account or self.mine, title=title, model="demo", version="2")
        return id_

    def put(self, transcript: Transcript = MEETING, title: str = "", account: UUID | None = None) -> UUID:
        id_ = self.add(title, account)
        self.do(library.complete, id_, replace(transcript, model_version="3"))
        return id_

    def get(self, id_: UUID) -> Stored:
        stored: Stored = self.do(library.get, self.mine, id_)
        return stored

    def page(self, **query: Any) -> Page[Entry]:
        page: Page[Entry] = self.do(library.page, self.mine, Query(**query))
        return page

    def find(self, **query: Any) -> list[UUID]:
        return [entry.id for entry in self.page(**query).results]

    def revise(self, id_: UUID, **revision: Any) -> Stored:
        stored: Stored = self.run(library.revise(self.database, self.mine, id_, Revision(**revision)))
        return stored

    def change(self, id_: UUID, **values: Any) -> None:
        self.do(AsyncConnection.execute, sa.update(transcripts).where(transcripts.c.id == id_).values(**values))

    def request(self, method: str, path: str, *, scopes: Sequence[Scope] = SCOPES, **options: Any) -> Response:
        """What the routes answer to the first account; `path` begins behind /api/v1/transcripts."""
        holder = Holder(self.mine, "free", Balance(), new_id(), frozenset(scopes), None, ())
        inference = fake_inference()
        nothing_else = Deployments(FakeRegistry(others=()))
        app: Any = Litestar(
            [TranscriptsController],
            dependencies={
                "caller": always(Caller(Plan(1, 1, 1), "127.0.0.1", holder)),
                "database": always(self.database),
                "renderer": always(Renderer()),
                "meaning": always(Meaning(self.database)),
                "intelligence": always(Intelligence(inference, nothing_else)),
                "translation": always(Translation(inference, nothing_else)),
                "jobs": always(Jobs(self.database, LocalLimiter(60.0), 60.0)),
                "admission": always(Admission(max_recordings=1, max_texts=1)),
            },
            exception_handlers=Dialects().exception_handlers(),
        )
        # Not Litestar's client: that runs the application in a loop of its own, where the database is not.
        client = AsyncClient(transport=ASGITransport(app), base_url="http://tritone.example/api/v1/transcripts/")
        response: Response = self.run(client.request(method, path, **options))
        return response


def always(value: Any) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create_database(f"library_{new_id().hex}")

    async def prepare(connection: AsyncConnection) -> list[UUID]:
        await connection.run_sync(metadata.create_all)
        return [(await create_account(connection, "A", "a@example.org", "free")).id for _ in range(2)]

    database = Database(database_url(url, str(tmp_path)))
    with asyncio.Runner() as runner:
        shelf = Shelf(database, runner.run, UUID(int=0), UUID(int=0))
        shelf.mine, shelf.other = shelf.do(prepare)
        yield shelf
        runner.run(database.close())


def test_life(shelf: Shelf) -> None:
    id_ = shelf.add("\x00Team\nmeeting" + "!" * 300)
    stored = shelf.get(id_)
    assert stored.entry.title == "Team meeting" + "!" * 288
    assert (stored.entry.status, stored.transcript) == ("queued", None)
    assert abs(stored.entry.created_at - datetime.now(UTC)) < timedelta(minutes=10)
    shelf.do(library.process, id_)
    assert shelf.get(id_).entry.status == "processing"
    shelf.do(library.complete, id_, MEETING)
    stored = shelf.get(id_)
    assert stored.transcript == replace(MEETING, id=str(id_))
    entry = stored.entry
    assert (entry.status, entry.language, entry.duration, entry.speakers, entry.error) == (
        "completed", "en", 20.0, 2, "",
    )  # fmt: skip
    assert entry.completed_at is not None
    assert entry.completed_at >= entry.created_at
    # What comes late, or twice, changes nothing.
    shelf.add("again", id_=id_)
    shelf.do(library.process, id_)
    shelf.do(library.fail, id_, "late")
    shelf.do(library.complete, id_, replace(MEETING, segments=()))
    assert shelf.get(id_) == stored


def test_failures(shelf: Shelf) -> None:
    at_once, live, dead, alive = [shelf.add("t") for _ in range(4)]
    shelf.do(library.fail, at_once, "No\x00 luck" + "." * 1000)
    stored = shelf.get(at_once)
    assert (stored.entry.status, stored.entry.error, stored.transcript) == ("failed", "No luck" + "." * 493, None)
    shelf.do(library.fail, live, "The client left.", MEETING)
    stored = shelf.get(live)
    assert (stored.entry.status, stored.entry.speakers, stored.entry.completed_at) == ("failed", 2, None)
    assert stored.transcript == replace(MEETING, id=str(live))
    assert shelf.find(q="everyone") == [live]

    row = {"account_id": shelf.mine, "month": "", "created_at": NOW, "expires_at": NOW}
    row |= dict.fromkeys(("from_allowance", "from_credits", "lapsed"), 0)
    for id_, state in ((dead, "expired"), (alive, "open"), (live, "expired")):
        shelf.do(AsyncConnection.execute, sa.insert(jobs).values(id=id_, state=state, **row))
    shelf.do(library.fail_abandoned)
    assert shelf.get(dead).entry.error == library.ABANDONED
    assert shelf.get(alive).entry.status == "queued"
    assert shelf.get(live).entry.error == "The client left."
    shelf.do(library.complete, dead, MEETING)  # its process was only slow
    assert (shelf.get(dead).entry.status, shelf.get(dead).entry.error) == ("completed", "")


def test_what_is_deleted_stays_deleted(shelf: Shelf) -> None:
    id_ = shelf.add()
    assert not shelf.do(library.delete, shelf.other, id_)
    assert shelf.do(library.delete, shelf.mine, id_)
    assert not shelf.do(library.delete, shelf.mine, id_)
    shelf.do(library.process, id_)
    shelf.do(library.complete, id_, MEETING)
    shelf.do(library.fail, id_, "late", MEETING)
    with pytest.raises(NotFound):
        shelf.get(id_)


def test_nobody_reaches_what_is_anothers(shelf: Shelf) -> None:
    theirs = shelf.put(title="secret", account=shelf.other)
    with pytest.raises(NotFound):
        shelf.get(theirs)
    with pytest.raises(NotFound):
        shelf.revise(theirs, title="mine")
    assert not shelf.do(library.delete, shelf.mine, theirs)
    assert shelf.page().count == 0
    assert shelf.find(q="secret") == []
    assert shelf.do(library.get, shelf.other, theirs).entry.title == "secret"


def test_retention_takes_the_oldest_and_no_more_than_asked(shelf: Shelf) -> None:
    ids = [shelf.add() for _ in range(4)]
    for days, id_ in enumerate(ids):
        shelf.change(id_, created_at=NOW - timedelta(days=days))
    before = NOW - timedelta(days=0.5)
    assert shelf.do(library.purge, before, 2) == 2
    assert set(shelf.find()) == set(ids[:2])
    assert shelf.do(library.purge, before, 2) == 1
    assert shelf.do(library.purge, before, 2) == 0
    assert shelf.find() == ids[:1]


@pytest.mark.parametrize(
    ("sought", "text", "title"),
    [
        ("STRASSE", "Die Straße", ""),
        ("ПРИВЕТ", "привет", ""),
        ("ἈΓΟΡΆ", "ἀγορά", ""),
        ("cafe\u0301", "Café", ""),
        ("ＡＢＣ", "abc", ""),
        ("tel", "℡ 5", ""),
        ("100%", "it is 100% sure", ""),
        ("a_b", "the file a_b", ""),
        ("c/\\d", "the path C/\\D", ""),
        ("new plan", "one new", "The New\tPlan"),
        ("' OR '1'='1", "say ' or '1'='1 now", ""),
    ],
)
def test_search(shelf: Shelf, sought: str, text: str, title: str) -> None:
    there = shelf.put(replace(MEETING, segments=(spoken(text),)), title)
    shelf.put(replace(MEETING, segments=(spoken("100x axb cx\\d ' OR 1=1 new"),)), "plan new / plan")
    assert shelf.find(q=sought) == [there]


def test_filters(shelf: Shelf) -> None:
    done, german, waiting = shelf.put(), shelf.put(replace(MEETING, language="de")), shelf.add()
    noon = datetime(2026, 11, 30, 12, tzinfo=UTC)
    for hours, id_ in enumerate((done, german, waiting)):
        shelf.change(id_, created_at=noon + timedelta(hours=hours))
    statuses: dict[Status, set[UUID]] = {"completed": {done, german}, "queued": {waiting}, "failed": set()}
    for status, found in statuses.items():
        assert set(shelf.find(status=status)) == found
    assert shelf.find(language="de") == [german]
    hour = timedelta(hours=1)
    assert set(shelf.find(created_after=noon + hour)) == {german, waiting}
    assert shelf.find(created_before=noon + hour) == [done]
    assert shelf.find(created_after=noon + hour, created_before=noon + 2 * hour) == [german]
    assert shelf.find(status="completed", language="de", q="hello", created_after=noon) == [german]
    page = shelf.page(status="completed", limit=1)
    assert (page.count, page.previous) == (2, None)
    second = shelf.page(status="completed", limit=1, cursor=page.next)
    assert (second.count, second.next) == (2, None)


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_show_each_once_whatever_comes_and_goes(shelf: Shelf, data: st.DataObject) -> None:
    ids = st.lists(st.uuids(version=4), unique=True, max_size=6)
    there, limit = set[UUID](), data.draw(st.integers(1, 4))

    def change() -> set[UUID]:
        """What goes."""
        come = set(data.draw(ids)) - there
        for id_ in come:
            shelf.add(id_=id_)
        go = {id_ for id_ in sorted(there) if data.draw(st.booleans())}
        for id_ in go:
            shelf.do(library.delete, shelf.mine, id_)
        there.difference_update(go)
        there.update(come)
        return go

    def walk(page: Page[Entry], way: str) -> Page[Entry]:
        """To the end, while rows come and go."""
        stayed, seen = set(there), list[UUID]()
        while True:
            found = [entry.id for entry in page.results]
            assert found == sorted(found, reverse=True)
            assert len(found) <= limit
            assert page.count == len(there)
            seen = [*found, *seen] if way == "previous" else [*seen, *found]
            cursor = getattr(page, way)
            if cursor is None:
                break
            stayed -= change()
            page = shelf.page(limit=limit, cursor=read_cursor(str(cursor)))
        assert seen == sorted(set(seen), reverse=True)
        assert stayed <= set(seen)
        return page

    shelf.do(AsyncConnection.execute, sa.delete(transcripts))  # of the example before
    change()
    last = walk(shelf.page(limit=limit), "next")
    walk(last, "previous")

    pages = [shelf.page(limit=limit)]
    while (cursor := pages[-1].next) is not None:
        pages.append(shelf.page(limit=limit, cursor=cursor))
    assert pages[0].previous is None
    for page, after in pairwise(pages):
        assert after.previous is not None
        assert shelf.page(limit=limit, cursor=after.previous).results == page.results


def test_pages_lead_back_from_where_nothing_is_left(shelf: Shelf) -> None:
    new, old = sorted([shelf.add(), shelf.add()], reverse=True)
    first = shelf.page(limit=1)
    last = shelf.page(limit=1, cursor=first.next)
    shelf.do(library.delete, shelf.mine, old)
    empty = shelf.page(limit=1, cursor=first.next)
    assert (empty.results, empty.next, empty.count) == ([], None, 1)
    assert empty.previous is not None
    assert shelf.find(limit=1, cursor=empty.previous) == [new]

    older = shelf.add(id_=UUID(int=old.int - 1))
    shelf.do(library.delete, shelf.mine, new)
    empty = shelf.page(limit=1, cursor=last.previous)
    assert (empty.results, empty.previous, empty.count) == ([], None, 1)
    assert shelf.find(limit=1, cursor=empty.next) == [older]


@pytest.mark.parametrize("text", ["", "o", "x" + "0" * 32, "o" + "0" * 31, "o" + "0" * 32 + "\n", "o" + "g" * 32])
def test_malformed_cursors(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_cursor(text)


def test_revisions(shelf: Shelf) -> None:
    id_ = shelf.put(title="Old")
    stored = shelf.revise(
        id_, title="New", speakers={"Speaker 2": "Maria"}, segments={1: "Good evening, all", 2: "Goodbye"}
    )
    assert stored == shelf.get(id_)
    assert stored.entry.title == "New"
    assert stored.transcript is not None
    assert stored.transcript.text == "Hello everyone Good evening, all Goodbye"
    assert stored.transcript.speakers == ("Speaker 1", "Maria")
    assert [segment.speaker for segment in stored.transcript.segments] == ["Speaker 1", "Maria", "Speaker 1"]
    for sought, found in (("evening", [id_]), ("new", [id_]), ("morning", []), ("old", [])):
        assert shelf.find(q=sought) == found
    stored = shelf.revise(id_, speakers={"Speaker 1": "Maria"})
    assert (stored.entry.speakers, stored.entry.language) == (1, "en")
    assert stored == shelf.get(id_)
    # All of it, or nothing.
    for wrong in ({"speakers": {"Nobody": "Me"}}, {"segments": {3: "There is no fourth"}}):
        with pytest.raises(InvalidRequest, match=r"0 to 2|Maria"):
            shelf.revise(id_, title="Wrong", **wrong)
        assert shelf.get(id_) == stored


def test_what_has_no_text_can_be_renamed_and_nothing_else(shelf: Shelf) -> None:
    id_ = shelf.add("Old")
    assert shelf.revise(id_, title="New").entry.title == "New"
    assert shelf.find(q="new") == [id_]
    for reason in ("it is queued", "it failed before"):
        with pytest.raises(Conflict, match=reason):
            shelf.revise(id_, segments={0: "Hi"})
        shelf.do(library.fail, id_, "It failed.")
    shelf.do(library.complete, id_, MEETING)
    assert shelf.find(q="new") == shelf.find(q="bye") == [id_]


def test_revisions_at_the_same_time_are_all_kept(shelf: Shelf) -> None:
    id_ = shelf.put()

    async def revise(place: int) -> None:
        await library.revise(shelf.database, shelf.mine, id_, Revision(segments={place: f"Part {place}"}))

    async def together() -> None:
        await asyncio.gather(*map(revise, range(3)))

    shelf.run(together())
    transcript = shelf.get(id_).transcript
    assert transcript is not None
    assert transcript.text == "Part 0 Part 1 Part 2"


def test_links_lead_through_the_list_with_its_filters(shelf: Shelf) -> None:
    ids = [str(shelf.put(title=f"Ünit & {number}")) for number in range(5)]
    shelf.add("Ünit & queued")
    asked = {"status": "completed", "q": "ünit &", "page_size": "2", "created_before": "9999-12-31"}
    page = shelf.request("GET", "", params=asked).json()
    assert page["previous"] is None
    assert page["results"][0] == {
        "id": ids[4], "title": "Ünit & 4", "status": "completed", "language": "en", "model": "demo",
        "model_version": "3", "duration": 20.0, "speakers": 2, "error": None, "match": None,
        "created_at": page["results"][0]["created_at"], "completed_at": page["results"][0]["completed_at"],
    }  # fmt: skip
    pages = [page]
    while page["next"]:
        assert page["next"].startswith("http://tritone.example/api/v1/transcripts")
        assert dict(parse_qsl(urlsplit(page["next"]).query)).items() >= asked.items()
        page = shelf.request("GET", page["next"]).json()
        pages.append(page)
    assert [entry["id"] for page in pages for entry in page["results"]] == ids[::-1]
    assert {page["count"] for page in pages} == {5}
    assert shelf.request("GET", pages[1]["previous"]).json() == pages[0]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("page=2", "next"),
        ("offset=20", "next"),
        ("limit=0", "1 to 100"),
        ("page_size=101", "1 to 100"),
        ("limit=many", "1 to 100"),
        ("cursor=b2xk", "previous"),
        ("status=done", "queued, processing, completed, failed"),
        ("status=null", "queued, processing, completed, failed"),
        ("language=english", "/v1/languages"),
        ("created_after=yesterday", "2026-11-30"),
        ("created_before=2026-02-30", "2026-11-30"),
        ("created_before=0001-01-01T00:00:00%2B14:00", "2026-11-30"),
        ("q=a%00b", "1 to 200"),
        (f"q={'a' * 201}", "1 to 200"),
    ],
)
def test_wrong_queries_are_told_what_is_right(shelf: Shelf, query: str, says: str) -> None:
    answer = shelf.request("GET", f"?{query}")
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_dates_are_utc_unless_they_say_otherwise(shelf: Shelf) -> None:
    id_ = shelf.put()
    shelf.change(id_, created_at=datetime(2026, 11, 30, tzinfo=UTC))
    for query, count in (
        ({"created_after": "2026-11-30"}, 1),
        ({"created_before": "2026-11-30"}, 0),
        ({"created_before": "2026-11-30T00:00:01"}, 1),
        ({"created_after": "2026-11-30T01:59:59+02:00"}, 1),
        ({"created_after": "2026-11-29T23:00:00-02:00"}, 0),
    ):
        assert shelf.request("GET", "", params=query).json()["count"] == count, query


def test_detail_and_its_life_over_http(shelf: Shelf) -> None:
    id_, waiting = shelf.put(title="Meeting"), shelf.add()
    theirs = shelf.put(account=shelf.other)
    detail = shelf.request("GET", f"{id_}/").json()
    assert shelf.request("GET", f"{id_}").json() == detail
    assert detail["speakers"] == ["Speaker 1", "Speaker 2"]
    assert detail["segments"][1] == {
        "segment_order": 1, "start": 5.0, "end": 6.5, "text": "Good morning", "speaker": "Speaker 2",
        "confidence": 0.8, "words": [
            {"word": "Good", "start": 5.0, "end": 5.5, "speaker": "Speaker 2"},
            {"word": "morning", "start": 6.0, "end": 6.5, "speaker": "Speaker 2"},
        ],
    }  # fmt: skip
    ciao = {"segment_order": 2, "text": "Ciao"}
    body: dict[str, Any] = {"title": " T\u00a0", "speakers": {"Speaker 1": "Maria"}, "segments": [ciao]}
    revised = shelf.request("PATCH", f"{id_}/", json=body)
    assert shelf.request("GET", f"{id_}/").json() == revised.json()
    assert (revised.json()["title"], revised.json()["speakers"]) == ("T", ["Maria", "Speaker 2"])
    assert revised.json()["text"] == "Hello everyone Good morning Ciao"
    wrong: list[dict[str, Any]] = [
        {}, {"titel": "T"}, {"title": None}, {"title": "a\nb"}, {"title": " "}, {"title": "a" * 301},
        {"speakers": {}}, {"speakers": {"Maria": "x" * 101}}, {"speakers": {"Me": "You"}}, {"segments": []},
        {"segments": [ciao, ciao]}, {"segments": [{**ciao, "segment_order": -1}]},
        {"segments": [{**ciao, "text": "a\x00"}]}, {"segments": [{**ciao, "text": ""}]},
    ]  # fmt: skip
    for body in wrong:
        answer = shelf.request("PATCH", f"{id_}/", json=body)
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), body
    much = {"segments": [{"segment_order": place, "text": "a" * 10_000} for place in range(11)]}
    assert "100000 characters" in shelf.request("PATCH", f"{id_}/", json=much).json()["error"]
    assert shelf.request("GET", f"{id_}/").json() == revised.json()
    assert shelf.request("PATCH", f"{waiting}/", json={"speakers": {"A": "B"}}).status_code == 409
    assert shelf.request("GET", f"{waiting}/export/txt/").status_code == 409
    for missing in (theirs, new_id(), "1"):
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "export/txt/")):
            json = {"title": "T"} if method == "PATCH" else None
            answer = shelf.request(method, f"{missing}/{path}", json=json)
            assert (answer.status_code, list(answer.json())) == (404, ["error"])
    answer = shelf.request("DELETE", f"{id_}/")
    assert (answer.status_code, answer.content) == (204, b"")
    assert shelf.request("GET", f"{id_}/").status_code == 404
    assert shelf.request("GET", "").json()["count"] == 1


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "{}/"), ("PATCH", "{}/"), ("DELETE", "{}/"), ("GET", "{}/export/txt/")]
)
def test_each_route_needs_the_scope(shelf: Shelf, method: str, path: str) -> None:
    json = {"title": "T"} if method == "PATCH" else None
    answer = shelf.request(method, path.format(shelf.put()), json=json, scopes=["transcribe", "text"])
    assert answer.status_code == 403


def test_exports_over_http(shelf: Shelf) -> None:
    id_, live = shelf.put(title="Plan 北京/2"), shelf.add("live")
    shelf.do(library.fail, live, "The client left.", MEETING)
    answer = shelf.request("GET", f"{id_}/export/srt/")
    assert answer.headers["content-type"] == "application/x-subrip; charset=utf-8"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"Plan _2.srt\"; filename*=UTF-8''Plan%20%E5%8C%97%E4%BA%AC_2.srt"
    )
    assert "Hello everyone" in answer.text
    assert shelf.request("GET", f"{id_}/export/json").json()["id"] == str(id_)
    assert shelf.request("GET", f"{live}/export/txt/").text == "Hello everyone\nGood morning\nBye\n"
    answer = shelf.request("GET", f"{id_}/export/exe/")
    assert answer.status_code == 404
    assert "srt" in answer.json()["error"]


@given(st.text(max_size=300))
@example('a"; filename="b.exe')
@example("a\r\nSet-Cookie: b=c")
@example("../../etc/passwd")
@example("\u202eexe.fdp")
@example("語" * 300)
@example("...")
def test_file_names_are_names_of_files(title: str) -> None:
    header = content_disposition(title, "pdf")
    found = re.fullmatch(r"attachment; filename=\"([\w .()-]+)\.pdf\"; filename\*=UTF-8''([\w.~%-]+)", header, re.ASCII)
    assert found is not None, header
    name = unquote(found[2], errors="strict")
    assert len(name.encode()) <= 160
    assert name.endswith(".pdf")
    for file in (f"{found[1]}.pdf", name):
        assert not file.startswith((".", " "))
        assert not set(file) & set('/\\:*?"<>|\r\n\x00\u202e')
