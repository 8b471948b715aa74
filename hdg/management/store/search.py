"""Search requests as values, and what they become in SQL.

R4 search.html. ``usage`` parses query strings into these; nothing here reads HTTP. The clause that most
likely finds the fewest becomes ``rkey IN (SELECT …)`` and leads; the others become EXISTS on the resource at
hand. So a resource with several matching rows counts once, and the work follows the leading clause on both
databases. Which one leads goes by its kind, on SQLite also by how many rows it has (probe.py). A chain is a
search within the search, for resources that the caller may see: what is hidden decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from hdg.management.store.chains import Chains, Rows, inside, tested
from hdg.management.store.forms import TABLES, coded_numbers, form_numbers
from hdg.management.store.index import is_sole_date, lookups
from hdg.management.store.matching import RANGED, Clause, CodesOf, Matching
from hdg.management.store.membership import has_row
from hdg.management.store.operators import unescape
from hdg.management.store.probe import Fewest
from hdg.management.store.texts import TEXT_INDEX, words_match
from hdg.management.store.values import Hash

__all__ = ["LED", "Clause", "CodesOf", "Include", "Led", "SearchQuery", "Sort", "conditions", "led"]

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


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of ``_sort``. ``kind``: date, string, number, quantity or uri; any for columns (pages.py)."""

    param: str
    kind: str = ""
    is_descending: bool = False
    places: tuple[tuple[int, str], ...] = ()
    """As Clause has them."""


