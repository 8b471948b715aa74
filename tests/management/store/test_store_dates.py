"""Dates are found as R4 says, on both databases, held against ranges worked out another way (R4 search.html#date)."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import true

from hdg.management.store import Clause, SearchQuery, Sort, Store

PREFIXES = ("", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap")
NOW = datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC)  # what conftest's clock begins with
_WIDTHS = {10: timedelta(days=1), 16: timedelta(minutes=1), 19: timedelta(seconds=1)}


@dataclass(frozen=True)
class Span:
    """From ``start`` to before ``end``; None: open."""

    start: datetime | None
    end: datetime | None


def span(text: str) -> Span:
    """What a date covers: by its length, with the calendar's own rules."""
    zone = "+00:00"
    if "T" in text:
        if text.endswith("Z"):
            text = text[:-1]
        elif text[-6] in "+-":
            text, zone = text[:-6], text[-6:]
    if len(text) in (4, 7):
        year, month = int(text[:4]), int(text[5:] or 1)
        days = (
            calendar.monthrange(year, month)[1] if len(text) == 7 else 366 if calendar.isleap(year) else 365
        )
        start = datetime(year, month, 1, tzinfo=UTC)
        return Span(start, later(start, timedelta(days=days)))
    width = _WIDTHS.get(len(text)) or timedelta(microseconds=10 ** (6 - len(text.partition(".")[2])))
    whole = text + "T00:00" if len(text) == 10 else text
    if "." in whole:
        whole = whole.ljust(26, "0")
    start = datetime.fromisoformat(whole + zone)
    return Span(start, later(start, width))


def later(start: datetime, width: timedelta) -> datetime:
    """The end; of the last year the last moment that a datetime can say."""
    return start + width if start.year < 9999 else datetime.max.replace(tzinfo=UTC)


def covers(value: dict[str, object]) -> Span | None:
    (element,) = value
    item = value[element]
    if isinstance(item, str):
        return span(item)
    assert isinstance(item, dict)
    if element == "effectiveTiming":
        spans = [span(event) for event in item.get("event", ())]
        if "repeat" in item and "boundsPeriod" in item["repeat"]:
            spans.append(period(item["repeat"]["boundsPeriod"]))
        if not spans:
            return None
        starts, ends = [each.start for each in spans], [each.end for each in spans]
        return Span(None if None in starts else min(starts), None if None in ends else max(ends))
    return period(item)


def period(item: dict[str, str]) -> Span:
    return Span(
        span(item["start"]).start if "start" in item else None,
        span(item["end"]).end if "end" in item else None,
    )


def matches(target: Span, prefix: str, text: str) -> bool:
    sought = span(text)
    starts_within = target.start is not None and target.start >= sought.start
    ends_within = target.end is not None and target.end <= sought.end
    contained = starts_within and ends_within
    reaches_above = target.end is None or target.end > sought.end
    reaches_below = target.start is None or target.start < sought.start
    match prefix:
        case "" | "eq":
            return contained
        case "ne":
            return not contained
        case "gt":
            return reaches_above
        case "ge":
            return reaches_above or contained
        case "lt":
            return reaches_below
        case "le":
            return reaches_below or contained
        case "sa":
            return target.start is not None and target.start >= sought.end
        case "eb":
            return target.end is not None and target.end <= sought.start
    slack = abs(NOW - (sought.start + (sought.end - sought.start) / 2)) / 10
    return (target.start is None or target.start < sought.end + slack) and (
        target.end is None or target.end > sought.start - slack
    )


