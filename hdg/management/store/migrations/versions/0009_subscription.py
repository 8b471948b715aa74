"""Subscriptions: how far each has come, whose it is, and the events that it was told of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Adds them."""
    op.create_table(
        "subscription",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("written", sa.Integer(), nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("done_leaf", INT64, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_us", INT64, nullable=False),
        sa.Column("epoch", INT64, nullable=False),
        sa.Column("owner_code", TEXT, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "subscription_event",
        sa.Column("subscription", TEXT, nullable=False),
        sa.Column("number", INT64, nullable=False),
        sa.Column("leaf_index", INT64, nullable=False),
        sa.Column("at_us", INT64, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("resource", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subscription", "number"),
    )
    columns = ["subscription", "leaf_index"]
    op.create_index("ix_subscription_event_leaf", "subscription_event", columns, unique=True)
