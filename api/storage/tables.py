"""Every table. Migrations create them; a test compares both."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

VERSION = "0004"
"""Of the schema: the newest migration's."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite has no time zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _thousandths(name: str) -> sa.Column[int]:
    """An amount of credits."""
    return sa.Column(name, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def _id() -> sa.Column[UUID]:
    return sa.Column("id", sa.Uuid(), primary_key=True)


def _account(**options: Any) -> sa.Column[UUID]:
    return sa.Column("account_id", sa.Uuid(), sa.ForeignKey("accounts.id"), nullable=False, **options)


accounts = sa.Table(
    "accounts",
    metadata,
    _id(),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("email", sa.String(320), nullable=False),
    sa.Column("email_preferences", sa.JSON(), nullable=False),
    sa.Column("plan", sa.String(50), nullable=False),
    # What may be spent: bought credits, which stay, and what is left of the plan's minutes of `month` ("2026-11").
    # A program that counts whole credits finds neither, and so fails where it would charge a thousandth.
    _thousandths("credit_thousandths"),
    _thousandths("allowance_thousandths"),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.CheckConstraint("credit_thousandths >= 0", name="credits"),
    sa.CheckConstraint("allowance_thousandths >= 0", name="allowance"),
)

keys = sa.Table(
    "keys",
    metadata,
    _id(),
    _account(index=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("prefix", sa.String(20), nullable=False, index=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("scopes", sa.JSON(), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("expires_at", UtcDateTime()),
    sa.Column("revoked_at", UtcDateTime()),
    sa.Column("last_used_at", UtcDateTime()),
)

# One row for each transcription of an account: what it holds while it runs, what it cost in the end.
jobs = sa.Table(
    "jobs",
    metadata,
    _id(),
    _account(),
    sa.Column("state", sa.String(10), nullable=False),  # open, settled, released, expired
    _thousandths("from_allowance"),
    _thousandths("from_credits"),
    _thousandths("lapsed"),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("expires_at", UtcDateTime(), nullable=False),  # renewed while its process lives
    # Of settled ones:
    sa.Column("day", sa.Date()),
    sa.Column("model", sa.String(100)),
    sa.Column("seconds", sa.Float()),
    sa.Index("ix_jobs_account_id_day", "account_id", "day"),
    sa.Index("ix_jobs_state_expires_at", "state", "expires_at"),
)

# Every movement of credits. Per account and bucket their sum is the account's balance.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    _account(index=True),
    sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id")),
    sa.Column("bucket", sa.String(10), nullable=False),  # credits, allowance
    _thousandths("amount"),
    sa.Column("reason", sa.String(20), nullable=False),
    sa.Column("note", sa.String(200), nullable=False),
    sa.Column("at", UtcDateTime(), nullable=False),
)

# Ids are in the order of creation, so they order lists, too.
transcripts = sa.Table(
    "transcripts",
    metadata,
    _id(),
    _account(),
    sa.Column("title", sa.String(300), nullable=False),
    sa.Column("status", sa.String(10), nullable=False, index=True),  # queued, processing, completed, failed
    sa.Column("error", sa.String(500), nullable=False),
    sa.Column("language", sa.String(20)),
    sa.Column("model", sa.String(100), nullable=False),
    sa.Column("model_version", sa.String(20), nullable=False, server_default=""),
    sa.Column("duration", sa.Float()),
    sa.Column("speakers", sa.Integer(), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("completed_at", UtcDateTime()),
    sa.Column("text", sa.Text(), nullable=False),  # what is searched: casefolded
    sa.Column("body", sa.LargeBinary()),  # the whole of it, as JSON
    sa.Index("ix_transcripts_account_id_id", "account_id", "id"),
    sa.Index("ix_transcripts_created_at", "created_at"),
)

# What each segment means, as vectors: of a text that has the digest, by a model.
segment_vectors = sa.Table(
    "segment_vectors",
    metadata,
    sa.Column("transcript_id", sa.Uuid(), sa.ForeignKey("transcripts.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("dimensions", sa.Integer(), nullable=False),
    sa.Column("vectors", sa.LargeBinary(), nullable=False),  # float16, segments × dimensions
)

# A chat is a client's name for a row of turns about one transcript.
chat_turns = sa.Table(
    "chat_turns",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("transcript_id", sa.Uuid(), sa.ForeignKey("transcripts.id", ondelete="CASCADE"), nullable=False),
    sa.Column("session", sa.String(100), nullable=False),
    sa.Column("question", sa.Text(), nullable=False),
    sa.Column("answer", sa.Text(), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_chat_turns_transcript_id_session_id", "transcript_id", "session", "id"),
)

cloud_instances = sa.Table(
    "cloud_instances",
    metadata,
    _id(),
    _account(index=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("url", sa.String(300), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
)

# Which version of a model takes new work, where somebody chose one, and which did before.
model_choices = sa.Table(
    "model_choices",
    metadata,
    sa.Column("model", sa.String(100), primary_key=True),
    sa.Column("version", sa.String(20), nullable=False),
    sa.Column("previous", sa.String(20), nullable=False),
    sa.Column("changed_at", UtcDateTime(), nullable=False),
)

# Versions that a process has work in hand with: no more than a row each, renewed while it has.
model_leases = sa.Table(
    "model_leases",
    metadata,
    sa.Column("process", sa.Uuid(), primary_key=True),
    sa.Column("model", sa.String(100), primary_key=True),
    sa.Column("version", sa.String(20), primary_key=True),
    sa.Column("expires_at", UtcDateTime(), nullable=False, index=True),
)

# Whoever changes what is loaded of a model is alone with it.
model_locks = sa.Table(
    "model_locks",
    metadata,
    sa.Column("model", sa.String(100), primary_key=True),
    sa.Column("holder", sa.Uuid(), nullable=False),
    sa.Column("expires_at", UtcDateTime(), nullable=False),
)
