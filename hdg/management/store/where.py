"""Clauses of a search on their way to SQL over ``resource``: which one leads, and how the others are tested.

R4 search.html. What cannot be looked up by an index from the resource at hand is listed once (membership.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Table,
    and_,
    column,
    literal,
    literal_column,
    or_,
    select,
    table,
    union_all,
)

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.chains import Chains, Rows, Terms, tested
from hdg.management.store.forms import TABLES, coded_numbers, form_numbers
from hdg.management.store.index import is_sole_date, lookups
from hdg.management.store.leader import leader_of
from hdg.management.store.matching import RANGED, Clause, Matching
from hdg.management.store.membership import has_row
from hdg.management.store.operators import unescape
from hdg.management.store.probe import Fewest
from hdg.management.store.texts import TEXT_INDEX, words_match
from hdg.management.store.values import Hash

__all__ = ["LED", "Asked", "Where", "terms_of", "there_of", "wheres_of"]

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
    "special": table_of(schema.IdxComposite),
}
_ABSENT = ("missing", "true")
_NEGATIVE = frozenset({"not", "not-in"})
_CODED = frozenset({"in", "not-in", "above", "below"})
_NOTHING = literal(0) == 1
_FORM_RANKS = {"text": 2.5, "of-type": 0.0, "identifier": 0.0}
_RANKS = {
    "reference": 0.0,
    "string": 1.0,
    "uri": 1.0,
    "composite": 2.0,
    "special": 2.0,
    "text": 2.2,
    "token": 3.0,
    "quantity": 4.0,
    "number": 4.0,
    "date": 5.0,
}
_STEP = 1.5
"""What a reference on the way adds to a rank: many refer to one, so two steps come after a code."""
_NEVER = 100.0
_LOOKED_UP = frozenset({"reference", "string", "uri", "date", "number", "quantity"})
"""Kinds of which an index leads from a resource to its rows."""
_UNIQUE = frozenset({"identifier", "_id"})
_OF_ONE = frozenset({"patient", "subject"})
_ALONE = frozenset({"date", "number", "quantity", "string", "uri"})
"""Kinds of which one table has all values."""
_WAYS_MAX = 4
"""Ways that a chain may take, up to which it is tested for each resource at hand."""
_STEPS_MAX = 3
"""Steps of a chain, up to which it is."""


LED = table("led", column("rkey"))
"""The rkeys of what leads, under the name by which the other clauses of ``search.Led`` know them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What all parts of a query share. ``visible``: what the caller may see; None: chains are not expected."""

    hash: Hash
    now_us: int
    visible: Condition | None
    fewest: Fewest | None = None
    is_apart: bool = False
    """Whether ``visible`` asks a table of what the caller may see."""


def terms_of(
    types: tuple[str, ...], clauses: Sequence[Clause], asked: Asked, among: Rows | None
) -> list[Condition]:
    """``among``: the only candidates; None: the clause that most likely finds the fewest leads."""
    wheres = wheres_of(types, clauses, asked)
    terms: list[Condition] = [_RESOURCE.c.deleted.is_(False)]
    has_chains = any(clause.links and clause.kind != "filter" for clause in clauses)
    if among is None:
        leader, found = leader_of(wheres, asked.fewest)
        if leader is None or not leader.is_typed():  # else the type is part of what the leader's rows are of
            terms += _of(types)
        if leader is not None and (has_chains or not leader.is_id()):
            among = leader.rows(None) if found is None else found
            wheres.remove(leader)
            if leader.clause.links and wheres:  # else PostgreSQL may look at each match of the others for it
                among = select(among.cte().prefix_with("MATERIALIZED").c.rkey)
    if among is not None:
        if any(where.clause.links for where in wheres):
            among = select(among.cte().c.rkey)
        terms.append(_RESOURCE.c.rkey.in_(among))
    return [*terms, *(where.condition(among) for where in wheres)]


def wheres_of(types: tuple[str, ...], clauses: Sequence[Clause], asked: Asked) -> list[Where]:
    """The clauses of one search."""
    return [Where(types, clause, asked, _beside(types, clause, clauses)) for clause in clauses]


def _beside(types: tuple[str, ...], clause: Clause, clauses: Sequence[Clause]) -> tuple[str, ...]:
    """The other bounds of a date, where it is one row that must be within all: the element is never repeated.

    Where it may be, one of its dates may be above the one bound, and another below the other.
    """
    if len(clauses) == 1 or not _is_plain_date(clause):
        return ()
    same = [one for one in clauses if one is not clause and one.param == clause.param and _is_plain_date(one)]
    values = tuple(one.values[0] for one in same if len(one.values) == 1)
    return values if values and all(_is_sole_date(type_, clause.param) for type_ in types) else ()


def _is_plain_date(clause: Clause) -> bool:
    return clause.kind == "date" and not (clause.modifier or clause.places or clause.param == "_lastUpdated")


def _steps(clause: Clause) -> int:
    """Of a chain at its longest; 0: it is none."""
    return 1 + max(_steps(inner) for _, inner in clause.links) if clause.links else 0


def _ways(clause: Clause) -> int:
    """How many ways a chain may take to its end."""
    return sum(_ways(inner) for _, inner in clause.links) if clause.links else 1


def _has(table: Table, terms: Sequence[Condition], of: FromClause, *, is_fenced: bool = False) -> Condition:
    """There is a row of the one at hand. ``is_fenced``: PostgreSQL makes no join of it."""
    rows = select(1).where(table.c.rkey == of.c.rkey, *terms).correlate(of)
    return (rows.offset(literal_column("0")) if is_fenced else rows).exists()


_lookups = lru_cache(8192)(lookups)
_is_sole_date = lru_cache(8192)(is_sole_date)


def there_of(types: tuple[str, ...]) -> list[Condition]:
    """The resources of the types that are not deleted."""
    return [_RESOURCE.c.deleted.is_(False), *_of(types)]


def _of(types: tuple[str, ...]) -> list[Condition]:
    if len(types) == len(definitions.resource_types()):
        return []
    return [_RESOURCE.c.type == types[0] if len(types) == 1 else _RESOURCE.c.type.in_(types)]


@dataclass(frozen=True, slots=True)
class Where:
    """One clause on its way to SQL."""

    types: tuple[str, ...]
    clause: Clause
    asked: Asked
    beside: tuple[str, ...] = ()
    """Values of other clauses that the row which has this one's must have too."""

    def is_id(self) -> bool:
        """Whether it names resources by their ids."""
        is_id = self.clause.param == "_id" and not self.clause.modifier and not self.clause.links
        return is_id or self.clause.kind == "list"

    def is_typed(self) -> bool:
        """Whether what it finds can be of its types only."""
        return not self.is_id() and self.clause.kind != "text"

    def rank(self) -> float:
        """How few resources it finds as a rule: the lowest leads. _NEVER: no rows list all its matches."""
        clause = self.clause
        if clause.kind == "filter":
            return _NEVER
        if clause.links:
            return max(Where((type_,), inner, self.asked).rank() for type_, inner in clause.links) + _STEP
        is_negative = clause.modifier in _NEGATIVE or (clause.modifier, *clause.values) == _ABSENT
        if clause.param == "_lastUpdated" or is_negative or (clause.param == "_id" and clause.modifier):
            return _NEVER
        if clause.modifier in _FORM_RANKS:
            return _FORM_RANKS[clause.modifier]
        return 0.0 if clause.param in ("identifier", "_id", "_list") else _RANKS.get(clause.kind, 9.0)

    def can_lead(self) -> bool:
        """Whether rows list all its matches."""
        return self.rank() < _NEVER

    def is_few(self) -> bool:
        """Whether it is about one resource or what refers to one patient, and so finds few."""
        clause = self.clause
        if clause.links:
            return self.is_leading_alone()
        return clause.param == "identifier" or (clause.kind == "reference" and clause.param in _OF_ONE)

    def is_leading_alone(self) -> bool:
        """Whether an index leads to its rows and to no others; of a chain, to what is at its end."""
        clause = self.clause
        if clause.links:
            inner = [one for _, one in clause.links]
            return all(
                one.param in _UNIQUE and not (one.modifier or one.links or one.places) for one in inner
            )
        if clause.kind == "token":
            return not clause.modifier and self._names_codes()
        if clause.kind == "reference":
            return clause.modifier not in (*_FORM_RANKS, "missing")
        return clause.kind == "string" and clause.modifier in ("", "exact")

    def is_in_order(self) -> bool:
        """Whether its rows are those of one code, which lie in the order of their resources."""
        clause = self.clause
        if clause.kind != "token" or clause.modifier or clause.codes is not None or len(clause.values) > 1:
            return False
        return len(self.types) == 1 and len(clause.places or _lookups(self.types[0], clause.param)) == 1

    def is_looked_up(self) -> bool:
        """Whether an index leads from a resource to those of its rows that fulfil it."""
        clause = self.clause
        if clause.links or self.is_id() or clause.param == "_lastUpdated" or clause.modifier == "missing":
            return False
        if clause.kind == "token":
            return clause.modifier in ("", "not") and self._names_codes()
        return clause.kind in _LOOKED_UP and clause.modifier not in _FORM_RANKS

    def is_tested(self) -> bool:
        """Whether look-ups in indexes tell of each resource at hand, apart from all others, if it fulfils it."""
        clause = self.clause
        if clause.kind in ("filter", "text"):
            return False
        if clause.links:
            return self._are_links_tested()
        if self.is_id() or clause.param == "_lastUpdated":
            return True
        if clause.modifier == "missing":
            return clause.param == "_id" or clause.kind in _ALONE
        if clause.kind in ("token", "composite"):
            return clause.modifier in ("", "not") and self._names_codes()
        return clause.kind in _LOOKED_UP and clause.modifier not in _FORM_RANKS

    def _are_links_tested(self) -> bool:
        """Of a few steps and ways: each step is some levels of SQLite's parser, and each way a text of its own."""
        if len(self.types) > 1 or _steps(self.clause) > _STEPS_MAX or _ways(self.clause) > _WAYS_MAX:
            return False
        return all(self._far((type_,), inner).is_tested() for type_, inner in self.clause.links)

    def leading(self) -> Rows:
        """Rows to be counted: as many as it takes to find its matches by them (of chains, at least as many).

        Regardless of who may see them.
        """
        if self.clause.links:
            return self._chains(self._linked).counted(lambda types, inner: self._far(types, inner).leading())
        return self.rows(None)

    def named(self, rows: Rows) -> Rows:
        """Of a clause of kind ``has``: the references to resources among ``rows`` that it may be fulfilled by."""
        return self._chains(self._linked).named(rows)

    def rows(self, among: Rows | None) -> Rows:
        """The rkeys of its matches; ``among``: the only ones that matter."""
        if self.clause.links:
            return self._chains(self._linked).rows(among)
        if self.is_id():
            columns = _RESOURCE.c
            named = select(columns.rkey).where(columns.type.in_(self.types), self._ids())
            return named.correlate(None)
        indexes = self._indexes(is_leading=True)
        if self.beside:  # PostgreSQL sees that two bounds are of one range, but not in a part of an OR
            indexes = [(_TABLES["date"], [one]) for one in self._dates()]
        parts = [select(table.c.rkey).where(*terms).correlate(None) for table, terms in indexes]
        if len(parts) == 1:
            return parts[0]
        every = union_all(*parts).subquery()
        return select(every.c.rkey)

    def of_led(self) -> Condition:
        """The clause, one that is looked up, as a term over LED, of which PostgreSQL makes no join."""
        found = or_(*(_has(table, terms, LED, is_fenced=True) for table, terms in self._indexes()))
        return ~found if self.rank() == _NEVER else found

    def tested(self) -> Condition:
        """The clause, one that ``is_tested``, as look-ups from ``resource``, of which PostgreSQL makes no join."""
        if self.clause.links:
            return self._chains(self._looked_up).tested()
        is_missing = self.clause.modifier == "missing"
        if self.is_id() or self.clause.param == "_lastUpdated" or (is_missing and self.clause.param == "_id"):
            return self.condition(None)
        found = or_(*(_has(table, terms, _RESOURCE, is_fenced=True) for table, terms in self._indexes()))
        return found if self.can_lead() else ~found

    def condition(self, among: Rows | None) -> Condition:
        """The clause as a term over ``resource``."""
        if self.clause.kind == "filter":
            return self._filter()
        if self.clause.kind == "has" and among is not None and _steps(self.clause) == 1 and self.is_tested():
            return self.tested()
        if self.clause.links:
            is_found = _RESOURCE.c.rkey.in_(self.rows(among))
            return is_found if among is None else tested(is_found)
        if self.is_id():
            return self._ids()
        if self.clause.modifier == "missing" and self.clause.param in ("_id", "_lastUpdated"):
            has_any = _RESOURCE.c.id.is_not(None)
            return ~has_any if self._is_missing() else has_any
        if self.clause.param == "_lastUpdated":
            self._matching.only("")
            updated = _RESOURCE.c.updated_us
            return or_(*(self._matching.date(updated, updated, value) for value in self.clause.values))
        found = or_(*(self._has(table, terms) for table, terms in self._indexes()))
        if self.clause.kind == "text":
            return and_(found, *_of(self.types))
        return ~found if self.rank() == _NEVER else found

    def _filter(self) -> Condition:
        """Several clauses, of which all or one must match, or one that must not."""
        terms = [Where(self.types, inner, self.asked).condition(None) for _, inner in self.clause.links]
        match self.clause.modifier:
            case "and":
                return and_(*terms)
            case "or":
                return or_(*terms)
            case _:
                return ~and_(*terms)

    def _has(self, table: Table, terms: list[Condition]) -> Condition:
        if table.name == "text_index" or (
            table.name in ("idx_token", "idx_composite") and not self._names_codes()
        ):
            return has_row(_RESOURCE, table, terms)
        return _has(table, terms, _RESOURCE)

    def _names_codes(self) -> bool:
        """Whether the rows of a token, or of a composite that begins with one, are told by their codes."""
        if self.clause.modifier == "missing":
            return False
        if self.clause.kind == "composite":
            return all(self._matching.begins_with_code(value) for value in self.clause.values)
        if self.clause.codes is not None:
            return not any(one.is_rest for one in self.clause.codes)
        return not any(value.endswith("|") for value in self.clause.values)

    def _ids(self) -> Condition:
        self._matching.only("")
        if self.clause.kind == "list":
            by_type: dict[str, list[str]] = {}
            for name in self.clause.values:
                type_, _, id_ = name.partition("/")
                by_type.setdefault(type_, []).append(id_)
            listed = [
                and_(_RESOURCE.c.type == type_, _RESOURCE.c.id.in_(ids)) for type_, ids in by_type.items()
            ]
            return or_(*listed) if listed else _NOTHING
        return _RESOURCE.c.id.in_([unescape(value) for value in self.clause.values])

    def _is_missing(self) -> bool:
        if self.clause.values not in (("true",), ("false",)):
            raise self._matching.bad("missing takes true or false")
        return self.clause.values == ("true",)

    def _indexes(self, *, is_leading: bool = False) -> list[tuple[Table, list[Condition]]]:
        """The index tables of the clause, and what their rows must be. ``is_leading``: nothing else leads to them."""
        clause, matching = self.clause, self._matching
        if clause.kind == "text":
            return [(TEXT_INDEX, [self._words()])]
        if clause.modifier in TABLES:
            table, terms = self._form(clause.modifier)
            return [(table, [*terms, or_(*(matching.match(table.c, value) for value in clause.values))])]
        if clause.kind == "token" and clause.modifier in _CODED:
            both = [coded_numbers(type_, clause.param) for type_ in self.types]
            concepts = [number for numbers, _ in both for number in numbers]
            table = _TABLES["token"]
            return [(table, [matching.coded(table.c, concepts, [one for _, plain in both for one in plain])])]
        found = _TABLES.get(clause.kind)
        places = self._places()
        if found is None or not places:
            raise BadRequest(f"{clause.param}: this search parameter is not supported", code="not-supported")
        terms = [matching.places(found.c, places)]
        if clause.kind == "date" and not clause.modifier and is_leading:
            return [(found, [or_(*self._dates())])]
        if clause.modifier != "missing":
            matches = or_(*(matching.match(found.c, value, terms[0]) for value in clause.values))
            return [(found, [matches] if clause.kind in RANGED else [*terms, matches])]
        self._is_missing()
        others = [name for name in ("text", "identifier") if self._numbers(name)]
        return [(found, terms), *(self._form(name) for name in others)]

    def _places(self) -> Sequence[tuple[int, str]]:
        """Where the parameter's rows are."""
        clause = self.clause
        return clause.places or [place for type_ in self.types for place in _lookups(type_, clause.param)]

    def _dates(self) -> list[Condition]:
        """The ranges of an index that have the rows of a date."""
        columns, matching = _TABLES["date"].c, self._matching
        of = matching.places(columns, self._places())
        found = (matching.dates(columns, (value, *self.beside), of) for value in self.clause.values)
        return [one for ranges in found for one in ranges]

    def _words(self) -> Condition:
        """What the index of words is asked for."""
        self._matching.only("")
        try:
            return words_match(
                self.clause.param, [unescape(value) for value in self.clause.values], self.asked.hash
            )
        except ValueError as error:
            raise self._matching.bad(str(error)) from None

    def _form(self, name: str) -> tuple[Table, list[Condition]]:
        """The table of a form (forms.py), and what rows it has of the parameter."""
        numbers = self._numbers(name)
        if not numbers:
            raise self._matching.unsupported()
        table = _TABLES[TABLES[name]]
        return table, [table.c.param.in_(numbers)]

    def _numbers(self, name: str) -> list[int]:
        return sorted({one for type_ in self.types for one in form_numbers(type_, self.clause.param, name)})

    @property
    def _matching(self) -> Matching:
        return Matching(self.types[0], self.clause, self.asked.hash, self.asked.now_us)

    def _far(self, types: tuple[str, ...], inner: Clause) -> Where:
        return Where(types, inner, self.asked)

    def _chains(self, terms: Terms) -> Chains:
        return Chains(self.types, self._matching, terms)

    def _linked(self, types: tuple[str, ...], inner: Clause, among: Rows | None) -> list[Condition]:
        """The resources at the other end of a reference, as far as the caller may see them."""
        return [*terms_of(types, (inner,), self.asked, among), self._visible()]

    def _looked_up(self, types: tuple[str, ...], inner: Clause, _: Rows | None) -> list[Condition]:
        """``_linked`` of one resource at hand."""
        asked = self._apart() if inner.links else self.asked
        return [*there_of(types), Where(types, inner, asked).tested(), self._visible()]

    def _apart(self) -> Asked:
        """The same, with what the caller may see in a table of its own: within two steps SQLite's parser has no room
        for it. It is looked up there by the resource at hand, and never listed.
        """
        if self.asked.is_apart:
            return self.asked
        seen = select(_RESOURCE.c.rkey).where(self._visible()).correlate(None).cte()
        is_seen = select(1).where(seen.prefix_with("NOT MATERIALIZED").c.rkey == _RESOURCE.c.rkey)
        return replace(self.asked, visible=is_seen.correlate(_RESOURCE).exists(), is_apart=True)

    def _visible(self) -> Condition:
        if self.asked.visible is None:
            raise BadRequest("a chain is not supported here", code="not-supported", place=self.clause.param)
        return self.asked.visible
