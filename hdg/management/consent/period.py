"""Consent periods as microsecond ranges, read so that doubt never opens anything.

R4 datatypes.html#Period, #dateTime. A start covers from the beginning of what it names, an end to the end of
what it names (``2024-05`` as an end includes all of May). A date without a zone could be any zone's, UTC+14
to UTC-12: a permit holds only where every zone agrees, a denial wherever one does.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

__all__ = ["EMPTY", "FOREVER", "deny_range", "permit_range"]

Range = tuple[int, int]

FOREVER: Range = (-(2**62), 2**62)
EMPTY: Range = (0, 0)

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_HOUR_US = 3_600 * _SECOND_US
_EAST_US = 14 * _HOUR_US
_WEST_US = 12 * _HOUR_US
_EPOCH = date(1970, 1, 1).toordinal()

_DATE_TIME = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"(T(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(\.(?P<fraction>\d+))?(?P<zone>Z|[+-]\d\d:\d\d))?)?)?",
    re.ASCII,
)


def permit_range(period: Any) -> Range:
    """[start, end) in µs that surely lies inside the Period; EMPTY if it cannot be understood."""
    return _range(period, is_permit=True)


def deny_range(period: Any) -> Range:
    """[start, end) in µs that possibly lies inside the Period; a side that cannot be understood is open."""
    return _range(period, is_permit=False)


def _range(period: Any, *, is_permit: bool) -> Range:
    if period is None:
        return FOREVER
    doubt = EMPTY if is_permit else FOREVER
    if not isinstance(period, dict) or (is_permit and not set(period) <= {"start", "end", "id"}):
        return doubt
    start, end = FOREVER
    if "start" in period:
        found = _instants(period["start"])
        if found is None and is_permit:
            return doubt
        start = found[0] + (_WEST_US if is_permit else -_EAST_US) * found[2] if found else start
    if "end" in period:
        found = _instants(period["end"])
        if found is None and is_permit:
            return doubt
        end = found[1] + (-_EAST_US if is_permit else _WEST_US) * found[2] if found else end
    return start, end


def _instants(text: Any) -> tuple[int, int, bool] | None:
    """(first µs, µs after the last, is without zone) of a dateTime, in its zone; None if it is none."""
    match = _DATE_TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    part = match.groupdict()
    year, month, day = int(part["year"]), int(part["month"] or 1), int(part["day"] or 1)
    try:
        first = (date(year, month, day).toordinal() - _EPOCH) * _DAY_US
        if part["month"] is None:
            after = (date(year, 12, 31).toordinal() - _EPOCH + 1) * _DAY_US
        elif part["day"] is None:
            after = _month_end(year, month)
        else:
            after = first + _DAY_US
    except ValueError:
        return None
    if part["hour"] is None:
        return first, after, True
    return _with_time(first, part)


def _month_end(year: int, month: int) -> int:
    last = date(year, 12, 31) if month == 12 else date.fromordinal(date(year, month + 1, 1).toordinal() - 1)
    return (last.toordinal() - _EPOCH + 1) * _DAY_US


def _with_time(day_us: int, part: dict[str, str]) -> tuple[int, int, bool] | None:
    hour, minute, second = int(part["hour"]), int(part["minute"]), int(part["second"])
    if hour > 23 or minute > 59 or second > 60:
        return None
    fraction = (part["fraction"] or "")[:6]
    first = day_us + hour * _HOUR_US + minute * 60 * _SECOND_US + min(second, 59) * _SECOND_US
    first += int(fraction.ljust(6, "0"))
    zone = part["zone"]
    if zone != "Z":
        if int(zone[1:3]) > 14 or int(zone[4:]) > 59:
            return None
        offset = int(zone[1:3]) * _HOUR_US + int(zone[4:]) * 60 * _SECOND_US
        first += -offset if zone[0] == "+" else offset
    return first, first + 10 ** (6 - len(fraction)), False