STORED = [
    *(
        {"effectiveDateTime": text}
        for text in (
            "2024", "2024-02", "2024-02-29", "2024-02-28", "2024-03-01", "2023-12-31", "2025-01-01", "2023-02-28",
            "2024-02-29T00:00:00Z", "2024-02-29T23:59:59.999Z", "2024-03-01T00:00:00+00:00",
            "2024-03-01T01:00:00+02:00",
            "2024-02-29T22:30:00-01:30", "2024-02-29T12:00Z", "2024-02-29T12:00:30.5Z",
            "2024-02-29T12:00:30.123456Z", "1900-01-01", "0001", "9999-12-31", "2016-12-31T23:59:59Z",
        )
    ),
    {"effectiveInstant": "2024-02-29T12:00:30.123+00:00"},
    {"effectivePeriod": {"start": "2024-02-01", "end": "2024-02-29"}},
    {"effectivePeriod": {"start": "2024-02-01"}},
    {"effectivePeriod": {"end": "2024-02-29T12:00:00Z"}},
    {"effectivePeriod": {"start": "2023", "end": "2025-06"}},
    {"effectivePeriod": {"start": "2024-02-29T12:00:30Z", "end": "2024-02-29T12:00:30Z"}},
    {"effectiveTiming": {"event": ["2024-01-31", "2024-03-24"]}},
    {"effectiveTiming": {"event": ["2024-02-29"], "repeat": {"boundsPeriod": {"start": "2024-02", "end": "2024-04"}}}},
    {"effectiveTiming": {"repeat": {"boundsPeriod": {"start": "2024-02-29"}}}},
    {"effectiveTiming": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}},
]  # fmt: skip
ASKED = (
    "2024", "2024-02", "2024-02-29", "2024-03-01", "2023", "2025", "2024-02-29T12:00", "2024-02-29T12:00Z",
    "2024-02-29T12:00:30Z", "2024-02-29T12:00:30.1Z", "2024-02-29T12:00:30.123Z", "2024-02-29T12:00:30.123456Z",
    "2024-02-29T13:00:30+01:00", "2024-03-01T00:00:00Z", "2024-03-01T01:00:00+01:00", "2024-02-28T23:30:00-00:30",
    "0001", "9999", "9999-12-31", "1900-01-01", "2100-02-28", "2016-12-31T23:59:59Z", "2016-12-31T23:59",
)  # fmt: skip


def put(do, values: list[dict[str, object]]) -> None:
    def work(session) -> None:
        for number, value in enumerate(values):
            resource = {"resourceType": "Observation", "id": f"n{number:02d}", "status": "final", **value}
            session.put(resource, institution="site")

    do(work)


def found(store: Store, value: str) -> set[str]:
    query = SearchQuery("Observation", (Clause("date", "date", "", (value,)),), count=200)
    return {version.id for version in store.reader.search(query, true()).versions}


def test_every_prefix_and_precision_finds_what_the_calendar_says(store: Store, do) -> None:
    put(do, STORED)
    spans = [covers(value) for value in STORED]
    wrong = {}
    for text in ASKED:
        for prefix in PREFIXES:
            if prefix == "ap" and text in ("0001", "9999", "9999-12-31"):
                continue  # ten percent before the first or after the last year
            should = {
                f"n{n:02d}"
                for n, each in enumerate(spans)
                if each is not None and matches(each, prefix, text)
            }
            got = found(store, prefix + text)
            if got != should:
                wrong[prefix + text] = got ^ should
    assert wrong == {}


def test_dates_beyond_the_calendar_are_near_nothing_but_open_ends(store: Store, do) -> None:
    put(
        do,
        [
            {"effectivePeriod": {"start": "2024"}},
            {"effectiveDateTime": "2024"},
            {"effectiveDateTime": "9999"},
        ],
    )
    assert found(store, "ap9999") == {"n00", "n02"}
    assert found(store, "sa9999") == set()
    assert found(store, "gt9999-12-31") == {"n00"}
    assert found(store, "lt0001") == set()


def test_a_timing_is_one_range_and_sorts_by_its_ends(store: Store, do) -> None:
    """R4 search.html#date: a schedule between two days includes each day between them."""
    put(
        do,
        [{"effectiveTiming": {"event": ["2024-03-24", "2024-01-31"]}}, {"effectiveDateTime": "2024-02-01"}],
    )
    assert found(store, "eq2024-02-01") == {"n01"}
    assert found(store, "le2024-02-01") == {"n00", "n01"}
    assert found(store, "2024") == {"n00", "n01"}
    for is_descending in (False, True):
        query = SearchQuery("Observation", sort=(Sort("date", "date", is_descending),))
        assert [v.id for v in store.reader.search(query, true()).versions] == ["n00", "n01"]
