"""The tables of DICOM objects, declared with SQLModel as schema.py declares the others.

UIDs lie there as keyed hashes (values.hasher); what an instance is (UIDs, numbers, titles, its digest) is sealed under
the key of its patient.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

from hdg.management.store.schema import _int64

__all__ = ["ImagingCommitment", "ImagingDue", "ImagingInstance", "ImagingMade"]


def _text() -> TypeEngine[str]:
    return Text().with_variant(Text(collation="C"), "postgresql")


class ImagingInstance(SQLModel, table=True):
    """One row per SOP instance of an institution; never changed.

    ``sop``, ``series``, ``study``: keyed hashes of the UIDs. ``imaging_study``: id of the ImagingStudy that the
    instance belongs to; the consent predicate is asked of that resource. ``patient``: id of the Patient whose key
    seals it, NULL: the institution's does. ``blob``: CID of the Part 10 file in the vault, ``size``: its plaintext
    bytes. ``facts``: sealed JSON (imaging.py), opened by ``key_code``. ``made``: names the set of resources that were
    made from it (ImagingMade); 0: none, NULL: it is not known, for it came before that was noted.
    """

    __tablename__ = "imaging_instance"
    __table_args__ = (
        UniqueConstraint("sop", "institution", name="uq_imaging_instance_sop"),
        Index("ix_imaging_instance_uids", "study", "series", "sop"),
        Index("ix_imaging_instance_study", "imaging_study", "inkey"),
    )
    inkey: int = Field(sa_column=_int64(primary=True))
    sop: int = Field(sa_column=_int64())
    series: int = Field(sa_column=_int64())
    study: int = Field(sa_column=_int64())
    imaging_study: str = Field(sa_column=Column(_text(), nullable=False))
    institution: str = Field(sa_column=Column(_text(), nullable=False))
    patient: str | None = Field(default=None, sa_column=Column(_text(), nullable=True))
    sop_class: str = Field(sa_column=Column(_text(), nullable=False))
    transfer_syntax: str = Field(sa_column=Column(_text(), nullable=False))
    blob: str = Field(sa_column=Column(_text(), nullable=False))
    size: int = Field(sa_column=_int64())
    received_us: int = Field(sa_column=_int64())
    key_code: str = Field(sa_column=Column(_text(), nullable=False))
    facts: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    made: int | None = Field(default=None, sa_column=_int64(nullable=True))


class ImagingMade(SQLModel, table=True):
    """Sets of resources that are about the patient and were made from one object; many slices share one.

    ``made``: keyed hash of the set.
    """

    __tablename__ = "imaging_made"
    made: int = Field(sa_column=_int64(primary=True))
    type: str = Field(sa_column=Column(_text(), primary_key=True, nullable=False))
    id: str = Field(sa_column=Column(_text(), primary_key=True, nullable=False))


class ImagingDue(SQLModel, table=True):
    """A study whose ImagingStudy is to be made anew from all its rows.

    Set in the transaction that adds an instance; ``generation`` counts those, so that a mark is only removed when
    nothing was added since it was read.
    """

    __tablename__ = "imaging_due"
    imaging_study: str = Field(sa_column=Column(_text(), primary_key=True, nullable=False))
    first_us: int = Field(sa_column=_int64())
    changed_us: int = Field(sa_column=_int64())
    generation: int = Field(sa_column=_int64())


class ImagingCommitment(SQLModel, table=True):
    """A storage commitment whose outcome is promised to somebody who has not taken the report yet.

    ``calling``, ``called``: AE titles of the association that asked. ``due_us``: when it is to be sent (again), after
    ``tries``. ``request``: what was asked (imaging_commitment.py), sealed under the institution's key.
    """

    __tablename__ = "imaging_commitment"
    ckey: int = Field(sa_column=_int64(primary=True))
    calling: str = Field(sa_column=Column(_text(), nullable=False))
    called: str = Field(sa_column=Column(_text(), nullable=False))
    created_us: int = Field(sa_column=_int64())
    due_us: int = Field(sa_column=_int64())
    tries: int = Field(sa_column=_int64())
    key_code: str = Field(sa_column=Column(_text(), nullable=False))
    request: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
