"""Credits in the database: what jobs hold, what they cost in the end, and the ledger of every movement.

All amounts are thousandths of a credit.

Each function is part of its caller's transaction and locks the account's row first, so that movements of one account
happen one after another, in any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.accounts import credits
from api.accounts.credits import CREDIT, Balance, Hold, Movement, Reason, in_credits, month_of, start_of_next_month
from api.accounts.directory import BALANCE, balance_of
from api.accounts.plans import Plan
from api.errors import InvalidRequest, MonthUsedUp, NoBalance, NoCredits
from api.storage.tables import accounts, jobs, ledger

LARGEST_BALANCE = (2**31 - 1) * CREDIT


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account used of a model on a day, and the thousandths of a credit that it cost."""

    day: date
    model: str
    requests: int
    seconds: float
    cost: int


def check(plan: Plan, balance: Balance, needed: int, now: datetime) -> None:
    """Refuses whoever has not so much left: cheaply, before anything is held. Raises NoCredits, MonthUsedUp."""
    if plan.counts_minutes:
        if balance.month != month_of(now):
            balance, _ = credits.renew(balance, plan.monthly, month_of(now))
        if balance.spendable < needed:
            raise _refusal(plan, needed, balance.spendable, now)


async def hold(
    connection: AsyncConnection,
    account_id: UUID,
    job_id: UUID,
    plan: Plan,
    *,
    amount: int,
    lease_s: float,
    now: datetime,
) -> None:
    """See that the job holds so much, for `lease_s` from now on. A job that is new, or was given up, begins.

    Raises NoCredits, or MonthUsedUp where the plan's minutes of a month are what is used up.
    """
    balance = await _lock(connection, account_id, plan, now) if plan.counts_minutes else None
    job = (await connection.execute(sa.select(jobs).where(jobs.c.id == job_id))).one_or_none()
    held = Hold() if job is None else _held(job)
    movements = list[Movement]()
    if balance is not None and (missing := amount - held.total) > 0:
        if missing > balance.spendable:
            raise _refusal(plan, amount, held.total + balance.spendable, now)
        balance, held, movements = credits.take(balance, held, missing)
        await _save(connection, account_id, balance)
    values = {"state": "open", "expires_at": now + timedelta(seconds=lease_s), **_columns(held)}
    if job is None:
        await connection.execute(sa.insert(jobs).values(id=job_id, account_id=account_id, created_at=now, **values))
    else:
        await connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(**values))
    await _record(connection, account_id, movements, now, job_id)


async def settle(
    connection: AsyncConnection,
    account_id: UUID,
    job_id: UUID,
    plan: Plan,
    *,
    amount: int,
    seconds: float,
    model: str,
    now: datetime,
) -> int:
    """The job is done and costs so much; what it holds beyond that goes back. Doing it twice is doing it once.

    What was paid in the end: one that was given up meanwhile pays what the account still has, because its balance never
    goes below zero, and on plans that count nothing it is 0.
    """
    balance = await _lock(connection, account_id, plan, now) if plan.counts_minutes else None
    job = (await connection.execute(sa.select(jobs).where(jobs.c.id == job_id))).one()
    held, movements = _held(job), list[Movement]()
    if job.state not in ("open", "expired"):
        return held.total
    if balance is not None:
        if held.total < amount:
            balance, held, movements = credits.take(balance, held, amount - held.total)
        balance, held, back = credits.keep(balance, held, amount, "settle")
        movements += back
        await _save(connection, account_id, balance)
    await connection.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_id)
        .values(state="settled", day=now.date(), model=model, seconds=seconds, **_columns(held))
    )
    await _record(connection, account_id, movements, now, job_id)
    return held.total


async def release(
    connection: AsyncConnection,
    account_id: UUID,
    job_id: UUID,
    plan: Plan,
    *,
    now: datetime,
    state: Literal["released", "expired"] = "released",
) -> None:
    """The job came to nothing, or has "expired"; all that it holds goes back. Doing it twice is doing it once."""
    balance = await _lock(connection, account_id, plan, now)
    is_open = [jobs.c.id == job_id, jobs.c.state == "open"]
    if state == "expired":
        is_open.append(jobs.c.expires_at < now)
    job = (await connection.execute(sa.select(jobs).where(*is_open))).one_or_none()
    if job is None:
        return
    reason: Reason = "expire" if state == "expired" else "release"
    balance, _, movements = credits.keep(balance, _held(job), 0, reason)
    await _save(connection, account_id, balance)
    await connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(state=state, **_columns(Hold())))
    await _record(connection, account_id, movements, now, job_id)


async def prolong(connection: AsyncConnection, job_ids: Iterable[UUID], *, lease_s: float, now: datetime) -> None:
    """Their process lives."""
    until = now + timedelta(seconds=lease_s)
    await connection.execute(
        sa.update(jobs).where(jobs.c.id.in_(list(job_ids)), jobs.c.state == "open").values(expires_at=until)
    )


async def expired(connection: AsyncConnection, now: datetime, limit: int = 100) -> list[tuple[UUID, UUID, str]]:
    """Jobs, accounts and plans of those whose process is not heard of any more."""
    rows = await connection.execute(
        sa.select(jobs.c.id, jobs.c.account_id, accounts.c.plan)
        .join(accounts, accounts.c.id == jobs.c.account_id)
        .where(jobs.c.state == "open", jobs.c.expires_at < now)
        .limit(limit)
    )
    return [(row.id, row.account_id, row.plan) for row in rows]


