"""GET, POST /api/v1/keys/, DELETE /api/v1/keys/:id/"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.openapi.spec import Operation
from msgspec import Meta

from api.accounts.callers import Caller
from api.accounts.directory import create_key, list_keys, revoke_key
from api.accounts.keys import SCOPES, Scope
from api.errors import Forbidden, InvalidRequest, NotFound
from api.http.fields import PRINTABLE, read_json
from api.http.openapi import WITH_KEY, json_body, refusals
from api.storage.database import Database


class KeyBody(msgspec.Struct):
    """What may be seen of a key after it was made. `prefix` is how it begins."""

    id: UUID
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewKeyBody(KeyBody):
    """`key` is shown this once."""

    key: str


class KeysBody(msgspec.Struct):
    count: int
    keys: list[KeyBody]


class KeyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`scopes` are all that the asking key has, if none are given. Without `expires_at` it is good for as long."""

    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTABLE, description="what it is for")]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=len(SCOPES))] | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


@dataclass
class CreateOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = json_body(KeyRequest)


class KeysController(Controller):
    path = "/api/v1/keys"
    tags = ["keys"]
    security = WITH_KEY

    @get("/", summary="The account's keys, the newest first", responses=refusals(400, 401, 403, 429, 503))
    async def keys(self, caller: Caller, database: Database) -> KeysBody:
        async with database.reading() as connection:
            found = await list_keys(connection, caller.account("account"))
        return KeysBody(len(found), [msgspec.convert(key, KeyBody, from_attributes=True) for key in found])

    @post(
        "/",
        operation_class=CreateOperation,
        summary="Make a key",
        responses=refusals(400, 401, 403, 413, 429, 503),
    )
    async def create(
        self, caller: Caller, database: Database, secret: bytes, request: Request[Any, Any, Any]
    ) -> NewKeyBody:
        account, asked = caller.account("account"), await read_json(KeyRequest, request)
        assert caller.holder is not None
        mine = caller.holder.scopes
        scopes = [scope for scope in SCOPES if scope in (asked.scopes or mine)]
        if beyond := set(scopes) - mine:
            raise Forbidden(f"A key can only make keys for what it may do itself; not for {', '.join(sorted(beyond))}.")
        expires_at = _expiry(asked.expires_at, caller.holder.expires_at)
        async with database.writing() as connection:
            key, text = await create_key(
                connection, secret, account, name=asked.name.strip(), scopes=scopes, expires_at=expires_at
            )
        return NewKeyBody(
            key.id, key.name, key.prefix, list(key.scopes), key.created_at, key.expires_at, key.last_used_at, text
        )

    @delete("/{key_id:uuid}", summary="Revoke a key", responses=refusals(400, 401, 403, 404, 429, 503))
    async def revoke(self, caller: Caller, database: Database, key_id: UUID) -> None:
        async with database.writing() as connection:
            if not await revoke_key(connection, caller.account("account"), key_id):
                raise NotFound(f"There is no key {key_id}.")


def _expiry(asked: datetime | None, mine: datetime | None) -> datetime | None:
    """No later than the asking key's own. Raises InvalidRequest where it is past, or no time at all."""
    try:
        expires_at = mine if asked is None else asked.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(f"expires_at is no time: {asked}.") from None
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise InvalidRequest(f"expires_at must be in the future; {expires_at.isoformat()} is not.")
    if mine is not None and expires_at is not None and expires_at > mine:
        raise Forbidden(f"A key can only make keys that expire with it, at {mine.isoformat()}, or before.")
    return expires_at
