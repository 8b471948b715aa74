"""References are followed from either end, and resources sorted by their texts: both are looked up by resource."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the indexes."""
    op.create_index("ix_resource_type_id_hash", "resource", ["type", "id_hash"], unique=False)
    for table in ("idx_reference", "idx_string", "idx_uri"):
        op.create_index(f"ix_{table}_rkey", table, ["rkey", "param"], unique=False)
