"""Unsorted pages of a search by one statement; for searches of a common form it is made only once.

To make a statement of SQLAlchemy's parts takes several times as long as to run it. For a shape (plain.py) that is asked
again it is kept with what it binds: constants, the time, and values of the search, which are told from constants by a
second search that differs in all of them. The caller's predicate is part of the statement, with what it binds: each
predicate has statements of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Select, func, select
from sqlalchemy.exc import DataError

from hdg.management.store import pages, schema
from hdg.management.store.asking import Asker
from hdg.management.store.batch import table_of
from hdg.management.store.plain import Position, Shape, shape_of, twin_of
from hdg.management.store.probe import counting, fewest_of, fewest_with, least, within_bounds
from hdg.management.store.search import SearchQuery, Walk, conditions, led, tested_of, walk_of
from hdg.management.store.values import Hash

__all__ = ["Asked", "Found", "Rows", "Single"]

Condition = ColumnElement[bool]
Rows = Sequence[Sequence[Any]]
Found = tuple[Rows, int | None]
Build = Callable[[SearchQuery, Position], Select[Any]]
"""A statement of a search; its text follows from the search's shape."""

_RESOURCE = table_of(schema.Resource)
_PLANS_MAX = 2_000
"""Kept statements; one takes about 8 KB."""
_SEEN_MAX = 20_000
_IN_VAIN, _SCORE_MAX = 4, 16
"""What a search costs whose newest rows were read in vain, in searches that gained by it; how many of these count."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A page that is asked for. ``shape`` None: of no common form."""

    query: SearchQuery
    position: Position
    visible: Condition
    shape: Shape | None

    @property
    def is_counted(self) -> bool:
        """Whether the page tells how many match in all."""
        return self.query.with_total and self.position is None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A statement and what it binds: ``constants``, but at some places a value of the shape, at others what a call
    gives. ``sql`` '': such a statement cannot be kept.
    """

    visible: Condition
    sql: str = ""
    constants: tuple[Any, ...] = ()
    slots: tuple[tuple[int, int], ...] = ()
    """(place, which value)."""
    live: tuple[tuple[int, Callable[[], Any]], ...] = ()

    def values(self, shape: Shape) -> list[Any]:
        values = list(self.constants)
        for place, slot in self.slots:
            values[place] = shape.values[slot]
        for place, source in self.live:
            values[place] = source()
        return values


class Single:
    """Thread-safe. ``columns``: as pages.page has them."""

    def __init__(
        self, asker: Asker, columns: Sequence[Any], hash_: Hash, clock: Callable[[], int], *, is_sqlite: bool
    ) -> None:
        self._asker = asker
        self._columns = columns
        self._hash = hash_
        self._clock = clock
        self._is_sqlite = is_sqlite
        self._plans: dict[Hashable, _Plan] = {}
        self._contenders: dict[Hashable, int] = {}
        self._unled: set[Hashable] = set()
        self._walks: dict[Hashable, int] = {}
        self._scores: dict[Hashable, int] = {}
        self._seen: set[Hashable] = set()
        self._lock = Lock()

    def asked(self, query: SearchQuery, position: Position, visible: Condition) -> Asked:
        """A page, with its shape if it has one."""
        return Asked(query, position, visible, shape_of(query, position, self._hash))

    def rows(self, connection: Connection, asked: Asked) -> Found:
        """As ``pages.rows``, of an unsorted page. Raises BadRequest."""
        number = self._number(asked)
        leader = fewest_of(connection, number, partial(self._count, connection, asked)) if number else 0
        return self._unsorted(connection, asked, leader)

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
        number = self._number(asked)
        leader = fewest_of(connection, number, partial(self._count, connection, asked)) if number else 0
        return self._counted(connection, asked, leader)

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

        return int(self._ask(connection, asked, ("number", leader, most), build)[0][0])

    def _led_counted(self, connection: Connection, asked: Asked) -> int | None:
        key = None if asked.shape is None else asked.shape.key
        if key in self._unled:
            return None
        rows = self._kept(connection, asked, ("led number",))
        if rows is None:
            if led(asked.query, self._hash, self._clock(), asked.visible) is None:
                self._note(self._unled, key)
                return None
            rows = self._made(connection, asked, ("led number",), partial(self._led_number, asked.visible))
        number, few = rows[0]
        return None if few > pages.LED_MAX else int(number)

    def _unsorted(self, connection: Connection, asked: Asked, leader: int) -> Found:
        """The page by what the clause at ``leader`` finds, of those that may lead."""

        def ask(is_packed: bool) -> Rows:
            build = partial(self._page, asked.visible, leader, is_packed)
            return self._ask(connection, asked, ("page", leader, is_packed), build)

        return pages.unsorted(ask, self._columns, is_sqlite=self._is_sqlite, is_counted=asked.is_counted)

    def led(self, connection: Connection, asked: Asked) -> Found | None:
        """The page of a search that few rows lead, in any plan, or the newest of many; None: it is not one.

        Raises BadRequest.
        """
        key = None if asked.shape is None else asked.shape.key
        if key is not None and key in self._unled:
            return None
        if self._is_newest(asked):
            return self._newest(connection, asked)
        if self._is_sqlite:
            return None
        rows = self._kept(connection, asked, ("led",))
        if rows is None:
            if led(asked.query, self._hash, self._clock(), asked.visible) is None:
                if key is not None:
                    self._note(self._unled, key)
                return None
            rows = self._made(connection, asked, ("led",), partial(self._led_page, asked.visible, False))
        return pages.led_found(rows, is_counted=asked.is_counted)

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
            return self._ask(connection, asked, ("walk", is_packed), build)

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
            with self._lock:
                if len(self._walks) >= _SEEN_MAX:
                    self._walks.clear()
                self._walks[asked.shape.key] = number
        return number

    def walk_of(self, asked: Asked) -> Walk | None:
        """The search as a walk. Raises BadRequest."""
        return self._walk_of(asked.query, asked.visible)

    def _probe(self, connection: Connection, asked: Asked, place: int, limit: int) -> Rows:
        def build(query: SearchQuery, _: Position) -> Select[Any]:
            return counting(self._walk(query, asked.visible).leading[place], limit)

        return self._ask(connection, asked, ("probe", place, limit), build)

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
            rows = self._ask(connection, asked, ("newest",), partial(self._led_page, asked.visible, True))
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
            self._score(asked.shape.key, None, score)
        return score >= 0

    def _score(self, key: Hashable, is_found: bool | None, score: int = 0) -> None:
        with self._lock:
            if len(self._scores) >= _SEEN_MAX:
                self._scores.clear()
            if is_found is not None:
                score = min(self._scores.get(key, 0) + (1 if is_found else -_IN_VAIN), _SCORE_MAX)
            self._scores[key] = score

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
            with self._lock:
                if len(self._contenders) >= _SEEN_MAX:
                    self._contenders.clear()
                self._contenders[asked.shape.key] = number
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

        return self._ask(connection, asked, ("count", place, limit), build)

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
        by = led(query, self._hash, self._clock(), visible)
        if by is None:
            raise ValueError("not a search that one clause leads")
        if is_newest:
            made = pages.newest_packed if self._is_sqlite else pages.newest_page
            return made(self._columns, query, by, visible, position)
        is_counted = query.with_total and position is None
        return pages.led_page(self._columns, query, by, visible, position, is_counted=is_counted)

    def _led_number(self, visible: Condition, query: SearchQuery, _: Position) -> Select[Any]:
        by = led(query, self._hash, self._clock(), visible)
        if by is None:
            raise ValueError("not a search that one clause leads")
        return pages.led_number(by, visible)

    # --- what is kept ---------------------------------------------------------------------------------------

    def _ask(self, connection: Connection, asked: Asked, name: Hashable, build: Build) -> Rows:
        found = self._kept(connection, asked, name)
        return self._made(connection, asked, name, build) if found is None else found

    def _kept(self, connection: Connection, asked: Asked, name: Hashable) -> Rows | None:
        """The rows by the statement that is kept; None: there is none."""
        if asked.shape is None:
            return None
        plan = self._plans.get((name, id(asked.visible), asked.shape.key))
        if plan is None or plan.visible is not asked.visible or not plan.sql:
            return None
        return self._asker.fetched(connection, plan.sql, plan.values(asked.shape))

    def _made(self, connection: Connection, asked: Asked, name: Hashable, build: Build) -> Rows:
        """The rows by a new statement, which is kept if such a search was made before."""
        statement = build(asked.query, asked.position)
        rows = self._asker.rows(connection, statement)
        if asked.shape is not None:
            key = (name, id(asked.visible), asked.shape.key)
            if key not in self._seen:
                self._note(self._seen, key)
            else:
                self._learn(key, asked, asked.shape, statement, build)
        return rows

    def _learn(self, key: Hashable, asked: Asked, shape: Shape, statement: Select[Any], build: Build) -> None:
        known = self._plans.get(key)
        if known is not None and known.visible is asked.visible:
            return
        query, position = twin_of(asked.query, asked.position)
        twin = shape_of(query, position, self._hash)
        plan = _Plan(asked.visible)
        if twin is not None and twin.key == shape.key:
            one, other = self._asker.bound(statement), self._asker.bound(build(query, position))
            if one is not None and other is not None and one[0] == other[0]:
                plan = _plan(asked.visible, one[0], (one[1], shape), (other[1], twin)) or plan
        with self._lock:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            self._plans[key] = plan

    def _note(self, among: set[Hashable], key: Hashable) -> None:
        with self._lock:
            if len(among) >= _SEEN_MAX:
                among.clear()
            among.add(key)


def _has_links(query: SearchQuery) -> bool:
    return any(clause.links for clause in query.clauses)


_Bound = tuple[list[BindParameter[Any]], Shape]


def _plan(visible: Condition, sql: str, one: _Bound, other: _Bound) -> _Plan | None:
    """What binds what, told by two searches of the same shape; None: that cannot be told."""
    constants: list[Any] = []
    slots: list[tuple[int, int]] = []
    live: list[tuple[int, Callable[[], Any]]] = []
    values = list(zip(one[1].values, other[1].values, strict=True))
    if any(mine == its for mine, its in values):
        return None
    for place, (mine, its) in enumerate(zip(one[0], other[0], strict=True)):
        constants.append(mine.value)
        if mine.callable is not None or its.callable is not None:
            if mine.callable is not its.callable or mine.callable is None:
                return None
            live.append((place, mine.callable))
        elif mine.value != its.value:
            found = [slot for slot, pair in enumerate(values) if pair == (mine.value, its.value)]
            if not found:
                return None
            slots.append((place, found[0]))
    return _Plan(visible, sql, tuple(constants), tuple(slots), tuple(live))
