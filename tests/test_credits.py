"""Credits: whatever happens to jobs, in whatever order, no credit is lost, made up or spent twice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy.ext.asyncio import AsyncConnection

from api.accounts import ledger
from api.accounts.credits import CREDIT, Balance, Bucket, in_credits, price, started_minutes
from api.accounts.directory import create_account, get_account
from api.accounts.plans import Plan, load_plans
from api.errors import InvalidRequest, MonthUsedUp, NoCredits
from api.storage.database import Database
from api.storage.ids import new_id
from api.storage.tables import jobs
from tests.business import ledger_sums

Work = Callable[[AsyncConnection], Awaitable[Any]]
LEASE_S = 60.0
# Whole credits, whose sums meet each other, and any thousandths beside them.
AMOUNTS = st.integers(1, 60).map(lambda credits: credits * CREDIT) | st.integers(1, 60 * CREDIT)
PLANS = {
    name: Plan(1, 1, 1, minutes, name=name)
    for name, minutes in (("none", 0), ("some", 20), ("more", 50), ("free of charge", None))
}


class CreditMachine(RuleBasedStateMachine):
    """One account and its jobs."""

    open_jobs = Bundle("open_jobs")

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 15, tzinfo=UTC)
        self.plan = PLANS["some"]
        self.credited = 0
        self.plans: dict[UUID, Plan] = {}  # a job goes on under the plan it began with
        self.costs: dict[UUID, int] = {}
        self.account = self.write(lambda c: create_account(c, "A", "", self.plan.name)).id

    def write(self, work: Work) -> Any:
        """As one transaction."""
        raise NotImplementedError

    def hold(self, job: UUID, amount: int) -> None:
        plan = self.plans.setdefault(job, self.plan)
        self.write(lambda c: ledger.hold(c, self.account, job, plan, amount=amount, lease_s=LEASE_S, now=self.now))

    @rule(amount=AMOUNTS | AMOUNTS.map(lambda amount: -amount // 2))
    def operator_credits(self, amount: int) -> None:
        try:
            self.write(lambda c: ledger.credit(c, self.account, self.plan, amount, now=self.now))
            self.credited += amount
        except InvalidRequest:
            assert amount < 0

    @rule(name=st.sampled_from(sorted(PLANS)))
    def operator_changes_the_plan(self, name: str) -> None:
        old, self.plan = self.plan, PLANS[name]
        self.write(lambda c: ledger.change_plan(c, self.account, old, self.plan, now=self.now))

    @rule(target=open_jobs, amount=AMOUNTS)
    def reserve(self, amount: int) -> UUID:
        job, before = new_id(), self.balance()
        try:
            self.hold(job, amount)
        except (NoCredits, MonthUsedUp):
            assert before.spendable < amount
        return job

    @rule(job=open_jobs, amount=AMOUNTS)
    def need_more(self, job: UUID, amount: int) -> None:
        if job not in self.costs:
            with suppress(NoCredits, MonthUsedUp):
                self.hold(job, amount)

    @rule(job=open_jobs, amount=AMOUNTS | st.just(0), times=st.integers(1, 2))
    def settle(self, job: UUID, amount: int, times: int) -> None:
        if (row := self.row(job)) is None:
            return
        held, spendable = cost_of(row), self.balance().spendable
        for _ in range(times):
            paid = self.write(
                lambda c: ledger.settle(
                    c, self.account, job, self.plans[job], amount=amount, seconds=1.0, model="m", now=self.now
                )
            )
            assert paid == cost_of(self.row(job))
        if row.state in ("open", "expired"):
            assert paid == (amount if self.plans[job].counts_minutes else 0) or paid == held + spendable < amount
            self.costs[job] = paid

    @rule(job=open_jobs, times=st.integers(1, 2))
    def release(self, job: UUID, times: int) -> None:
        if self.row(job) is not None:
            for _ in range(times):
                self.write(lambda c: ledger.release(c, self.account, job, self.plans[job], now=self.now))
            assert self.row(job).state != "open"

    @rule(seconds=st.sampled_from([1.0, LEASE_S, 20 * 86400.0]))
    def time_passes(self, seconds: float) -> None:
        """Jobs that nobody renews meanwhile are those of a process that crashed."""
        self.now += timedelta(seconds=seconds)

    @rule(job=open_jobs)
    def renew(self, job: UUID) -> None:
        self.write(lambda c: ledger.prolong(c, [job], lease_s=LEASE_S, now=self.now))

    @rule()
    def sweep(self) -> None:
        for job, account, _ in self.write(lambda c: ledger.expired(c, self.now, limit=10_000)):
            plan = self.plans.get(job, PLANS["none"])  # of another run's account
            self.write(
                partial(ledger.release, account_id=account, job_id=job, plan=plan, now=self.now, state="expired")
            )
        assert all(row.state != "open" or row.expires_at >= self.now for row in self.rows())

    @invariant()
    def the_books_are_right(self) -> None:
        sums, balance, rows = self.write(self.books)
        assert sums == {"credits": balance.credits, "allowance": balance.allowance}
        assert balance.credits >= 0
        assert balance.allowance >= 0
        assert self.credited == balance.credits + sum(row.from_credits for row in rows), "there, held or spent"
        assert self.costs == {row.id: cost_of(row) for row in rows if row.state == "settled"}, "paid once"
        assert all(cost_of(row) == 0 for row in rows if row.state in ("released", "expired"))

    async def books(self, connection: AsyncConnection) -> tuple[dict[Bucket, int], Balance, list[Any]]:
        rows = await connection.execute(sa.select(jobs).where(jobs.c.account_id == self.account))
        balance = (await get_account(connection, self.account)).balance
        return await ledger_sums(connection, self.account), balance, list(rows)

    def balance(self) -> Balance:
        balance: Balance = self.write(self.books)[1]
        return balance

    def rows(self) -> list[Any]:
        rows: list[Any] = self.write(self.books)[2]
        return rows

    def row(self, job: UUID) -> Any:
        return next((row for row in self.rows() if row.id == job), None)


def cost_of(row: Any) -> int:
    return int(row.from_credits + row.from_allowance + row.lapsed)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_no_interleaving_loses_or_makes_up_a_credit(any_database: Database, runner: asyncio.Runner) -> None:
    examples = 80 if any_database.is_sqlite else 30

    class Machine(CreditMachine):
        database = any_database

        def write(self, work: Work) -> Any:
            async def run() -> Any:
                async with self.database.writing() as connection:
                    return await work(connection)

            return runner.run(run())

    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(max_examples=examples, stateful_step_count=25, suppress_health_check=list(HealthCheck)),
        )
    finally:
        runner.run(any_database.close())


def test_fifty_at_once_spend_exactly_the_ten_credits_there_are(any_database: Database, runner: asyncio.Runner) -> None:
    plan = load_plans().get("paid")
    assert plan is not None

    async def one(account: UUID, number: int) -> int:
        job = new_id()
        try:
            async with any_database.writing() as c:
                await ledger.hold(c, account, job, plan, amount=CREDIT, lease_s=LEASE_S, now=datetime.now(UTC))
        except NoCredits:
            return 0
        async with any_database.writing() as c:
            await ledger.settle(c, account, job, plan, amount=CREDIT, seconds=1.0, model="m", now=datetime.now(UTC))
        return 1

    async def run() -> None:
        async with any_database.writing() as c:
            account = (await create_account(c, "A", "", "paid")).id
            await ledger.credit(c, account, plan, 10 * CREDIT, now=datetime.now(UTC))
        assert sum(await asyncio.gather(*(one(account, number) for number in range(50)))) == 10
        async with any_database.reading() as c:
            assert await ledger_sums(c, account) == {"credits": 0, "allowance": 0}
            assert (await get_account(c, account)).balance.spendable == 0
        await any_database.close()

    runner.run(run())


def test_a_job_that_is_heard_of_again_has_not_expired(any_database: Database, runner: asyncio.Runner) -> None:
    """Somebody looks for dead ones, and it is prolonged before they act on what they saw."""
    job, now, plan = new_id(), datetime.now(UTC), PLANS["some"]

    async def run() -> str:
        async with any_database.writing() as c:
            account = (await create_account(c, "A", "", plan.name)).id
            await ledger.hold(c, account, job, plan, amount=CREDIT, lease_s=1, now=now)
            later = now + timedelta(seconds=2)
            assert [found for found, _, _ in await ledger.expired(c, later)] == [job]
            await ledger.prolong(c, [job], lease_s=LEASE_S, now=later)
            await ledger.release(c, account, job, plan, now=later, state="expired")
            state: str = (await c.execute(sa.select(jobs.c.state))).scalar_one()
        await any_database.close()
        return state

    assert runner.run(run()) == "open"


@given(seconds=st.floats(0, 10**6), percent=st.integers(1, 1000))
def test_a_credit_is_a_started_minute_and_others_are_so_many_hundredths(seconds: float, percent: int) -> None:
    minutes = started_minutes(seconds)
    assert minutes >= 1
    assert minutes * 60 >= seconds - 0.01
    assert minutes == 1 or (minutes - 1) * 60 < seconds + 0.01
    assert price(seconds) == minutes * CREDIT
    assert price(seconds, percent) == minutes * price(0.0, percent)
    assert Fraction(price(seconds, percent), CREDIT) == Fraction(minutes * percent, 100)


@given(st.integers(-ledger.LARGEST_BALANCE, ledger.LARGEST_BALANCE))
def test_people_see_credits_exactly(thousandths: int) -> None:
    seen = in_credits(thousandths)
    assert isinstance(seen, int) == (thousandths % CREDIT == 0)
    for said in (str(seen), msgspec.json.encode(seen).decode()):
        assert re.fullmatch(r"-?\d+(\.\d{0,2}[1-9])?", said)
        assert Decimal(said) * CREDIT == thousandths
