"""Search requests as values, and what they become in SQL.

R4 search.html. ``usage`` parses query strings into these; nothing here reads HTTP. The clause that most
likely finds the fewest becomes ``rkey IN (SELECT …)`` and leads; the others become EXISTS on the resource at
hand. So a resource with several matching rows counts once, and the work follows the leading clause on both
databases. A chain is a search within the search, for resources that the caller may see: what is hidden
decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, select

from hdg.errors import BadRequest
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.index import lookups
from hdg.management.store.matching import Clause, Matching
from hdg.management.store.operators import unescape
from hdg.management.store.values import Hash

__all__ = ["Clause", "Include", "SearchQuery", "Sort", "conditions"]

Condition = ColumnElement[bool]

_COMPARTMENT = table_of(schema.Compartment)
_REFERENCE = table_of(schema.IdxReference)
_RESOURCE = table_of(schema.Resource)
_TABLES = {
    "token": table_of(schema.IdxToken),
    "reference": _REFERENCE,
    "chain": _REFERENCE,
    "string": table_of(schema.IdxString),
    "uri": table_of(schema.IdxUri),
    "date": table_of(schema.IdxDate),
    "number": table_of(schema.IdxNumber),
    "quantity": table_of(schema.IdxQuantity),
    "composite": table_of(schema.IdxComposite),
}
_ABSENT = ("missing", "true")
_RANKS = {
    "reference": 0,
    "string": 1,
    "uri": 1,
    "chain": 2,
    "composite": 2,
    "token": 3,
    "quantity": 4,
    "number": 4,
    "date": 5,
}


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of ``_sort``. ``kind``: date, string, number, quantity or uri; any for _id and _lastUpdated."""

    param: str
    kind: str = ""
    is_descending: bool = False


@dataclass(frozen=True, slots=True)
class Include:
    """One ``_include`` (``is_reverse``: ``_revinclude``): the references of ``param`` of resources of ``type``.

    ``param`` ``*``: of every parameter. ``target``: only references to that type, '' for any. ``is_iterated``:
    also from and to what was included.
    """

    type: str
    param: str
    target: str = ""
    is_reverse: bool = False
    is_iterated: bool = False


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search of one resource type: all ``clauses`` must match.

    ``types``: of a search over several types, whose ``type`` is ''. ``compartment``: id of the Patient whose
    compartment is searched, '' for no such limit. ``count``: rows per page (0: only the total). ``cursor``:
    what the page before gave, '' for the first page. ``sort``: () is newest created first: no row is lost or
    doubled while others write. By anything else a row whose values change between two pages may come again,
    or come only after it has gone by; all others come once.
    """

    type: str
    clauses: tuple[Clause, ...] = ()
    count: int = 50
    cursor: str = ""
    sort: tuple[Sort, ...] = ()
    with_total: bool = True
    types: tuple[str, ...] = ()
    compartment: str = ""
    includes: tuple[Include, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all parts of a query share. ``visible``: what the caller may see; None: chains are not expected."""

    hash: Hash
    now_us: int
    visible: Condition | None


def conditions(
    query: SearchQuery, hash_: Hash, now_us: int, visible: Condition | None = None
) -> list[Condition]:
    """The WHERE terms over ``resource``, ``visible`` not among them.

    ``visible``: the resources that a chain may lead over. Raises BadRequest for a value or modifier that is
    not understood.
    """
    types = query.types or (query.type,)
    found = _terms(types, query.clauses, _Asked(hash_, now_us, visible))
    if query.compartment:
        inside = select(_COMPARTMENT.c.rkey).where(_COMPARTMENT.c.patient == query.compartment)
        found.append(_RESOURCE.c.rkey.in_(inside))
    return found


def _terms(types: Sequence[str], clauses: Sequence[Clause], asked: _Asked) -> list[Condition]:
    wheres = [
        _Where(types, clause, Matching(types[0], clause, asked.hash, asked.now_us), asked)
        for clause in clauses
    ]
    leaders = sorted((where for where in wheres if where.can_lead()), key=_Where.rank)
    has_id = any(where.clause.param == "_id" and not where.clause.links for where in wheres)
    leader = leaders[0] if leaders and not has_id else None
    terms: list[Condition] = [_RESOURCE.c.deleted.is_(False)]
    if leader is None:  # else the type is part of the leader's parameter number
        terms.append(_RESOURCE.c.type == types[0] if len(types) == 1 else _RESOURCE.c.type.in_(types))
    return [*terms, *(where.condition(is_leader=where is leader) for where in wheres)]


