"""Vectors of segments: computed once, kept, and of the text and the model that there are now; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from api.accounts.directory import create_account
from api.errors import NotFound
from api.inference.deployments import Deployments
from api.inference.fake import FakeEmbedder, FakeRegistry, fake_inference
from api.intelligence.service import Intelligence
from api.speech import Segment, Transcript
from api.storage.database import Database
from api.storage.ids import new_id
from api.storage.tables import segment_vectors
from api.transcripts import chats, library, meaning
from api.transcripts.chats import ChatTurn
from api.transcripts.library import Revision
from api.transcripts.meaning import Meaning


def said(*texts: str) -> Transcript:
    segments = tuple(Segment(place, place + 1, text, 0.9, (), -0.1, 0, 1) for place, text in enumerate(texts))
    return Transcript("en", 1.0, float(len(texts)), segments, "demo")


TALK = said("the launch is on monday", "maria pays the invoice", "the weather was bad")


class Shelf:
    """A database with an account, the transcripts in it, and a model that counts what it embeds."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.embedder = FakeEmbedder()
        inference = replace(fake_inference(), embedder=self.embedder)
        self.model = Intelligence(inference, Deployments(FakeRegistry()))
        self.meaning = Meaning(database)
        self.account = new_id()

    async def open(self) -> None:
        async with self.database.writing() as connection:
            self.account = (await create_account(connection, "Anna", "anna@example.org", "house")).id

    async def put(self, transcript: Transcript) -> UUID:
        id_ = new_id()
        async with self.database.writing() as connection:
            await library.begin(connection, id_, self.account, title="", model="demo")
            await library.complete(connection, id_, transcript)
        return id_

    async def nearest(self, id_: UUID, question: str) -> list[tuple[int, float]]:
        async with self.database.reading() as connection:
            stored = await library.get(connection, self.account, id_)
        assert stored.transcript is not None
        found = await self.meaning.nearest(id_, stored.transcript, [question], self.model, 3)
        return [(place, score) for place, _, score in found]

    async def search(self, wanted: str) -> list[UUID]:
        return [found.transcript_id for found in await self.meaning.search(self.account, wanted, self.model)]


def on_a_shelf(database: Database, work: Callable[[Shelf], Awaitable[Any]]) -> None:
    async def run() -> None:
        try:
            shelf = Shelf(database)
            await shelf.open()
            await work(shelf)
        finally:
            await database.close()

    asyncio.run(run())


def test_they_are_computed_once(any_database: Database) -> None:
    async def work(shelf: Shelf) -> None:
        id_ = await shelf.put(TALK)
        (best, score), *_ = await shelf.nearest(id_, "when is the launch")
        assert (best, 0 < score <= 1) == (0, True)
        assert shelf.embedder.embedded == 3 + 1
        assert (await shelf.nearest(id_, "who pays the invoice"))[0][0] == 1
        assert await shelf.search("invoice pays maria") == [id_]
        assert shelf.embedder.embedded == 3 + 1 + 1 + 1

    on_a_shelf(any_database, work)


def test_a_new_text_has_new_ones(any_database: Database) -> None:
    async def work(shelf: Shelf) -> None:
        id_ = await shelf.put(TALK)
        await shelf.nearest(id_, "launch")
        await library.revise(shelf.database, shelf.account, id_, Revision(segments={2: "the cat sleeps"}))
        assert await shelf.search("weather bad was the") == []
        assert (await shelf.nearest(id_, "where does the cat sleep, the cat sleeps"))[0][0] == 2

    on_a_shelf(any_database, work)


