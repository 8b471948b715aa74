"""Search requests as values, and what they become in SQL.

R4 search.html. ``usage`` parses query strings into these; nothing here reads HTTP. The clause that most
likely finds the fewest becomes ``rkey IN (SELECT …)`` and leads; the others become EXISTS on the resource at
hand. So a resource with several matching rows counts once, and the work follows the leading clause on both
databases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.index import composite_slots, lookups
from hdg.management.store.operators import (
    compare_dates,
    compare_numbers,
    number_value,
    prefixed,
    split_at,
    unescape,
)
from hdg.management.store.values import Hash, date_range, fold, index_text, split_reference

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
_MODIFIERS = {
    "token": frozenset({"", "not"}),
    "reference": frozenset({""}),  # and every resource type's name
    "string": frozenset({"", "exact", "contains"}),
    "uri": frozenset({"", "below"}),
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
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Clause:
    """One search parameter as given once in a query: any of ``values`` must match (R4 search.html#combining).

    ``kind``: token, string, date, reference, number, quantity, uri or composite; any kind is accepted for
    ``_id`` and ``_lastUpdated``. ``modifier`` without its colon, '' for none. ``values``: percent-decoded,
    split at unescaped commas, with the escapes ``\\,`` ``\\|`` ``\\$`` ``\\\\`` still in them.
    """

    param: str
    kind: str
    modifier: str
    values: tuple[str, ...]


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
    wheres = [_Where(query.type, clause, hash_, now_us) for clause in query.clauses]
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
    hash: Hash
    now_us: int

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
            self._only("")
            return _RESOURCE.c.id.in_([unescape(value) for value in clause.values])
        if clause.param == "_lastUpdated":
            self._only("")
            updated = _RESOURCE.c.updated_us
            return or_(*(self._date(updated, updated, value) for value in clause.values))
        table = _TABLES.get(clause.kind)
        places = lookups(self.type, clause.param)
        if table is None or not places:
            raise BadRequest(f"{clause.param}: this search parameter is not supported", code="not-supported")
        terms = [self._places(table.c, places)]
        if clause.modifier == "missing":
            if clause.values not in (("true",), ("false",)):
                raise self._bad("missing takes true or false")
        else:
            terms.append(or_(*(self._match(table.c, value) for value in clause.values)))
        if is_leader:
            return _RESOURCE.c.rkey.in_(select(table.c.rkey).where(*terms))
        found = select(1).where(table.c.rkey == _RESOURCE.c.rkey, *terms).correlate(_RESOURCE).exists()
        return found if self.can_lead() else ~found

    def _places(self, columns: Any, places: list[tuple[int, str]]) -> Condition:
        """The parameter's rows; of a parameter for one type of references only those (and absolute URLs)."""
        everywhere = sorted({number for number, target in places if not target})
        limited = [
            and_(columns.param == number, columns.system.in_([self.hash(target), 0]))
            for number, target in places
            if target
        ]
        return or_(*([columns.param.in_(everywhere)] if everywhere else []), *limited)

    def _match(self, columns: Any, value: str) -> Condition:
        kind = self.clause.kind
        if kind == "reference":
            return self._reference(columns, value)
        self._only(*_MODIFIERS.get(kind, frozenset({""})))
        if kind == "composite":
            return self._composite(columns, value)
        return self._single(kind, value, columns)

    def _single(self, kind: str, value: str, columns: Any) -> Condition:
        match kind:
            case "token":
                return self._token(columns.code, columns.system, value)
            case "reference":
                return self._reference(columns, value)
            case "string":
                return self._string(columns, value)
            case "uri":
                return self._uri(columns.value, value)
            case "date":
                return self._date(columns.lo, columns.hi, value)
            case "number":
                return self._number(columns.value, value)
            case _:
                return self._quantity(columns, value)

    def _token(self, code: Any, system: Any, value: str) -> Condition:
        parts = [unescape(part) for part in split_at(value, "|")]
        is_code: Condition = code == self.hash(parts[-1])
        is_system: Condition = system == self.hash(parts[0])
        if len(parts) == 1:
            return is_code
        if len(parts) != 2 or parts == ["", ""]:
            raise self._bad("a token is code, system|code, |code or system|")
        if not parts[1]:
            return is_system
        return and_(is_code, is_system)

    def _reference(self, columns: Any, value: str) -> Condition:
        modifier, text = self.clause.modifier, unescape(value)
        if modifier:
            if modifier not in definitions.resource_types():
                raise self._unsupported()
            text = text if "/" in text else f"{modifier}/{text}"
        target = split_reference(text)
        if target is not None:
            if modifier and target[0] != modifier:
                raise self._bad("the modifier and the reference name different types")
            return and_(columns.code == self.hash(target[1]), columns.system == self.hash(target[0]))
        if "/" in text or ":" in text:
            return and_(columns.code == self.hash(text), columns.system == 0)
        return and_(columns.code == self.hash(text), columns.system != 0)

    def _string(self, columns: Any, value: str) -> Condition:
        text = unescape(value)
        folded = fold(text)
        if not folded:
            raise self._bad("an empty text")
        if self.clause.modifier == "exact":
            return and_(columns.value == folded, columns.exact == self.hash(text))
        if self.clause.modifier == "contains":
            contains: Condition = columns.value.contains(folded, autoescape=True)
            return contains
        return and_(columns.value >= folded, columns.value < folded + _LAST)

    def _uri(self, column: Any, value: str) -> Condition:
        text = index_text(unescape(value))
        if self.clause.modifier == "below":
            return and_(column >= text, column < text + _LAST)
        is_equal: Condition = column == text
        return is_equal

    def _date(self, lo: Any, hi: Any, value: str) -> Condition:
        prefix, text = prefixed(unescape(value))
        covered = date_range(text)
        if covered is None:
            raise self._bad("not a date")
        return compare_dates(prefix, lo, hi, covered, self.now_us)

    def _number(self, column: Any, value: str) -> Condition:
        prefix, text = prefixed(unescape(value))
        number = number_value(text)
        if number is None:
            raise self._bad("not a number")
        return compare_numbers(prefix, column, number)

    def _quantity(self, columns: Any, value: str) -> Condition:
        parts = split_at(value, "|")
        if len(parts) not in (1, 3):
            raise self._bad("a quantity is number or number|system|code")
        terms = [self._number(columns.value, parts[0])]
        if len(parts) == 3 and parts[1]:
            terms.append(columns.system == self.hash(unescape(parts[1])))
        if len(parts) == 3 and parts[2]:
            terms.append(columns.code == self.hash(unescape(parts[2])))
        return and_(*terms)

    def _composite(self, columns: Any, value: str) -> Condition:
        found = [p for p in definitions.search_parameters(self.type) if p.code == self.clause.param]
        kinds = tuple(component.kind for component in found[0].components) if found else ()
        slots = composite_slots(kinds)
        parts = split_at(value, "$")
        if not slots:
            raise BadRequest(f"{self.clause.param}: this composite is not supported", code="not-supported")
        if len(parts) != len(kinds):
            raise self._bad(f"{len(kinds)} parts joined by $ are needed")
        names = [column.name for column in table_of(schema.IdxComposite).columns]
        return and_(
            *(
                self._single(kind, part, _Slots(columns, [names[slot] for slot in places]))
                for kind, part, places in zip(kinds, parts, slots, strict=True)
            )
        )

    def _only(self, *modifiers: str) -> None:
        if self.clause.modifier not in modifiers:
            raise self._unsupported()

    def _unsupported(self) -> BadRequest:
        text = f"{self.clause.param}: the modifier is not supported for this parameter"
        return BadRequest(text, code="not-supported", place=self.clause.param)

    def _bad(self, text: str) -> BadRequest:
        return BadRequest(f"{self.clause.param}: {text}", code="value", place=self.clause.param)


class _Slots:
    """The columns of idx_composite that hold one component, under the names that its own kind's table has."""

    def __init__(self, columns: Any, names: list[str]) -> None:
        for name in names:
            setattr(
                self, {"code2": "code", "system2": "system", "text": "value"}.get(name, name), columns[name]
            )
