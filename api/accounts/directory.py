"""Accounts and their keys in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.accounts.credits import Balance
from api.accounts.keys import KEY, KEY_START, MAX_KEY_CHARS, Scope, digest, matches, new_key, visible_prefix
from api.errors import InvalidKey, InvalidRequest
from api.storage.ids import new_id
from api.storage.tables import accounts, cloud_instances, keys

BALANCE = (accounts.c.credit_thousandths, accounts.c.allowance_thousandths, accounts.c.month)
HOLDERS = (  # put together once: it is asked at every request
    sa.select(
        keys.c.id, keys.c.digest, keys.c.scopes, keys.c.expires_at, keys.c.account_id,
        accounts.c.plan, *BALANCE, cloud_instances.c.url,
    )
    .join(accounts, accounts.c.id == keys.c.account_id)
    .join(cloud_instances, cloud_instances.c.account_id == accounts.c.id, isouter=True)
    .where(keys.c.prefix == sa.bindparam("prefix"), keys.c.revoked_at.is_(None))
    .order_by(cloud_instances.c.id)
)  # fmt: skip
MAX_KEYS = 100
WRONG_KEY = "The API key is wrong, revoked or expired."


@dataclass(frozen=True, slots=True)
class Account:
    id: UUID
    name: str
    email: str
    email_preferences: dict[str, bool]
    plan: str
    balance: Balance
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """What may be seen of a key after it was made."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a key speaks for. `balance` is as it was just now, `clouds` the addresses of its own Tritons."""

    account_id: UUID
    plan: str
    balance: Balance
    key_id: UUID
    scopes: frozenset[Scope]
    expires_at: datetime | None
    clouds: tuple[str, ...]


async def create_account(connection: AsyncConnection, name: str, email: str, plan: str) -> Account:
    account = Account(new_id(), name, email, {}, plan, Balance(), datetime.now(UTC))
    await connection.execute(
        sa.insert(accounts).values(
            id=account.id,
            name=name,
            email=email,
            email_preferences={},
            plan=plan,
            credit_thousandths=0,
            allowance_thousandths=0,
            month="",
            created_at=account.created_at,
        )
    )
    return account


async def get_account(connection: AsyncConnection, id_: UUID) -> Account:
    return _account((await connection.execute(sa.select(accounts).where(accounts.c.id == id_))).one())


async def list_accounts(connection: AsyncConnection) -> list[Account]:
    return [_account(row) for row in await connection.execute(sa.select(accounts).order_by(accounts.c.id))]


async def find_account(connection: AsyncConnection, reference: str) -> Account:
    """By its id; or its e-mail address, or else its name, where that is one account's alone. Raises InvalidRequest."""
    ways = [accounts.c.email == reference, accounts.c.name == reference]
    with suppress(ValueError):
        ways.insert(0, accounts.c.id == UUID(reference))
    for way in ways:  # a name that looks like another's id or address leads nobody astray
        found = (await connection.execute(sa.select(accounts).where(way).limit(2))).all()
        if len(found) == 1:
            return _account(found[0])
        if found:
            raise InvalidRequest(f"There are several accounts {reference!r}; name one by its id.")
    raise InvalidRequest(f"There is no account {reference!r}; name one by its id, e-mail address or name.")


async def update_account(connection: AsyncConnection, id_: UUID, changes: Mapping[str, Any]) -> None:
    await connection.execute(sa.update(accounts).where(accounts.c.id == id_).values(**changes))


async def create_key(
    connection: AsyncConnection,
    secret: bytes,
    account_id: UUID,
    *,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None = None,
) -> tuple[Key, str]:
    """The key, and its text, which is nowhere kept. Raises InvalidRequest where the account has too many."""
    await connection.execute(sa.select(accounts.c.id).where(accounts.c.id == account_id).with_for_update())
    live = (
        sa.select(sa.func.count()).select_from(keys).where(keys.c.account_id == account_id, keys.c.revoked_at.is_(None))
    )
    if (await connection.execute(live)).scalar_one() >= MAX_KEYS:
        raise InvalidRequest(f"An account may have {MAX_KEYS} keys; revoke one first.")
    text = new_key()
    key = Key(new_id(), name, visible_prefix(text), tuple(scopes), datetime.now(UTC), expires_at, None)
    await connection.execute(
        sa.insert(keys).values(
            id=key.id,
            account_id=account_id,
            name=name,
            prefix=key.prefix,
            digest=digest(secret, text),
            scopes=list(scopes),
            created_at=key.created_at,
            expires_at=expires_at,
        )
    )
    return key, text


async def list_keys(connection: AsyncConnection, account_id: UUID) -> list[Key]:
    """The newest first, without those that are revoked."""
    rows = await connection.execute(
        sa.select(keys).where(keys.c.account_id == account_id, keys.c.revoked_at.is_(None)).order_by(keys.c.id.desc())
    )
    return [
        Key(row.id, row.name, row.prefix, tuple(row.scopes), row.created_at, row.expires_at, row.last_used_at)
        for row in rows
    ]


async def revoke_key(connection: AsyncConnection, account_id: UUID, key_id: UUID) -> bool:
    """False where the account has no such key."""
    revoked = await connection.execute(
        sa.update(keys)
        .where(keys.c.id == key_id, keys.c.account_id == account_id, keys.c.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC))
    )
    return revoked.rowcount > 0


async def find_holder(connection: AsyncConnection, secret: bytes, key: str) -> Holder:
    """Raises InvalidKey."""
    if len(key) > MAX_KEY_CHARS or not KEY.fullmatch(key):
        raise InvalidKey(f"This is no API key: one begins with {KEY_START}.")
    rows = (await connection.execute(HOLDERS, {"prefix": visible_prefix(key)})).all()
    right = [row for row in rows if matches(secret, key, row.digest)]
    if not right or (right[0].expires_at is not None and right[0].expires_at <= datetime.now(UTC)):
        raise InvalidKey(WRONG_KEY)
    first = right[0]
    clouds = tuple(row.url for row in right if row.url is not None)
    scopes = frozenset(first.scopes)
    return Holder(first.account_id, first.plan, balance_of(first), first.id, scopes, first.expires_at, clouds)


async def touch_keys(connection: AsyncConnection, used: Iterable[tuple[UUID, datetime]]) -> None:
    for key_id, at in used:
        await connection.execute(sa.update(keys).where(keys.c.id == key_id).values(last_used_at=at))


def balance_of(row: Any) -> Balance:
    """Of a row that has the columns BALANCE."""
    return Balance(row.credit_thousandths, row.allowance_thousandths, row.month)


def _account(row: Any) -> Account:
    return Account(row.id, row.name, row.email, row.email_preferences, row.plan, balance_of(row), row.created_at)
