"""Which of several conditions finds the fewest rows: tried on SQLite before a search, which plans without that.

SQLite https://www.sqlite.org/c3ref/progress_handler.html. PostgreSQL knows how often values occur. What is found
here decides the plan of a search and never its outcome. Rows are counted regardless of who may see them, as the
search itself reads them before it tests that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.exc import OperationalError

__all__ = ["FEW", "Fewest", "counting", "fewest", "fewest_of"]

Ask = Callable[[Select[Any]], Sequence[Sequence[Any]]]
Count = Callable[[int, int], Sequence[Sequence[Any]]]
"""(place of a query, limit) → one row with one number."""
Fewest = Callable[[Sequence[Select[tuple[int]]]], int]
"""Queries for rows, the most promising first → which of them finds the fewest."""

FEW = 1_000
"""A query that finds fewer is taken without a look at the others."""
_LIMIT = 1_000
_LIMIT_MAX = 1_000_000
_GROWTH = 8
_STEPS_PER_ROW = 16
"""Of SQLite's machine: more go by for a row when it must pass over many others to come to it."""
_LOOKS = 8


def fewest(connection: Connection, ask: Ask | None = None) -> Fewest | None:
    """What tells queries apart on this connection; None: its database does that itself. ``ask``: runs a query on it."""
    if connection.dialect.name != "sqlite":
        return None
    asked: Ask = ask or (lambda query: connection.execute(query).all())

    def of(queries: Sequence[Select[tuple[int]]]) -> int:
        return fewest_of(
            connection, len(queries), lambda place, limit: asked(counting(queries[place], limit))
        )

    return of


def counting(query: Select[tuple[int]], limit: int) -> Select[int]:
    """How many rows a query finds, at most ``limit``."""
    return select(func.count()).select_from(query.limit(limit).subquery())


def fewest_of(connection: Connection, number: int, count: Count) -> int:
    """Which of ``number`` queries finds the fewest rows. ``count``: runs ``counting`` of one of them on SQLite.

    Counts a few rows of each, then more, until one has no more, and of the others no more than that one has: so this
    costs less than to read that one.
    """
    limit = _LIMIT
    while limit <= _LIMIT_MAX:
        found: dict[int, int] = {}
        for place in range(number):
            most = _enough(min(found.values(), default=limit), limit)
            rows = _count(connection, count, place, most)
            if rows is not None and rows < FEW:
                return place
            if rows is not None and rows < most:
                found[place] = rows
        if found:
            return min(found, key=lambda place: (found[place], place))
        limit *= _GROWTH
    return 0


def _enough(rows: int, limit: int) -> int:
    """How many rows to count of what may find fewer than ``rows``: one of a few numbers, for each is a statement."""
    return min(limit, 1 << rows.bit_length())


def _count(connection: Connection, count: Count, place: int, limit: int) -> int | None:
    """How many rows it finds, at most ``limit``; None: it takes too long to say."""
    try:
        with _limited(connection, limit * _STEPS_PER_ROW):
            return int(count(place, limit)[0][0])
    except (OperationalError, sqlite3.OperationalError) as error:
        if "interrupted" in str(getattr(error, "orig", error)):
            return None
        raise


@contextmanager
def _limited(connection: Connection, steps: int) -> Iterator[None]:
    """Interrupts a query after about so many steps (SQLite counts on from where the statement's last use ended)."""
    left = _LOOKS
    driver: Any = connection.connection.driver_connection

    def is_over() -> int:
        nonlocal left
        left -= 1
        return left < 0

    driver.set_progress_handler(is_over, steps // _LOOKS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)
