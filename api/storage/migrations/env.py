"""How Alembic reaches the database: through the application's own drivers, one migration at a time."""

import asyncio
from typing import Literal

import sqlalchemy as sa
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from api.storage.tables import UtcDateTime, metadata

ONE_AT_A_TIME = 0x7472_6974  # an advisory lock's number, the same for every process of ours


def render_item(kind: str, item: object, _: object) -> str | Literal[False]:
    """Migrations stand by themselves: what they create must not change with the application's types."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def run(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        render_item=render_item,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect() -> None:
    engine = create_async_engine(context.config.attributes["url"], poolclass=NullPool, hide_parameters=True)

    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine.sync_engine, "begin")
        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # locks out whoever migrates at the same time

    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(connect())
