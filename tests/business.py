"""A service with its default plans, on SQLite by itself and on PostgreSQL with Redis, and customers of it."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest
import soundfile
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api import admin
from api.accounts.credits import CREDIT, Bucket, in_credits
from api.accounts.directory import find_account
from api.settings import Settings, from_env
from api.storage.database import Database, database_url
from api.storage.tables import ledger
from tests import contract
from tests.running import FakeService, start_fake_service, stop_fake_service
from tests.servers import PostgresServer, RedisServer

LEASE_S = 3.0
KINDS = ["sqlite", "postgresql+redis"]
T = TypeVar("T")


@dataclass
class Customer:
    """An account, and a client that sends its key."""

    name: str
    key: str
    client: httpx.Client
    service: FakeService

    @contextmanager
    def open(self) -> Iterator[Customer]:
        with self.client:
            yield self

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def transcribe(self, recording: bytes, **fields: str) -> httpx.Response:
        return self.client.post("/v1/transcribe", files={"file": ("talk.wav", recording)}, data=fields)

    def balance(self) -> int | float:
        """The credits that may be spent, as the service says; the ledger must say the same."""

        def said() -> int | float:
            account = self.client.get("/api/v1/account/").json()
            remaining = (account["allowance"] or {"remaining": 0})["remaining"]
            return in_credits(round(CREDIT * account["credits"]) + round(CREDIT * remaining))

        until(lambda: self.ledger() == said())  # something may happen between the two looks
        return self.ledger()

    def ledger(self) -> int | float:
        """The same, out of the ledger."""

        async def read(database: Database) -> int | float:
            async with database.reading() as connection:
                account = await find_account(connection, self.name)
                return in_credits(sum((await ledger_sums(connection, account.id)).values()))

        return with_database(self.service, read)


async def ledger_sums(connection: AsyncConnection, account_id: UUID) -> dict[Bucket, int]:
    """What the movements of each bucket add up to, in thousandths of a credit."""
    rows = await connection.execute(
        sa.select(ledger.c.bucket, sa.func.sum(ledger.c.amount))
        .where(ledger.c.account_id == account_id)
        .group_by(ledger.c.bucket)
    )
    sums: dict[Bucket, int] = {"credits": 0, "allowance": 0}
    return {**sums, **{bucket: int(amount) for bucket, amount in rows}}


def customer(service: FakeService, plan: str = "paid", credits: Decimal | int = 0, **key: Any) -> Customer:
    settings, name = settings_of(service), f"customer {uuid4().hex}"
    asyncio.run(admin.create_account(settings, name, f"{name[-8:]}@example.org", plan))
    if credits:
        asyncio.run(admin.credit(settings, name, credits, "bought"))
    chosen: dict[str, Any] = {"name": "test", "scopes": ("transcribe", "text", "account"), "expires_in_days": None}
    (text,) = asyncio.run(admin.create_key(settings, name, **chosen | key))
    client = contract.client(service.url, {"Authorization": f"Bearer {text}"})
    return Customer(name, text, client, service)


def settings_of(service: FakeService) -> Settings:
    return from_env(service.environment)


def with_database(service: FakeService, work: Callable[[Database], Awaitable[T]]) -> T:
    settings = settings_of(service)

    async def run() -> T:
        database = Database(database_url(settings.database_url, settings.home))
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def speech(seconds: float) -> bytes:
    """A tone that the fakes take for speech, as a WAV."""
    samples = (0.05 * np.sin(2 * np.pi * 220 * np.arange(int(16_000 * seconds)) / 16_000)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def pcm(seconds: float) -> bytes:
    return speech(seconds)[44:]


@contextmanager
def serving(kind: str, folder: Path, request: pytest.FixtureRequest, **settings: Any) -> Iterator[FakeService]:
    """`kind` is one of KINDS; uploads wait in the folder."""
    folder.mkdir(exist_ok=True)
    if kind != "sqlite":
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        redis: RedisServer = request.getfixturevalue("redis_server")
        settings = {
            "database_url": postgres.create_database(f"test_{uuid4().hex}"),
            "redis_url": redis.empty_database(),
            "secret": "of the tests",
            **settings,
        }
    service = start_fake_service(folder, **{"plans": "", "lease_s": LEASE_S, **settings})
    try:
        yield service
    finally:
        stop_fake_service(service)


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.05)
