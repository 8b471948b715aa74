"""Reports of storage commitment that are promised and not taken yet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Adds them."""
    op.create_table(
        "imaging_commitment",
        sa.Column("ckey", INT64, autoincrement=False, nullable=False),
        sa.Column("calling", TEXT, nullable=False),
        sa.Column("called", TEXT, nullable=False),
        sa.Column("created_us", INT64, nullable=False),
        sa.Column("due_us", INT64, nullable=False),
        sa.Column("tries", INT64, nullable=False),
        sa.Column("key_code", TEXT, nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ckey"),
    )
