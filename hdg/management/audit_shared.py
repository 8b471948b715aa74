"""An access that concerned many patients: one sealed AuditEvent and one leaf, and a small entry for each patient.

DESIGN §6; IHE BALP (audit.py) asks for one AuditEvent for each patient. A search whose fifty hits belong to
fifty patients would seal, hash and store the same facts fifty times. Here they are sealed once, under a key that
is wrapped by the key of each patient: ``audit_read.event_of`` makes the AuditEvent of any of them, which names that
patient and no other. Who has one patient's key opens that patient's event; destroying it takes the event from that
patient's record, and the facts are gone with the last of the keys.

The leaf (kind ``accesses``) commits to the sealed facts, and to the patients by a tag of each: a hash of the patient's
random code and the event's id, so that nobody finds a patient in it who does not know that code, and nobody can add or
take away one. Who has the leaf, the code, the facts and their salt can check that the access is in the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlmodel import Field, SQLModel

from hdg.management.audit import Event
from hdg.management.ledger.leaf import commit, encode

__all__ = [
    "BUCKET_BITS",
    "PATIENTS_MAX",
    "AuditAccess",
    "AuditPatient",
    "Rows",
    "shared_leaf",
    "shared_rows",
    "tag",
]

PATIENTS_MAX = 1_024
"""Of one leaf, which has 25 bytes for each; an entry of the ledger has at most 65,535."""
BUCKET_BITS = 6
"""Entries of 64 leaves lie together, by patient. One index over all would have a page of its own for nearly every entry
of a search; this way new entries share a few pages, and a patient's are found by one look-up for every 64 leaves.
"""
_TAG_BYTES = 12
Rows = Callable[[int], Iterable[tuple[Table, list[tuple[Any, ...]]]]]


def _int64() -> Column[int]:
    kind = BigInteger().with_variant(Integer(), "sqlite")
    return Column(kind, nullable=False, autoincrement=False)


def _text() -> Column[str]:
    return Column(Text().with_variant(Text(collation="C"), "postgresql"), nullable=False)


class AuditAccess(SQLModel, table=True):
    """What the AuditEvents of one access share. ``leaf_index``: of its leaf; ``body``: sealed (vault.seal_together)."""

    __tablename__ = "audit_access"
    __table_args__ = (PrimaryKeyConstraint("leaf_index"),)
    leaf_index: int = Field(sa_column=_int64())
    id: str = Field(sa_column=_text())
    at_us: int = Field(sa_column=_int64())
    agent: str = Field(sa_column=_text())
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class AuditPatient(SQLModel, table=True):
    """A patient of an access. ``bucket``: of ``leaf_index``; ``code``: the patient's; ``wrapped``: the key."""

    __tablename__ = "audit_patient"
    __table_args__ = (
        PrimaryKeyConstraint("bucket", "code", "leaf_index"),
        {"sqlite_with_rowid": False},
    )
    bucket: int = Field(sa_column=_int64())
    code: str = Field(sa_column=_text())
    leaf_index: int = Field(sa_column=_int64())
    wrapped: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


_ACCESS: Table = AuditAccess.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_PATIENT: Table = AuditPatient.__table__  # type: ignore[attr-defined]


def tag(code: str, event_id: str) -> str:
    """How the leaf of an access names a patient: 24 hex digits."""
    return hashlib.sha256(f"{code}/{event_id}".encode()).hexdigest()[: 2 * _TAG_BYTES]


def shared_leaf(event: Event, salt: bytes, codes: Sequence[str], *, institution: str, at_us: int) -> bytes:
    """The leaf of an event about nobody by itself, for the patients with these codes."""
    tags = " ".join(sorted([tag(code, event.id) for code in codes]))
    return encode("accesses", tags, f"AuditEvent/{event.id}", 0, institution, at_us, commit(salt, event.data))


def shared_rows(
    event: Event, shared: bytes, keys: Sequence[tuple[str, bytes]], *, agent: str, at_us: int
) -> Rows:
    """The rows of an access, once the index of its leaf is known. ``keys``: (code, wrapped key) of each patient."""

    def rows(leaf_index: int) -> Iterable[tuple[Table, list[tuple[Any, ...]]]]:
        bucket = leaf_index >> BUCKET_BITS
        yield _ACCESS, [(leaf_index, event.id, at_us, agent, shared)]
        yield _PATIENT, [(bucket, code, leaf_index, wrapped) for code, wrapped in keys]

    return rows
