"""The outbox: messages on their way to other systems."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Adds it."""
    op.create_table(
        "outbox",
        sa.Column("okey", INT64, nullable=False, autoincrement=True),
        sa.Column("destination", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("blob", TEXT, nullable=False),
        sa.Column("message", INT64, nullable=False),
        sa.Column("sender", TEXT, nullable=False),
        sa.Column("message_type", TEXT, nullable=False),
        sa.Column("control_id", TEXT, nullable=False),
        sa.Column("size", INT64, nullable=False),
        sa.Column("created_us", INT64, nullable=False),
        sa.Column("tries", INT64, nullable=False),
        sa.Column("refusals", INT64, nullable=False),
        sa.Column("changed_us", INT64, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("okey"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_lane", "outbox", ["destination", "status", "okey"], unique=False)
    op.create_index("ix_outbox_status", "outbox", ["status", "created_us"], unique=False)
