"""Amounts of credits in thousandths of one

The names of an account's own change with their unit: a service that still runs and counts whole credits then fails at
every request with a key, and charges nobody a thousandth of what is due.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

AMOUNTS = {
    "accounts": ("credits", "allowance"),
    "jobs": ("from_allowance", "from_credits", "lapsed"),
    "ledger": ("amount",),
}
NEW_NAMES = {"credits": "credit_thousandths", "allowance": "allowance_thousandths"}


def upgrade() -> None:
    for table, columns in AMOUNTS.items():
        _change(table, {column: f"CAST({column} AS BIGINT) * 1000" for column in columns}, "BIGINT")
    for old, new in NEW_NAMES.items():
        op.execute(f"ALTER TABLE accounts RENAME COLUMN {old} TO {new}")


def downgrade() -> None:
    """Parts of a credit are lost, but the movements of an account still add up to its balance."""
    for old, new in NEW_NAMES.items():
        op.execute(f"ALTER TABLE accounts RENAME COLUMN {new} TO {old}")
    op.execute(
        "UPDATE ledger SET amount = 1000 * (sums.after / 1000 - (sums.after - ledger.amount) / 1000) FROM ("
        "SELECT id, CAST(SUM(amount) OVER (PARTITION BY account_id, bucket ORDER BY id) AS BIGINT) AS after FROM ledger"
        ") AS sums WHERE sums.id = ledger.id"
    )
    for table, columns in AMOUNTS.items():
        _change(table, {column: f"{column} / 1000" for column in columns}, "INTEGER")


def _change(table: str, values: dict[str, str], type_: str) -> None:
    if op.get_bind().dialect.name == "sqlite":  # whose integers have 64 bits whatever they are called
        changes = [f"{column} = {value}" for column, value in values.items()]
        op.execute(f"UPDATE {table} SET {', '.join(changes)}")  # noqa: S608
    else:
        changes = [f"ALTER COLUMN {column} TYPE {type_} USING {value}" for column, value in values.items()]
        op.execute(f"ALTER TABLE {table} {', '.join(changes)}")
