"""Texts of consent rules collate as those of all other tables: else PostgreSQL finds no rule by its patient.

https://www.postgresql.org/docs/current/collation.html: an index is of one collation, and what a patient is called in
``compartment`` has "C". With 450,000 rules a read took 0.8 s.
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_COLUMNS = ("patient", "kind", "role", "actor", "purpose", "action", "class")


def upgrade() -> None:
    """Changes them, and builds the index of patients anew; the table itself is not rewritten."""
    if op.get_bind().dialect.name == "postgresql":
        changes = ", ".join(f'ALTER COLUMN "{name}" TYPE text COLLATE "C"' for name in _COLUMNS)
        op.execute(f"ALTER TABLE consent_rule {changes}")
