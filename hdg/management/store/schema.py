"""The store's tables, declared with SQLModel (DESIGN §6). Hot paths use their Core tables, never the ORM.

Every key that the hot path touches is an integer: ``rkey`` numbers resources in order of creation and never
changes, ``param`` is a hash of (resource type, what is selected), ``code``/``system`` are keyed 64-bit hashes
(see index.py). Index tables are clustered on what is searched, then ``rkey``: one look-up finds all resources
with a value, or says whether one resource has it. What a message writes should lie on few pages, since each page
that it changes is written whole: references to one resource are neighbours whatever they say of it, and composites
of a code follow one another in order of creation. Values that are compared by range or sorted by need a second
index for the latter; so do references, which are followed from either end. A new version deletes exactly the
rows that the old version made. Texts, dates and numbers of the index lie in the clear (ranges and prefixes must
be comparable); identifiers, codes and references do not.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

__all__ = [
    "INDEX_TABLES",
    "Blob",
    "Compartment",
    "IdxComposite",
    "IdxDate",
    "IdxNumber",
    "IdxQuantity",
    "IdxReference",
    "IdxString",
    "IdxToken",
    "IdxUri",
    "Inbox",
    "Outbox",
    "OwnerKey",
    "Resource",
    "StoreMeta",
    "Version",
    "WorkItem",
]

KEY_END = 1 << 63
"""No key reaches it: what an operator may write is compared with it before a database is asked."""
_CLUSTERED = {"sqlite_with_rowid": False}
_IS_KEPT = text("blob <> ''")
_IS_RANGE = text("value < high")
_IS_WIDE = text("hi - lo > 86400000000")


def _int64(*, primary: bool = False, nullable: bool = False) -> Column[int]:
    """A 64-bit integer. SQLite's rowid alias needs the exact type INTEGER, which is 64-bit there anyway."""
    kind = BigInteger().with_variant(Integer(), "sqlite")
    return Column(kind, primary_key=primary, nullable=nullable, autoincrement=False)


def _rkey(*, primary: bool = True) -> Column[int]:
    kind = BigInteger().with_variant(Integer(), "sqlite")
    return Column(kind, ForeignKey("resource.rkey"), primary_key=primary, nullable=False, autoincrement=False)


def _code_point_text() -> TypeEngine[str]:
    """Text that both databases compare by code point, so that a prefix is a range."""
    return Text().with_variant(Text(collation="C"), "postgresql")


def _text(*, primary: bool = False) -> Column[str]:
    return Column(_code_point_text(), primary_key=primary, nullable=False)


class StoreMeta(SQLModel, table=True):
    """Facts about the database itself (such as the digest of the definitions that filled its index)."""

    __tablename__ = "store_meta"
    name: str = Field(sa_column=_text(primary=True))
    value: str = Field(sa_column=_text())


class Resource(SQLModel, table=True):
    """One row per resource: its current version. Consent predicates are written over these columns.

    ``patient``: id of the Patient when the resource is in exactly one patient compartment, else None;
    ``patients``: how many compartments it is in (0: no patient's). ``institution``: who sent the current
    version. ``id_hash``: the id as references to it have it in ``idx_reference.code``.
    """

    __tablename__ = "resource"
    __table_args__ = (
        UniqueConstraint("type", "id", name="uq_resource_type_id"),
        Index("ix_resource_type", "type", "rkey"),
        Index("ix_resource_type_updated", "type", "updated_us", "rkey"),
        Index("ix_resource_type_id_hash", "type", "id_hash"),
    )
    rkey: int = Field(sa_column=_int64(primary=True))
    type: str = Field(sa_column=_text())
    id: str = Field(sa_column=_text())
    version: int
    updated_us: int = Field(sa_column=_int64())
    institution: str = Field(sa_column=_text())
    deleted: bool
    patient: str | None = Field(default=None, sa_column=Column(_code_point_text(), nullable=True))
    patients: int
    id_hash: int | None = Field(default=None, sa_column=_int64(nullable=True))


