"""DTM, DT and TM to FHIR dates and times: precision and offset are kept, none is invented.

HL7 v2.9 §2.A.21 to §2.A.23 and §2.A.75; R4 datatypes.html#dateTime.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hdg.errors import SettingsError
from hdg.fhir.times import microseconds, moment
from hdg.mapping.context import Unfit

_DTM: Final = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(\.\d{1,9})?)?)?)?)?)?(Z|[+-]\d{4})?", re.ASCII
)
_TM: Final = re.compile(r"(\d\d)(\d\d)(?:(\d\d)(\.\d{1,9})?)?(?:[+-]\d{4})?", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_MAX_OFFSET_MIN: Final = 14 * 60
_SURE: Final = re.compile(
    r"[12]\d{3}(?:0[1-9]|1[0-2])(?:0[1-9]|1\d|2[0-8])"
    r"(?:(?:[01]\d|2[0-3])[0-5]\d[0-5]\d[+-](?:0\d|1[0-3])[0-5]\d)?",
    re.ASCII,
)
"""The usual forms, a date or a time to the second with its offset, of days that every month has."""
_DATE_DIGITS: Final = 8
_DAY: Final = 10  # characters of a date
_SURE_MAX: Final = 19  # characters
_KEPT: Final = 512  # texts
_HOUR_US: Final = 3_600_000_000
DOUBLED: Final = "the zone's clocks pass this local time twice: the first of the two was taken"
SKIPPED: Final = "the zone's clocks skip this local time: it was read with the offset from before the change"


def zone(text: str | None) -> tzinfo | None:
    """A declared zone (IANA name or ``+hh:mm``); None stays None. Raises SettingsError."""
    if not text:
        return None
    match = _OFFSET.fullmatch(text)
    if match is not None:
        minutes = int(match[2]) * 60 + int(match[3])
        return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SettingsError(f"{text!r} is neither an IANA time zone nor +hh:mm") from error


def to_date(text: str) -> str:
    """``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``; a time is left out. Raises Unfit."""
    found = _usual(text) if len(text) <= _SURE_MAX else ""
    return found[:_DAY] if found else _day(_parsed(text))


def to_datetime(text: str, local: tzinfo | None) -> str:
    """An R4 dateTime. ``local`` is the sender's zone for times without offset; ``doubt`` tells of those that the
    zone has twice or never, which get the offset from before its clocks change.

    Raises Unfit; with ``kept`` set to the date when the time cannot be carried.
    """
    found = _usual(text) if len(text) <= _SURE_MAX else ""
    if found:
        return found
    match = _parsed(text)
    day = _day(match)
    if match[4] is None:
        return day  # an offset without a time says nothing that FHIR could hold
    if match[5] is None:
        raise Unfit("an hour without minutes was cut to its date", kept=day)
    clock = _clock(match[4], match[5], match[6], match[7])
    if match[8]:
        return f"{day}T{clock}{_offset(match[8])}"
    if local is None:
        raise Unfit(
            "a time without offset from a sender without a declared zone was cut to its date", kept=day
        )
    return f"{day}T{clock}{_local_offset(match, local)}"


@lru_cache(maxsize=_KEPT)
def _usual(text: str) -> str:
    """The dateTime of a text of ``_SURE``, else ''. A message says the same time in several fields."""
    if not _SURE.fullmatch(text):
        return ""
    day = f"{text[:4]}-{text[4:6]}-{text[6:8]}"
    if len(text) == _DATE_DIGITS:
        return day
    return f"{day}T{text[8:10]}:{text[10:12]}:{text[12:14]}{text[14:17]}:{text[17:]}"


def doubt(text: str, local: tzinfo | None) -> str:
    """Why the offset of a local time is a choice: the zone's clocks pass it twice, or skip it; '' for all others."""
    if local is None or isinstance(local, timezone) or (len(text) <= _SURE_MAX and _usual(text)):
        return ""
    match = _DTM.fullmatch(text)
    if match is None or match[5] is None or match[8]:
        return ""
    try:
        return doubt_at(_moment(match, local))
    except ValueError:
        return ""


def doubt_at(moment: datetime) -> str:
    """``doubt`` of a moment with its zone."""
    first, second = moment.utcoffset(), moment.replace(fold=1).utcoffset()
    if first == second or first is None or second is None:
        return ""
    return DOUBLED if first > second else SKIPPED


class Reading(Protocol):
    """What reads times of one input."""

    zone: tzinfo | None

    def problem(self, text: str) -> None:
        """Reports something at the place that is being read."""


def tell_doubt(text: str, reading: Reading) -> None:
    """Reports a time whose offset is a choice (``doubt``), where it is read."""
    why = doubt(text, reading.zone)
    if why:
        reading.problem(why)


def latest_us(text: str, found: str, local: tzinfo | None) -> int:
    """A stated time as a stamp, µs since the epoch; ``found``: the instant that the text was read as.

    Of a local time that the zone's clocks pass twice the later one counts: what was stated in the second hour is no
    older than what was stated before it.
    """
    return microseconds(moment(found)) + (_HOUR_US if doubt(text, local) == DOUBLED else 0)


def to_instant(text: str, local: tzinfo | None) -> str:
    """An R4 instant: a dateTime to the second. Raises Unfit when the text says less."""
    found = _usual(text) if _DATE_DIGITS < len(text) <= _SURE_MAX else ""
    if found:
        return found
    try:
        found = to_datetime(text, local)
    except Unfit as problem:
        raise Unfit(problem.text.replace("was cut to its date", "is no instant")) from problem
    if "T" not in found or _parsed(text)[6] is None:
        raise Unfit("a date, or a time without seconds, is no instant")
    return found


def to_time(text: str) -> str:
    """An R4 time. Raises Unfit."""
    match = _TM.fullmatch(text)
    if match is None:
        raise Unfit("not a time (HHMM[SS[.S]])")
    return _clock(*match.groups())


def _parsed(text: str) -> re.Match[str]:
    match = _DTM.fullmatch(text)
    if match is None:
        raise Unfit("not a date or time (YYYY[MM[DD[HHMM[SS[.S]]]]][+/-ZZZZ])")
    return match


def _day(match: re.Match[str]) -> str:
    year, month, day = match[1], match[2], match[3]
    try:
        date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        raise Unfit("not a day of the calendar") from None
    if month is None:
        return year
    return f"{year}-{month}" if day is None else f"{year}-{month}-{day}"


def _clock(hour: str, minute: str, second: str | None, fraction: str | None) -> str:
    if hour > "23" or minute > "59" or (second is not None and second > "59" and second != "60"):
        raise Unfit("not a time of day")
    # R4 wants seconds where minutes are known and allows zero-filling them.
    return f"{hour}:{minute}:{second or '00'}{fraction or ''}"


def _offset(text: str) -> str:
    if text == "Z":
        return text
    if int(text[1:3]) * 60 + int(text[3:]) > _MAX_OFFSET_MIN or text[3:] > "59":
        raise Unfit("not an offset from UTC")
    return f"{text[:3]}:{text[3:]}"


def _moment(match: re.Match[str], local: tzinfo) -> datetime:
    """A local time to the minute or better."""
    year, month, day, hour, minute = (int(match[part]) for part in range(1, 6))
    return datetime(year, month, day, hour, minute, min(int(match[6] or 0), 59), tzinfo=local)


def _local_offset(match: re.Match[str], local: tzinfo) -> str:
    offset = _moment(match, local).utcoffset()
    minutes = 0 if offset is None else int(offset.total_seconds()) // 60
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
