"""Search parameters that are not R4's own, and how far the index of each has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Adds them."""
    op.create_table(
        "search_parameter",
        sa.Column("serial", INT64, nullable=False, autoincrement=True),
        sa.Column("origin", TEXT, nullable=False),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("definition", TEXT, nullable=False),
        sa.Column("position", INT64, nullable=False),
        sa.Column("until", INT64, nullable=False),
        sa.Column("lease", TEXT, nullable=False),
        sa.Column("lease_us", INT64, nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sqlite_autoincrement=True,
    )
