"""The dates of the search index that cover more than a day have an index by their end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    is_wide = sa.text("hi - lo > 86400000000")
    op.create_index(
        "ix_idx_date_wide",
        "idx_date",
        ["param", "hi"],
        unique=False,
        sqlite_where=is_wide,
        postgresql_where=is_wide,
    )
