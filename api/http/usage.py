"""GET /api/v1/usage/"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
from litestar import Controller, get

from api.accounts import ledger
from api.accounts.callers import Caller
from api.accounts.credits import in_credits
from api.accounts.ledger import Usage
from api.http.account import Credits
from api.http.openapi import WITH_KEY, refusals
from api.storage.database import Database

DAYS = 30


class CountsBody(msgspec.Struct):
    """`minutes` of audio, and the `credits` that it cost, out of the plan's minutes or bought."""

    requests: int
    minutes: float
    credits: Credits


class DayBody(CountsBody):
    date: date
    models: dict[str, CountsBody]


class UsageBody(msgspec.Struct):
    """The last 30 days, today with them, the oldest first; days are UTC's."""

    start: date
    end: date
    days: list[DayBody]
    total: CountsBody


class UsageController(Controller):
    path = "/api/v1/usage"
    tags = ["account"]
    security = WITH_KEY

    @get("/", summary="What was used, day by day", responses=refusals(400, 401, 403, 429, 503))
    async def usage(self, caller: Caller, database: Database) -> UsageBody:
        end = datetime.now(UTC).date()
        dates = [end - timedelta(days=DAYS - 1 - number) for number in range(DAYS)]
        async with database.reading() as connection:
            used = await ledger.usage(connection, caller.account("account"), dates[0])
        return UsageBody(dates[0], end, [_day(day, used) for day in dates], _counts(used))


def _day(day: date, used: list[Usage]) -> DayBody:
    that_day = [one for one in used if one.day == day]
    counts = _counts(that_day)
    models = {one.model: _counts([one]) for one in that_day}
    return DayBody(counts.requests, counts.minutes, counts.credits, day, models)


def _counts(used: list[Usage]) -> CountsBody:
    return CountsBody(
        requests=sum(one.requests for one in used),
        minutes=round(sum(one.seconds for one in used) / 60, 2),
        credits=in_credits(sum(one.cost for one in used)),
    )
