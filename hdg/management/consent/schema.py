"""The table of compiled consent rules: what ``sql.predicate`` reads. Derived data; Consent resources are the
source.

A rule's sets (actors, purposes, actions, classes) are multiplied out, one row per combination; ``*`` stands
for any. Rows are keyed by the Consent's ``rkey`` and replaced whole when a new version of the Consent is
written.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Text
from sqlmodel import Field, SQLModel

__all__ = ["ANY", "ConsentRuleRow"]

ANY = "*"


def _int64(*, primary: bool = False) -> Column[int]:
    kind = BigInteger().with_variant(Integer(), "sqlite")
    return Column(kind, primary_key=primary, nullable=False, autoincrement=False)


def _text(name: str | None = None) -> Column[str]:
    """As the store's tables have it: PostgreSQL compares texts of two collations without any index."""
    return Column(name, Text().with_variant(Text(collation="C"), "postgresql"), nullable=False)


class ConsentRuleRow(SQLModel, table=True):
    """One combination of one rule. ``kind``: see rules.ConsentRule; ``start_us`` ≤ t < ``end_us``."""

    __tablename__ = "consent_rule"
    __table_args__ = (Index("ix_consent_rule_patient", "patient", "kind"), {"sqlite_with_rowid": False})
    rkey: int = Field(sa_column=_int64(primary=True))
    ordinal: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    patient: str = Field(sa_column=_text())
    kind: str = Field(sa_column=_text())
    role: str = Field(sa_column=_text())
    actor: str = Field(sa_column=_text())
    purpose: str = Field(sa_column=_text())
    action: str = Field(sa_column=_text())
    class_: str = Field(sa_column=_text("class"))
    start_us: int = Field(sa_column=_int64())
    end_us: int = Field(sa_column=_int64())
