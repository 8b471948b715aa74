"""``hdg verify --objects``: every DICOM object is read whole, and held against its leaf in the ledger. DESIGN §6.

The leaf commits to the SHA-256 of the object's data set (without preamble and group 0002) with the salt of the object's
row (store/imaging.py). It takes as long as reading the vault, so it is asked for by name;
200 bytes of memory an object.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

from sqlalchemy import Connection, FromClause, func, select

from hdg.errors import HdgError
from hdg.fhir import json
from hdg.management.ledger.recompute import Findings, stored
from hdg.management.ledger.schema import LedgerLeaf
from hdg.management.ledger.verify import Progress
from hdg.management.store.imaging_schema import ImagingInstance
from hdg.management.store.read import Reader

__all__ = ["check_objects"]

_PAGE = 1_024
_CHUNK = 1 << 20
_FINDINGS_MAX = 1_000
_GROUP, _HEAD_MAX = 144, 64 * 1024
"""Where the elements of group 0002 begin behind its length, and where they end at the latest."""
_LONG = tuple(b"OB OW UN UT SQ OD OF OL OV UC UR SV UV".split())
"""Value representations with 12 bytes in front of the value, not 8."""
_LEAF: FromClause = LedgerLeaf.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_ROWS: FromClause = ImagingInstance.__table__  # type: ignore[attr-defined]


def check_objects(
    connection: Connection, reader: Reader, progress: Progress | None = None
) -> tuple[int, Findings]:
    """How many objects are as the ledger has them, and what is not right with the others.

    What comes meanwhile is no finding: an object's row and leaf are committed together, and rows are counted first.
    """
    findings = Findings(_FINDINGS_MAX)
    newest = connection.execute(select(func.max(_ROWS.c.inkey))).scalar() or 0
    committed, erased = _committed(connection)
    count = sound = 0
    for row in _rows(connection):
        count += 1
        if progress is not None and count % 64 == 0:
            progress("objects", count)
        place = f"Object/{row.blob}"
        leaf = committed.pop(str(row.blob), None)
        if leaf is None:
            if row.inkey <= newest:
                findings.add("object-without-leaf", place, "the ledger has no leaf of it")
            continue
        commitment, subject = leaf
        problem = _problem(reader, row, commitment)
        if not problem:
            sound += 1
        elif subject not in erased:
            findings.add(problem[0], place, problem[1])
    for cid, (_, subject) in committed.items():
        if subject not in erased:
            findings.add("object-missing", f"Object/{cid}", "its leaf has no stored object")
    return sound, findings


def _committed(connection: Connection) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """CID → (commitment, subject) of every object's leaf; the subjects that were erased."""
    found: dict[str, tuple[str, str]] = {}
    erased: set[str] = set()
    after = -1
    while True:
        query = select(_LEAF).where(_LEAF.c.leaf_index > after).order_by(_LEAF.c.leaf_index).limit(_PAGE)
        page = connection.execute(query).all()
        for row in page:
            entry = stored(row.entry)
            if b'"object"' not in entry and b'"erasure"' not in entry:
                continue
            try:
                leaf: Any = json.loads(entry)
                kind, key, subject = leaf["kind"], str(leaf["key"]), str(leaf["subject"])
            except (ValueError, KeyError, TypeError, HdgError):
                continue  # the ledger's verifier names it
            if kind == "erasure":
                erased.add(subject)
            elif kind == "object" and key.startswith("Object/"):
                found[key.removeprefix("Object/")] = str(leaf.get("commitment")), subject
        if len(page) < _PAGE:
            return found, erased
        after = page[-1].leaf_index


def _rows(connection: Connection) -> Iterator[Any]:
    columns = _ROWS.c.inkey, _ROWS.c.blob, _ROWS.c.key_code, _ROWS.c.facts
    after = 0
    while True:
        query = select(*columns).where(_ROWS.c.inkey > after).order_by(_ROWS.c.inkey).limit(_PAGE)
        page = connection.execute(query).all()
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].inkey


def _problem(reader: Reader, row: Any, commitment: str) -> tuple[str, str] | None:
    """Code and text of what is wrong with a stored object; None: nothing."""
    try:
        salt = reader.open_row(row.key_code, stored(row.facts), f"imaging_instance/{row.inkey}").salt
        with reader.blob_open(row.blob) as source:
            digest = _digest(source)
    except (HdgError, OSError) as error:
        return "object-unreadable", f"it does not open ({type(error).__name__}), and no erasure is recorded"
    if hmac.new(salt, digest, "sha256").hexdigest() != commitment:
        return "object-changed", "its data set is not the one that its leaf commits to"
    return None


def _digest(source: BufferedIOBase) -> bytes:
    """SHA-256 of the data set."""
    source.seek(_data_set_at(source.read(_HEAD_MAX)))
    digest = hashlib.sha256()
    while piece := source.read(_CHUNK):
        digest.update(piece)
    return digest.digest()


def _data_set_at(head: bytes) -> int:
    """Where it begins: behind group 0002, if its length is the one that it states (PS3.10 §7.1); else 0."""
    if head[128:140] != b"DICM\x02\0\0\0UL\x04\0":
        return 0
    at, end = _GROUP, _GROUP + int.from_bytes(head[140:_GROUP], "little")
    while at < end and head[at : at + 2] == b"\x02\0":
        if head[at + 4 : at + 6] in _LONG:
            at += 12 + int.from_bytes(head[at + 8 : at + 12], "little")
        else:
            at += 8 + int.from_bytes(head[at + 6 : at + 8], "little")
    return end if at == end <= len(head) else 0
