"""Named converters of the appointment tables: start and end of an appointment and of each resource in it.

HL7 v2.9 §10.6 (SCH, AIS, AIG, AIL, AIP); R4 Appointment (app-2, app-3: start and end both or neither, and
both unless proposed, cancelled or on the waiting list). Nothing is computed from a time without a known
offset or from a duration without a known unit.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import NamedTuple

from hdg.fhir.json import JsonError, decimal
from hdg.ingestion.hl7v2.authority import part, split
from hdg.ingestion.hl7v2.converters import CONVERTERS, unit_text
from hdg.ingestion.hl7v2.converters_families_a import fill_only
from hdg.ingestion.hl7v2.encoding import repetitions
from hdg.ingestion.hl7v2.identity import entity_facts
from hdg.ingestion.hl7v2.primitives import date_time, plain
from hdg.ingestion.hl7v2.segment import Segment
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Facts, JsonObject, Several, Unfit

_NULL = '""'
_COUNT = re.compile(r"\d{1,7}")
_DURATION = re.compile(r"([SMHDWL])(\d{1,7})")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604800}
"""Seconds in a UCUM unit of fixed length."""
_RESOURCES = {"AIS": 4, "AIG": 8, "AIL": 6, "AIP": 6}
"""Field of the start; offset, its unit, duration and its unit follow."""
_ENDED = ("S15", "S16")
"""Events after which R4 asks for neither start nor end."""


class _Times(NamedTuple):
    """Start and end as given (raw) and as instants; None where there is none."""

    start_raw: str
    end_raw: str
    start: str | None
    end: str | None


def _valued(text: str) -> str:
    text = text.partition("~")[0]
    return "" if text == _NULL else text


def _instant(raw: str, state: State) -> str | None:
    """A time to the minute or better whose offset is known; seconds are filled with zeros, as R4 allows."""
    try:
        found = date_time(raw, state) if raw else None
    except Unfit:
        return None
    return found if found and "T" in found else None


def _seconds(amount: str, unit: str, state: State) -> int | None:
    """A duration in seconds, by the map ``duration-unit``; None when it has no known unit."""
    table = state.library.concept_map("duration-unit")
    parts = split(unit)
    amount = plain(amount, state)
    if table is None or not _COUNT.fullmatch(amount):
        return None
    for name in (part(parts, 1, state), part(parts, 2, state)):
        found = table.translate(name) if name else None
        if found is not None and found.code in _SECONDS:
            return int(amount) * _SECONDS[found.code]
    return None


def _after(start: str | None, seconds: int | None) -> str | None:
    if start is None or seconds is None or "T" not in start:
        return None
    try:
        shown = (datetime.fromisoformat(start) + timedelta(seconds=seconds)).isoformat()
    except (ValueError, OverflowError):
        return None
    return f"{shown[:-6]}Z" if start.endswith("Z") else shown


def _resources(state: State) -> list[Segment]:
    return [
        segment
        for segment in state.message.segments
        if segment.name in _RESOURCES and _valued(segment.field(2)) != "D"
    ]


def _length(state: State, quantity: list[str]) -> int | None:
    """How long it is: SCH-9 and SCH-10, else SCH-11.3 (``M30``), else the first resource's own duration."""
    header = state.message.first("SCH")
    found = _seconds(header.field(9), header.field(10), state) if header else None
    if found is None:
        short = _DURATION.fullmatch(part(quantity, 3, state))
        table = state.library.concept_map("time-unit")
        unit = table.translate(short[1]) if short and table else None
        found = int(short[2]) * _SECONDS[unit.code] if short and unit and unit.code in _SECONDS else None
    for segment in _resources(state) if found is None else ():
        at = _RESOURCES[segment.name]
        found = _seconds(segment.field(at + 3), segment.field(at + 4), state)
        if found is not None:
            break
    return found


def _times(state: State) -> _Times:
    """Start and end of the message's appointment, worked out once: SCH-11, else TQ1, else the resources."""
    held: _Times | None = state.known.get("appointment")
    if held is not None:
        return held
    header, timing = state.message.first("SCH"), state.message.first("TQ1")
    quantity = _valued(header.field(11)).split("^") if header else []
    starts, ends = [], []
    if len(quantity) > 3:
        starts.append(quantity[3])
        ends.append(quantity[4] if len(quantity) > 4 else "")
    if timing is not None:
        starts.append(_valued(timing.field(7)))
        ends.append(_valued(timing.field(8)))
    starts += [_valued(segment.field(_RESOURCES[segment.name])) for segment in _resources(state)]
    start_raw = next(filter(None, starts), "")
    end_raw = next(filter(None, ends), "")
    start = _instant(start_raw, state)
    end = _instant(end_raw, state) if end_raw else _after(start, _length(state, quantity))
    held = state.known["appointment"] = _Times(start_raw, end_raw, start, end)
    return held


@CONVERTERS.register("hl7v2.appointment_start", type="instant")
def appointment_start(text: str, state: State) -> str | None:
    """When the appointment starts; nothing when no instant is known."""
    return _times(state).start


