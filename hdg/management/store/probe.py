"""Which of several conditions finds the fewest rows: tried on SQLite before a search, which plans without that.

SQLite https://www.sqlite.org/c3ref/progress_handler.html. PostgreSQL knows how often values occur, but not how often
what has them is referred to: of these it is asked as well. What is found here decides the plan of a search and never
its outcome. Rows are counted regardless of who may see them, as the search itself reads them before it tests that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.exc import OperationalError

__all__ = [
    "FEW",
    "MANY",
    "Fewest",
    "counting",
    "fewest",
    "fewest_of",
    "fewest_with",
    "least",
    "within_bounds",
]

Ask = Callable[[Select[Any]], Sequence[Sequence[Any]]]
Count = Callable[[int, int], Sequence[Sequence[Any]]]
"""(place of a query, limit) → one row with one number."""
Fewest = Callable[[Sequence[Select[tuple[int]]]], int]
"""Queries for rows, the most promising first → which of them finds the fewest."""

FEW = 1_000
"""A query that finds fewer is taken without a look at the others."""
MANY = 5_000
"""Where each has so many rows, another way to the first page is tried before they are listed."""
Found = TypeVar("Found")
_LIMIT = 1_000
_LIMIT_MAX = 1_000_000
_GROWTH = 8
_STEPS_PER_ROW = 16
"""Of SQLite's machine: more go by for a row when it must pass over many others to come to it."""
_LOOKS = 8
_LEAST_MAX = 50_000
_ROWS_PER_MS, _STEPS_FOR_ROW = 50, 100
"""Bounds for a way that is tried before so many rows are listed: what it would take to list some times as many."""
_BOUNDS = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off"
"""Of PostgreSQL: what is to find the first rows soon reads no table through."""
_TOO_LONG = "57014"


def fewest(connection: Connection, ask: Ask | None = None, *, has_links: bool = False) -> Fewest | None:
    """What tells queries apart on this connection; None: its database does that itself. ``ask``: runs a query on it.

    ``has_links``: some of them are of references to what fulfils something.
    """
    if connection.dialect.name != "sqlite" and not has_links:
        return None
    asked: Ask = ask or (lambda query: connection.execute(query).all())

    def of(queries: Sequence[Select[tuple[int]]]) -> int:
        return fewest_of(
            connection, len(queries), lambda place, limit: asked(counting(queries[place], limit))
        )

    return of


def least(connection: Connection, number: int, count: Count) -> int:
    """How many rows that of ``number`` queries has which finds the fewest, up to a limit; 0: fewer than MANY.

    ``count``: as for fewest_of. What takes long to find its rows counts as many.
    """
    found = 0
    for limit in (MANY, _LEAST_MAX):
        rows = [limit]
        for place in range(number):
            one = _count(connection, count, place, limit)
            if one is not None and one < MANY:
                return 0
            rows.append(limit if one is None else one)
        found = min(rows)
        if found < limit:
            break
    return found


def within_bounds(connection: Connection, rows: int, ask: Callable[[], Found]) -> Found | None:
    """What ``ask`` finds on a connection in a transaction; None: it takes longer than to list some times ``rows``."""
    try:
        if connection.dialect.name == "sqlite":
            with _limited(connection, rows * _STEPS_FOR_ROW):
                return ask()
        before = connection.begin_nested()
        try:
            connection.exec_driver_sql(f"{_BOUNDS}; SET LOCAL statement_timeout = {rows // _ROWS_PER_MS}")
            return ask()
        finally:
            before.rollback()  # takes the bounds back, too
    except Exception as error:
        if not _is_interrupted(error):
            raise
        return None


def _is_interrupted(error: Exception) -> bool:
    cause = getattr(error, "orig", error)
    if isinstance(cause, sqlite3.OperationalError):
        return "interrupted" in str(cause)
    return getattr(cause, "sqlstate", None) == _TOO_LONG


def counting(query: Select[tuple[int]], limit: int) -> Select[int]:
    """How many rows a query finds, at most ``limit``."""
    return select(func.count()).select_from(query.limit(limit).subquery())


def fewest_of(connection: Connection, number: int, count: Count) -> int:
    """Which of ``number`` queries finds the fewest rows. ``count``: runs ``counting`` of one of them on SQLite.

    Counts a few rows of each, then more, until one has no more, and of the others no more than that one has: so this
    costs less than to read that one.
    """
    return fewest_with(connection, number, count)[0]


def fewest_with(connection: Connection, number: int, count: Count) -> tuple[int, bool]:
    """As ``fewest_of``, and whether that one finds fewer than MANY."""
    limit = _LIMIT
    while limit <= _LIMIT_MAX:
        found: dict[int, int] = {}
        for place in range(number):
            most = _enough(min(found.values(), default=limit), limit)
            rows = _count(connection, count, place, most)
            if rows is not None and rows < FEW:
                return place, True
            if rows is not None and rows < most:
                found[place] = rows
        if found:
            rows, place = min((rows, place) for place, rows in found.items())
            return place, rows < MANY
        limit *= _GROWTH
    return 0, False


def _enough(rows: int, limit: int) -> int:
    """How many rows to count of what may find fewer than ``rows``: one of a few numbers, for each is a statement."""
    return min(limit, 1 << rows.bit_length())


def _count(connection: Connection, count: Count, place: int, limit: int) -> int | None:
    """How many rows it finds, at most ``limit``; None: it takes too long to say."""
    try:
        with _limited(connection, limit * _STEPS_PER_ROW):
            return int(count(place, limit)[0][0])
    except (OperationalError, sqlite3.OperationalError) as error:
        if _is_interrupted(error):
            return None
        raise


@contextmanager
def _limited(connection: Connection, steps: int) -> Iterator[None]:
    """Interrupts a query of SQLite after about so many steps (from where the statement's last use ended)."""
    if connection.dialect.name != "sqlite":
        yield
        return
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
