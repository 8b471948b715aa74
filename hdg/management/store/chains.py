"""Clauses that follow references, in SQL over ``resource``: chains, ``_has``, compartments.

R4 search.html#chaining, #has, compartmentdefinition.html. The resource at the other end must be one that the
caller may see: what is hidden decides nothing. Where something more selective leads, only what its candidates
refer to (or are referred to by) is looked at; else what is asked at the far end leads, and the references to what
it finds come after.

The far resources of each step are a common table expression: inside one another they are too deep for SQLite's
parser. All ask the table ``resource`` under that very name, since the caller's predicate is written over it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    case,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from hdg.fhir import definitions
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.index import lookups
from hdg.management.store.matching import Clause, Matching
from hdg.management.store.values import Hash

__all__ = ["Chains", "Rows", "Terms", "inside", "tested"]

Condition = ColumnElement[bool]
Types = tuple[str, ...]
Rows = Select[tuple[int]]
"""rkeys, each once or more."""
Terms = Callable[[Types, Clause, Rows | None], list[Condition]]
"""(types, clause, the only candidates) → WHERE terms over ``resource``, the caller's predicate among them."""

_RESOURCE = table_of(schema.Resource)
_REFERENCE = table_of(schema.IdxReference)
_FENCE: ColumnElement[int] = literal_column("0")
"""An OFFSET of which PostgreSQL makes no join."""


