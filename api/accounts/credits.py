"""The arithmetic of credits, without a database: what may be spent, what is held, and every movement between.

A credit is a minute, and every amount here, in the ledger and in the database is a whole number of thousandths of one,
because not all minutes cost the same. People see credits: `in_credits`. An account has two buckets: `allowance`, what
is left of its plan's minutes of this month, which is spent first, and `credits`, which it bought and keeps. Each
function gives the new state and the movements that led to it; the sum of all movements of a bucket is what is in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

CREDIT = 1000  # thousandths
Bucket = Literal["credits", "allowance"]
Reason = Literal["credit", "renewal", "plan", "reserve", "settle", "release", "expire"]


@dataclass(frozen=True, slots=True)
class Balance:
    """Thousandths. `month` is the one, in UTC, that the allowance is of: "2026-11"."""

    credits: int = 0
    allowance: int = 0
    month: str = ""

    @property
    def spendable(self) -> int:
        return self.credits + self.allowance


@dataclass(frozen=True, slots=True)
class Hold:
    """Thousandths that a job has taken out of the buckets. `lapsed` ones are of an allowance whose month is over: they
    never go back."""

    from_credits: int = 0
    from_allowance: int = 0
    lapsed: int = 0
    month: str = ""

    @property
    def total(self) -> int:
        return self.from_credits + self.from_allowance + self.lapsed


@dataclass(frozen=True, slots=True)
class Movement:
    """`amount` is in thousandths."""

    bucket: Bucket
    amount: int
    reason: Reason


def started_minutes(seconds: float) -> int:
    """At least one. Times that differ from a whole minute by less than a hundredth of a second are that minute."""
    return max(1, math.ceil(round(seconds, 2) / 60))


def price(seconds: float, percent: int = 100) -> int:
    """Thousandths that so much audio costs where a started minute costs `percent` hundredths of a credit."""
    return started_minutes(seconds) * percent * CREDIT // 100


def in_credits(thousandths: int) -> int | float:
    """As people see it: whole where it is whole, else with up to three decimals."""
    return thousandths / CREDIT if thousandths % CREDIT else thousandths // CREDIT


def month_of(now: datetime) -> str:
    return now.strftime("%Y-%m")


def start_of_next_month(now: datetime) -> datetime:
    return (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def renew(balance: Balance, monthly: int, month: str) -> tuple[Balance, list[Movement]]:
    """What was left of another month's allowance goes, this month's comes: `monthly` thousandths."""
    change = monthly - balance.allowance
    return replace(balance, allowance=monthly, month=month), _moved(("allowance", change), reason="renewal")


def change_plan(balance: Balance, used: int, monthly: int) -> tuple[Balance, list[Movement]]:
    """To a plan that gives `monthly` thousandths a month, of which `used` are used or held: these stay so."""
    allowance = max(0, monthly - used)
    return replace(balance, allowance=allowance), _moved(("allowance", allowance - balance.allowance), reason="plan")


def take(balance: Balance, hold: Hold, amount: int) -> tuple[Balance, Hold, list[Movement]]:
    """Hold `amount` more, or as much as there is: the caller looks at `spendable` first where that is not enough."""
    if hold.month != balance.month:
        hold = Hold(hold.from_credits, 0, hold.lapsed + hold.from_allowance, balance.month)
    allowance = min(amount, balance.allowance)
    credits = min(amount - allowance, balance.credits)
    return (
        replace(balance, allowance=balance.allowance - allowance, credits=balance.credits - credits),
        replace(hold, from_allowance=hold.from_allowance + allowance, from_credits=hold.from_credits + credits),
        _moved(("allowance", -allowance), ("credits", -credits), reason="reserve"),
    )


def keep(balance: Balance, hold: Hold, amount: int, reason: Reason) -> tuple[Balance, Hold, list[Movement]]:
    """Keep `amount` of what is held for good, and give the rest back to where it came from."""
    back = max(0, hold.total - amount)
    credits = min(back, hold.from_credits)
    allowance = min(back - credits, hold.from_allowance)
    kept = replace(hold, from_credits=hold.from_credits - credits, from_allowance=hold.from_allowance - allowance)
    if hold.month != balance.month:  # a month that is over takes nothing back
        allowance = 0
    return (
        replace(balance, credits=balance.credits + credits, allowance=balance.allowance + allowance),
        kept,
        _moved(("credits", credits), ("allowance", allowance), reason=reason),
    )


def _moved(*amounts: tuple[Bucket, int], reason: Reason) -> list[Movement]:
    return [Movement(bucket, amount, reason) for bucket, amount in amounts if amount]