@CONVERTERS.register("hl7v2.appointment_end", type="instant")
def appointment_end(text: str, state: State) -> str | None:
    """When the appointment ends, by its own time or its duration; nothing when no instant is known."""
    return _times(state).end


def _absent(element: str, mine: str | None, other: str | None, state: State) -> str | None:
    if mine is not None or (other is None and state.message.message_type[1] in _ENDED):
        return None
    fill_only(state, element)
    return "unknown"


@CONVERTERS.register("hl7v2.appointment_start_absent", type="code")
def appointment_start_absent(text: str, state: State) -> str | None:
    """``unknown`` when R4 asks for a start and no instant is known."""
    return _absent("start", _times(state).start, _times(state).end, state)


@CONVERTERS.register("hl7v2.appointment_end_absent", type="code")
def appointment_end_absent(text: str, state: State) -> str | None:
    """``unknown`` when R4 asks for an end and no instant is known."""
    return _absent("end", _times(state).end, _times(state).start, state)


@CONVERTERS.register("hl7v2.appointment_start_text", type="string")
def appointment_start_text(text: str, state: State) -> str | None:
    """The start as sent, when it is no instant: a local time without offset, a date."""
    found = _times(state)
    return plain(found.start_raw, state) or None if found.start is None else None


@CONVERTERS.register("hl7v2.appointment_end_text", type="string")
def appointment_end_text(text: str, state: State) -> str | None:
    """The end as sent, when it is no instant."""
    found = _times(state)
    return plain(found.end_raw, state) or None if found.end is None else None


@CONVERTERS.register("hl7v2.duration_minutes", type="positiveInt")
def duration_minutes(text: str, state: State) -> int | None:
    """SCH-9, with its unit in SCH-10, in whole minutes; nothing when it is not that."""
    seconds = _seconds(_valued(text), _valued(state.segment.field(10)), state)
    return seconds // 60 if seconds and seconds % 60 == 0 else None


@CONVERTERS.register("hl7v2.other_duration", type="Quantity")
def other_duration(text: str, state: State) -> JsonObject | None:
    """SCH-9 when it is not whole minutes, as a Quantity with the unit's own text."""
    if duration_minutes(text, state):
        return None
    try:
        found: JsonObject = {"value": decimal(plain(text, state))}
    except JsonError:
        raise Unfit("not a number") from None
    unit = unit_text(_valued(state.segment.field(10)), state)
    return {**found, "unit": unit} if unit else found


@CONVERTERS.register("hl7v2.offset_start", type="dateTime")
def offset_start(text: str, state: State) -> str:
    """The start of the appointment and the offset of a resource, whose unit is in the next field."""
    unit = _valued(state.segment.field(_RESOURCES[state.segment.name] + 2))
    found = _after(_times(state).start, _seconds(_valued(text), unit, state))
    if found is None:
        raise Unfit("the start of the resource cannot be computed from the offset")
    return found


@CONVERTERS.register("hl7v2.resource_end", type="dateTime")
def resource_end(text: str, state: State) -> str:
    """The start of a resource (its own, else by its offset, else the appointment's) and its duration."""
    segment, at = state.segment, _RESOURCES[state.segment.name]
    start: str | None = None
    if _valued(segment.field(at)):
        start = _instant(_valued(segment.field(at)), state)
    elif _valued(segment.field(at + 1)):
        offset = _seconds(_valued(segment.field(at + 1)), _valued(segment.field(at + 2)), state)
        start = _after(_times(state).start, offset)
    else:
        start = _times(state).start
    found = _after(start, _seconds(_valued(text), _valued(segment.field(at + 4)), state))
    if found is None:
        raise Unfit("the end of the resource cannot be computed from its start and duration")
    return found


@CONVERTERS.register("hl7v2.group_number", type="Identifier")
def group_number(text: str, state: State) -> Several:
    """SCH-4: an EI before v2.8, an EIP (placer's and filler's) since."""
    build = state.datatype("EI.Identifier")
    texts = [item.replace("&", "^") for item in text.split("^")[:2]] if "&" in text else [text]
    return Several(found for item in texts if item.strip("^") and (found := build(item, state)))


@CONVERTERS.register("identity.appointment", type="id")
def appointment(text: str, state: State) -> Facts:
    """SCH-2 (the filler's appointment number), else SCH-1 (the placer's)."""
    for kind, number in (("SCH-2", 2), ("SCH-1", 1)):
        for raw in repetitions(state.field("SCH", number))[:1]:
            found = entity_facts(raw, state)
            if found:
                return Facts((kind, *found))
    return state.unidentified()


@CONVERTERS.register("identity.schedule", type="id")
def schedule(text: str, state: State) -> Facts:
    """SCH-5 (the schedule's code), else the slot's own number: a schedule of that slot alone."""
    parts = split(state.field("SCH", 5))
    code = part(parts, 1, state) or part(parts, 2, state)
    if code:
        return Facts(("SCH-5", state.sender.name, code, part(parts, 3, state)), is_thing=True)
    return Facts(("slot", *appointment(text, state).parts), is_thing=True)