class Version(SQLModel, table=True):
    """One row per version, never changed.

    ``body`` is the sealed envelope (vault.py); ``leaf_index`` its ledger leaf. ``scope``: keyed hash of the
    institution that sent it and of the patients it is about (values.scope_of); versions with another scope
    than the current one are hidden. NULL: not known, so hidden.
    """

    __tablename__ = "version"
    __table_args__ = (
        Index("ix_version_leaf", "leaf_index", "type"),
        Index("ix_version_type_leaf", "type", "leaf_index"),
    )
    rkey: int = Field(sa_column=_rkey())
    version: int = Field(primary_key=True)
    type: str = Field(sa_column=_text())
    id: str = Field(sa_column=_text())
    updated_us: int = Field(sa_column=_int64())
    institution: str = Field(sa_column=_text())
    deleted: bool
    patient_code: str = Field(sa_column=_text())
    leaf_index: int = Field(sa_column=_int64())
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    scope: int | None = Field(default=None, sa_column=_int64(nullable=True))


class Compartment(SQLModel, table=True):
    """Which patients a resource's current version is about (R4 compartmentdefinition-patient.html)."""

    __tablename__ = "compartment"
    __table_args__ = (Index("ix_compartment_patient", "patient", "rkey"), _CLUSTERED)
    rkey: int = Field(sa_column=_rkey())
    patient: str = Field(sa_column=_text(primary=True))


class OwnerKey(SQLModel, table=True):
    """The keys of a patient (``kind`` patient) or of an institution's other resources (``kind`` institution).

    ``code`` is random and the only name the ledger knows. ``wrapped_kek`` and ``wrapped_private_key``
    (Ed25519) are sealed by the root key; both are NULL after an erasure (``destroyed_us`` says when).
    """

    __tablename__ = "owner_key"
    __table_args__ = (_CLUSTERED,)
    kind: str = Field(sa_column=_text(primary=True))
    owner: str = Field(sa_column=_text(primary=True))
    code: str = Field(sa_column=Column(_code_point_text(), nullable=False, unique=True))
    wrapped_kek: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    public_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    wrapped_private_key: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    created_us: int = Field(sa_column=_int64())
    destroyed_us: int | None = Field(default=None, sa_column=_int64(nullable=True))


class Blob(SQLModel, table=True):
    """A vault object.

    ``data`` is NULL when the ciphertext lies in a file named by ``cid``. ``size``: ciphertext bytes. ``dek``: the
    wrapped key of an object that was sealed in a stream (vault_stream.py); NULL: the object holds its own.
    """

    __tablename__ = "blob"
    bkey: int = Field(sa_column=_int64(primary=True))
    cid: str = Field(sa_column=Column(_code_point_text(), nullable=False, unique=True))
    key_code: str = Field(sa_column=_text())
    size: int = Field(sa_column=_int64())
    created_us: int = Field(sa_column=_int64())
    data: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    dek: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))


class Inbox(SQLModel, table=True):
    """One row per received message: what it was, what became of it, and the acknowledgement that was sent.

    ``status``: accepted, quarantined, replayed (was in quarantine, accepted since), edited (another row
    holds the edited bytes). ``origin``: by what way it came (JSON, gateway.py), '' for none. ``blob``: the
    raw bytes in the vault, '' once retention has removed them (keep.py).
    """

    __tablename__ = "inbox"
    __table_args__ = (
        Index("ix_inbox_message", "sender", "control_id"),
        Index("ix_inbox_status", "status", "ikey"),
        Index("ix_inbox_kept", "received_us", sqlite_where=_IS_KEPT, postgresql_where=_IS_KEPT),
    )
    ikey: int = Field(sa_column=_int64(primary=True))
    sender: str = Field(sa_column=_text())
    control_id: str = Field(sa_column=_text())
    sha256: str = Field(sa_column=_text())
    status: str = Field(sa_column=_text())
    received_us: int = Field(sa_column=_int64())
    blob: str = Field(default="", sa_column=_text())
    ack: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    reason: str = Field(default="", sa_column=_text())
    place: str = Field(default="", sa_column=_text())
    origin: str = Field(default="", sa_column=Column(_code_point_text(), nullable=False, server_default=""))


