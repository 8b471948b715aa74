"""DICOM instances, studies whose ImagingStudy is due, the keys of vault objects that were sealed in a stream."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Adds them."""
    op.add_column("blob", sa.Column("dek", sa.LargeBinary(), nullable=True))
    op.create_table(
        "imaging_instance",
        sa.Column("inkey", INT64, autoincrement=False, nullable=False),
        sa.Column("sop", INT64, nullable=False),
        sa.Column("series", INT64, nullable=False),
        sa.Column("study", INT64, nullable=False),
        sa.Column("imaging_study", TEXT, nullable=False),
        sa.Column("institution", TEXT, nullable=False),
        sa.Column("patient", TEXT, nullable=True),
        sa.Column("sop_class", TEXT, nullable=False),
        sa.Column("transfer_syntax", TEXT, nullable=False),
        sa.Column("blob", TEXT, nullable=False),
        sa.Column("size", INT64, nullable=False),
        sa.Column("received_us", INT64, nullable=False),
        sa.Column("key_code", TEXT, nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("inkey"),
        sa.UniqueConstraint("sop", "institution", name="uq_imaging_instance_sop"),
    )
    op.create_index("ix_imaging_instance_uids", "imaging_instance", ["study", "series", "sop"], unique=False)
    op.create_index("ix_imaging_instance_study", "imaging_instance", ["imaging_study", "inkey"], unique=False)
    op.create_table(
        "imaging_due",
        sa.Column("imaging_study", TEXT, nullable=False),
        sa.Column("first_us", INT64, nullable=False),
        sa.Column("changed_us", INT64, nullable=False),
        sa.Column("generation", INT64, nullable=False),
        sa.PrimaryKeyConstraint("imaging_study"),
    )
