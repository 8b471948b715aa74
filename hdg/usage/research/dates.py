"""Dates moved by whole days, never more precise than they were (R4 datatypes.html#date, #dateTime, #instant).

A day is moved by the patient's offset. A time of day is first written in UTC: its zone would tell the place, and
summer time the season, hence the offset. So distances between days, and between instants, stay exact. A year or
month is taken as one day in it, moved, and cut to what it was.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, timedelta
from typing import Literal

from hdg.fhir.times import compare_times, is_date_time

__all__ = ["Anchor", "Calendar"]

Anchor = Literal["first", "middle", "last"]
_TIME = re.compile(r"([^T]+)T(..):(..)(:[^Z+-]+)(Z|[+-].+)")
_FOLDED_YEARS = 90
_DAY, _MONTH = len("2026-11-21"), len("2026-11")


class Calendar:
    """One patient's dates. ``days``: what they are moved by; None shows no date at all."""

    __slots__ = ("_days", "_limit")

    def __init__(self, days: int | None, today: date) -> None:
        self._days = None if days is None else timedelta(days=days)
        self._limit = _years_before(today, _FOLDED_YEARS)

    def moved(self, text: object, anchor: Anchor = "middle") -> str | None:
        """A date, dateTime or instant moved; None: no date, or one that says that somebody is over 89.

        ``anchor``: which day stands for a year or month.
        """
        if self._days is None or type(text) is not str or not is_date_time(text):
            return None
        try:
            first = _day(text[:_DAY], "first")
            if min(first, first + self._days) <= self._limit:
                return None
            if "T" in text:
                return _moved_time(text, self._days)
            return (_day(text, anchor) + self._days).isoformat()[: len(text)]
        except OverflowError:  # the ends of the calendar
            return None

    def period(self, start: object, end: object) -> tuple[str | None, str | None]:
        """Both ends of a Period, in their order where they were.

        Where only one is a year or month, that one is taken at its outer day. Where only one has a time of day,
        UTC could turn the order round: then it is shown as its day.
        """
        coarse = _precision(start) - _precision(end)
        first = self.moved(start, "first" if coarse < 0 else "middle")
        last = self.moved(end, "last" if coarse > 0 else "middle")
        if first is not None and last is not None and compare_times(first, last) == 1:
            first, last = self.moved(str(start)[:_DAY]), self.moved(str(end)[:_DAY])
        return first, last


def _precision(text: object) -> int:
    """Length of what is written of the day; a time of day counts for nothing."""
    return len(text[:_DAY]) if type(text) is str else _DAY


def _day(text: str, anchor: Anchor) -> date:
    year = int(text[:4])
    if len(text) == _DAY:
        return date.fromisoformat(text)
    if len(text) == _MONTH:
        month = int(text[5:])
        days = {"first": 1, "middle": 15, "last": calendar.monthrange(year, month)[1]}
        return date(year, month, days[anchor])
    return {"first": date(year, 1, 1), "middle": date(year, 7, 2), "last": date(year, 12, 31)}[anchor]


def _moved_time(text: str, days: timedelta) -> str:
    match = _TIME.fullmatch(text)
    if match is None:
        raise OverflowError
    day, hour, minute, seconds, zone = match.groups()
    moment = datetime.fromisoformat(f"{day}T{hour}:{minute}") + days
    if zone != "Z":
        ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        moment += ahead if zone[0] == "-" else -ahead
    return f"{moment.isoformat(timespec='minutes')}{seconds}Z"


def _years_before(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year - years)
    except ValueError:  # 29 February
        return date(day.year - years, 3, 1)
