"""Dates that lead a search are found by ranges of their indexes: the same as by a test of every row."""

from __future__ import annotations

import random

from sqlalchemy import insert, select

from hdg.management.store import Clause, Store
from hdg.management.store.batch import table_of
from hdg.management.store.index import lookups
from hdg.management.store.operators import DAY_US, compare_dates
from hdg.management.store.schema import IdxDate
from hdg.management.store.search import _Asked, _Where
from hdg.management.store.values import MAX_US, MIN_US, date_range

DATES = table_of(IdxDate)
VALUES = ("2024", "2024-02", "2024-02-10", "2024-02-10T12:00:00Z", "0001", "9999")
PREFIXES = ("", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap")
NOW_US = 1_780_000_000_000_000


def ranges() -> list[tuple[int, int]]:
    """At, just before and just behind what is asked for, of a point to for ever, some with the end first."""
    edges = [edge for value in VALUES for edge in date_range(value) or ()]
    widths = (
        0,
        1,
        999_999,
        DAY_US - 1,
        DAY_US,
        DAY_US + 1,
        40 * DAY_US,
        -1,
        -DAY_US,
        -DAY_US - 1,
        -90 * DAY_US,
    )
    found = {(edge + by, edge + by + width) for edge in edges for by in (-1, 0, 1) for width in widths}
    found |= {(edge + by - width, edge + by) for edge in edges for by in (-1, 0, 1) for width in widths}
    found |= {(MIN_US - 1, edge) for edge in edges} | {(edge, MAX_US + 1) for edge in edges}
    picked = random.Random(7)
    for _ in range(500):
        lo = picked.choice(edges) + picked.randint(-3 * DAY_US, 3 * DAY_US)
        found.add((lo, lo + picked.randint(-2 * DAY_US, 3 * DAY_US)))
    return sorted(found)


def test_leading_dates_find_what_a_look_at_every_row_finds(store: Store) -> None:
    number = lookups("Observation", "date")[0][0]
    rows = [{"param": number, "lo": lo, "hi": hi, "rkey": at} for at, (lo, hi) in enumerate(ranges())]
    rows += [{**row, "param": number + 1, "rkey": row["rkey"] + 100_000} for row in rows]
    store.submit(lambda session: session.connection.execute(insert(DATES), rows) and None).result(20)
    asked = _Asked(store.reader._hash, NOW_US, None)
    with store.engine.connect() as connection:
        for prefix in PREFIXES:
            for value in VALUES:
                clause = Clause("date", "date", "", (prefix + value,))
                found = set(connection.scalars(_Where(("Observation",), clause, asked).rows(None)))
                range_ = date_range(value) or (0, 0)
                matches = compare_dates(prefix or "eq", DATES.c.lo, DATES.c.hi, range_, NOW_US)
                query = select(DATES.c.rkey).where(DATES.c.param == number, matches)
                assert found == set(connection.scalars(query)), prefix + value
            both = Clause("date", "date", "", (f"{prefix}2024-02-10", "gt9998"))
            found = set(connection.scalars(_Where(("Observation",), both, asked).rows(None)))
            matches = compare_dates("gt", DATES.c.lo, DATES.c.hi, date_range("9998") or (0, 0), NOW_US)
            assert found >= set(
                connection.scalars(select(DATES.c.rkey).where(DATES.c.param == number, matches))
            )
