"""Which resources were made from a DICOM object: who may not see one of them does not see the object.

Of older objects it is not known (NULL); they are judged by all documents, reports and findings of their patient.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Adds them."""
    op.add_column("imaging_instance", sa.Column("made", INT64, nullable=True))
    op.create_table(
        "imaging_made",
        sa.Column("made", INT64, autoincrement=False, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("made", "type", "id"),
    )
