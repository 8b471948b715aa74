"""An access that concerned many patients: one sealed AuditEvent and one leaf, and a small entry for each patient.

DESIGN §6; IHE BALP (audit.py) asks for one AuditEvent for each patient. A search whose fifty hits belong to
fifty patients would seal, hash and store the same facts fifty times. Here they are sealed once, under a key that
is wrapped by the key of each patient: ``events_of`` makes the AuditEvent of any of them, which names that patient
and no other. Who has one patient's key opens that patient's event; destroying it takes the event from that
patient's record, and the facts are gone with the last of the keys.

The leaf (kind ``accesses``) commits to the sealed facts, and to the patients by a tag of each: a hash of the patient's
random code and the event's id, so that nobody finds a patient in it who does not know that code, and nobody can add or
take away one. Who has the leaf, the code, the facts and their salt can check that the access is in the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlmodel import Field, SQLModel

from hdg.management import vault
from hdg.management.audit import Event, person
from hdg.management.ledger.leaf import commit, encode

__all__ = [
    "PATIENTS_MAX",
    "AuditAccess",
    "AuditPatient",
    "Rows",
    "events_of",
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
Open = Callable[[str, bytes, str], bytes]
"""(owner code, sealed bytes, ``AuditEvent/id``) → the event's JSON. Raises VaultError."""
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
_SINGLE = text("SELECT id, at_us, body FROM audit_event WHERE patient = :patient ORDER BY at_us, id")
_CODE = text("SELECT code FROM owner_key WHERE kind = 'patient' AND owner = :patient")
_SHARED = text(
    "WITH RECURSIVE b (n) AS (SELECT min(bucket) FROM audit_patient UNION ALL "
    "SELECT (SELECT min(bucket) FROM audit_patient WHERE bucket > b.n) FROM b WHERE b.n IS NOT NULL) "
    "SELECT a.id, a.at_us, a.body, p.wrapped FROM b "
    "JOIN audit_patient p ON p.bucket = b.n AND p.code = :code "
    "JOIN audit_access a ON a.leaf_index = p.leaf_index ORDER BY a.leaf_index"
)


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


def events_of(connection: Connection, patient: str, open_: Open) -> Iterator[dict[str, Any]]:
    """The AuditEvents (R4) about a patient, oldest first. Raises VaultError after an erasure."""
    code = connection.execute(_CODE, {"patient": patient}).scalar()
    if code is not None:
        alone, shared = _alone(connection, patient, code, open_), _shared(connection, patient, code, open_)
        yield from map(itemgetter(1), merge(alone, shared, key=itemgetter(0)))


def _alone(
    connection: Connection, patient: str, code: str, open_: Open
) -> Iterator[tuple[int, dict[str, Any]]]:
    for id_, at_us, body in connection.execute(_SINGLE, {"patient": patient}):
        yield at_us, orjson.loads(open_(code, bytes(body), f"AuditEvent/{id_}"))


def _shared(
    connection: Connection, patient: str, code: str, open_: Open
) -> Iterator[tuple[int, dict[str, Any]]]:
    for id_, at_us, body, wrapped in connection.execute(_SHARED, {"code": code}):
        sealed = vault.joined(bytes(body), bytes(wrapped))
        event = orjson.loads(open_(code, sealed, f"AuditEvent/{id_}"))
        event["id"] = f"{id_}-{tag(code, id_)}"
        event["entity"].insert(0, person(patient))
        yield at_us, event
