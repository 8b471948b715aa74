"""Statements of searches that are asked again, kept with what they bind; what else is known of a search by its shape.

To make a statement of SQLAlchemy's parts takes several times as long as to run it. For a shape (plain.py) that is asked
again it is kept with what it binds: constants, the time, and values of the search, which are told from constants by a
second search that differs in all of them. The caller's predicate is part of the statement, with what it binds: each
predicate has statements of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Connection, Select

from hdg.management.store.asking import Asker
from hdg.management.store.plain import Position, Shape, shape_of, twin_of
from hdg.management.store.search import SearchQuery
from hdg.management.store.values import Hash

__all__ = ["Asked", "Build", "Memo", "Rows", "Statements"]

Condition = ColumnElement[bool]
Rows = Sequence[Sequence[Any]]
Build = Callable[[SearchQuery, Position], Select[Any]]
"""A statement of a search; its text follows from the search's shape."""
Value = TypeVar("Value")

_PLANS_MAX = 2_000
"""Kept statements; one takes about 8 KB."""
_KNOWN_MAX = 20_000


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


class Memo(Generic[Value]):
    """What is known by a key; all is let go when it is too much. For any threads."""

    def __init__(self, most: int = _KNOWN_MAX) -> None:
        self._most = most
        self._values: dict[Hashable, Value] = {}
        self._lock = Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable) -> Value | None:
        """None: not known."""
        return self._values.get(key)

    def all(self) -> dict[Hashable, Value]:
        """What is known now."""
        with self._lock:
            return dict(self._values)

    def keep(self, key: Hashable, value: Value) -> None:
        """In place of what was known."""
        self.change(key, lambda _: value)

    def change(self, key: Hashable, new: Callable[[Value | None], Value]) -> None:
        """By what was known, which nobody changes meanwhile."""
        with self._lock:
            if len(self._values) >= self._most:
                self._values.clear()
            self._values[key] = new(self._values.get(key))

    def clear(self) -> None:
        """Lets go of everything."""
        with self._lock:
            self._values.clear()


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


class Statements:
    """Asks for what a search needs, under names of the caller's for its statements. Thread-safe."""

    def __init__(self, asker: Asker, hash_: Hash) -> None:
        self._asker = asker
        self._hash = hash_
        self._plans = Memo[_Plan](_PLANS_MAX)
        self._seen = Memo[bool]()

    def ask(self, connection: Connection, asked: Asked, name: Hashable, build: Build) -> Rows:
        """The rows by the statement that is kept, or by a new one."""
        found = self.kept(connection, asked, name)
        return self.made(connection, asked, name, build) if found is None else found

    def kept(self, connection: Connection, asked: Asked, name: Hashable) -> Rows | None:
        """The rows by the statement that is kept; None: there is none."""
        if asked.shape is None:
            return None
        plan = self._plans.get((name, id(asked.visible), asked.shape.key))
        if plan is None or plan.visible is not asked.visible or not plan.sql:
            return None
        return self._asker.fetched(connection, plan.sql, plan.values(asked.shape))

    def made(self, connection: Connection, asked: Asked, name: Hashable, build: Build) -> Rows:
        """The rows by a new statement, which is kept if such a search was made before."""
        statement = build(asked.query, asked.position)
        rows = self._asker.rows(connection, statement)
        if asked.shape is not None:
            key = (name, id(asked.visible), asked.shape.key)
            if key in self._seen:
                self._learn(key, asked, asked.shape, statement, build)
            else:
                self._seen.keep(key, True)
        return rows

    def forget(self) -> None:
        """Lets go of the kept statements."""
        self._plans.clear()

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
        self._plans.keep(key, plan)


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