class Chains:
    """A clause of kind ``chain`` or ``has`` about resources of ``types``; ``matching`` is that clause's own."""

    def __init__(self, types: Types, matching: Matching, terms: Terms) -> None:
        self._types = types
        self._matching = matching
        self._terms = terms
        grouped: dict[Clause, list[str]] = {}
        for type_, inner in matching.clause.links:
            grouped.setdefault(inner, []).append(type_)
        self._links = [(tuple(found), inner) for inner, found in grouped.items()]

    def rows(self, among: Rows | None = None) -> Rows:
        """The resources that the clause finds; ``among``: the only ones that matter."""
        if self._matching.clause.kind == "has":
            parts = [self._named(link, type_, among) for link in self._links for type_ in self._types]
        else:
            parts = [self._referring(link, among) for link in self._links]
        if len(parts) == 1:
            return parts[0]
        every = union_all(*parts).subquery()
        return select(every.c.rkey)

    def counted(self, rows_of: Callable[[Types, Clause], Rows]) -> Rows:
        """Rows as many as are read to find all that the clause finds, or fewer, whoever may see them.

        ``rows_of``: such rows of the far clause; of one without references, the rkeys of its matches.
        """
        parts = [self._counted(types, inner, rows_of(types, inner)) for types, inner in self._links]
        if len(parts) == 1:
            return parts[0]
        every = union_all(*parts).subquery()
        return select(every.c.rkey)

    def _counted(self, types: Types, inner: Clause, rows: Rows) -> Rows:
        if "has" in (self._matching.clause.kind, inner.kind):
            return rows
        row, columns = _REFERENCE.alias().c, _RESOURCE.c
        hashes = (
            select(columns.id_hash).where(columns.type.in_(types), columns.rkey.in_(rows)).correlate(None)
        )
        asked = [self._places(row, self._types), row.system.in_(self._hashes(types)), row.code.in_(hashes)]
        return select(row.rkey).where(*asked).correlate(None)

    def named(self, rows: Rows) -> Rows:
        """Of a clause of kind ``has``: what may refer to resources among ``rows``, whoever may see it."""
        row, columns = _REFERENCE.alias().c, _RESOURCE.c
        hashes = select(columns.id_hash).where(columns.rkey.in_(rows)).correlate(None)
        is_place = or_(*(self._places(row, types) for types, _ in self._links))
        return (
            select(row.rkey)
            .where(is_place, row.system.in_(self._hashes(self._types)), row.code.in_(hashes))
            .correlate(None)
        )

    def tested(self) -> Condition:
        """The clause as look-ups from ``resource``, of one type: the far ones of each are asked until one is found.

        ``terms`` are those of one far resource at hand.
        """
        return or_(*(self._test(type_, inner) for types, inner in self._links for type_ in types))

    def _test(self, type_: str, inner: Clause) -> Condition:
        """That there is a far one of a type."""
        row, columns = _REFERENCE.alias(), _RESOURCE.c
        far = select(1).correlate(row)  # in it ``resource`` is the far one
        if self._matching.clause.kind == "has":
            named = [row.c.code == columns.id_hash, row.c.system == self._hashes(self._types)[0]]
            named.append(self._places(row.c, (type_,)))
            far = far.where(columns.rkey == row.c.rkey)
        else:
            named = [row.c.rkey == columns.rkey, row.c.system == self._hashes((type_,))[0]]
            named.append(self._places(row.c, self._types))
            far = far.where(columns.id_hash == row.c.code)
        is_far = far.where(*self._terms((type_,), inner, None)).offset(_FENCE).exists()
        return select(1).where(*named, is_far).correlate(_RESOURCE).offset(_FENCE).exists()

    def _referring(self, link: tuple[Types, Clause], among: Rows | None) -> Rows:
        """What refers to the far resources of one link."""
        types, inner = link
        row = _REFERENCE.alias().c
        asked = [self._places(row, self._types)]
        candidates = None
        if among is not None:
            asked.append(row.rkey.in_(among))
            named = select(row.code).where(*asked, row.system.in_(self._hashes(types)))
            columns = _RESOURCE.c
            candidates = select(columns.rkey).where(columns.type.in_(types), columns.id_hash.in_(named))
            candidates = candidates.correlate(None)
        far = self._far(types, inner, candidates)
        if len(types) == 1:
            asked.append(row.system == self._hashes(types)[0])
            is_far: Condition = row.code.in_(select(far.c.id_hash))
        else:
            is_far = tuple_(row.code, row.system).in_(select(far.c.id_hash, far.c.type_hash))
        asked.append(is_far if among is None else tested(is_far))
        return select(row.rkey).where(*asked).correlate(None)

    def _named(self, link: tuple[Types, Clause], type_: str, among: Rows | None) -> Rows:
        """Resources of a type that the far ones of one link refer to."""
        types, inner = link
        row, columns = _REFERENCE.alias().c, _RESOURCE.c
        named = [self._places(row, types), row.system == self._matching.hash(type_)]
        candidates = None
        if among is not None:
            hashes = select(columns.id_hash).where(columns.rkey.in_(among)).correlate(None)
            candidates = select(row.rkey).where(*named, row.code.in_(hashes)).correlate(None)
        far = self._far(types, inner, candidates)
        codes = select(row.code).where(*named, row.rkey.in_(select(far.c.rkey))).correlate(None)
        return select(columns.rkey).where(columns.type == type_, columns.id_hash.in_(codes)).correlate(None)

    def _far(self, types: Types, inner: Clause, candidates: Rows | None) -> FromClause:
        columns = _RESOURCE.c
        picked: list[Any] = [columns.rkey, columns.id_hash]
        if len(types) > 1:
            hashes = {type_: literal(self._matching.hash(type_)) for type_ in types}
            picked.append(case(hashes, value=columns.type).label("type_hash"))
        return (
            select(*picked)
            .where(*self._terms(types, inner, candidates))
            .correlate(None)
            .cte()
            .prefix_with("MATERIALIZED")
        )

    def _hashes(self, types: Types) -> list[int]:
        return [self._matching.hash(type_) for type_ in types]

    def _places(self, row: Any, types: Types) -> Condition:
        clause = self._matching.clause
        known = clause.places or [place for type_ in types for place in lookups(type_, clause.param)]
        return self._matching.places(row, known)


def tested(is_member: Condition) -> Condition:
    """An IN as a test of rows that something else leads to.

    Not as a way to them: of two lists SQLite's index takes every pair, and PostgreSQL, which takes each list for
    one row, compares every pair. Tested, a list is hashed once on both.
    """
    return is_member.is_(true())


def inside(types: Types, compartment: str, hash_: Hash) -> Rows:
    """What is in a compartment (``Patient/id``), by the search parameters that R4 names for it, and itself."""
    name, _, id_ = compartment.partition("/")
    row, columns = _REFERENCE.alias().c, _RESOURCE.c
    places = {
        number
        for type_ in types
        for code in definitions.compartment_parameters(name, type_)
        for number, target in lookups(type_, code)
        if target in ("", name)
    }
    itself = select(columns.rkey).where(columns.type == name, columns.id == id_, literal(name).in_(types))
    rows = select(row.rkey).where(
        row.param.in_(sorted(places)), row.code == hash_(id_), row.system == hash_(name)
    )
    every = union_all(rows, itself.correlate(None)).subquery()
    return select(every.c.rkey)
