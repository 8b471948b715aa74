"""Whose a version is (its patients and institution), so that a version that was another's can be hidden.

The values are keyed hashes of what the sealed bodies say, so no statement here can make them: they stay NULL
(hidden) until the store is indexed anew, which the raised INDEX_VERSION brings about in the same start.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    scope = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("version", sa.Column("scope", scope, nullable=True))