@dataclass(frozen=True, slots=True)
class _Where:
    """One clause on its way to SQL."""

    types: Sequence[str]
    clause: Clause
    matching: Matching
    asked: _Asked

    def can_lead(self) -> bool:
        """Whether the clause has rows that list all its matches."""
        if self.clause.kind in ("has", "chain"):
            return self.clause.kind == "chain"
        is_column = self.clause.param in ("_id", "_lastUpdated")
        is_negative = self.clause.modifier == "not" or (self.clause.modifier, *self.clause.values) == _ABSENT
        return not is_column and not is_negative

    def rank(self) -> int:
        """How few resources a clause of its kind finds as a rule; the lowest leads."""
        return 0 if self.clause.param == "identifier" else _RANKS.get(self.clause.kind, 9)

    def condition(self, *, is_leader: bool) -> Condition:
        """The clause as a term over ``resource``."""
        clause = self.clause
        if clause.kind == "has":
            return or_(*(self._had_by(type_, inner) for type_, inner in clause.links))
        if clause.param == "_id" and not clause.links:
            self.matching.only("")
            return _RESOURCE.c.id.in_([unescape(value) for value in clause.values])
        if clause.param == "_lastUpdated":
            self.matching.only("")
            updated = _RESOURCE.c.updated_us
            return or_(*(self.matching.date(updated, updated, value) for value in clause.values))
        table = _TABLES.get(clause.kind)
        places = [place for type_ in self.types for place in lookups(type_, clause.param)]
        if table is None or not places:
            raise BadRequest(f"{clause.param}: this search parameter is not supported", code="not-supported")
        terms = [self.matching.places(table.c, places)]
        if clause.kind == "chain":
            terms.append(or_(*(self._chained(type_, inner) for type_, inner in clause.links)))
        elif clause.modifier == "missing":
            if clause.values not in (("true",), ("false",)):
                raise self.matching.bad("missing takes true or false")
        else:
            terms.append(or_(*(self.matching.match(table.c, value) for value in clause.values)))
        if is_leader:
            return _RESOURCE.c.rkey.in_(select(table.c.rkey).where(*terms))
        found = select(1).where(table.c.rkey == _RESOURCE.c.rkey, *terms).correlate(_RESOURCE).exists()
        return found if self.can_lead() else ~found

    def _chained(self, type_: str, inner: Clause) -> Condition:
        """Rows of references to resources of a type that fulfil a clause."""
        targets = self._visible(_RESOURCE.c.id_hash, type_, inner)
        return and_(_REFERENCE.c.system == self.asked.hash(type_), _REFERENCE.c.code.in_(targets))

    def _had_by(self, type_: str, inner: Clause) -> Condition:
        """The resource at hand is referred to by one of a type that fulfils a clause."""
        sources = self._visible(_RESOURCE.c.rkey, type_, inner)
        own = [self.asked.hash(each) for each in self.types]
        columns = _REFERENCE.c
        named = Matching(type_, self.clause, self.asked.hash, self.asked.now_us)
        refers = (
            select(1)
            .where(
                named.places(columns, lookups(type_, self.clause.param)),
                columns.code == _RESOURCE.c.id_hash,
                columns.system.in_(own),
                columns.rkey.in_(sources),
            )
            .correlate(_RESOURCE)
            .exists()
        )
        if tuple(self.types) != ("Patient",):
            return refers
        # Whom the sources are about leads to the few patients that can be meant.
        about = select(_COMPARTMENT.c.patient).where(_COMPARTMENT.c.rkey.in_(sources))
        return and_(_RESOURCE.c.id.in_(about), refers)

    def _visible(self, column: ColumnElement[int], type_: str, inner: Clause) -> Select[Any]:
        """``column`` of the resources of a type that fulfil a clause and that the caller may see.

        A common table expression, for SQLite's parser does not take them inside one another.
        """
        if self.asked.visible is None:
            raise BadRequest("a chain is not supported here", code="not-supported", place=self.clause.param)
        terms = _terms((type_,), (inner,), self.asked)
        found = select(column.label("x")).where(*terms, self.asked.visible).correlate(None).cte()
        return select(found.c.x)
