"""Consent periods: doubt never opens anything (R4 datatypes.html#Period, #dateTime)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.management.consent.period import EMPTY, FOREVER, deny_range, permit_range

HOUR_US = 3_600_000_000


def us(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


@pytest.mark.parametrize(
    ("start", "end", "first", "after"),
    [
        ("2024", "2024", "2024-01-01", "2025-01-01"),
        ("2024-02", "2024-02", "2024-02-01", "2024-03-01"),
        ("2024-12", "2024-12", "2024-12-01", "2025-01-01"),
        ("2024-02-29", "2024-02-29", "2024-02-29", "2024-03-01"),
    ],
)
def test_a_date_covers_all_it_names_and_could_be_in_any_zone(
    start: str, end: str, first: str, after: str
) -> None:
    period = {"start": start, "end": end}
    assert permit_range(period) == (us(first) + 12 * HOUR_US, us(after) - 14 * HOUR_US)
    assert deny_range(period) == (us(first) - 14 * HOUR_US, us(after) + 12 * HOUR_US)


@pytest.mark.parametrize(
    ("text", "first", "width"),
    [
        ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00", 1_000_000),
        ("2024-05-01T10:00:00.250Z", "2024-05-01T10:00:00.250", 1_000),
        ("2024-05-01T10:00:00.123456789Z", "2024-05-01T10:00:00.123456", 1),
        ("2024-05-01T10:00:00+02:00", "2024-05-01T08:00:00", 1_000_000),
        ("2024-05-01T10:00:00-09:30", "2024-05-01T19:30:00", 1_000_000),
        ("2024-05-01T23:59:60Z", "2024-05-01T23:59:59", 1_000_000),
    ],
)
def test_an_instant_with_zone_is_exact_to_its_precision(text: str, first: str, width: int) -> None:
    period = {"start": text, "end": text}
    assert permit_range(period) == deny_range(period) == (us(first), us(first) + width)


@pytest.mark.parametrize("period", [None, {}])
def test_no_period_is_for_ever(period: Any) -> None:
    assert permit_range(period) == deny_range(period) == FOREVER


@pytest.mark.parametrize("end", ["start", "end"])
@pytest.mark.parametrize(
    "text",
    [
        "2024-13",
        "2024-02-30",
        "yesterday",
        "",
        2024,
        None,
        "2024-05-01T25:00:00Z",
        "2024-05-01T10:00:00",
        "0000",
    ],
)
def test_what_is_no_date_closes_a_permit_and_leaves_a_denial_open(end: str, text: Any) -> None:
    assert permit_range({end: text}) == EMPTY
    assert deny_range({end: text}) == FOREVER


@pytest.mark.parametrize(
    "period", ["2024", ["2024"], {"_start": {"extension": []}}, {"start": "2024", "until": "x"}]
)
def test_a_period_with_anything_unknown_closes_a_permit(period: Any) -> None:
    assert permit_range(period) == EMPTY


def test_the_last_year_does_not_overflow() -> None:
    start, end = permit_range({"start": "0001-01-01", "end": "9999"})
    assert start < 0 < end


@given(st.dates().map(str), st.dates().map(str), st.integers(4, 10), st.integers(4, 10))
def test_a_permit_s_range_lies_inside_the_denial_s(start: str, end: str, cut: int, cut_end: int) -> None:
    shorter = {4: 4, 5: 4, 6: 4, 7: 7, 8: 7, 9: 7, 10: 10}
    period = {"start": start[: shorter[cut]], "end": end[: shorter[cut_end]]}
    inner, outer = permit_range(period), deny_range(period)
    assert outer[0] <= inner[0]
    assert inner[1] <= outer[1]
