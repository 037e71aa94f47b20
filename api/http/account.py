"""GET, PUT /api/v1/account/"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, get, put
from litestar.openapi.spec import Operation
from msgspec import Meta

from api.accounts import ledger
from api.accounts.callers import Caller
from api.accounts.credits import in_credits, month_of, start_of_next_month
from api.accounts.directory import Account, get_account, update_account
from api.accounts.plans import Plan
from api.http.fields import EMAIL, PRINTABLE, read_json
from api.http.openapi import WITH_KEY, json_body, refusals
from api.storage.database import Database

Name = Annotated[
    str,
    Meta(
        min_length=1, max_length=200, pattern=PRINTABLE, description="1 to 200 characters in one line, not only spaces"
    ),
]
Email = Annotated[
    str,
    Meta(
        max_length=320,
        pattern=EMAIL,
        description="an address: name@example.org",
    ),
]

Credits = Annotated[float, Meta(description="a whole number, or one with up to three decimals")]
"""Of what is made by `in_credits`: whole ones stay integers in JSON."""


class EmailPreferences(msgspec.Struct):
    """What the account wants to be written about."""

    product_updates: bool = False
    usage_alerts: bool = True
    weekly_summary: bool = False


class PlanBody(msgspec.Struct):
    """`minutes_per_month` and `transcriptions_per_day` are null where the plan does not limit them."""

    name: str
    max_file_mb: int
    concurrency: int
    requests_per_minute: int
    minutes_per_month: int | None
    transcriptions_per_day: int | None


class AllowanceBody(msgspec.Struct):
    """What is left of the plan's minutes of this month."""

    minutes: int
    remaining: Credits
    resets_at: datetime


class AccountBody(msgspec.Struct):
    """`credits` were bought and stay; the plan's minutes of a month, if it has any, are spent first."""

    id: UUID
    name: str
    email: str
    email_preferences: EmailPreferences
    plan: PlanBody
    credits: Credits
    allowance: AllowanceBody | None
    created_at: datetime


class PreferenceChanges(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    product_updates: bool | msgspec.UnsetType = msgspec.UNSET
    usage_alerts: bool | msgspec.UnsetType = msgspec.UNSET
    weekly_summary: bool | msgspec.UnsetType = msgspec.UNSET


class AccountChanges(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is left out stays as it is. Plan and credits are the operator's to change."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    email: Email | msgspec.UnsetType = msgspec.UNSET
    email_preferences: PreferenceChanges | msgspec.UnsetType = msgspec.UNSET


@dataclass
class ChangeOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = json_body(AccountChanges)


class AccountController(Controller):
    path = "/api/v1/account"
    tags = ["account"]
    security = WITH_KEY

    @get("/", summary="The account of the key", responses=refusals(400, 401, 403, 429, 503))
    async def account(self, caller: Caller, database: Database) -> AccountBody:
        id_ = caller.account("account")
        async with database.reading() as connection:
            account = await get_account(connection, id_)
        if account.balance.month != month_of(datetime.now(UTC)):
            async with database.writing() as connection:
                await ledger.renew(connection, id_, caller.plan, datetime.now(UTC))
                account = await get_account(connection, id_)
        return _body(account, caller.plan)

    @put(
        "/",
        operation_class=ChangeOperation,
        summary="Change the account's name and e-mail",
        responses=refusals(400, 401, 403, 413, 429, 503),
    )
    async def change(self, caller: Caller, database: Database, request: Request[Any, Any, Any]) -> AccountBody:
        id_ = caller.account("account")
        changes = msgspec.to_builtins(await read_json(AccountChanges, request))
        async with database.writing() as connection:
            await ledger.renew(connection, id_, caller.plan, datetime.now(UTC))
            if "email_preferences" in changes:
                changes["email_preferences"] = (await get_account(connection, id_)).email_preferences | changes[
                    "email_preferences"
                ]
            if changes:
                await update_account(connection, id_, changes)
            account = await get_account(connection, id_)
        return _body(account, caller.plan)


def _body(account: Account, plan: Plan) -> AccountBody:
    allowance = None
    if plan.minutes_per_month:
        resets_at = start_of_next_month(datetime.now(UTC))
        allowance = AllowanceBody(plan.minutes_per_month, in_credits(account.balance.allowance), resets_at)
    return AccountBody(
        id=account.id,
        name=account.name,
        email=account.email,
        email_preferences=msgspec.convert(account.email_preferences, EmailPreferences),
        plan=msgspec.convert(plan, PlanBody, from_attributes=True),
        credits=in_credits(account.balance.credits),
        allowance=allowance,
        created_at=account.created_at,
    )