async def renew(connection: AsyncConnection, account_id: UUID, plan: Plan, now: datetime) -> Balance:
    """The balance, with this month's minutes."""
    return await _lock(connection, account_id, plan, now)


async def credit(
    connection: AsyncConnection, account_id: UUID, plan: Plan, amount: int, *, now: datetime, note: str = ""
) -> Balance:
    """Credits bought, or taken back where `amount` is negative. Raises InvalidRequest where there is not so much."""
    balance = await _lock(connection, account_id, plan, now)
    if not 0 <= balance.credits + amount <= LARGEST_BALANCE:
        raise InvalidRequest(
            f"The account has {in_credits(balance.credits)} credits; {in_credits(amount):+} is not possible."
        )
    balance = Balance(balance.credits + amount, balance.allowance, balance.month)
    await _save(connection, account_id, balance)
    await _record(connection, account_id, [Movement("credits", amount, "credit")], now, note=note)
    return balance


async def change_plan(connection: AsyncConnection, account_id: UUID, old: Plan, new: Plan, *, now: datetime) -> Balance:
    balance = await _lock(connection, account_id, old, now)
    this_month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    moved = (
        await connection.execute(
            sa.select(sa.func.sum(ledger.c.amount)).where(
                ledger.c.account_id == account_id,
                ledger.c.bucket == "allowance",
                ledger.c.at >= this_month,
                ledger.c.reason.not_in(("renewal", "plan")),
            )
        )
    ).scalar_one()
    balance, movements = credits.change_plan(balance, -int(moved or 0), new.monthly)
    await _save(connection, account_id, balance)
    await connection.execute(sa.update(accounts).where(accounts.c.id == account_id).values(plan=new.name))
    await _record(connection, account_id, movements, now)
    return balance


async def usage(connection: AsyncConnection, account_id: UUID, since: date) -> list[Usage]:
    """By day and model, the oldest first, of jobs that came to something."""
    rows = await connection.execute(
        sa.select(
            jobs.c.day,
            jobs.c.model,
            sa.func.count(),
            sa.func.sum(jobs.c.seconds),
            sa.func.sum(jobs.c.from_credits + jobs.c.from_allowance + jobs.c.lapsed),
        )
        .where(jobs.c.account_id == account_id, jobs.c.day >= since)
        .group_by(jobs.c.day, jobs.c.model)
        .order_by(jobs.c.day, jobs.c.model)
    )
    return [
        Usage(day, model, int(requests), float(seconds), int(spent)) for day, model, requests, seconds, spent in rows
    ]


async def _lock(connection: AsyncConnection, account_id: UUID, plan: Plan, now: datetime) -> Balance:
    """The account's balance, which nobody else changes until the transaction ends, with this month's minutes.

    A job that began under another plan than the account has now does not renew them.
    """
    row = (
        await connection.execute(
            sa.select(*BALANCE, accounts.c.plan)
            .where(accounts.c.id == account_id)
            .with_for_update(key_share=True)  # rows that only refer to the account need not wait
        )
    ).one()
    balance = balance_of(row)
    if row.plan == plan.name and row.month != (month := month_of(now)):
        balance, movements = credits.renew(balance, plan.monthly, month)
        await _save(connection, account_id, balance)
        await _record(connection, account_id, movements, now)
    return balance


async def _save(connection: AsyncConnection, account_id: UUID, balance: Balance) -> None:
    await connection.execute(
        sa.update(accounts)
        .where(accounts.c.id == account_id)
        .values(credit_thousandths=balance.credits, allowance_thousandths=balance.allowance, month=balance.month)
    )


async def _record(
    connection: AsyncConnection,
    account_id: UUID,
    movements: Iterable[Movement],
    now: datetime,
    job_id: UUID | None = None,
    note: str = "",
) -> None:
    rows = [
        {
            "account_id": account_id,
            "job_id": job_id,
            "bucket": movement.bucket,
            "amount": movement.amount,
            "reason": movement.reason,
            "note": note,
            "at": now,
        }
        for movement in movements
    ]
    if rows:
        await connection.execute(sa.insert(ledger), rows)


def _held(job: sa.Row[Any]) -> Hold:
    return Hold(job.from_credits, job.from_allowance, job.lapsed, job.month)


def _columns(held: Hold) -> dict[str, int | str]:
    return {
        "from_credits": held.from_credits,
        "from_allowance": held.from_allowance,
        "lapsed": held.lapsed,
        "month": held.month,
    }


def _refusal(plan: Plan, needed: int, there: int, now: datetime) -> NoCredits | MonthUsedUp:
    required = f"{in_credits(needed)} {'is' if needed == CREDIT else 'are'} needed"
    if plan.minutes_per_month:
        left = "are used up" if there <= 0 else f"leave {in_credits(there)}, and {required}"
        return MonthUsedUp(
            f"The {plan.minutes_per_month} minutes a month of the plan {plan.name} {left}. Upgrade your plan.",
            int((start_of_next_month(now) - now).total_seconds()) + 1,
        )
    if there <= 0:
        return NoBalance("No credits remaining. Upgrade your plan.")
    return NoCredits(f"Not enough credits: {required}, {in_credits(there)} remain. Upgrade your plan.")
