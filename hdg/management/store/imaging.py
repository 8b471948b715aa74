"""DICOM objects in the store: one row each, what the ledger says of them, and the studies that are due.

DESIGN §6. An object's leaf has kind ``object``, key ``Object/<CID>`` (of the ciphertext) and, as commitment,
HMAC-SHA-256 under the row's salt of the SHA-256 of the data set (without preamble and group 0002, which are of the
transfer). Reading for listings and downloads: ``listed`` (who may see what: imaging_made.py) and ``Reader.blob_open``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, select

from hdg.fhir.json import dumps, loads
from hdg.management.ledger.leaf import Leaf, commit
from hdg.management.store import imaging_made, schema
from hdg.management.store.batch import table_of
from hdg.management.store.imaging_schema import ImagingDue, ImagingInstance
from hdg.management.store.read import Reader
from hdg.management.store.session import WriteSession
from hdg.management.store.values import Hash
from hdg.management.vault_stream import Stored

__all__ = [
    "PAGE",
    "Due",
    "Instance",
    "NewInstance",
    "StoredInstance",
    "add",
    "due",
    "due_one",
    "find",
    "generation",
    "held",
    "instances",
    "listed",
    "open_facts",
    "settle",
]

_ROWS = table_of(ImagingInstance)
_DUE = table_of(ImagingDue)
_BLOB = table_of(schema.Blob)
_RESOURCE = table_of(schema.Resource)
PAGE = 1000
"""Rows read at a time."""
_MARK = (
    "INSERT INTO imaging_due (imaging_study, first_us, changed_us, generation) VALUES (?, ?, ?, 1) "
    "ON CONFLICT (imaging_study) DO UPDATE SET changed_us = excluded.changed_us, "
    "generation = imaging_due.generation + 1"
)
_FIND = (
    "SELECT inkey, key_code, facts, sop_class, imaging_study FROM imaging_instance "
    "WHERE sop = ? AND institution = ?"
)
_SETTLE = "DELETE FROM imaging_due WHERE imaging_study = ? AND generation = ?"


@dataclass(frozen=True, slots=True)
class NewInstance:
    """What is stored of an instance. ``sha256``: of the data set, hex. ``facts``: JSON texts by name.

    ``patient``: id of the Patient; None: the institution's key seals it. ``made``: (type, id) of the resources about
    the patient that were made from it.
    """

    sop_uid: str
    series_uid: str
    study_uid: str
    imaging_study: str
    institution: str
    patient: str | None
    sop_class: str
    transfer_syntax: str
    sha256: str
    size: int
    facts: dict[str, str] = field(repr=False)
    made: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance that is there already."""

    sha256: str
    sop_class: str
    imaging_study: str


@dataclass(frozen=True, slots=True)
class Instance:
    """A row of imaging_schema.ImagingInstance; ``sealed`` is opened by ``open_facts``."""

    inkey: int
    imaging_study: str
    institution: str
    patient: str | None
    sop_class: str
    transfer_syntax: str
    blob: str
    size: int
    received_us: int
    key_code: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Due:
    """A study whose ImagingStudy is to be made anew."""

    imaging_study: str
    first_us: int
    changed_us: int
    generation: int


# --- writing ----------------------------------------------------------------------------------------------------


def find(session: WriteSession, hash_: Hash, sop_uid: str, institution: str) -> StoredInstance | None:
    """The instance that an institution has under this UID, also one that this group is about to write."""
    key = (hash_(sop_uid), institution)
    for table, row in session.batch.rows:
        if table is _ROWS and (row[1], row[5]) == key:
            return _known(session.open_row(row[12], row[13], _place(row[0])), row[7], row[4])
    row = session.fetch(_FIND, key)
    if row is None:
        return None
    inkey, code, sealed, sop_class, imaging_study = row
    return _known(session.open_row(code, bytes(sealed), _place(inkey)), sop_class, imaging_study)


def _known(body: bytes, sop_class: str, imaging_study: str) -> StoredInstance:
    return StoredInstance(loads(body)["sha256"], sop_class, imaging_study)


def add(session: WriteSession, hash_: Hash, new: NewInstance, content: bytes | Stored) -> None:
    """Stores an instance that ``find`` did not find: object, row, ledger leaf, and the mark of its study.

    ``content``: the Part 10 file, or the vault object that holds it.
    """
    inkey = session.next_key("imaging_instance", "inkey")
    if isinstance(content, Stored):
        cid = session.blob_adopt(content, patient=new.patient, institution=new.institution)
    else:
        cid = session.blob_put(content, patient=new.patient, institution=new.institution)
    body = dumps({"sha256": new.sha256, "facts": new.facts})
    code, salt, sealed = session.seal(body, _place(inkey), patient=new.patient, institution=new.institution)
    session.insert_later(
        _ROWS,
        (
            inkey,
            hash_(new.sop_uid),
            hash_(new.series_uid),
            hash_(new.study_uid),
            new.imaging_study,
            new.institution,
            new.patient,
            new.sop_class,
            new.transfer_syntax,
            cid,
            new.size,
            session.at_us,
            code,
            sealed,
            imaging_made.note(session, hash_, new.made),
        ),
    )
    commitment = commit(salt, bytes.fromhex(new.sha256))
    session.leaf(Leaf("object", code, f"Object/{cid}", 0, new.institution, session.at_us, commitment))
    if new.imaging_study:
        session.change_later(_MARK, (new.imaging_study, session.at_us, session.at_us))


