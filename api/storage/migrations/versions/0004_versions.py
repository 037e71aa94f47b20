"""Versions of models: which takes new work, which are in use, and which one a transcript is of"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "model_choices",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("previous", sa.String(length=20), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_model_choices")),
    )
    op.create_table(
        "model_leases",
        sa.Column("process", sa.Uuid(), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("process", "model", "version", name=op.f("pk_model_leases")),
    )
    op.create_index(op.f("ix_model_leases_expires_at"), "model_leases", ["expires_at"], unique=False)
    op.create_table(
        "model_locks",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_model_locks")),
    )
    # A service of the former version, which names no version, goes on meanwhile.
    op.add_column("transcripts", sa.Column("model_version", sa.String(length=20), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("transcripts", "model_version")
    op.drop_table("model_locks")
    op.drop_index(op.f("ix_model_leases_expires_at"), table_name="model_leases")
    op.drop_table("model_leases")
    op.drop_table("model_choices")
