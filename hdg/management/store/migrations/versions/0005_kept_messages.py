"""Retention finds the messages whose raw bytes are still there by the time they were received."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    kept = sa.text("blob <> ''")
    op.create_index(
        "ix_inbox_kept", "inbox", ["received_us"], unique=False, sqlite_where=kept, postgresql_where=kept
    )
