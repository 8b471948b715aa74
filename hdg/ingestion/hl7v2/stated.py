"""When a message was stated: what decides which of two statements is the newer one.

EVN-2 (recorded date/time, HL7 v2.9 §3.4.1.2), else MSH-7 (§2.14.9.7). An offset in MSH-7 holds for times of
the message that have none, before the sender's declared zone does. Of a local time that the zone's clocks pass twice
the later one counts: a stamp is never later than the receipt, so a message of the first hour keeps its place, and
one of the second hour is no older than it.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from typing import Final

from hdg.fhir.times import microseconds, moment
from hdg.ingestion.hl7v2.parser import Message
from hdg.ingestion.times import DOUBLED, doubt, to_datetime
from hdg.mapping.context import Unfit

__all__ = ["stated_us"]

_HOUR: Final = timedelta(hours=1)
_OFFSET: Final = re.compile(r"(?:Z|[+-]\d{4})$", re.ASCII)


def stated_us(message: Message, zone: tzinfo | None) -> int | None:
    """µs since the epoch, or None when neither field tells an instant (a date alone, or no known offset)."""
    header = message.segments[0].field(7)
    made = _moment(header, zone)
    event = message.first("EVN")
    if event is None:
        return None if made is None else _us(made)
    own = made.tzinfo if made is not None and _OFFSET.search(_text(header)) else zone
    recorded = _moment(event.field(2), own)
    if recorded is None:
        recorded = made
    return None if recorded is None else _us(recorded)


def _moment(field: str, zone: tzinfo | None) -> datetime | None:
    text = _text(field)
    if len(text) < 12:
        return None
    try:
        found = moment(to_datetime(text, zone))
    except (Unfit, ValueError):
        return None
    return found + _HOUR if doubt(text, zone) == DOUBLED else found


def _text(field: str) -> str:
    return field.partition("~")[0].partition("^")[0].strip()


def _us(made: datetime) -> int | None:
    return microseconds(made) if made.tzinfo is not None else None
