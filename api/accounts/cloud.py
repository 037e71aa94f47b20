"""Private clouds: Tritons that serve one account alone, registered by whoever runs the service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from api.errors import InvalidRequest
from api.inference.addresses import parse_address
from api.storage.ids import new_id
from api.storage.tables import cloud_instances


@dataclass(frozen=True, slots=True)
class Instance:
    """`url` is its Triton's gRPC address, host:port."""

    id: UUID
    account_id: UUID
    name: str
    url: str
    created_at: datetime


async def add_instance(connection: AsyncConnection, account_id: UUID, name: str, url: str) -> Instance:
    """Raises InvalidRequest."""
    if parse_address(url) is None:
        raise InvalidRequest(f"{url!r} is no gRPC address of a Triton; it is HOST:PORT, as in triton.internal:8001.")
    instance = Instance(new_id(), account_id, name, url, datetime.now(UTC))
    await connection.execute(
        sa.insert(cloud_instances).values(
            id=instance.id, account_id=account_id, name=name, url=url, created_at=instance.created_at
        )
    )
    return instance


async def list_instances(connection: AsyncConnection, account_id: UUID | None = None) -> list[Instance]:
    """In the order in which they were registered; those of all accounts where none is given."""
    chosen = sa.select(cloud_instances).order_by(cloud_instances.c.id)
    if account_id is not None:
        chosen = chosen.where(cloud_instances.c.account_id == account_id)
    return [
        Instance(row.id, row.account_id, row.name, row.url, row.created_at) for row in await connection.execute(chosen)
    ]


async def remove_instance(connection: AsyncConnection, id_: UUID) -> bool:
    removed = await connection.execute(sa.delete(cloud_instances).where(cloud_instances.c.id == id_))
    return removed.rowcount > 0
