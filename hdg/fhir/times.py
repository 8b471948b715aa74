"""R4 dates and times as text: grammar, real calendar days, and order under partial precision.

R4 datatypes.html#date, #dateTime, #instant, #time. A second of 60 is allowed (leap seconds); 24:00 is not.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

__all__ = [
    "compare_times",
    "instant",
    "is_date",
    "is_date_time",
    "is_instant",
    "is_time",
    "microseconds",
    "moment",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE: Final = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_DAY: Final = r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_DATE: Final = re.compile(rf"(?:{_DAY}|[0-9]{{4}}(?:-(?:0[1-9]|1[0-2]))?)")
_DATE_TIME: Final = re.compile(rf"(?:{_DAY}(?:T{_CLOCK}{_ZONE})?|[0-9]{{4}}(?:-(?:0[1-9]|1[0-2]))?)")
_INSTANT: Final = re.compile(rf"{_DAY}T{_CLOCK}{_ZONE}")
_TIME: Final = re.compile(_CLOCK)
_PARTS: Final = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?(Z|[+-][0-9:]+))?)?)?"
)


def _is_real(match: re.Match[str] | None) -> bool:
    if match is None or match.string.startswith("0000"):
        return False
    day = match[3]
    if day is None or day < "29":
        return True
    try:
        date(int(match[1]), int(match[2]), int(day))
    except ValueError:
        return False
    return True


def is_date(text: str) -> bool:
    """``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD`` with a day that exists."""
    return _is_real(_DATE.fullmatch(text))


def is_date_time(text: str) -> bool:
    """A date, or a day with time to the second and offset."""
    return _is_real(_DATE_TIME.fullmatch(text))


def is_instant(text: str) -> bool:
    """A day with time to at least the second and offset."""
    return _is_real(_INSTANT.fullmatch(text))


def is_time(text: str) -> bool:
    """``hh:mm:ss`` with optional fraction."""
    return _TIME.fullmatch(text) is not None


def compare_times(left: str, right: str) -> int | None:
    """-1, 0 or 1 of two valid date, dateTime or instant texts; None when precision leaves the order open.

    Two texts of full precision compare as instants. Otherwise they compare as far as both are written
    (FHIRPath N1 §6.2): equal so far means unknown, unless both stop there.
    """
    a, b = _PARTS.fullmatch(left), _PARTS.fullmatch(right)
    if a is None or b is None:
        return (left > right) - (left < right)
    if a[8] and b[8]:
        first, second = _instant(a), _instant(b)
        return (first > second) - (first < second)
    parts = zip(a.groups()[:3], b.groups()[:3], strict=True)
    for one, other in parts:
        if one is None or other is None:
            return 0 if one is other else None
        if one != other:
            return 1 if one > other else -1
    return 0 if a[8] is b[8] else None


def _instant(match: re.Match[str]) -> tuple[datetime, str]:
    """The UTC time to the second and the fraction's digits (compared as text of equal meaning)."""
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    zone = match[8]
    offset = UTC
    if zone != "Z":
        minutes = int(zone[1:3]) * 60 + int(zone[4:6])
        offset = timezone(timedelta(minutes=-minutes if zone[0] == "-" else minutes))
    leap = second == 60
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=offset).astimezone(UTC)
    except OverflowError:  # the first or last hours of the calendar
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    fraction = (match[7] or "").rstrip("0").rstrip(".")
    return moment + timedelta(seconds=1 if leap else 0), fraction


def instant(at_us: int) -> str:
    """µs since the epoch as an R4 ``instant`` in UTC, to the microsecond."""
    seconds, micros = divmod(at_us, 1_000_000)
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def moment(text: str) -> datetime:
    """An R4 ``dateTime`` as a datetime; a leap second counts as the one before it. Raises ValueError."""
    return datetime.fromisoformat(text.replace(":60", ":59", 1) if ":60" in text else text)


def microseconds(moment: datetime) -> int:
    """µs since the epoch of a moment with an offset."""
    return (moment - _EPOCH) // _MICROSECOND
