"""Patients' AuditEvents in the order of time, by pages and spans of time, whichever way they were kept.

DESIGN §6; R4 auditevent.html. Events of one patient have a row each (audit.py); those of an access to several share one
(audit_shared.py). Both are found without reading other patients': the first by their index, the second by one look-up
for every 64 leaves in which there were such accesses. The ledger's time only grows, so the leaves of a span of time
are found by halving. What was sealed under a key that was destroyed is not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, bindparam, text

from hdg.management import vault
from hdg.management.audit import person
from hdg.management.audit_shared import BUCKET_BITS, tag

__all__ = ["ALWAYS", "Entry", "Open", "Record", "Span", "count", "entries", "event_of", "find", "records"]

JsonObject = dict[str, Any]
Open = Callable[[str, bytes, str], bytes]
"""(owner code, sealed bytes, ``AuditEvent/id``) → the event's JSON. Raises VaultError."""
_LAST = (1 << 62) - 1
_END = "zz"
"""After every id, which is made of hex digits."""
_FEW, _MANY = 64, 1_024
"""Rows of the first question, and of those that follow it."""
_WIDE = 1 << 16
"""Leaves that one question goes over."""
_SHARED_ID = re.compile(r"([0-9a-f]{32})-([0-9a-f]{24})\Z")
_TIME_DIGITS = 14
"""Of an id: the time (µs) in hex."""


@dataclass(frozen=True, slots=True)
class Record:
    """A patient, and the random code under which the patient's entries are kept."""

    patient: str
    code: str


@dataclass(frozen=True, slots=True)
class Span:
    """From ``first_us`` to ``last_us``, both inclusive (µs). ``after``: only what comes behind (time, id), in the order
    that is asked for; None: all.
    """

    first_us: int = 0
    last_us: int = _LAST
    after: tuple[int, str] | None = None


ALWAYS = Span()


class Entry(NamedTuple):
    """An event of a patient as it is kept. ``id``: of the patient's own event; ``name``: what it is sealed for."""

    at_us: int
    id: str
    name: str
    record: Record
    sealed: bytes

    @property
    def place(self) -> tuple[int, str]:
        """Its place in the order of time."""
        return self.at_us, self.id

    @property
    def is_milestone(self) -> bool:
        """Whether it is none, but where the search for entries has come to."""
        return not self.sealed


_RECORDS = text(
    "SELECT owner, code FROM owner_key WHERE kind = 'patient' AND wrapped_kek IS NOT NULL AND owner IN :patients"
).bindparams(bindparam("patients", expanding=True))
_OWNER = text(
    "SELECT owner FROM owner_key WHERE kind = 'patient' AND wrapped_kek IS NOT NULL AND code = :code"
)
_ALONE_COUNT = text("SELECT count(*) FROM audit_event WHERE patient = :patient AND at_us BETWEEN :lo AND :hi")
_ALONE_NAMED = text("SELECT at_us, id, patient, body FROM audit_event WHERE id = :id AND patient <> ''")
_NEWEST = text(
    "SELECT at_us, id, body FROM audit_event WHERE patient = :patient AND at_us BETWEEN :lo AND :hi "
    "AND (at_us < :hi OR id < :id) ORDER BY at_us DESC, id DESC LIMIT :most"
)
_OLDEST = text(
    "SELECT at_us, id, body FROM audit_event WHERE patient = :patient AND at_us BETWEEN :lo AND :hi "
    "AND (at_us > :lo OR id > :id) ORDER BY at_us, id LIMIT :most"
)
_BUCKETS = (
    "WITH RECURSIVE b (n) AS (SELECT min(bucket) FROM audit_patient WHERE bucket >= :low UNION ALL "
    "SELECT (SELECT min(bucket) FROM audit_patient WHERE bucket > b.n) FROM b WHERE b.n < :high) "
)
_OURS = "p.bucket = b.n AND p.code = :code AND p.leaf_index BETWEEN :first AND :last"
_SHARED_COUNT = text(f"{_BUCKETS}SELECT count(*) FROM b CROSS JOIN audit_patient p WHERE {_OURS}")  # noqa: S608  # our own text
_SHARED = (
    f"{_BUCKETS}SELECT p.leaf_index, a.at_us, a.id, a.body, p.wrapped FROM b CROSS JOIN audit_patient p "  # noqa: S608  # our own text
    f"CROSS JOIN audit_access a WHERE {_OURS} AND a.leaf_index = p.leaf_index ORDER BY p.leaf_index "
)
_SHARED_NEWEST, _SHARED_OLDEST = text(f"{_SHARED}DESC LIMIT :most"), text(f"{_SHARED}LIMIT :most")
_ENDS = text(
    "SELECT (SELECT min(leaf_index) FROM audit_access), (SELECT max(leaf_index) FROM audit_access)"
)  # one SELECT of both would read the whole table on SQLite
_FROM = text(
    "SELECT leaf_index, at_us, id, body FROM audit_access WHERE leaf_index >= :leaf ORDER BY leaf_index LIMIT 1"
)
_BEFORE = text("SELECT max(leaf_index) FROM audit_access WHERE leaf_index <= :leaf")
_AFTER = text("SELECT min(leaf_index) FROM audit_access WHERE leaf_index >= :leaf")
_KEYS = text("SELECT code, wrapped FROM audit_patient WHERE bucket = :bucket AND leaf_index = :leaf")


