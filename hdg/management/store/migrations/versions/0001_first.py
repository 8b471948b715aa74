"""First tables."""

from __future__ import annotations

from alembic import op
from sqlmodel import SQLModel

from hdg.management import audit
from hdg.management.consent import schema as consent_schema
from hdg.management.ledger import schema as ledger_schema
from hdg.management.store import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    SQLModel.metadata.create_all(op.get_bind())
