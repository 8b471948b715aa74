"""History of a type: its versions in the order in which they were committed, without a look at those of others."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.create_index("ix_version_type_leaf", "version", ["type", "leaf_index"], unique=False)
