"""Audit entries that several patients share, and the key of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Adds the tables."""
    op.create_table(
        "audit_access",
        sa.Column("leaf_index", INT64, autoincrement=False, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("at_us", INT64, nullable=False),
        sa.Column("agent", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index"),
    )
    op.create_table(
        "audit_patient",
        sa.Column("bucket", INT64, autoincrement=False, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("leaf_index", INT64, autoincrement=False, nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "code", "leaf_index"),
        sqlite_with_rowid=False,
    )
