"""The first tables: store, search index, ledger, access. A test holds them equal to the declared models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Makes all tables."""
    _store()
    _index()
    _ledger()
    _access()


def _store() -> None:
    op.create_table(
        "blob",
        sa.Column("bkey", INT64, nullable=False),
        sa.Column("cid", TEXT, nullable=False),
        sa.Column("key_code", TEXT, nullable=False),
        sa.Column("size", INT64, nullable=False),
        sa.Column("created_us", INT64, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("bkey"),
        sa.UniqueConstraint("cid"),
    )
    op.create_table(
        "inbox",
        sa.Column("ikey", INT64, nullable=False),
        sa.Column("sender", TEXT, nullable=False),
        sa.Column("control_id", TEXT, nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("received_us", INT64, nullable=False),
        sa.Column("blob", TEXT, nullable=False),
        sa.Column("ack", sa.LargeBinary(), nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("place", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("ikey"),
    )
    op.create_index("ix_inbox_message", "inbox", ["sender", "control_id"], unique=False)
    op.create_table(
        "owner_key",
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("wrapped_kek", sa.LargeBinary(), nullable=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_private_key", sa.LargeBinary(), nullable=True),
        sa.Column("created_us", INT64, nullable=False),
        sa.Column("destroyed_us", INT64, nullable=True),
        sa.PrimaryKeyConstraint("kind", "owner"),
        sa.UniqueConstraint("code"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "resource",
        sa.Column("rkey", INT64, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_us", INT64, nullable=False),
        sa.Column("institution", TEXT, nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("patient", TEXT, nullable=True),
        sa.Column("patients", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("rkey"),
        sa.UniqueConstraint("type", "id", name="uq_resource_type_id"),
    )
    op.create_index("ix_resource_type_updated", "resource", ["type", "updated_us", "rkey"], unique=False)
    op.create_table(
        "store_meta",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "compartment",
        sa.Column("rkey", INT64, nullable=False),
        sa.Column("patient", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["rkey"],
            ["resource.rkey"],
        ),
        sa.PrimaryKeyConstraint("rkey", "patient"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_compartment_patient", "compartment", ["patient", "rkey"], unique=False)
    op.create_table(
        "version",
        sa.Column("rkey", INT64, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("updated_us", INT64, nullable=False),
        sa.Column("institution", TEXT, nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("patient_code", TEXT, nullable=False),
        sa.Column("leaf_index", INT64, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rkey"],
            ["resource.rkey"],
        ),
        sa.PrimaryKeyConstraint("rkey", "version"),
    )


def _index() -> None:
    op.create_table(
        "idx_composite",
        sa.Column("param", INT64, nullable=False),
        sa.Column("code", INT64, nullable=False),
        sa.Column("system", INT64, nullable=False),
        sa.Column("code2", INT64, nullable=False),
        sa.Column("system2", INT64, nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("lo", INT64, nullable=False),
        sa.Column("hi", INT64, nullable=False),
        sa.Column("text", TEXT, nullable=False),
        sa.Column("rkey", INT64, nullable=False),
        sa.PrimaryKeyConstraint(
            "param", "code", "system", "code2", "system2", "value", "lo", "hi", "text", "rkey"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idx_date",
        sa.Column("param", INT64, nullable=False),
        sa.Column("lo", INT64, nullable=False),
        sa.Column("hi", INT64, nullable=False),
        sa.Column("rkey", INT64, nullable=False),
        sa.PrimaryKeyConstraint("param", "lo", "hi", "rkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_idx_date_rkey", "idx_date", ["rkey", "param"], unique=False)
    op.create_table(
        "idx_number",
        sa.Column("param", INT64, nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("rkey", INT64, nullable=False),
        sa.PrimaryKeyConstraint("param", "value", "rkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_idx_number_rkey", "idx_number", ["rkey", "param"], unique=False)
    op.create_table(
        "idx_quantity",
        sa.Column("param", INT64, nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("code", INT64, nullable=False),
        sa.Column("system", INT64, nullable=False),
        sa.Column("rkey", INT64, nullable=False),
        sa.PrimaryKeyConstraint("param", "value", "code", "system", "rkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_idx_quantity_rkey", "idx_quantity", ["rkey", "param"], unique=False)
    op.create_table(
        "idx_reference",
        sa.Column("param", INT64, nullable=False),
        sa.Column("code", INT64, nullable=False),
        sa.Column("system", INT64, nullable=False),
        sa.Column("rkey", INT64, nullable=False),
        sa.PrimaryKeyConstraint("param", "code", "rkey", "system"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idx_string",
        sa.Column("param", INT64, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("exact", INT64, nullable=False),
        sa.Column("rkey", INT64, nullable=False),
        sa.PrimaryKeyConstraint("param", "value", "rkey", "exact"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idx_token",
        sa.Column("param", INT64, nullable=False),
        sa.Column("code", INT64, nullable=False),
        sa.Column("system", INT64, nullable=False),
        sa.Column("rkey", INT64, nullable=False),
        sa.PrimaryKeyConstraint("param", "code", "rkey", "system"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idx_uri",
        sa.Column("param", INT64, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("rkey", INT64, nullable=False),
        sa.PrimaryKeyConstraint("param", "value", "rkey"),
        sqlite_with_rowid=False,
    )


def _ledger() -> None:
    op.create_table(
        "ledger_checkpoint",
        sa.Column("size", INT64, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("parent", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", INT64, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "ledger_leaf",
        sa.Column("leaf_index", INT64, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index"),
    )
    op.create_table(
        "ledger_tile",
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("position", INT64, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position"),
    )


def _access() -> None:
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at_us", INT64, nullable=False),
        sa.Column("patient", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_audit_event_patient", "audit_event", ["patient", "at_us"], unique=False)
    op.create_table(
        "consent_rule",
        sa.Column("rkey", INT64, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("patient", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("start_us", INT64, nullable=False),
        sa.Column("end_us", INT64, nullable=False),
        sa.PrimaryKeyConstraint("rkey", "ordinal"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_consent_rule_patient", "consent_rule", ["patient", "kind"], unique=False)
    op.create_table(
        "revoked_token",
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("expires_us", INT64, nullable=False),
        sa.PrimaryKeyConstraint("token_id"),
    )