class WorkItem(SQLModel, table=True):
    """Something that messages keep losing: one row for all of a sender, kind, message type, place and text.

    No patient's value is in it. ``status``: open, closed (opens again with the next loss), ignored.
    ``count``: messages; ``message``: ikey of the last one.
    """

    __tablename__ = "work_item"
    __table_args__ = (_CLUSTERED,)
    id: str = Field(sa_column=_text(primary=True))
    status: str = Field(sa_column=_text())
    kind: str = Field(sa_column=_text())
    sender: str = Field(sa_column=_text())
    message_type: str = Field(sa_column=_text())
    place: str = Field(sa_column=_text())
    text: str = Field(sa_column=_text())
    count: int = Field(sa_column=_int64())
    first_us: int = Field(sa_column=_int64())
    last_us: int = Field(sa_column=_int64())
    message: int = Field(sa_column=_int64())


class Outbox(SQLModel, table=True):
    """One row per message and destination (docs/outbox.md); ``okey`` is the order in which they go out.

    ``status``: queued, done, refused (parked after negative answers), dropped (by the operator). ``blob``:
    the bytes in the vault, the received message's own; ``message``: its ikey, 0 if it was not received.
    ``tries``: attempts; ``refusals``: negative answers among them; ``reason``: what the last one came to.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_lane", "destination", "status", "okey"),
        Index("ix_outbox_status", "status", "created_us"),
        {"sqlite_autoincrement": True},
    )
    okey: int | None = Field(
        default=None,
        sa_column=Column(
            BigInteger().with_variant(Integer(), "sqlite"),
            primary_key=True,
            nullable=False,
            autoincrement=True,
        ),
    )
    destination: str = Field(sa_column=_text())
    status: str = Field(sa_column=_text())
    blob: str = Field(sa_column=_text())
    message: int = Field(sa_column=_int64())
    sender: str = Field(sa_column=_text())
    message_type: str = Field(sa_column=_text())
    control_id: str = Field(sa_column=_text())
    size: int = Field(sa_column=_int64())
    created_us: int = Field(sa_column=_int64())
    tries: int = Field(sa_column=_int64())
    refusals: int = Field(sa_column=_int64())
    changed_us: int = Field(sa_column=_int64())
    reason: str = Field(sa_column=_text())


class IdxToken(SQLModel, table=True):
    """token: hash of the code, hash of the system (0: none)."""

    __tablename__ = "idx_token"
    __table_args__ = (PrimaryKeyConstraint("param", "code", "rkey", "system"), _CLUSTERED)
    param: int = Field(sa_column=_int64(primary=True))
    code: int = Field(sa_column=_int64(primary=True))
    system: int = Field(sa_column=_int64(primary=True))
    rkey: int = Field(sa_column=_int64(primary=True))


class IdxReference(SQLModel, table=True):
    """reference: hash of the id and of the type, or hash of an absolute URL and 0.

    Ordered by what is referred to; the second index leads to the rows of a resource, and to all of one ``param``.
    """

    __tablename__ = "idx_reference"
    __table_args__ = (
        PrimaryKeyConstraint("code", "param", "rkey", "system"),
        Index("ix_idx_reference_param", "param", "rkey"),
        _CLUSTERED,
    )
    param: int = Field(sa_column=_int64(primary=True))
    code: int = Field(sa_column=_int64(primary=True))
    system: int = Field(sa_column=_int64(primary=True))
    rkey: int = Field(sa_column=_int64(primary=True))


class IdxString(SQLModel, table=True):
    """string: folded text (lower case, no diacritics), and a hash of the exact text for ``:exact``."""

    __tablename__ = "idx_string"
    __table_args__ = (
        PrimaryKeyConstraint("param", "value", "rkey", "exact"),
        Index("ix_idx_string_rkey", "rkey", "param"),
        _CLUSTERED,
    )
    param: int = Field(sa_column=_int64(primary=True))
    value: str = Field(sa_column=_text(primary=True))
    exact: int = Field(sa_column=_int64(primary=True))
    rkey: int = Field(sa_column=_int64(primary=True))


class IdxUri(SQLModel, table=True):
    """uri: the exact text."""

    __tablename__ = "idx_uri"
    __table_args__ = (Index("ix_idx_uri_rkey", "rkey", "param"), _CLUSTERED)
    param: int = Field(sa_column=_int64(primary=True))
    value: str = Field(sa_column=_text(primary=True))
    rkey: int = Field(sa_column=_int64(primary=True))


class IdxDate(SQLModel, table=True):
    """date: first and last microsecond that the value covers by its precision, UTC.

    Those of more than a day (operators.DAY_US) have an index by their end.
    """

    __tablename__ = "idx_date"
    __table_args__ = (
        Index("ix_idx_date_rkey", "rkey", "param"),
        Index("ix_idx_date_wide", "param", "hi", sqlite_where=_IS_WIDE, postgresql_where=_IS_WIDE),
        _CLUSTERED,
    )
    param: int = Field(sa_column=_int64(primary=True))
    lo: int = Field(sa_column=_int64(primary=True))
    hi: int = Field(sa_column=_int64(primary=True))
    rkey: int = Field(sa_column=_int64(primary=True))


class IdxNumber(SQLModel, table=True):
    """number: the lowest and highest value that it may be (measures.py); most often both are one."""

    __tablename__ = "idx_number"
    __table_args__ = (Index("ix_idx_number_rkey", "rkey", "param"), _CLUSTERED)
    param: int = Field(sa_column=_int64(primary=True))
    value: float = Field(sa_column=Column(Float(53), primary_key=True))
    high: float = Field(sa_column=Column(Float(53), primary_key=True))
    rkey: int = Field(sa_column=_int64(primary=True))


class IdxQuantity(SQLModel, table=True):
    """quantity: lowest and highest value as for number, then the unit.

    ``code``: hash of the unit's code (or of the unit's text, then with system 0); ``system``: hash of its system.
    UCUM's units have a second row in canonical units (measures.py). Few rows are ranges; these have an index.
    """

    __tablename__ = "idx_quantity"
    __table_args__ = (
        Index("ix_idx_quantity_rkey", "rkey", "param"),
        Index("ix_idx_quantity_range", "param", "high", sqlite_where=_IS_RANGE, postgresql_where=_IS_RANGE),
        _CLUSTERED,
    )
    param: int = Field(sa_column=_int64(primary=True))
    value: float = Field(sa_column=Column(Float(53), primary_key=True))
    high: float = Field(sa_column=Column(Float(53), primary_key=True))
    code: int = Field(sa_column=_int64(primary=True))
    system: int = Field(sa_column=_int64(primary=True))
    rkey: int = Field(sa_column=_int64(primary=True))


class IdxComposite(SQLModel, table=True):
    """composite: one row per tuple; columns that a parameter's components do not use hold 0 or ''.

    Ordered as tokens are, by the first component's code, which most have.
    """

    __tablename__ = "idx_composite"
    __table_args__ = (
        PrimaryKeyConstraint(
            "param", "code", "rkey", "system", "code2", "system2", "value", "high", "lo", "hi", "text"
        ),
        _CLUSTERED,
    )
    param: int = Field(sa_column=_int64(primary=True))
    code: int = Field(sa_column=_int64(primary=True))
    system: int = Field(sa_column=_int64(primary=True))
    code2: int = Field(sa_column=_int64(primary=True))
    system2: int = Field(sa_column=_int64(primary=True))
    value: float = Field(sa_column=Column(Float(53), primary_key=True))
    high: float = Field(sa_column=Column(Float(53), primary_key=True))
    lo: int = Field(sa_column=_int64(primary=True))
    hi: int = Field(sa_column=_int64(primary=True))
    text: str = Field(sa_column=_text(primary=True))
    rkey: int = Field(sa_column=_int64(primary=True))


INDEX_TABLES: tuple[type[SQLModel], ...] = (
    IdxToken,
    IdxReference,
    IdxString,
    IdxUri,
    IdxDate,
    IdxNumber,
    IdxQuantity,
    IdxComposite,
)
