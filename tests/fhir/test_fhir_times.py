"""hdg.fhir.times: R4 date grammar, the calendar, and order under partial precision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir.times import compare_times, is_date, is_date_time, is_instant, is_time


@pytest.mark.parametrize("text", ["2024", "2024-02", "2024-02-29", "1900-02-28", "2000-02-29", "9999-12-31"])
def test_a_real_date_is_valid(text: str) -> None:
    assert is_date(text)
    assert is_date_time(text)


@pytest.mark.parametrize(
    "text",
    ["", "24", "2024-2", "2024-13", "2024-00", "2024-02-30", "2023-02-29", "1900-02-29", "2024-04-31", "0000",
     "2024-01-01T00:00:00Z", "20240101", "2024-01-01 ", "２０２４", "2024-01-00"],
)  # fmt: skip
def test_a_date_that_is_malformed_or_not_in_the_calendar_is_invalid(text: str) -> None:
    assert not is_date(text)


@pytest.mark.parametrize(
    "text", ["2024-01-01T00:00:00Z", "2024-01-01T23:59:60+14:00", "2024-01-01T10:00:00.123456789-03:30"]
)
def test_a_full_time_with_offset_is_a_date_time_and_an_instant(text: str) -> None:
    assert is_date_time(text)
    assert is_instant(text)


@pytest.mark.parametrize(
    "text",
    ["2024-01-01T10:00Z", "2024-01-01T10:00:00", "2024-01-01T24:00:00Z", "2024-01-01T10:00:00+15:00",
     "2023-02-29T10:00:00Z", "2024-01T10:00:00Z", "2024-01-01T10:00:00.Z", "2024-01-01t10:00:00z"],
)  # fmt: skip
def test_a_time_without_offset_seconds_or_a_real_day_is_invalid(text: str) -> None:
    assert not is_date_time(text)
    assert not is_instant(text)


def test_a_partial_date_is_no_instant_and_a_time_has_no_offset() -> None:
    assert not is_instant("2024-01-01")
    assert is_time("10:00:00.5")
    assert not is_time("10:00")
    assert not is_time("10:00:00Z")


@pytest.mark.parametrize(
    "left, right, order",
    [
        ("2024", "2025", -1),
        ("2024-03", "2024-01-05", 1),
        ("2024", "2024-01", None),
        ("2024", "2024", 0),
        ("2024-01-01", "2024-01-01T10:00:00Z", None),
        ("2024-01-01T10:00:00Z", "2024-01-01T11:00:00+01:00", 0),
        ("2024-01-01T10:00:00.5Z", "2024-01-01T10:00:00.50Z", 0),
        ("2024-01-01T10:00:00.05Z", "2024-01-01T10:00:00.1Z", -1),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00.1Z", -1),
        ("2024-01-01T23:59:60Z", "2024-01-02T00:00:00Z", 0),
        ("0001-01-01T00:00:00+14:00", "2024-01-01T00:00:00Z", -1),
        ("10:00:00", "11:00:00", -1),
    ],
)
def test_times_compare_as_far_as_both_are_written(left: str, right: str, order: int | None) -> None:
    assert compare_times(left, right) == order
    assert compare_times(right, left) == (None if order is None else -order)


moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)).map(lambda value: value.replace(tzinfo=UTC))
zones = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def written(moment: datetime, zone: timezone) -> str:
    return moment.astimezone(zone).isoformat(timespec="microseconds")


@given(moments, moments, zones, zones)
def test_full_times_compare_as_instants(a: datetime, b: datetime, one: timezone, other: timezone) -> None:
    left, right = written(a, one), written(b, other)
    assert is_instant(left)
    assert compare_times(left, right) == (a > b) - (a < b)
