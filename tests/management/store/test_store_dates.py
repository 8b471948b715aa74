"""Dates that lead a search are found by ranges of their indexes: the same as by a test of every row."""

from __future__ import annotations

import random
from itertools import product

import pytest
from sqlalchemy import insert, select, true

from hdg.fhir.validate import validate
from hdg.management.store import Clause, SearchQuery, Store
from hdg.management.store.batch import table_of
from hdg.management.store.index import is_sole_date, lookups
from hdg.management.store.operators import DAY_US, compare_dates
from hdg.management.store.schema import IdxDate, Resource
from hdg.management.store.search import conditions
from hdg.management.store.values import MAX_US, MIN_US, date_range
from hdg.management.store.where import Asked, Where

DATES = table_of(IdxDate)
RESOURCE = table_of(Resource)
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
    store.submit(lambda session: session.connection.execute(insert(DATES), rows) and None).result(120)
    asked = Asked(store.reader._hash, NOW_US, None)
    with store.engine.connect() as connection:
        for prefix in PREFIXES:
            for value in VALUES:
                clause = Clause("date", "date", "", (prefix + value,))
                found = set(connection.scalars(Where(("Observation",), clause, asked).rows(None)))
                range_ = date_range(value) or (0, 0)
                matches = compare_dates(prefix or "eq", DATES.c.lo, DATES.c.hi, range_, NOW_US)
                query = select(DATES.c.rkey).where(DATES.c.param == number, matches)
                assert found == set(connection.scalars(query)), prefix + value
            both = Clause("date", "date", "", (f"{prefix}2024-02-10", "gt9998"))
            found = set(connection.scalars(Where(("Observation",), both, asked).rows(None)))
            matches = compare_dates("gt", DATES.c.lo, DATES.c.hi, date_range("9998") or (0, 0), NOW_US)
            assert found >= set(
                connection.scalars(select(DATES.c.rkey).where(DATES.c.param == number, matches))
            )


EFFECTIVE = [
    {"effectiveDateTime": "2024-02-10"},
    {"effectiveDateTime": "2024-02"},
    {"effectiveDateTime": "2024"},
    {"effectiveInstant": "2024-02-10T12:00:00Z"},
    {"effectivePeriod": {"start": "2024-02-09", "end": "2024-02-11"}},
    {"effectivePeriod": {"start": "2023"}},
    {"effectivePeriod": {"end": "2025"}},
    {"effectivePeriod": {"start": "2024-02-11", "end": "2024-02-09"}},
    {"effectiveTiming": {"event": ["2024-02-01", "2024-02-10", "2024-03-01"]}},
    {"effectiveDateTime": "2024-02-11"},
    {"effectiveDateTime": "2024-02-09T23:59:59Z"},
    {},
]


def test_two_bounds_of_a_date_find_what_both_find(store: Store) -> None:
    def work(session) -> None:
        for number, effective in enumerate(EFFECTIVE):
            coded = {"status": "final", "code": {"text": "x"}}
            one = {"resourceType": "Observation", "id": f"o{number}", **coded, **effective}
            session.put(one, institution="s")

    store.submit(work).result(120)
    asked = store.reader._hash, NOW_US

    def found(*values: str) -> set[int]:
        clauses = tuple(Clause("date", "date", "", tuple(value.split(","))) for value in values)
        terms = conditions(SearchQuery("Observation", clauses), *asked)
        with store.engine.connect() as connection:
            return set(connection.scalars(select(RESOURCE.c.rkey).where(*terms)))

    values = [prefix + value for prefix, value in product(PREFIXES, ("2024-02-10", "2024-02"))]
    values.append("lt2024-02-09,gt2024-02-10")
    alone = {value: found(value) for value in values}
    for one, other in product(values, values):
        assert found(one, other) == alone[one] & alone[other], (one, other)
    for three in (("ge2024-02-10", "lt2024-02-11", "ne2024-02"), ("le2024-02-11", "gt2024-02-09", "ge2024")):
        assert found(*three) == found(three[0]) & found(three[1]) & found(three[2])


def test_two_dates_of_a_repeated_element_may_each_meet_one_bound(store: Store) -> None:
    event = {"timing": {"event": ["2024-01-01", "2024-03-01"]}}
    asked = {"resourceType": "MedicationRequest", "id": "m", "dosageInstruction": [event]}
    store.submit(lambda session: session.put(asked, institution="s")).result(120)
    clauses = tuple(Clause("date", "date", "", (value,)) for value in ("ge2024-03", "lt2024-02"))
    assert len(store.reader.search(SearchQuery("MedicationRequest", clauses), true()).versions) == 1


@pytest.mark.parametrize(
    ("type_", "code", "is_sole"),
    [
        ("Observation", "date", True),
        ("Encounter", "date", True),
        ("Patient", "birthdate", True),
        ("Observation", "value-date", False),
        ("Encounter", "location-period", False),
        ("MedicationRequest", "date", False),
        ("Observation", "code", False),
        ("Observation", "none", False),
    ],
)
def test_dates_that_a_resource_has_once_are_known(type_: str, code: str, is_sole: bool) -> None:
    assert is_sole_date(type_, code) == is_sole


def test_a_choice_of_two_dates_is_refused() -> None:
    both = {"effectiveDateTime": "2024", "effectivePeriod": {"start": "2024"}}
    one = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    assert not validate({**one, "effectiveDateTime": "2024"})
    assert validate({**one, **both})
    assert validate({**one, "effectiveDateTime": ["2024", "2023"]})