def test_a_new_model_has_its_own(any_database: Database) -> None:
    async def work(shelf: Shelf) -> None:
        id_ = await shelf.put(TALK)
        await shelf.nearest(id_, "launch")
        other = replace(fake_inference(), embedder=shelf.embedder)
        registry = FakeRegistry()
        deployments = [replace(one, version="2") for one in await registry.deployments()]
        registry.deployments = lambda: asyncio.sleep(0, deployments)  # type: ignore[method-assign]

        class Second(FakeEmbedder):
            async def embed_texts(self, texts: Any) -> Any:
                made = await super().embed_texts(texts)
                return replace(made, version="2", embeddings=np.roll(made.embeddings, 7, axis=1))

        shelf.model = Intelligence(replace(other, embedder=Second()), Deployments(registry))
        (best, score), *_ = await shelf.nearest(id_, "launch monday the is on")
        assert (best, score > 0.99) == (0, True)
        assert await shelf.search("launch monday the is on") == [id_]

    on_a_shelf(any_database, work)


def test_a_correction_while_they_are_computed_wins(any_database: Database) -> None:
    """Vectors of a text that is there no more are not kept."""

    async def work(shelf: Shelf) -> None:
        id_ = await shelf.put(TALK)
        shelf.embedder.delay_s = 0.3
        looking = asyncio.create_task(shelf.nearest(id_, "launch"))
        await asyncio.sleep(0.1)
        await library.revise(shelf.database, shelf.account, id_, Revision(segments={0: "nothing of that"}))
        assert (await looking)[0][0] == 0
        shelf.embedder.delay_s = 0
        assert await shelf.search("the launch is on monday") == []

    on_a_shelf(any_database, work)


def test_nothing_said_has_no_meaning(any_database: Database) -> None:
    async def work(shelf: Shelf) -> None:
        id_ = await shelf.put(said())
        assert await shelf.nearest(id_, "launch") == []
        assert await shelf.search("launch") == []
        async with shelf.database.reading() as connection:
            kept = (await connection.execute(sa.select(segment_vectors.c.model, segment_vectors.c.vectors))).all()
        assert kept == [(await shelf.model.model(), b"")]  # or each search would look at it again

    on_a_shelf(any_database, work)


def test_only_so_many_segments_are_searched(any_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(shelf: Shelf) -> None:
        ids = [await shelf.put(said(f"the launch {number}")) for number in range(5)]
        assert set(await shelf.search("the launch")) == set(ids[-2:])  # the newest at once, and the others soon
        running = asyncio.create_task(shelf.meaning.run())
        async with asyncio.timeout(30):
            while len(await shelf.search("the launch")) < 5:
                pass
        running.cancel()
        monkeypatch.setattr(meaning, "ROWS_AT_ONCE", 2)
        monkeypatch.setattr(meaning, "MOST_SEGMENTS", 3)
        assert set(await shelf.search("the launch")) == set(ids[1:])

    on_a_shelf(any_database, work)


def test_a_chat_keeps_its_last_turns(any_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chats, "MOST_TURNS", 3)

    async def work(shelf: Shelf) -> None:
        id_, other = await shelf.put(TALK), await shelf.put(TALK)
        for number in range(5):
            async with shelf.database.writing() as connection:
                await chats.remember(connection, id_, "s", ChatTurn(f"q{number}", f"a{number}"))
                await chats.remember(connection, other, "s", ChatTurn("another", "one"))
        async with shelf.database.reading() as connection:
            assert [turn.question for turn in await chats.recent_turns(connection, id_, "s", 2)] == ["q3", "q4"]
            assert len(await chats.recent_turns(connection, id_, "s", 9)) == 3
            assert await chats.recent_turns(connection, id_, "t", 9) == []
        async with shelf.database.writing() as connection:
            await library.delete(connection, shelf.account, id_)
        async with shelf.database.writing() as connection:
            await chats.remember(connection, id_, "s", ChatTurn("late", "answer"))
        async with shelf.database.reading() as connection:
            assert await chats.recent_turns(connection, id_, "s", 9) == []
            with pytest.raises(NotFound):
                await library.get(connection, shelf.account, id_)

    on_a_shelf(any_database, work)
