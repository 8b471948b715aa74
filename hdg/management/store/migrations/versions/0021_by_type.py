"""Resources of a type in order of creation: what no value leads to is read so, and most often not to its end.

SQLite went by the hashes of ids, and so from each resource to one anywhere else: 50 of 240,000 took two seconds.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.create_index("ix_resource_type", "resource", ["type", "rkey"], unique=False)
