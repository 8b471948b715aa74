"""Search requests as values, and what they become in SQL.

R4 search.html. ``usage`` parses query strings into these; nothing here reads HTTP. The clause that most
likely finds the fewest becomes ``rkey IN (SELECT …)`` and leads; the others become EXISTS on the resource at
hand. So a resource with several matching rows counts once, and the work follows the leading clause on both
databases. Which one leads goes by its kind, on SQLite also by how many rows it has (probe.py). A chain is a
search within the search, for resources that the caller may see: what is hidden decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement

from hdg.management.store.chains import Rows, inside
from hdg.management.store.leader import leader_of
from hdg.management.store.matching import Clause, CodesOf
from hdg.management.store.probe import Fewest
from hdg.management.store.values import Hash
from hdg.management.store.where import LED, Asked, Where, terms_of, there_of, wheres_of

__all__ = [
    "LED",
    "Clause",
    "CodesOf",
    "Include",
    "Led",
    "SearchQuery",
    "Sort",
    "Walk",
    "conditions",
    "led",
    "tested_of",
    "walk_of",
]

Condition = ColumnElement[bool]


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
    not R4's own; the search fails unless all of them are complete. ``total_max``: so many are counted at most: of
    more there is no total (None: all are counted).
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
    total_max: int | None = None

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
    return terms_of(types, query.clauses, Asked(hash_, now_us, visible, fewest), among)


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
    asked = Asked(hash_, now_us, visible)
    wheres = [Where(types, clause, asked) for clause in query.clauses]
    leader, _ = leader_of(wheres, None)
    if leader is None or leader.is_id() or not leader.is_leading_alone():
        return None
    others = [where for where in wheres if where is not leader]
    if not all(where.is_looked_up() for where in others):
        return None
    return Led(leader.rows(None), tuple(where.of_led() for where in others), leader.is_in_order())


@dataclass(frozen=True, slots=True)
class Walk:
    """A search that may be led by all resources of its type, the newest first, until enough are found.

    ``terms``: WHERE terms over ``resource``, each a look-up from the one at hand. ``leading``: the rows of what may
    lead instead; if any of these are few, it should.
    """

    terms: tuple[Condition, ...]
    leading: tuple[Rows, ...]


def walk_of(query: SearchQuery, hash_: Hash, now_us: int, visible: Condition) -> Walk | None:
    """The search as a walk over its type; None: that cannot be, or cannot be better.

    Raises BadRequest as ``conditions`` does.
    """
    walk = None if query.sort else tested_of(query, hash_, now_us, visible)
    return walk if walk is not None and walk.leading else None


def tested_of(query: SearchQuery, hash_: Hash, now_us: int, visible: Condition) -> Walk | None:
    """The search, whatever its order, by look-ups from each resource of its type; ``leading`` (): nothing else leads.

    None: that cannot be, or one clause finds few by its kind. Raises BadRequest as ``conditions`` does.
    """
    if not query.type or query.types or query.compartment or query.custom:
        return None
    asked = Asked(hash_, now_us, visible)
    wheres = wheres_of((query.type,), query.clauses, asked)
    able = [where for where in wheres if where.can_lead()]
    if any(where.is_id() or where.is_few() for where in able):
        return None
    if not all(where.is_tested() for where in wheres):
        return None
    able.sort(key=Where.rank)
    there = there_of((query.type,))
    return Walk((*there, *(where.tested() for where in wheres)), tuple(where.leading() for where in able))
