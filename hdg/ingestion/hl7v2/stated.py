"""When a message was stated: what decides which of two statements is the newer one.

EVN-2 (recorded date/time, HL7 v2.9 §3.4.1.2), else MSH-7 (§2.14.9.7). An offset in MSH-7 holds for times of
the message that have none, before the sender's declared zone does.
"""

from __future__ import annotations

from datetime import datetime, tzinfo

from hdg.fhir.times import microseconds, moment
from hdg.ingestion.hl7v2.parser import Message
from hdg.ingestion.times import to_datetime
from hdg.mapping.context import Unfit

__all__ = ["stated_us"]


def stated_us(message: Message, zone: tzinfo | None) -> int | None:
    """µs since the epoch, or None when neither field tells an instant (a date alone, or no known offset)."""
    made = _moment(message.segments[0].field(7), zone)
    event = message.first("EVN")
    if event is None:
        return None if made is None else _us(made)
    recorded = _moment(event.field(2), zone if made is None else made.tzinfo)
    if recorded is None:
        recorded = made
    return None if recorded is None else _us(recorded)


def _moment(field: str, zone: tzinfo | None) -> datetime | None:
    text = field.partition("~")[0].partition("^")[0].strip()
    if len(text) < 12:
        return None
    try:
        found = to_datetime(text, zone)
        return moment(found)
    except (Unfit, ValueError):
        return None


def _us(made: datetime) -> int | None:
    return microseconds(made) if made.tzinfo is not None else None
