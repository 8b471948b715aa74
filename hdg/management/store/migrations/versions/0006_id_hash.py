"""What references have of a resource's id, so that a search can follow them in both directions.

The values are keyed hashes, so no statement here can make them: they stay NULL (nothing leads there) until the
store is indexed anew, which the raised INDEX_VERSION brings about in the same start.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("resource", sa.Column("id_hash", number, nullable=True))
