"""Dates move by whole days, keep their distances, gain no precision and tell no age over 89."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir.times import compare_times, is_date_time, is_instant
from hdg.usage.research.dates import Calendar
from hdg.usage.research.deidentify import MOST_DAYS, Deidentifier

TODAY = date(2026, 11, 21)
OFFSETS = st.integers(-MOST_DAYS, -1)
DAYS = st.dates(date(1940, 1, 1), date(2030, 12, 31))
ZONES = st.sampled_from(["Z", "+00:00", "+14:00", "-14:00", "+05:45", "-03:30", "+01:00", "-05:00"])
TIMES = st.builds(
    lambda day, time, zone: f"{day.isoformat()}T{time.isoformat('milliseconds')}{zone}",
    DAYS,
    st.times(),
    ZONES,
)
WRITTEN = st.one_of(
    DAYS.map(date.isoformat),
    TIMES,
    DAYS.map(lambda day: day.isoformat()[:7]),
    DAYS.map(lambda day: str(day.year)),
)


@given(OFFSETS, DAYS, DAYS)
def test_days_keep_their_distance(offset: int, one: date, other: date) -> None:
    calendar = Calendar(offset, TODAY)
    moved = [date.fromisoformat(calendar.moved(day.isoformat()) or "") for day in (one, other)]
    assert moved[1] - moved[0] == other - one
    assert moved[0] - one == timedelta(days=offset)


@given(OFFSETS, TIMES, TIMES)
def test_instants_keep_their_distance_whatever_their_zones(offset: int, one: str, other: str) -> None:
    calendar = Calendar(offset, TODAY)
    moved = [calendar.moved(text) or "" for text in (one, other)]
    assert all(is_instant(text) and text.endswith("Z") for text in moved)
    before, after = ([datetime.fromisoformat(text) for text in pair] for pair in ([one, other], moved))
    assert after[1] - after[0] == before[1] - before[0]


@given(OFFSETS, WRITTEN)
def test_no_date_gains_precision(offset: int, text: str) -> None:
    moved = Calendar(offset, TODAY).moved(text)
    assert moved is not None
    assert is_date_time(moved)
    assert moved.count("-") == text[:10].count("-")
    assert ("T" in moved) is ("T" in text)
    if "T" in text:
        assert moved[16:-1] == text[16:23], "seconds and their digits"


@given(st.dates(date(1940, 1, 1), date(2030, 12, 31)), OFFSETS)
def test_a_year_or_month_tells_nothing_of_the_day(day: date, offset: int) -> None:
    calendar = Calendar(offset, TODAY)
    for cut in (4, 7):
        text = day.isoformat()[:cut]
        # Every day of the year or month is shown alike, and no later than a full date in it could be.
        moved = calendar.moved(text)
        first = calendar.moved(day.replace(day=1, month=1 if cut == 4 else day.month).isoformat())
        assert moved is not None
        assert first is not None
        assert first[:cut] <= moved


@pytest.mark.parametrize("text", ["2020", "2020-02"])
def test_offsets_are_not_told_apart_by_partial_dates(text: str) -> None:
    """What all offsets make of a year is two years at most, of a month thirteen months: no finer than the date."""
    shown = [Calendar(offset, TODAY).moved(text) for offset in range(-MOST_DAYS, 0)]
    assert len(set(shown)) == (2 if len(text) == 4 else 13)
    assert min(shown.count(one) for one in set(shown)) >= 13


@given(OFFSETS, WRITTEN, WRITTEN)
def test_a_period_stays_in_order(offset: int, one: str, other: str) -> None:
    if compare_times(one, other) == 1:
        one, other = other, one
    start, end = Calendar(offset, TODAY).period(one, other)
    assert start is not None
    assert end is not None
    assert compare_times(start, end) != 1


@given(OFFSETS, st.dates(date(1850, 1, 1), date(1936, 11, 21)))
def test_no_date_shows_that_somebody_is_over_89(offset: int, day: date) -> None:
    calendar = Calendar(offset, TODAY)
    for text in (day.isoformat(), day.isoformat()[:7], str(day.year), f"{day}T10:00:00Z"):
        assert calendar.moved(text) is None


def test_what_is_shown_is_never_older_than_89_either() -> None:
    assert Calendar(-300, TODAY).moved("1937-01-01") is None
    assert Calendar(-1, TODAY).moved("1937-01-01") == "1936-12-31"
    assert Calendar(-1, date(2028, 2, 29)).moved("1938-03-03") == "1938-03-02"


@pytest.mark.parametrize(
    "text", ["", "soon", "2020-02-30", "2020-13", "0001-01-01", 20200101, None, ["2020"]]
)
def test_what_is_no_date_is_not_shown(text: object) -> None:
    assert Calendar(-100, TODAY).moved(text) is None


def test_nothing_moves_without_an_offset() -> None:
    assert Calendar(None, TODAY).moved("2020-01-01") is None


def test_a_leap_second_and_a_fraction_stay_as_they_are() -> None:
    calendar = Calendar(-1, TODAY)
    assert calendar.moved("2016-12-31T23:59:60Z") == "2016-12-30T23:59:60Z"
    assert calendar.moved("2016-12-31T23:59:59.1200-01:30") == "2016-12-31T01:29:59.1200Z"


def test_offsets_are_of_the_person_and_the_project_and_never_none() -> None:
    first, second = Deidentifier(b"a" * 32), Deidentifier(b"b" * 32)
    drawn = [first.offset_days(f"p{number}") for number in range(2000)]
    assert min(drawn) >= -MOST_DAYS
    assert max(drawn) <= -1
    assert len(set(drawn)) > 350
    assert drawn == [Deidentifier(b"a" * 32).offset_days(f"p{number}") for number in range(2000)]
    assert drawn != [second.offset_days(f"p{number}") for number in range(2000)]


@pytest.mark.parametrize(
    ("start", "end", "offset"),
    [
        ("2020", "2020-02-01", -100),  # a year begins with its first day
        ("2020-11-30", "2020", -190),  # and ends with its last
        ("2020-03", "2020-03-02", -10),
        ("2020-03-30", "2020-03", -20),
        ("2020-01-05T23:30:00-05:00", "2020-01-05", -10),  # in UTC it is the next day
        ("2020-01-06", "2020-01-06T00:30:00+01:00", -10),
    ],
)
def test_a_period_of_two_precisions_stays_in_order(start: str, end: str, offset: int) -> None:
    first, last = Calendar(offset, TODAY).period(start, end)
    assert first is not None
    assert last is not None
    assert compare_times(first, last) != 1
    assert first[: len(last)] <= last[: len(first)]