def records(connection: Connection, patients: Iterable[str]) -> list[Record]:
    """Those of ``patients`` who have a key; nobody else has entries that open."""
    named = sorted(set(patients))
    found = connection.execute(_RECORDS, {"patients": named}) if named else ()
    return [Record(owner, code) for owner, code in found]


def entries(
    connection: Connection,
    of: Sequence[Record],
    span: Span = ALWAYS,
    *,
    is_newest_first: bool = True,
    leaves_max: int = _LAST,
) -> Iterator[Entry]:
    """The entries of all these records in the order of time, read as they are asked for.

    ``leaves_max``: leaves of the ledger that are gone over for each record; then there is a milestone, an entry that is
    no event: behind its place there may be others.
    """
    streams = [
        stream
        for record in of
        for stream in (
            _alone(connection, record, span, is_newest_first=is_newest_first),
            _shared(connection, record, span, is_newest_first=is_newest_first, leaves_max=leaves_max),
        )
    ]
    found = merge(*streams, key=lambda entry: entry.place, reverse=is_newest_first)
    after = span.after
    if after is None:
        return found
    return (entry for entry in found if (entry.place < after if is_newest_first else entry.place > after))


def count(
    connection: Connection, of: Sequence[Record], span: Span = ALWAYS, *, leaves_max: int = _LAST
) -> int | None:
    """How many entries there are; None: more leaves than that would have to be gone over for each record."""
    total = 0
    first, last = _leaves(connection, span)
    if last - first >= leaves_max:
        return None
    for record in of:
        named = {"patient": record.patient, "lo": span.first_us, "hi": span.last_us}
        total += connection.execute(_ALONE_COUNT, named).scalar_one()
        if first <= last:
            total += connection.execute(_SHARED_COUNT, _walk(record, first, last)).scalar_one()
    return total


def find(connection: Connection, id_: str) -> Entry | None:
    """The entry with that id, whosever it is; None: there is none that opens."""
    shared = _SHARED_ID.match(id_)
    if shared is not None:
        return _find_shared(connection, shared[1], id_)
    row = connection.execute(_ALONE_NAMED, {"id": id_}).first()
    found = records(connection, (row.patient,)) if row is not None else []
    return Entry(row.at_us, row.id, row.id, found[0], bytes(row.body)) if row is not None and found else None


def event_of(entry: Entry, open_: Open) -> JsonObject:
    """The AuditEvent (R4) as that patient has it: it names no other. Raises VaultError."""
    event: JsonObject = orjson.loads(open_(entry.record.code, entry.sealed, f"AuditEvent/{entry.name}"))
    if entry.id != entry.name:
        event["id"] = entry.id
        event["entity"].insert(0, person(entry.record.patient))
    return event


def _alone(connection: Connection, record: Record, span: Span, *, is_newest_first: bool) -> Iterator[Entry]:
    statement = _NEWEST if is_newest_first else _OLDEST
    lo, hi, id_ = span.first_us, span.last_us, _END if is_newest_first else ""
    place, most = span.after, _FEW
    while True:
        if place is not None and is_newest_first:
            hi, id_ = min((hi, id_), place)
        elif place is not None:
            lo, id_ = max((lo, id_), place)
        asked = {"patient": record.patient, "lo": lo, "hi": hi, "id": id_, "most": most}
        rows = connection.execute(statement, asked).all()
        for at_us, name, body in rows:
            yield Entry(at_us, name, name, record, bytes(body))
        if len(rows) < most:
            return
        place, most = (rows[-1].at_us, rows[-1].id), _MANY


