"""What whoever runs the service does to its database from the command line. Each command gives the lines to print."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from api.accounts import cloud, directory, ledger
from api.accounts.credits import CREDIT, Balance, in_credits
from api.accounts.directory import Account
from api.accounts.keys import Scope, load_secret
from api.accounts.plans import Plan, Plans, load_plans
from api.errors import InvalidKey, InvalidRequest
from api.http.fields import EMAIL, PRINTABLE
from api.settings import Settings, SettingsError
from api.storage.database import Database, database_url, require_file

DEMO_ACCOUNT = "demo"
DEMO_PLAN = "house"


@dataclass(frozen=True, slots=True)
class Office:
    """A transaction, and what commands need beside it."""

    connection: AsyncConnection
    plans: Plans
    secret: bytes
    now: datetime

    def plan(self, name: str) -> Plan:
        plan = self.plans.get(name)
        if plan is None:
            raise InvalidRequest(f"There is no plan {name!r}; there are {', '.join(self.plans.names)}.")
        return plan


@asynccontextmanager
async def office(settings: Settings) -> AsyncIterator[Office]:
    """Raises SettingsError, DatabaseError, StorageUnavailable."""
    url = database_url(settings.database_url, settings.home)
    require_file(url)
    secret = load_secret(settings.secret, url.database if url.get_backend_name() == "sqlite" else None)
    plans, database = load_plans(settings.plans), Database(url)
    try:
        await database.check()
        async with database.writing() as connection:
            yield Office(connection, plans, secret, datetime.now(UTC))
    finally:
        await database.close()


async def create_account(settings: Settings, name: str, email: str, plan: str) -> list[str]:
    if not re.fullmatch(PRINTABLE, name) or len(name) > 200:
        raise InvalidRequest("A name has 1 to 200 characters in one line.")
    if email and (not re.fullmatch(EMAIL, email) or len(email) > 320):
        raise InvalidRequest(f"{email!r} is no e-mail address.")
    async with office(settings) as at:
        account = await directory.create_account(at.connection, name, email, at.plan(plan).name)
    return [f"account {account.id} ({name}) on the plan {plan}"]


async def list_accounts(settings: Settings) -> list[str]:
    async with office(settings) as at:
        accounts = await directory.list_accounts(at.connection)
        balances = [await _balance(at, account) for account in accounts]
    return [
        f"{account.id}  {account.plan:10} {in_credits(balance.credits):>8} credits "
        f"{in_credits(balance.allowance):>6} minutes  "
        f"{account.name} {account.email}".rstrip()
        for account, balance in zip(accounts, balances, strict=True)
    ]


async def credit(settings: Settings, reference: str, credits: Decimal | int, note: str) -> list[str]:
    amount = _thousandths(Decimal(credits))
    if len(note) > 200:
        raise InvalidRequest("A note has at most 200 characters.")
    async with office(settings) as at:
        account = await directory.find_account(at.connection, reference)
        balance = await ledger.credit(at.connection, account.id, at.plan(account.plan), amount, note=note, now=at.now)
    return [f"{account.name} has {in_credits(balance.credits)} credits"]


async def change_plan(settings: Settings, reference: str, plan: str) -> list[str]:
    async with office(settings) as at:
        account = await directory.find_account(at.connection, reference)
        old = at.plans.get(account.plan) or at.plan(plan)
        await ledger.change_plan(at.connection, account.id, old, at.plan(plan), now=at.now)
    return [f"{account.name} is on the plan {plan}"]


async def create_key(
    settings: Settings, reference: str, name: str, scopes: Sequence[Scope], expires_in_days: int | None
) -> list[str]:
    if not 1 <= len(name) <= 100 or (expires_in_days is not None and not 1 <= expires_in_days <= 36500):
        raise InvalidRequest("A key's name has 1 to 100 characters, and it expires in 1 to 36500 days.")
    expires_at = None if expires_in_days is None else datetime.now(UTC) + timedelta(days=expires_in_days)
    async with office(settings) as at:
        account = await directory.find_account(at.connection, reference)
        _, text = await directory.create_key(
            at.connection, at.secret, account.id, name=name, scopes=scopes, expires_at=expires_at
        )
    return [text]


async def list_keys(settings: Settings, reference: str) -> list[str]:
    async with office(settings) as at:
        account = await directory.find_account(at.connection, reference)
        keys = await directory.list_keys(at.connection, account.id)
    return [
        f"{key.id}  {key.prefix}…  {','.join(key.scopes)}  expires {_day(key.expires_at)}  "
        f"last used {_day(key.last_used_at)}  {key.name}"
        for key in keys
    ]


async def revoke_key(settings: Settings, reference: str, key_id: UUID) -> list[str]:
    async with office(settings) as at:
        account = await directory.find_account(at.connection, reference)
        if not await directory.revoke_key(at.connection, account.id, key_id):
            raise InvalidRequest(f"The account {account.name} has no key {key_id}.")
    return [f"key {key_id} is revoked"]


async def add_cloud(settings: Settings, reference: str, name: str, url: str) -> list[str]:
    if not re.fullmatch(PRINTABLE, name) or len(name) > 100:
        raise InvalidRequest("An instance's name has 1 to 100 characters in one line.")
    async with office(settings) as at:
        account = await directory.find_account(at.connection, reference)
        instance = await cloud.add_instance(at.connection, account.id, name, url)
    return [f"instance {instance.id}: the requests of {account.name} go to {url}"]


async def list_clouds(settings: Settings) -> list[str]:
    async with office(settings) as at:
        instances = await cloud.list_instances(at.connection)
    return [f"{instance.id}  account {instance.account_id}  {instance.url}  {instance.name}" for instance in instances]


async def remove_cloud(settings: Settings, id_: UUID) -> list[str]:
    async with office(settings) as at:
        if not await cloud.remove_instance(at.connection, id_):
            raise InvalidRequest(f"There is no instance {id_}.")
    return [f"instance {id_} is removed"]


def demo_key(settings: Settings) -> str:
    """A key of the account `demo`, made at the first call and kept in a file that only its owner can read."""
    kept = Path(settings.home) / "demo.key"
    if kept.exists() and (key := kept.read_text().strip()) and asyncio.run(_is_good(settings, key)):
        return key
    key = asyncio.run(_make_demo_key(settings))
    kept.touch(mode=0o600)
    kept.write_text(f"{key}\n")
    return key


async def _is_good(settings: Settings, key: str) -> bool:
    async with office(settings) as at:
        try:
            await directory.find_holder(at.connection, at.secret, key)
        except InvalidKey:
            return False
    return True


async def _make_demo_key(settings: Settings) -> str:
    async with office(settings) as at:
        if not at.plans.names:
            raise SettingsError("TRITONE_PLANS names no plan that an account can have.")
        plan = DEMO_PLAN if at.plans.get(DEMO_PLAN) else at.plans.names[0]
        accounts = await directory.list_accounts(at.connection)
        known = [account for account in accounts if account.name == DEMO_ACCOUNT]
        account = known[0] if known else await directory.create_account(at.connection, DEMO_ACCOUNT, "", plan)
        _, text = await directory.create_key(
            at.connection, at.secret, account.id, name="tritone up", scopes=("transcribe", "text", "account")
        )
    return text


def _thousandths(credits: Decimal) -> int:
    """Raises InvalidRequest."""
    largest = ledger.LARGEST_BALANCE // CREDIT
    # In this order: what is within bounds can be rounded exactly.
    if not credits.is_finite() or not 0 < credits.copy_abs() <= largest or credits != round(credits, 3):
        raise InvalidRequest(f"Credits are a number up to {largest} with at most three decimals, and not 0.")
    return int(credits * CREDIT)


async def _balance(at: Office, account: Account) -> Balance:
    plan = at.plans.get(account.plan)
    return account.balance if plan is None else await ledger.renew(at.connection, account.id, plan, at.now)


def _day(at: datetime | None) -> str:
    return "never" if at is None else f"{at:%Y-%m-%d}"