@dataclass(frozen=True, slots=True)
class Include:
    """One ``_include`` (``is_reverse``: ``_revinclude``): the references of ``param`` of resources of ``type``.

    ``param`` ``*``: of every parameter. ``target``: only references to that type, '' for any. ``is_iterated``:
    also from and to what was included. ``places`` and ``expression``: of a parameter that is not R4's own.
    """

    type: str
    param: str
    target: str = ""
    is_reverse: bool = False
    is_iterated: bool = False
    places: tuple[tuple[int, str], ...] = ()
    expression: str = ""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search of one resource type: all ``clauses`` must match.

    ``types``: of a search over several types, whose ``type`` is ''. ``compartment``: ``Type/id`` whose
    compartment is searched, '' for no such limit. ``count``: rows per page (0: only the total). ``cursor``:
    what the page before gave, '' for the first page. ``sort``: () is newest created first: no row is lost or
    doubled while others write. By anything else a row whose values change between two pages may come again,
    or come only after it has gone by; all others come once. ``custom``: the serials of the parameters that are
    not R4's own; the search fails unless all of them are complete.
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
    custom: tuple[int, ...] = ()

    def led_over(self) -> frozenset[str]:
        """The types on which the outcome depends when the search has a chain, its own among them; else none."""
        found: set[str] = set()
        pending = list(self.clauses)
        while pending:
            clause = pending.pop()
            for type_, inner in clause.links:
                if clause.kind != "filter":
                    found.add(type_)
                pending.append(inner)
        return frozenset(found | {self.type}) if found else frozenset()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all parts of a query share. ``visible``: what the caller may see; None: chains are not expected."""

    hash: Hash
    now_us: int
    visible: Condition | None
    fewest: Fewest | None = None


def conditions(
    query: SearchQuery,
    hash_: Hash,
    now_us: int,
    visible: Condition | None = None,
    fewest: Fewest | None = None,
) -> list[Condition]:
    """The WHERE terms over ``resource``, ``visible`` not among them.

    ``visible``: the resources that a chain may lead over. ``fewest``: decides which clause leads; None: its kind
    does. Raises BadRequest for a value or modifier that is not understood.
    """
    types = query.types or (query.type,)
    among = inside(types, query.compartment, hash_) if query.compartment else None
    return _terms(types, query.clauses, _Asked(hash_, now_us, visible, fewest), among)


LED = table("led", column("rkey"))
"""The rkeys of what leads, under the name by which the other clauses of ``Led`` know them."""


@dataclass(frozen=True, slots=True)
class Led:
    """A search that one clause leads: ``rows`` are its rkeys, ``terms`` the others', each a look-up for one of LED.

    ``is_in_order``: one index has the rows in the order of their rkeys.
    """

    rows: Rows
    terms: tuple[Condition, ...]
    is_in_order: bool


def led(query: SearchQuery, hash_: Hash, now_us: int, visible: Condition) -> Led | None:
    """The search as one that needs no plan of its own if the rows of what leads are few; None: there is no such one.

    Raises BadRequest as ``conditions`` does.
    """
    types = query.types or (query.type,)
    if query.compartment or query.sort:
        return None
    asked = _Asked(hash_, now_us, visible)
    wheres = [_Where(types, clause, asked) for clause in query.clauses]
    leader, _ = _leader(wheres, None)
    if leader is None or leader.is_id() or not leader.is_leading_alone():
        return None
    others = [where for where in wheres if where is not leader]
    if not all(where.is_looked_up() for where in others):
        return None
    return Led(leader.rows(None), tuple(where.of_led() for where in others), leader.is_in_order())


def _terms(
    types: tuple[str, ...], clauses: Sequence[Clause], asked: _Asked, among: Rows | None
) -> list[Condition]:
    """``among``: the only candidates; None: the clause that most likely finds the fewest leads."""
    wheres = [_Where(types, clause, asked, _beside(types, clause, clauses)) for clause in clauses]
    terms: list[Condition] = [_RESOURCE.c.deleted.is_(False)]
    has_chains = any(clause.links and clause.kind != "filter" for clause in clauses)
    if among is None:
        leader, found = _leader(wheres, asked.fewest)
        if leader is None or not leader.is_typed():  # else the type is part of what the leader's rows are of
            terms += _of(types)
        if leader is not None and (has_chains or not leader.is_id()):
            among = leader.rows(None) if found is None else found
            wheres.remove(leader)
    if among is not None:
        if any(where.clause.links for where in wheres):
            among = select(among.cte().c.rkey)
        terms.append(_RESOURCE.c.rkey.in_(among))
    return [*terms, *(where.condition(among) for where in wheres)]


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


def _leader(wheres: Sequence[_Where], fewest: Fewest | None) -> tuple[_Where | None, Rows | None]:
    """The clause that most likely finds the fewest (None: none of them lists its matches); its rows, if made already.

    The rows of all that may lead are made before one is looked for: so what cannot be understood of them is refused
    the same whatever is stored.
    """
    able = sorted((where for where in wheres if where.rank() < _NEVER), key=_Where.rank)
    first = able[0] if able else None
    if fewest is None or first is None or first.is_id() or first.clause.links:
        return first, None
    if first.clause.kind == "reference" or first.clause.param == "identifier":
        return first, None  # of one patient, of one number: few, as a rule; a look at the others costs more
    able = [where for where in able if not where.clause.links and not where.is_id()]
    if len(able) == 1:
        return first, None
    rows = [where.rows(None) for where in able]
    place = fewest(rows)
    return able[place], rows[place]


def _has(table: Table, terms: Sequence[Condition], of: FromClause) -> Condition:
    """There is a row of the one at hand."""
    rows = select(1).where(table.c.rkey == of.c.rkey, *terms).correlate(of)
    return (rows.offset(literal_column("0")) if of is LED else rows).exists()


_lookups = lru_cache(8192)(lookups)
_is_sole_date = lru_cache(8192)(is_sole_date)


def _of(types: tuple[str, ...]) -> list[Condition]:
    if len(types) == len(definitions.resource_types()):
        return []
    return [_RESOURCE.c.type == types[0] if len(types) == 1 else _RESOURCE.c.type.in_(types)]


@dataclass(frozen=True, slots=True)
class _Where:
    """One clause on its way to SQL."""

    types: tuple[str, ...]
    clause: Clause
    asked: _Asked
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
            return max(_Where((type_,), inner, self.asked).rank() for type_, inner in clause.links) + _STEP
        is_negative = clause.modifier in _NEGATIVE or (clause.modifier, *clause.values) == _ABSENT
        if clause.param == "_lastUpdated" or is_negative or (clause.param == "_id" and clause.modifier):
            return _NEVER
        if clause.modifier in _FORM_RANKS:
            return _FORM_RANKS[clause.modifier]
        return 0.0 if clause.param in ("identifier", "_id", "_list") else _RANKS.get(clause.kind, 9.0)

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

    def rows(self, among: Rows | None) -> Rows:
        """The rkeys of its matches; ``among``: the only ones that matter."""
        if self.clause.links:
            return Chains(self.types, self._matching, self._linked).rows(among)
        if self.is_id():
            columns = _RESOURCE.c
            named = select(columns.rkey).where(columns.type.in_(self.types), self._ids())
            return named.correlate(None)
        indexes = self._indexes(is_leading=True)
        parts = [select(table.c.rkey).where(*terms).correlate(None) for table, terms in indexes]
        if len(parts) == 1:
            return parts[0]
        every = union_all(*parts).subquery()
        return select(every.c.rkey)

    def of_led(self) -> Condition:
        """The clause, one that is looked up, as a term over LED, of which PostgreSQL makes no join."""
        found = or_(*(_has(table, terms, LED) for table, terms in self._indexes()))
        return ~found if self.rank() == _NEVER else found

    def condition(self, among: Rows | None) -> Condition:
        """The clause as a term over ``resource``."""
        if self.clause.kind == "filter":
            return self._filter()
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
        terms = [_Where(self.types, inner, self.asked).condition(None) for _, inner in self.clause.links]
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
        places = clause.places or [place for type_ in self.types for place in _lookups(type_, clause.param)]
        if found is None or not places:
            raise BadRequest(f"{clause.param}: this search parameter is not supported", code="not-supported")
        terms = [matching.places(found.c, places)]
        if clause.kind == "date" and not clause.modifier and is_leading:
            each = (matching.dates(found.c, (value, *self.beside), terms[0]) for value in clause.values)
            return [(found, [or_(*each)])]
        if clause.modifier != "missing":
            matches = or_(*(matching.match(found.c, value, terms[0]) for value in clause.values))
            return [(found, [matches] if clause.kind in RANGED else [*terms, matches])]
        self._is_missing()
        others = [name for name in ("text", "identifier") if self._numbers(name)]
        return [(found, terms), *(self._form(name) for name in others)]

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

    def _linked(self, types: tuple[str, ...], inner: Clause, among: Rows | None) -> list[Condition]:
        """The resources at the other end of a reference, as far as the caller may see them."""
        if self.asked.visible is None:
            raise BadRequest("a chain is not supported here", code="not-supported", place=self.clause.param)
        return [*_terms(types, (inner,), self.asked, among), self.asked.visible]
