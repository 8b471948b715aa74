"""Numbers and quantities of the search index are ranges. The index is made anew when the store is opened."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
FLOAT = sa.Float(precision=53)
TABLES: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {
    "idx_number": {"param": INT64, "value": FLOAT, "high": FLOAT, "rkey": INT64},
    "idx_quantity": {
        "param": INT64,
        "value": FLOAT,
        "high": FLOAT,
        "code": INT64,
        "system": INT64,
        "rkey": INT64,
    },
    "idx_composite": {
        "param": INT64,
        "code": INT64,
        "system": INT64,
        "code2": INT64,
        "system2": INT64,
        "value": FLOAT,
        "high": FLOAT,
        "lo": INT64,
        "hi": INT64,
        "text": TEXT,
        "rkey": INT64,
    },
}


def upgrade() -> None:
    """Makes the tables anew, empty, and has them filled: the digest of what filled them is none any more."""
    for table, columns in TABLES.items():
        op.drop_table(table)
        declared = [sa.Column(name, kind, nullable=False) for name, kind in columns.items()]
        op.create_table(table, *declared, sa.PrimaryKeyConstraint(*columns), sqlite_with_rowid=False)
    for table in ("idx_number", "idx_quantity"):
        op.create_index(f"ix_{table}_rkey", table, ["rkey", "param"], unique=False)
    is_range = sa.text("value < high")
    op.create_index(
        "ix_idx_quantity_range",
        "idx_quantity",
        ["param", "high"],
        unique=False,
        sqlite_where=is_range,
        postgresql_where=is_range,
    )
    op.execute("UPDATE store_meta SET value = '' WHERE name = 'index_digest'")
