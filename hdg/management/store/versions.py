"""Versions as they are stored: the columns of their rows, and which of them a query speaks of.

R4 http.html#vread, #history. A query joins ``resource`` with ``version``; whoever runs it says under which predicate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    True_,
    and_,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from hdg.management.store import schema
from hdg.management.store.batch import table_of

__all__ = [
    "ALWAYS",
    "COLUMNS",
    "IS_CURRENT",
    "IS_NAMED",
    "IS_VERSION",
    "PATIENTS_AT",
    "Page",
    "Span",
    "StoredVersion",
    "current",
    "current_among",
    "current_of",
    "current_versions",
    "same_scope",
    "stored",
    "versions_of",
    "within",
]

Condition = ColumnElement[bool]

_COMPARTMENT = table_of(schema.Compartment)
_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)
_CURRENT = _VERSION.alias("current")
_LATER = _VERSION.alias("later")
_NAMES = ("rkey", "type", "id", "version", "updated_us", "institution", "deleted")
COLUMNS = (
    *(_VERSION.c[name] for name in _NAMES),
    _RESOURCE.c.patient,
    _RESOURCE.c.patients,
    _VERSION.c.patient_code,
    _VERSION.c.leaf_index,
    _VERSION.c.body,
)
_AT_ONCE = 400
PATIENTS_AT = 8
"""Place of the number of patients in a row of COLUMNS."""
IS_VERSION = _VERSION.c.rkey == _RESOURCE.c.rkey
IS_CURRENT = and_(IS_VERSION, _VERSION.c.version == _RESOURCE.c.version)
IS_NAMED = and_(_RESOURCE.c.type == bindparam("t"), _RESOURCE.c.id == bindparam("i"))


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version's row. ``patients``: whose compartments the resource (its current version) is in.

    ``sealed`` is the encrypted body; ``Reader.body`` opens it. ``leaf_index`` is its place in the ledger.
    """

    rkey: int
    type: str
    id: str
    version: int
    updated_us: int
    institution: str
    deleted: bool
    patients: tuple[str, ...]
    patient_code: str
    leaf_index: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Span:
    """Which versions: made at or after ``since_us`` (µs; 0: ever), current at some time within ``at_us``."""

    since_us: int = 0
    at_us: tuple[int, int] | None = None


ALWAYS = Span()


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a search or history.

    ``total`` is None where not asked for; ``next_cursor`` is '' at the end. ``included``: what the versions
    bring along; ``is_cut``: some of that was left out, for it was too much.
    """

    versions: tuple[StoredVersion, ...]
    total: int | None
    next_cursor: str
    included: tuple[StoredVersion, ...] = ()
    is_cut: bool = False


def current(*predicate: Condition) -> Select[Any]:
    """The current version of the resource that is bound as ``t`` (type) and ``i`` (id)."""
    return select(*COLUMNS).where(IS_CURRENT, IS_NAMED, *predicate)


def current_among() -> Select[Any]:
    """The current versions of the resources that are bound as ``t`` (types) and ``i`` (ids): lists, on PostgreSQL."""
    lists = (bindparam(name, type_=ARRAY(Text)) for name in ("t", "i"))
    asked = (
        func.unnest(*lists).table_valued(column("t", Text), column("i", Text)).render_derived(name="asked")
    )
    is_asked = and_(_RESOURCE.c.type == asked.c.t, _RESOURCE.c.id == asked.c.i)
    return select(*COLUMNS).select_from(asked.join(_RESOURCE, is_asked).join(_VERSION, IS_CURRENT))


def stored(row: Sequence[Any], patients: tuple[str, ...] = ()) -> StoredVersion:
    """The version of a row of COLUMNS. ``patients``: named where there are several."""
    rkey, type_, id_, version, updated_us, institution, deleted, sole, _, code, leaf_index, sealed = row
    named = patients if sole is None else (sole,)
    return StoredVersion(
        rkey, type_, id_, version, updated_us, institution, bool(deleted), named, code, leaf_index, sealed
    )


def versions_of(connection: Connection, rows: Sequence[Sequence[Any]]) -> list[StoredVersion]:
    """The versions of rows, with the patients of those about several, as this transaction sees them."""
    rkeys = {row[0] for row in rows if row[PATIENTS_AT] > 1}
    named: defaultdict[int, list[str]] = defaultdict(list)
    if rkeys:
        query = select(_COMPARTMENT).where(_COMPARTMENT.c.rkey.in_(rkeys)).order_by(_COMPARTMENT.c.patient)
        for rkey, patient in connection.execute(query):
            named[rkey].append(patient)
    return [stored(row, tuple(named.get(row[0], ()))) for row in rows]


def within(span: Span) -> list[Condition]:
    """The versions of a span."""
    terms: list[Condition] = []
    if span.since_us:
        terms.append(_VERSION.c.updated_us >= span.since_us)
    if span.at_us is not None:
        start, end = span.at_us
        later = select(1).where(
            _LATER.c.rkey == _VERSION.c.rkey,
            _LATER.c.version > _VERSION.c.version,
            _LATER.c.updated_us <= start,
        )
        terms += [_VERSION.c.updated_us <= end, ~later.correlate(_VERSION).exists()]
    return terms


def current_of(
    connection: Connection,
    rkeys: Sequence[int],
    predicate: Condition,
    known: dict[int, StoredVersion] | None = None,
) -> list[StoredVersion]:
    """The current versions of some resources, none of them deleted. ``known``: what is at hand, and grows."""
    known = {} if known is None else known
    missing = [rkey for rkey in rkeys if rkey not in known]
    for at in range(0, len(missing), _AT_ONCE):
        some = _RESOURCE.c.rkey.in_(missing[at : at + _AT_ONCE])
        rows = connection.execute(select(*COLUMNS).where(IS_CURRENT, some, predicate)).all()
        known.update({version.rkey: version for version in versions_of(connection, rows)})
    return [known[rkey] for rkey in rkeys if rkey in known and not known[rkey].deleted]


def current_versions(
    connection: Connection, terms: Sequence[Condition], count: int | None
) -> list[StoredVersion]:
    """The current versions of the first resources (None: all) that the terms hold for, in order of creation.

    For the gateway's own work: no predicate is asked, and nothing of it may leave.
    """
    query = select(*COLUMNS).where(IS_CURRENT, *terms).order_by(_RESOURCE.c.rkey).limit(count)
    return [stored(row) for row in connection.execute(query)]


def same_scope(predicate: Condition) -> tuple[Condition, ...]:
    """Only versions about the patients, and of the institution, of the current one, unless all may be read."""
    if isinstance(predicate, True_):
        return ()
    is_current = and_(_CURRENT.c.rkey == _RESOURCE.c.rkey, _CURRENT.c.version == _RESOURCE.c.version)
    scope = select(_CURRENT.c.scope).where(is_current).correlate(_RESOURCE).scalar_subquery()
    return (_VERSION.c.scope == scope,)
