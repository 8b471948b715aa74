"""Work items; by what way a message came in, so that it can be replayed as its sender."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Adds them."""
    op.add_column("inbox", sa.Column("origin", TEXT, nullable=False, server_default=""))
    op.create_index("ix_inbox_status", "inbox", ["status", "ikey"], unique=False)
    op.create_table(
        "work_item",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("sender", TEXT, nullable=False),
        sa.Column("message_type", TEXT, nullable=False),
        sa.Column("place", TEXT, nullable=False),
        sa.Column("text", TEXT, nullable=False),
        sa.Column("count", INT64, nullable=False),
        sa.Column("first_us", INT64, nullable=False),
        sa.Column("last_us", INT64, nullable=False),
        sa.Column("message", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
