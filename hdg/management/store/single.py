"""Unsorted pages of a search by one statement, and how many match; for a common form the statement is made once.

Which way is best for a search is told by what is known of its shape (kept.py): how many of its clauses may lead,
whether its newest rows were read in vain before, whether it can be a walk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select
from sqlalchemy.exc import DataError

from hdg.management.store import pages, schema
from hdg.management.store.asking import Asker
from hdg.management.store.batch import table_of
from hdg.management.store.kept import Asked, Build, Memo, Rows, Statements
from hdg.management.store.plain import Position, shape_of
from hdg.management.store.probe import counting, fewest_of, fewest_with, least, within_bounds
from hdg.management.store.search import Led, SearchQuery, Walk, conditions, led, tested_of, walk_of
from hdg.management.store.values import Hash

__all__ = ["Found", "Single"]

Condition = ColumnElement[bool]
Found = tuple[Rows, int | None]

_RESOURCE = table_of(schema.Resource)
_IN_VAIN, _SCORE_MAX = 4, 16
"""What a search costs whose newest rows were read in vain, in searches that gained by it; how many of these count."""


class Single:
    """Thread-safe. ``columns``: as pages.page has them."""

    def __init__(
        self, asker: Asker, columns: Sequence[Any], hash_: Hash, clock: Callable[[], int], *, is_sqlite: bool
    ) -> None:
        self._asker = asker
        self._statements = Statements(asker, hash_)
        self._columns = columns
        self._hash = hash_
        self._clock = clock
        self._is_sqlite = is_sqlite
        self._contenders = Memo[int]()
        self._unled = Memo[bool]()
        self._walks = Memo[int]()
        self._scores = Memo[int]()

    def asked(self, query: SearchQuery, position: Position, visible: Condition) -> Asked:
        """A page, with its shape if it has one."""
        return Asked(query, position, visible, shape_of(query, position, self._hash))

    def rows(self, connection: Connection, asked: Asked) -> Found:
        """As ``pages.rows``, of an unsorted page. Raises BadRequest."""
        return self._unsorted(connection, asked, self._leader(connection, asked))

    def few(self, connection: Connection, asked: Asked) -> Found | None:
        """As ``rows``, on SQLite, where few rows lead, or there can be no walk; None: a walk may be better.

        So that the clauses are tried once. Raises BadRequest.
        """
        leader = self._few_led(connection, asked)
        return None if leader is None else self._unsorted(connection, asked, leader)

    def few_counted(self, connection: Connection, asked: Asked) -> int | None:
        """How many match of a search that few rows lead; None: they are not few, or it has no shape.

        Raises BadRequest.
        """
        if asked.shape is None:
            return None
        if not self._is_sqlite:
            return self._led_counted(connection, asked)
        leader = self._few_led(connection, asked)
        return None if leader is None else self._counted(connection, asked, leader)

    def counted(self, connection: Connection, asked: Asked) -> int | None:
        """The same from the rows that one clause finds, few or many; None: it has no shape. Raises BadRequest."""
        if asked.shape is None:
            return None
        return self._counted(connection, asked, self._leader(connection, asked))

    def _leader(self, connection: Connection, asked: Asked) -> int:
        """The clause, of those that may lead, that finds the fewest rows."""
        number = self._number(asked)
        return fewest_of(connection, number, partial(self._count, connection, asked)) if number else 0

    def _few_led(self, connection: Connection, asked: Asked) -> int | None:
        """The clause, of those that may lead, whose rows are few, on SQLite; None: a walk may be better."""
        if not self._is_sqlite or asked.shape is None:
            return None
        number = self._number(asked)
        if number:
            leader, is_few = fewest_with(connection, number, partial(self._count, connection, asked))
            is_few = is_few or not self.can_be_walked(asked)
        else:
            leader, is_few = 0, not self.walked(connection, asked)
        return leader if is_few else None

    def _counted(self, connection: Connection, asked: Asked, leader: int) -> int:
        """``total_max`` is part of the text that is kept."""
        most = asked.query.total_max

        def build(query: SearchQuery, _: Position) -> Select[Any]:
            where = self._led_by(query, asked.visible, leader)
            if most is None:
                return select(func.count()).select_from(_RESOURCE).where(*where)
            return counting(select(_RESOURCE.c.rkey).where(*where), most + 1)

        return int(self._statements.ask(connection, asked, ("number", leader, most), build)[0][0])

    def _led_counted(self, connection: Connection, asked: Asked) -> int | None:
        rows = self._led_rows(connection, asked, "led number", partial(self._led_number, asked.visible))
        if rows is None:
            return None
        number, few = rows[0]
        return None if few > pages.LED_MAX else int(number)

    def _led_rows(self, connection: Connection, asked: Asked, name: str, build: Build) -> Rows | None:
        """The rows of a statement that one clause leads; None: none does. Raises BadRequest."""
        if self._is_unled(asked):
            return None
        rows = self._statements.kept(connection, asked, (name,))
        if rows is not None:
            return rows
        if led(asked.query, self._hash, self._clock(), asked.visible) is None:
            if asked.shape is not None:
                self._unled.keep(asked.shape.key, True)
            return None
        return self._statements.made(connection, asked, (name,), build)

    def _is_unled(self, asked: Asked) -> bool:
        """Whether it is known that no clause leads searches of this form."""
        return asked.shape is not None and asked.shape.key in self._unled

    def _unsorted(self, connection: Connection, asked: Asked, leader: int) -> Found:
        """The page by what the clause at ``leader`` finds, of those that may lead."""

        def ask(is_packed: bool) -> Rows:
            build = partial(self._page, asked.visible, leader, is_packed)
            return self._statements.ask(connection, asked, ("page", leader, is_packed), build)

        return pages.unsorted(ask, self._columns, is_sqlite=self._is_sqlite, is_counted=asked.is_counted)

    def led(self, connection: Connection, asked: Asked) -> Found | None:
        """The page of a search that few rows lead, in any plan, or the newest of many; None: it is not one.

        Raises BadRequest.
        """
        if self._is_unled(asked):
            return None
        if self._is_newest(asked):
            return self._newest(connection, asked)
        if self._is_sqlite:
            return None
        rows = self._led_rows(connection, asked, "led", partial(self._led_page, asked.visible, False))
        return None if rows is None else pages.led_found(rows, is_counted=asked.is_counted)

    def walk(self, connection: Connection, asked: Asked) -> Found | None:
        """As ``rows``, from the newest resource of the type on; None: other ways are better, or this one is too long.

        Not counted in passing: where a walk is good there are more matches than are counted so.

        On a connection in a transaction. Raises BadRequest.
        """
        rows = self.walked(connection, asked)
        if not rows:
            return None

        def ask(is_packed: bool) -> Rows:
            build = partial(self._walk_page, asked.visible, is_packed)
            return self._statements.ask(connection, asked, ("walk", is_packed), build)

        found = within_bounds(
            connection,
            rows,
            lambda: pages.unsorted(ask, self._columns, is_sqlite=self._is_sqlite, is_counted=False),
        )
        is_all = found is not None and asked.position is None and len(found[0]) <= asked.query.count
        return (found[0], len(found[0])) if found is not None and is_all else found

    def walked(self, connection: Connection, asked: Asked) -> int:
        """How many rows would be listed where a walk may be better, as all clauses find many; else 0.

        Raises BadRequest.
        """
        number = self._rivals(asked)
        return least(connection, number, partial(self._probe, connection, asked)) if number else 0

    def unsorted(self, asked: Asked) -> Asked:
        """What matches, in no order of the caller's and from the first on."""
        query = replace(asked.query, sort=(), includes=(), cursor="")
        return self.asked(query, None, asked.visible)

    def ordered(self, connection: Connection, asked: Asked) -> tuple[Walk, int] | None:
        """A sorted search by look-ups from the resource at hand, and how many rows would be listed without that.

        None: these are few, or it cannot be. Raises BadRequest.
        """
        plain = self.unsorted(asked)
        rows = self.walked(connection, plain)
        if not rows and self.can_be_walked(plain):
            return None
        walk = tested_of(plain.query, self._hash, self._clock(), asked.visible)
        if walk is not None and not walk.leading:
            rows = least(connection, 1, lambda _, limit: self._of_type(connection, plain.query.type, limit))
        return (walk, rows) if walk is not None and rows else None

    def _of_type(self, connection: Connection, type_: str, limit: int) -> Rows:
        of_type = select(_RESOURCE.c.rkey).where(_RESOURCE.c.type == type_)
        return self._asker.rows(connection, counting(of_type, limit))

    def can_be_walked(self, asked: Asked) -> bool:
        """Whether it is a search that a walk can answer, by its form alone. Raises BadRequest."""
        return self._rivals(asked) > 0

    def _rivals(self, asked: Asked) -> int:
        """How many clauses may lead a search in place of a walk; 0: it cannot be one."""
        if asked.shape is None:
            walk = self.walk_of(asked)
            return 0 if walk is None else len(walk.leading)
        number = self._walks.get(asked.shape.key)
        if number is None:
            walk = self.walk_of(asked)
            number = 0 if walk is None else len(walk.leading)
            self._walks.keep(asked.shape.key, number)
        return number

    def walk_of(self, asked: Asked) -> Walk | None:
        """The search as a walk. Raises BadRequest."""
        return self._walk_of(asked.query, asked.visible)

    def _probe(self, connection: Connection, asked: Asked, place: int, limit: int) -> Rows:
        def build(query: SearchQuery, _: Position) -> Select[Any]:
            return counting(self._walk(query, asked.visible).leading[place], limit)

        return self._statements.ask(connection, asked, ("probe", place, limit), build)

    def _walk_of(self, query: SearchQuery, visible: Condition) -> Walk | None:
        return walk_of(query, self._hash, self._clock(), visible)

    def _walk(self, query: SearchQuery, visible: Condition) -> Walk:
        walk = self._walk_of(query, visible)
        if walk is None:
            raise ValueError("not a search that can be a walk")
        return walk

    def _newest(self, connection: Connection, asked: Asked) -> Found | None:
        """The page by the newest rows of what leads; None: it is not full with these. Raises BadRequest."""
        found: Found | None = None
        with suppress(DataError, sqlite3.DataError):  # more than SQLite can hold in one value
            rows = self._statements.ask(
                connection, asked, ("newest",), partial(self._led_page, asked.visible, True)
            )
            if self._is_sqlite:
                found = pages.newest_found(rows, self._columns)
            else:
                found = pages.led_found(rows, is_counted=False)
        if asked.shape is not None:
            self._score(asked.shape.key, found is not None)
        return found

    def _is_newest(self, asked: Asked) -> bool:
        """Whether to read the newest rows of what leads until the page is full. Raises BadRequest.

        Not where too many of them have been read in vain, of searches of this form; once alone says nothing.
        """
        if asked.is_counted or asked.shape is None:
            return False
        score = self._scores.get(asked.shape.key)
        if score is None:
            by = led(asked.query, self._hash, self._clock(), asked.visible)
            score = _IN_VAIN if by is not None and by.is_in_order else -1
            self._scores.keep(asked.shape.key, score)
        return score >= 0

    def _score(self, key: Hashable, is_found: bool) -> None:
        by = 1 if is_found else -_IN_VAIN
        self._scores.change(key, lambda score: min((score or 0) + by, _SCORE_MAX))

    # --- statements -----------------------------------------------------------------------------------------

    def _number(self, asked: Asked) -> int:
        """How many clauses may lead and must be tried; 0: it is known which one does."""
        if not (self._is_sqlite or _has_links(asked.query)):
            return 0
        if asked.shape is None:
            return len(self._leading(asked.query, asked.visible))
        number = self._contenders.get(asked.shape.key)
        if number is None:
            number = len(self._leading(asked.query, asked.visible))
            self._contenders.keep(asked.shape.key, number)
        return number

    def _leading(self, query: SearchQuery, visible: Condition) -> Sequence[Select[tuple[int]]]:
        """What the clauses that may lead find, where they must be tried."""
        found: list[Sequence[Select[tuple[int]]]] = [()]

        def note(rows: Sequence[Select[tuple[int]]]) -> int:
            found.append(rows)
            return 0

        conditions(query, self._hash, self._clock(), visible, note)
        return found[-1]

    def _count(self, connection: Connection, asked: Asked, place: int, limit: int) -> Rows:
        def build(query: SearchQuery, _: Position) -> Select[Any]:
            return counting(self._leading(query, asked.visible)[place], limit)

        return self._statements.ask(connection, asked, ("count", place, limit), build)

    def _page(
        self, visible: Condition, leader: int, is_packed: bool, query: SearchQuery, position: Position
    ) -> Select[Any]:
        where = self._led_by(query, visible, leader)
        is_counted = query.with_total and position is None
        return pages.page(self._columns, query, where, position, is_counted=is_counted, is_packed=is_packed)

    def _led_by(self, query: SearchQuery, visible: Condition, leader: int) -> list[Condition]:
        """What the matches fulfil, led by the one clause of those that may lead."""
        fewest = (lambda _: leader) if self._is_sqlite or _has_links(query) else None
        return [*conditions(query, self._hash, self._clock(), visible, fewest), visible]

    def _walk_page(
        self, visible: Condition, is_packed: bool, query: SearchQuery, position: Position
    ) -> Select[Any]:
        where = [*self._walk(query, visible).terms, visible]
        return pages.page(self._columns, query, where, position, is_packed=is_packed)

    def _led_page(
        self, visible: Condition, is_newest: bool, query: SearchQuery, position: Position
    ) -> Select[Any]:
        by = self._lead(query, visible)
        if is_newest:
            made = pages.newest_packed if self._is_sqlite else pages.newest_page
            return made(self._columns, query, by, visible, position)
        is_counted = query.with_total and position is None
        return pages.led_page(self._columns, query, by, visible, position, is_counted=is_counted)

    def _led_number(self, visible: Condition, query: SearchQuery, _: Position) -> Select[Any]:
        return pages.led_number(self._lead(query, visible), visible)

    def _lead(self, query: SearchQuery, visible: Condition) -> Led:
        by = led(query, self._hash, self._clock(), visible)
        if by is None:
            raise ValueError("not a search that one clause leads")
        return by


def _has_links(query: SearchQuery) -> bool:
    return any(clause.links for clause in query.clauses)
