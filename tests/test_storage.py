"""Databases come to the program's version, and a program does not start on another."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.accounts import ledger
from api.accounts.credits import CREDIT, Balance, month_of, price
from api.accounts.directory import get_account
from api.accounts.plans import Plan
from api.errors import StorageUnavailable
from api.storage.database import Database, DatabaseError, database_url
from api.storage.ids import new_id
from api.storage.migrate import configuration, migrate
from api.storage.tables import VERSION, accounts, jobs, metadata
from api.storage.tables import ledger as ledger_table
from tests.business import ledger_sums
from tests.running import PROJECT
from tests.servers import PostgresServer


def tritone(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_migrations_make_the_tables_that_the_program_knows(any_database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async def run() -> list[object]:
        await any_database.check()
        async with any_database.reading() as connection:
            found = await connection.run_sync(differences)
        await any_database.close()
        return found

    assert asyncio.run(run()) == []


def test_the_programs_version_is_the_newest_migrations(tmp_path: Path) -> None:
    scripts = ScriptDirectory.from_config(configuration(database_url("", str(tmp_path))))
    assert scripts.get_heads() == [VERSION]


def test_migrations_lead_back(any_database: Database, tmp_path: Path) -> None:
    url = any_database.url
    command.downgrade(configuration(url), "base")
    command.upgrade(configuration(url), "head")

    async def run() -> None:
        await any_database.check()
        await any_database.close()

    asyncio.run(run())


def test_the_program_before_works_on_with_newer_tables_and_none_with_older_ones(any_database: Database) -> None:
    async def becomes(version: str) -> None:
        async with any_database.writing() as connection:
            await connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{version}'"))

    async def check() -> None:
        await becomes("9999")
        await asyncio.to_thread(migrate, any_database.url)
        await any_database.check()
        await becomes("0001")
        with pytest.raises(DatabaseError, match=r"are of version 0001, .+ run `tritone migrate`"):
            await any_database.check()
        await any_database.close()

    asyncio.run(check())


def of_version_0002(table: sa.Table) -> sa.TableClause:
    old_names = {"credit_thousandths": "credits", "allowance_thousandths": "allowance"}
    return sa.table(table.name, *(sa.column(old_names.get(c.name, c.name), c.type) for c in table.columns))


def test_whole_credits_become_thousandths_of_one_and_are_spent_as_such(any_database: Database) -> None:
    url, now, plan = any_database.url, datetime.now(UTC), Plan(1, 1, 1, 600, name="free")
    rich, poor, settled, running = (new_id() for _ in range(4))
    largest = 2**31 - 1
    old_accounts, old_jobs, old_ledger = (of_version_0002(table) for table in (accounts, jobs, ledger_table))

    async def fill() -> None:
        async with any_database.writing() as c:
            same = {"name": "A", "email": "", "email_preferences": {}, "month": month_of(now), "created_at": now}
            await c.execute(sa.insert(old_accounts).values(id=rich, plan="paid", credits=largest, allowance=0, **same))
            await c.execute(sa.insert(old_accounts).values(id=poor, plan="free", credits=2, allowance=595, **same))
            held = {"from_credits": 0, "lapsed": 0, "month": month_of(now), "created_at": now, "expires_at": now}
            of_poor = {"account_id": poor, **held}
            ended = {"day": now.date(), "model": "m", "seconds": 61.0}
            await c.execute(
                sa.insert(old_jobs).values(id=settled, state="settled", from_allowance=2, **of_poor, **ended)
            )
            await c.execute(sa.insert(old_jobs).values(id=running, state="open", from_allowance=3, **of_poor))
            for account, bucket, amount, reason, job in (
                (rich, "credits", largest, "credit", None),
                (poor, "credits", 2, "credit", None),
                (poor, "allowance", 600, "renewal", None),
                (poor, "allowance", -2, "reserve", settled),
                (poor, "allowance", -3, "reserve", running),
            ):
                movement = {"bucket": bucket, "amount": amount, "reason": reason, "job_id": job}
                await c.execute(sa.insert(old_ledger).values(account_id=account, note="", at=now, **movement))

    async def go_on() -> None:
        async with any_database.writing() as c:
            assert (await get_account(c, rich)).balance == Balance(largest * CREDIT, 0, month_of(now))
            assert await ledger_sums(c, rich) == {"credits": largest * CREDIT, "allowance": 0}
            (used,) = await ledger.usage(c, poor, now.date())
            assert (used.requests, used.cost) == (1, 2 * CREDIT)
            await ledger.hold(c, poor, running, plan, amount=price(200.0, 130), lease_s=60, now=now)
            paid = await ledger.settle(
                c, poor, running, plan, amount=price(70.0, 130), seconds=70.0, model="m", now=now
            )
            assert paid == 2600
            await ledger.credit(c, poor, plan, -1 * CREDIT - 999, now=now)
            assert (await get_account(c, poor)).balance == Balance(1, 595_400, month_of(now))
            assert await ledger_sums(c, poor) == {"credits": 1, "allowance": 595_400}
        with pytest.raises((DBAPIError, StorageUnavailable)):  # what a service of the former version asks
            async with any_database.reading() as c:
                await c.execute(sa.select(old_accounts.c.credits))

    async def look_back() -> None:
        async with any_database.reading() as c:
            balances = {row.id: (row.credits, row.allowance) for row in await c.execute(sa.select(old_accounts))}
            assert balances == {rich: (largest, 0), poor: (0, 595)}
            assert await ledger_sums(c, rich) == {"credits": largest, "allowance": 0}
            assert await ledger_sums(c, poor) == {"credits": 0, "allowance": 595}

    async def run(work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            await any_database.close()

    command.downgrade(configuration(url), "0002")
    asyncio.run(run(fill))
    command.upgrade(configuration(url), "head")
    asyncio.run(run(go_on))
    command.downgrade(configuration(url), "0002")
    asyncio.run(run(look_back))


def test_who_is_cancelled_in_a_transaction_holds_up_nobody(any_database: Database) -> None:
    async def step(connection: AsyncConnection) -> None:
        for _ in range(5):
            await connection.execute(sa.select(sa.func.count()).select_from(accounts))
        await connection.execute(sa.update(accounts).values(name="x"))

    async def run() -> None:
        for number in range(40):
            writing = asyncio.create_task(any_database.write(step))
            await asyncio.sleep(number * 0.0002)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        async with asyncio.timeout(5):
            await any_database.write(step)
        await any_database.close()

    asyncio.run(run())


def test_several_may_migrate_at_once(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database("at_once")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: tritone("migrate", DATABASE_URL=url), range(3)))
    assert [(one.returncode, one.stderr) for one in done] == 3 * [(0, "")]


def test_a_service_says_what_its_database_lacks(postgres_server: PostgresServer, tmp_path: Path) -> None:
    url = postgres_server.create_database("lacking")
    nowhere = url.replace("lacking", "missing")
    for environment, said in (
        ({"DATABASE_URL": url}, "TRITONE_SECRET is not set"),
        ({"DATABASE_URL": url, "TRITONE_SECRET": "x"}, "run `tritone migrate`"),
        ({"DATABASE_URL": "mysql://localhost/x"}, "use sqlite:///FILE or postgresql://"),
        ({"DATABASE_URL": "nonsense"}, "use sqlite:///FILE or postgresql://"),
        ({"TRITONE_PLANS": str(tmp_path / "missing.toml")}, "missing.toml"),
        ({"RETENTION_DAYS": "soon"}, "RETENTION_DAYS='soon'"),
        (
            {"DATABASE_URL": nowhere, "TRITONE_SECRET": "x"},
            'database "missing" does not exist',
        ),
        ({"DATABASE_URL": "postgresql://x:hush@127.0.0.1:1/x", "TRITONE_SECRET": "x"}, "x:***@127.0.0.1:1/x"),
    ):
        for arguments in (["serve"], ["account", "list"]):
            started = tritone(*arguments, **{"TRITONE_HOME": str(tmp_path), **environment})
            assert started.returncode == 1, (arguments, environment)
            assert said in started.stderr, (arguments, environment, started.stderr)
            assert "Traceback" not in started.stderr
            assert "hush" not in started.stderr


def test_the_command_line_makes_no_database_of_its_own(tmp_path: Path) -> None:
    listed = tritone("account", "list", TRITONE_HOME=str(tmp_path))
    assert listed.returncode == 1
    assert f"no database {tmp_path}/tritone.db" in listed.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "plans",
    [
        "[free]\nconcurrency = 1",
        "[free]\nmax_file_mb = 1\nconcurrency = 0\nrequests_per_minute = 1",
        "[free]\nmax_file_mb = 1\nconcurrency = 1\nrequests_per_minute = 1\nunheard_of = 1",
        "[anonymous]\nmax_file_mb = 1\nconcurrency = 1\nrequests_per_minute = 1\nminutes_per_month = 1",
        "free = ",
    ],
)
def test_plans_that_are_none_are_refused(plans: str, tmp_path: Path) -> None:
    file = tmp_path / "plans.toml"
    file.write_text(plans)
    started = tritone("serve", TRITONE_HOME=str(tmp_path), TRITONE_PLANS=str(file))
    assert started.returncode == 1
    assert started.stderr.startswith(f"tritone: TRITONE_PLANS={file}: ")
    assert "Traceback" not in started.stderr