def _shared(
    connection: Connection, record: Record, span: Span, *, is_newest_first: bool, leaves_max: int
) -> Iterator[Entry]:
    """``leaves_max``: after so many leaves there is one that is no event, where they are to be gone on from."""
    first, last = _leaves(connection, _from_time_of(span, is_newest_first=is_newest_first))
    begin, most = (last if is_newest_first else first), _FEW
    while first <= last:
        if abs((last if is_newest_first else first) - begin) > leaves_max:
            yield _milestone(
                connection, record, last if is_newest_first else first, is_newest_first=is_newest_first
            )
            return
        if is_newest_first:
            low, high, statement = max(first, last - _WIDE + 1), last, _SHARED_NEWEST
        else:
            low, high, statement = first, min(last, first + _WIDE - 1), _SHARED_OLDEST
        rows = connection.execute(statement, {**_walk(record, low, high), "most": most}).all()
        for _, at_us, name, body, wrapped in rows:
            sealed = vault.joined(bytes(body), bytes(wrapped))
            yield Entry(at_us, f"{name}-{tag(record.code, name)}", name, record, sealed)
        is_full = len(rows) == most
        most = _MANY
        if is_newest_first:
            behind = connection.execute(_BEFORE, {"leaf": (rows[-1][0] if is_full else low) - 1}).scalar()
            last = -1 if behind is None else behind
        else:
            behind = connection.execute(_AFTER, {"leaf": (rows[-1][0] if is_full else high) + 1}).scalar()
            first = _LAST if behind is None else behind


def _from_time_of(span: Span, *, is_newest_first: bool) -> Span:
    """The span without what lies before its place, as far as the time says so."""
    if span.after is None:
        return span
    at_us = span.after[0]
    if is_newest_first:
        return replace(span, last_us=min(span.last_us, at_us))
    return replace(span, first_us=max(span.first_us, at_us))


def _milestone(connection: Connection, record: Record, leaf: int, *, is_newest_first: bool) -> Entry:
    """Just before the access of ``leaf``, the first that was not gone over."""
    at_us = connection.execute(_FROM, {"leaf": leaf}).one().at_us
    place = (at_us + 1, "") if is_newest_first else (at_us - 1, _END)
    return Entry(*place, "", record, b"")


def _walk(record: Record, first: int, last: int) -> dict[str, Any]:
    buckets = {"low": first >> BUCKET_BITS, "high": last >> BUCKET_BITS}
    return {**buckets, "code": record.code, "first": first, "last": last}


def _leaves(connection: Connection, span: Span) -> tuple[int, int]:
    """The first and the last leaf of an access to several in a span; the first is behind the last if there is none."""
    first, last = connection.execute(_ENDS).one()
    if first is None:
        return 0, -1
    begin = _leaf_at(connection, first, last, span.first_us) if span.first_us > 0 else first
    end = _leaf_at(connection, first, last, span.last_us + 1) - 1 if span.last_us < _LAST else last
    after = connection.execute(_AFTER, {"leaf": begin}).scalar()
    before = connection.execute(_BEFORE, {"leaf": end}).scalar()
    return (0, -1) if after is None or before is None else (after, before)


def _leaf_at(connection: Connection, low: int, high: int, at_us: int) -> int:
    """The first leaf of an access at that time or later, else the one behind ``high``."""
    high += 1
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(_FROM, {"leaf": middle}).one()
        if row.at_us >= at_us:
            high = middle
        else:
            low = row.leaf_index + 1
    return low


def _find_shared(connection: Connection, name: str, id_: str) -> Entry | None:
    at_us = int(name[:_TIME_DIGITS], 16)
    leaf, last = _leaves(connection, Span(at_us, at_us))
    while leaf <= last:
        row = connection.execute(_FROM, {"leaf": leaf}).first()
        if row is None or row.at_us != at_us:
            return None
        if row.id == name:
            return _of_its_patients(connection, row, id_)
        leaf = row.leaf_index + 1
    return None


def _of_its_patients(connection: Connection, row: Any, id_: str) -> Entry | None:
    """The event with that id of one of the patients of an access."""
    asked = {"bucket": row.leaf_index >> BUCKET_BITS, "leaf": row.leaf_index}
    for code, wrapped in connection.execute(_KEYS, asked).all():
        if id_ == f"{row.id}-{tag(code, row.id)}":
            owner = connection.execute(_OWNER, {"code": code}).scalar()
            sealed = vault.joined(bytes(row.body), bytes(wrapped))
            return None if owner is None else Entry(row.at_us, id_, row.id, Record(owner, code), sealed)
    return None