def settle(session: WriteSession, done: Due) -> None:
    """The ImagingStudy is made: takes the mark away, unless something came since ``done`` was read."""
    session.change_later(_SETTLE, (done.imaging_study, done.generation))


def generation(session: WriteSession, imaging_study: str) -> int:
    """Of the study's mark as it is committed; 0 when there is none."""
    query = select(_DUE.c.generation).where(_DUE.c.imaging_study == imaging_study)
    return session.connection.execute(query).scalar() or 0


def _place(inkey: int) -> str:
    return f"imaging_instance/{inkey}"


# --- reading ----------------------------------------------------------------------------------------------------


def due(engine: Engine) -> list[Due]:
    """All studies that are due, longest waiting first."""
    with engine.connect() as connection:
        rows = connection.execute(select(_DUE).order_by(_DUE.c.first_us)).all()
    return [Due(*row) for row in rows]


def due_one(engine: Engine, imaging_study: str) -> Due | None:
    """The mark of one study."""
    with engine.connect() as connection:
        row = connection.execute(select(_DUE).where(_DUE.c.imaging_study == imaging_study)).first()
    return None if row is None else Due(*row)


_COLUMNS = (
    _ROWS.c.inkey,
    _ROWS.c.imaging_study,
    _ROWS.c.institution,
    _ROWS.c.patient,
    _ROWS.c.sop_class,
    _ROWS.c.transfer_syntax,
    _ROWS.c.blob,
    _ROWS.c.size,
    _ROWS.c.received_us,
    _ROWS.c.key_code,
    _ROWS.c.facts,
)


def instances(engine: Engine, imaging_study: str) -> Iterator[Instance]:
    """All rows of a study in the order in which they came, whoever asks: for the gateway's own work."""
    yield from _paged(engine, select(*_COLUMNS).where(_ROWS.c.imaging_study == imaging_study))


def listed(
    engine: Engine,
    predicate: ColumnElement[bool],
    *,
    hash_: Hash,
    study_uid: str = "",
    series_uid: str = "",
    sop_uid: str = "",
    imaging_study: str = "",
    page: int = PAGE,
) -> Iterator[Instance]:
    """Rows whose ImagingStudy the predicate (over ``resource``'s columns) shows, narrowed by what is given.

    Nor is an instance there of which something was made that the predicate hides.
    An instance whose ImagingStudy is not made yet, or is deleted, is not there; nor is one whose ImagingStudy is now
    another patient's or another institution's: like an old version, it shows what was under other consents.
    ``page``: rows read at a time.
    """
    is_study = and_(_RESOURCE.c.type == "ImagingStudy", _RESOURCE.c.id == _ROWS.c.imaging_study)
    is_as_sent = and_(
        _RESOURCE.c.institution == _ROWS.c.institution,
        _RESOURCE.c.patient.is_not_distinct_from(_ROWS.c.patient),
    )
    narrow: dict[str, int | str] = {
        name: hash_(uid)
        for name, uid in (("study", study_uid), ("series", series_uid), ("sop", sop_uid))
        if uid
    }
    if imaging_study:
        narrow["imaging_study"] = imaging_study
    query = select(*_COLUMNS).join(_RESOURCE, is_study)
    query = query.where(*(_ROWS.c[name] == value for name, value in narrow.items()))
    query = query.where(_RESOURCE.c.deleted.is_(False), is_as_sent, predicate)
    yield from _paged(engine, query.where(imaging_made.is_shown(predicate, narrow)), page)


def _paged(engine: Engine, query: Select[Any], size: int = PAGE) -> Iterator[Instance]:
    after = 0
    while True:
        page = query.where(_ROWS.c.inkey > after).order_by(_ROWS.c.inkey).limit(size)
        with engine.connect() as connection:
            rows = connection.execute(page).all()
        for row in rows:
            yield Instance(*row)
        if len(rows) < size:
            return
        after = rows[-1].inkey


def open_facts(reader: Reader, row: Instance) -> dict[str, str]:
    """What the instance stated, by name (ingestion/dicom/study.InstanceFacts); empty when it is of no study."""
    body = reader.open_row(row.key_code, row.sealed, _place(row.inkey)).body
    facts: dict[str, str] = loads(body)["facts"]
    return facts


def held(
    engine: Engine, hash_: Hash, institution: str, sop_uids: Sequence[str]
) -> dict[str, tuple[str, str, int, bool]]:
    """SOP Instance UID → (SOP class, CID, bytes in the vault, whether it lies in a file), of those that are there."""
    wanted = {hash_(uid): uid for uid in sop_uids}
    found: dict[str, tuple[str, str, int, bool]] = {}
    keys = list(wanted)
    columns = (_ROWS.c.sop, _ROWS.c.sop_class, _BLOB.c.cid, _BLOB.c.size, _BLOB.c.data.is_(None))
    with engine.connect() as connection:
        for at in range(0, len(keys), 500):
            query = select(*columns).join(_BLOB, _BLOB.c.cid == _ROWS.c.blob)
            query = query.where(_ROWS.c.sop.in_(keys[at : at + 500]), _ROWS.c.institution == institution)
            for sop, sop_class, cid, size, is_file in connection.execute(query):
                found[wanted[sop]] = sop_class, cid, size, bool(is_file)
    return found
