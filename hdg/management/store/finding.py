"""Searches: the way to a page, how many match, what comes along; always under a predicate that is part of the SQL.

R4 search.html. In this order: a page that few rows of one clause lead to, or the newest of many (single.py); where all
clauses find many, a walk over the type, the newest first, until the page is full; else the rows of what finds the
fewest are listed. All find the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from hdg.errors import BadRequest
from hdg.management.store import includes, pages, schema
from hdg.management.store.asking import Asker
from hdg.management.store.batch import table_of
from hdg.management.store.connections import BY_VALUES, ONCE, Connections
from hdg.management.store.custom import TEXTS
from hdg.management.store.custom_register import are_ready
from hdg.management.store.ends import end_of, sizes
from hdg.management.store.index_state import IndexState, needs_index
from hdg.management.store.kept import Asked, Rows
from hdg.management.store.probe import counting, fewest, within_bounds
from hdg.management.store.search import SearchQuery, conditions
from hdg.management.store.single import Found, Single
from hdg.management.store.text_state import hold
from hdg.management.store.values import Hash
from hdg.management.store.versions import (
    COLUMNS,
    PATIENTS_AT,
    Page,
    StoredVersion,
    current_of,
    stored,
    versions_of,
)

__all__ = ["Finder"]

Condition = ColumnElement[bool]
Contents = Callable[[Sequence[StoredVersion]], Iterator[dict[str, Any]]]
_RESOURCE = table_of(schema.Resource)
_EVERY = 2**31 - 1
_SHORT = 20_000
"""A type of fewer resources is walked to count all that match."""


class Finder:
    """The searches of a Reader. Thread-safe. ``contents``: the resources of versions."""

    def __init__(
        self,
        connections: Connections,
        asker: Asker,
        single: Single,
        hash_: Hash,
        clock: Callable[[], int],
        index: IndexState,
        contents: Contents,
    ) -> None:
        self._connections = connections
        self._asker = asker
        self.single = single
        self._hash = hash_
        self._clock = clock
        self._index = index
        self._contents = contents

    def search(self, query: SearchQuery, predicate: Condition) -> Page:
        """As Reader.search."""
        position = pages.decoded(query.cursor, 2 + len(query.sort)) if query.cursor else None
        asked = self.single.asked(query, position, predicate)
        page = None if query.includes or query.custom else self._by_one(asked)
        return page or self._connections.snapshot(lambda connection: self.by_several(connection, asked))

    # --- one page -------------------------------------------------------------------------------------------

    def _by_one(self, asked: Asked) -> Page | None:
        """The page by one statement, which needs no transaction, and where many match one that counts.

        None: it takes more.
        """
        query = asked.query
        if not query.count:
            return self._number_alone(asked)
        if query.sort:
            return None
        found: Found | None = self._connections.once(partial(self._led, asked), ONCE)
        can_be_walked = found is None and self.single.can_be_walked(asked)
        if can_be_walked:
            found = self._connections.snapshot(lambda connection: self._walked(connection, asked))
        if found is None:
            if asked.shape is None and asked.is_counted and not can_be_walked:
                return None  # the page and the number are found by the same terms
            found = self._connections.once(partial(self._alone, asked), BY_VALUES)
        rows, total = found
        if any(row[PATIENTS_AT] > 1 for row in rows):
            return None
        if asked.is_counted and total is None:
            total = self._connections.snapshot(lambda connection: self._total(connection, asked))
        versions = tuple(stored(row[: len(COLUMNS)]) for row in rows[: query.count])
        return _page(asked, rows, versions, total)

    def _number_alone(self, asked: Asked) -> Page | None:
        """How many match; None: it takes more than is kept of a search."""
        if asked.shape is None or asked.position is not None:
            return None
        total = self._connections.once(partial(self._few_counted, asked), ONCE)
        if total is None:
            total = self._connections.snapshot(lambda connection: self._total(connection, asked))
        return _page(asked, (), (), total)

    def _few_counted(self, asked: Asked, connection: Connection) -> int | None:
        self._check(asked.query, connection)
        return self.single.few_counted(connection, asked)

    def _led(self, asked: Asked, connection: Connection) -> Found | None:
        """The rows of a search that few rows lead, or the newest of many; None: it is not one."""
        self._check(asked.query, connection)
        return self.single.led(connection, asked) or self.single.few(connection, asked)

    def _walked(self, connection: Connection, asked: Asked) -> Found | None:
        """The rows of a page by a walk over the type, or in its order; None: to be found in another way."""
        self._check(asked.query, connection)
        return self._from_end(connection, asked) if asked.query.sort else self.single.walk(connection, asked)

    def _from_end(self, connection: Connection, asked: Asked) -> Found | None:
        """The rows of a sorted page from the end of an index (ends.py); None: to be found in another way."""
        query, after = asked.query, None if asked.position is None else asked.position[2]
        end = None if asked.position is not None and after is None else end_of(query)
        ordered = None if end is None else self.single.ordered(connection, asked)
        if end is None or ordered is None:
            return None
        walk, rows = ordered
        ask = partial(self._asker.rows, connection)

        def page() -> Rows | None:
            passed = 0 if after is None else end.passed(ask, after, rows)
            for size in sizes(rows, passed):
                among, bound = end.among(ask, after, size)
                where = [*walk.terms, asked.visible, _RESOURCE.c.rkey.in_(among)]
                where += [] if bound is None else [pages.up_to(query, bound)]
                found = ask(pages.page(COLUMNS, query, where, asked.position))
                if len(found) > query.count:
                    return found
                if bound is None:
                    break
            return None

        found = within_bounds(connection, rows, page)
        return None if found is None else (found, None)

    def _alone(self, asked: Asked, connection: Connection) -> Found:
        """The rows of a page by one statement that was made before, or by ``_listed``."""
        if asked.shape is None:
            return self._listed(connection, asked, self._where(connection, asked))
        self._check(asked.query, connection)
        return self.single.rows(connection, asked)

    def _listed(self, connection: Connection, asked: Asked, where: list[Condition]) -> Found:
        """The rows of a page, and how many match in all (None: not known in passing). ``where``: as _where has it."""

        def content(row: Sequence[Any]) -> dict[str, Any]:
            return next(self._contents([stored(row)]))

        ask = partial(self._asker.rows, connection)
        return pages.rows(connection, ask, COLUMNS, asked.query, where, asked.position, content)

    def _where(self, connection: Connection, asked: Asked) -> list[Condition]:
        """What the resources that match fulfil."""
        query = asked.query
        if TEXTS in query.custom:
            hold(connection)
        self._check(query, connection)
        ask = partial(self._asker.rows, connection)
        which = fewest(connection, ask, has_links=any(clause.links for clause in query.clauses))
        terms = conditions(query, self._hash, self._clock(), asked.visible, which)
        if query.custom and not are_ready(connection, query.custom):
            raise BadRequest("a search parameter has changed just now; ask again", code="not-supported")
        return [*terms, asked.visible]

    def _check(self, query: SearchQuery, connection: Connection) -> None:
        if needs_index(query):
            self._index.check(connection)

    # --- how many -------------------------------------------------------------------------------------------

    def _total(self, connection: Connection, asked: Asked, where: list[Condition] | None = None) -> int:
        """How many match; at most one more than are to be counted. ``where``: as _where has it, if it was made."""
        if where is None:
            asked = self.single.unsorted(asked)
        counted = self._walked_total(connection, asked)
        if counted is None and where is None:
            counted = self.single.counted(connection, asked)
        if counted is None:
            counted = self._listed_total(connection, asked, where or self._where(connection, asked))
        return counted

    def _walked_total(self, connection: Connection, asked: Asked) -> int | None:
        """The number by a walk, one more than are to be counted at most; None: to be counted in another way.

        What refers to some, and all of a type that has many resources, are faster listed than tested one by one.
        """
        self._check(asked.query, connection)
        if any(clause.kind == "chain" for clause in asked.query.clauses):
            return None
        rows = self.single.walked(connection, asked)
        if not rows:
            return None
        if asked.query.total_max is None:
            of_type = select(_RESOURCE.c.rkey).where(_RESOURCE.c.type == asked.query.type)
            if self._number(connection, counting(of_type, _SHORT)) == _SHORT:
                return None
        walk = self.single.walk_of(asked)
        where = [] if walk is None else [*walk.terms, asked.visible]
        # In the order in which they came, neighbours are read together.
        newest = select(_RESOURCE.c.rkey).where(*where).order_by(_RESOURCE.c.rkey.desc())
        most = _EVERY if asked.query.total_max is None else asked.query.total_max + 1
        return within_bounds(connection, rows, lambda: self._number(connection, counting(newest, most)))

    def _listed_total(self, connection: Connection, asked: Asked, where: list[Condition]) -> int:
        """The same from what the clause finds that leads."""
        most = asked.query.total_max
        if most is None:
            return self._number(connection, select(func.count()).select_from(_RESOURCE).where(*where))
        return self._number(connection, counting(select(_RESOURCE.c.rkey).where(*where), most + 1))

    def _number(self, connection: Connection, query: Select[Any]) -> int:
        return int(self._asker.rows(connection, query)[0][0])

    # --- by several statements ------------------------------------------------------------------------------

    def by_several(self, connection: Connection, asked: Asked) -> Page:
        """The page on a connection in a transaction, with all that it may have."""
        query = asked.query
        found: Found | None = ((), None)
        where: list[Condition] | None = None
        if query.count:
            found = self._walked(connection, asked)
        if found is None:
            where = self._where(connection, asked)
            found = self._listed(connection, asked, where)
        rows, total = found
        if asked.position is None and total is None and (query.with_total or not query.count):
            total = self._total(connection, asked, where)
        size = len(COLUMNS)
        versions = tuple(versions_of(connection, [row[:size] for row in rows[: query.count]]))
        included: Sequence[StoredVersion] = ()
        is_cut = False
        if query.includes and versions:
            included, is_cut = self._included(connection, query, versions, asked.visible)
        return _page(asked, rows, versions, total, included, is_cut=is_cut)

    def _included(
        self,
        connection: Connection,
        query: SearchQuery,
        matches: Sequence[StoredVersion],
        predicate: Condition,
    ) -> tuple[list[StoredVersion], bool]:
        """What the page's matches bring along, and whether there would be more than may come."""

        known = {version.rkey: version for version in matches}

        def contents(rkeys: Sequence[int]) -> Iterator[dict[str, Any]]:
            return self._contents(current_of(connection, rkeys, predicate, known))

        found = [(version.rkey, version.type, version.id) for version in matches]
        rkeys, is_cut = includes.included(connection, found, query.includes, predicate, self._hash, contents)
        return current_of(connection, rkeys, predicate, known), is_cut


def _told(query: SearchQuery, total: int | None) -> int | None:
    """How many match, if that is asked for, and they are not more than are to be counted."""
    is_asked = query.with_total or not query.count
    is_too_many = total is not None and query.total_max is not None and total > query.total_max
    return total if is_asked and not is_too_many else None


def _page(
    asked: Asked,
    rows: Sequence[Sequence[Any]],
    versions: tuple[StoredVersion, ...],
    total: int | None,
    included: Sequence[StoredVersion] = (),
    *,
    is_cut: bool = False,
) -> Page:
    """The page of ``rows``, one of which may be that of the next."""
    query, position = asked.query, asked.position
    total = position[1] if position is not None else _told(query, total)
    next_cursor = ""
    if len(rows) > query.count:
        values = rows[query.count - 1][len(COLUMNS) :]
        next_cursor = pages.encoded([versions[-1].rkey, total, *values])
    return Page(versions, total, next_cursor, tuple(included), is_cut)
