"""History of a type and of the whole server: versions in the order in which they were committed."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.create_index("ix_version_leaf", "version", ["leaf_index", "type"], unique=False)
