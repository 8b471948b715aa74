"""Search requests as values, and what they become in SQL.

R4 search.html. ``usage`` parses query strings into these; nothing here reads HTTP. The clause that most
likely finds the fewest becomes ``rkey IN (SELECT …)`` and leads; the others become EXISTS on the resource at
hand. So a resource with several matching rows counts once, and the work follows the leading clause on both
databases.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select

from hdg.errors import BadRequest
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.index import lookups
from hdg.management.store.matching import Clause, Matching
from hdg.management.store.operators import unescape
from hdg.management.store.values import Hash

__all__ = ["Clause", "SearchQuery", "conditions"]

Condition = ColumnElement[bool]

_RESOURCE = table_of(schema.Resource)
_TABLES = {
    "token": table_of(schema.IdxToken),
    "reference": table_of(schema.IdxReference),
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
    "composite": 2,
    "token": 3,
    "quantity": 4,
    "number": 4,
    "date": 5,
}


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search of one resource type: all ``clauses`` must match.

    ``count``: rows per page (0: only the total). ``cursor``: what the page before gave, '' for the first
    page. ``sort``: '' (newest created first; no row is lost or doubled while others write), ``_lastUpdated``
    (a row that changes between two pages comes again at the end) or ``-_lastUpdated`` (such a row has moved
    before the first page).
    """

    type: str
    clauses: tuple[Clause, ...] = ()
    count: int = 50
    cursor: str = ""
    sort: str = ""
    with_total: bool = True


def conditions(query: SearchQuery, hash_: Hash, now_us: int) -> list[Condition]:
    """The WHERE terms over ``resource``. Raises BadRequest for a value or modifier that is not understood."""
    wheres = [
        _Where(query.type, clause, Matching(query.type, clause, hash_, now_us)) for clause in query.clauses
    ]
    leaders = sorted((where for where in wheres if where.can_lead()), key=_Where.rank)
    has_id = any(where.clause.param == "_id" for where in wheres)
    leader = leaders[0] if leaders and not has_id else None
    terms: list[Condition] = [_RESOURCE.c.deleted.is_(False)]
    if leader is None:  # else the type is part of the leader's parameter number
        terms.append(_RESOURCE.c.type == query.type)
    return [*terms, *(where.condition(is_leader=where is leader) for where in wheres)]


@dataclass(frozen=True, slots=True)
class _Where:
    """One clause on its way to SQL."""

    type: str
    clause: Clause
    matching: Matching

    def can_lead(self) -> bool:
        """Whether the clause has rows that list all its matches."""
        is_column = self.clause.param in ("_id", "_lastUpdated")
        is_negative = self.clause.modifier == "not" or (self.clause.modifier, *self.clause.values) == _ABSENT
        return not is_column and not is_negative

    def rank(self) -> int:
        """How few resources a clause of its kind finds as a rule; the lowest leads."""
        return 0 if self.clause.param == "identifier" else _RANKS.get(self.clause.kind, 9)

    def condition(self, *, is_leader: bool) -> Condition:
        """The clause as a term over ``resource``."""
        clause = self.clause
        if clause.param == "_id":
            self.matching.only("")
            return _RESOURCE.c.id.in_([unescape(value) for value in clause.values])
        if clause.param == "_lastUpdated":
            self.matching.only("")
            updated = _RESOURCE.c.updated_us
            return or_(*(self.matching.date(updated, updated, value) for value in clause.values))
        table = _TABLES.get(clause.kind)
        places = lookups(self.type, clause.param)
        if table is None or not places:
            raise BadRequest(f"{clause.param}: this search parameter is not supported", code="not-supported")
        terms = [self.matching.places(table.c, places)]
        if clause.modifier == "missing":
            if clause.values not in (("true",), ("false",)):
                raise self.matching.bad("missing takes true or false")
        else:
            terms.append(or_(*(self.matching.match(table.c, value) for value in clause.values)))
        if is_leader:
            return _RESOURCE.c.rkey.in_(select(table.c.rkey).where(*terms))
        found = select(1).where(table.c.rkey == _RESOURCE.c.rkey, *terms).correlate(_RESOURCE).exists()
        return found if self.can_lead() else ~found
