"""One characteristic of an envelope: its bytes become measurements, on the gateway's time line, with device and marks.

Both times stay: the corrected one is effective, the device's own is a component, and a coincident time stamp says by
how much they differ (PHD guide, https://hl7.org/fhir/uv/phd/TimeStamping.html).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from hdg.errors import DeviceError
from hdg.fhir.times import instant
from hdg.ingestion.device import gatt
from hdg.ingestion.device.envelope_clock import Clock, moment_of, text_of
from hdg.ingestion.device.gatt_readings import Amount, Choice, Flags, Intervals, Pressures, Reading
from hdg.ingestion.device.home import UCUM, Home
from hdg.ingestion.device.mdc import Mdc
from hdg.ingestion.device.observations import (
    PHD,
    Bits,
    Coded,
    Compound,
    Measurement,
    Member,
    Quantity,
    Value,
    facts_of,
    observation,
)
from hdg.mapping.context import JsonObject

__all__ = ["Frame", "characteristic", "coincidence", "identified", "tags_of"]

_MAP = "gatt-mdc"
_BASE = "-0000-1000-8000-00805F9B34FB"
_CLOCK_CODE = 67975


@dataclass(frozen=True, slots=True)
class Frame:
    """What all measurements of an envelope share."""

    home: Home
    mdc: Mdc
    place: str
    device: str
    device_facts: tuple[str, ...]
    gateway: str
    clock: Clock | None
    clock_id: str
    zone: tzinfo | None
    received: datetime | None
    marks: tuple[JsonObject, ...]


def tags_of(frame: Frame) -> tuple[JsonObject, ...]:
    """``meta.tag`` of what the envelope holds."""
    return tuple(frame.home.tags(*frame.marks)["tag"])


Taken = dict[str, tuple[str, bytes, int]]
"""The measurements of an envelope by their ids: characteristic, bytes, and which of several in them."""


def characteristic(one: JsonObject, frame: Frame, ties: dict[int, str], taken: Taken) -> Iterator[JsonObject]:
    """The Observations of one value. ``ties``: the glucose measurements of the envelope by their numbers.

    Raises DeviceError.
    """
    uuid, data = _uuid(one.get("characteristic"), frame.place), _bytes(one, frame.place)
    said = gatt.read(uuid, data, has_crc=_crc(one.get("crc")))
    for place, text in said.issues:
        frame.home.note("warning", "structure", f"{frame.place}: {place}", text)
    received = moment_of(one.get("received"), frame.home, f"{frame.place}.received") or frame.received
    session = moment_of(one.get("sessionStart"), frame.home, f"{frame.place}.sessionStart", is_plain=True)
    first = ""
    for number, reading in enumerate(said.readings):
        made = _measurement(reading, frame, received, session)
        about = first if reading.is_about_first else ""
        if uuid == "2A34":
            about = ties.get(said.sequence or 0, "")
        if about:
            made = replace(made, derived_from=(about,))
        more: tuple[str, ...] = (str(said.sequence), uuid) if said.sequence is not None else ()
        more += _told_apart(reading, made, session, data)
        resource = identified(made, frame, more)
        if taken.setdefault(resource["id"], (uuid, data, number)) != (uuid, data, number):
            resource = identified(made, frame, (*more, data.hex(), str(number)))
        if not number:
            first = f"Observation/{resource['id']}"
            if uuid == "2A18" and said.sequence is not None:
                ties[said.sequence] = first
        yield resource


def _told_apart(
    reading: Reading, made: Measurement, session: datetime | None, data: bytes
) -> tuple[str, ...]:
    """What tells measurements apart whose times, as they come out, may be those of others.

    The device's own time where only its date is certain; without any time of the device's the bytes.
    """
    is_certain = "T" in (made.time or "")
    if reading.stamp is not None:
        return () if is_certain else (reading.stamp.isoformat(),)
    if reading.minutes is None:
        return (data.hex(),)
    if session is None:
        return (data.hex(), str(reading.minutes))
    return () if is_certain else (str(reading.minutes),)


def _crc(told: Any) -> bool | None:
    """Whether records end with a checksum; None where nobody says."""
    return told if isinstance(told, bool) else None


def identified(made: Measurement, frame: Frame, more: tuple[str, ...]) -> JsonObject:
    """The Observation of a measurement. ``more``: what tells it from others beside its own facts."""
    facts = facts_of(made, frame.device_facts, (frame.home.patient,))
    return observation(made, frame.mdc, frame.home.id("Observation", *facts, *more))


def _measurement(
    reading: Reading, frame: Frame, received: datetime | None, session: datetime | None
) -> Measurement:
    home = frame.home
    code, name = _code(reading.key, home)
    time, stated = _times(reading, frame, received, session)
    return Measurement(
        code=code,
        name=name,
        value=_value(reading.value, frame),
        time=time,
        stated=stated,
        device=frame.device,
        gateway=frame.gateway,
        subject=home.patient,
        performer=home.patient,
        clock=frame.clock_id,
        supplemental=tuple(_code(key, home)[0] for key in reading.supplemental),
        conditions=reading.conditions,
        tags=tags_of(frame),
        notes=reading.notes,
    )


def _times(
    reading: Reading, frame: Frame, received: datetime | None, session: datetime | None
) -> tuple[str, str | None]:
    """(on our clock, on the device's): with offsets; the second only where there is one."""
    home, stamp = frame.home, reading.stamp
    if reading.minutes is not None and session is not None:
        stamp = session + timedelta(minutes=reading.minutes)
    if stamp is None:
        if received is None:
            text = "neither the device nor the gateway says when: the time of receipt is taken"
            home.note("warning", "required", f"{frame.place}.received", text)
            return instant(home.at_us), None
        return text_of(received), None
    if stamp.tzinfo is not None:
        return text_of(stamp), None
    if frame.clock is not None and not reading.is_time_fault:
        try:
            return text_of(frame.clock.corrected(stamp)), text_of(frame.clock.shown(stamp))
        except OverflowError:
            home.note("warning", "value", frame.place, "a time beyond the calendar")
    if reading.is_time_fault and received is not None:
        return text_of(received), text_of(home.at(stamp, received.tzinfo, frame.place))
    local = home.at(stamp, frame.zone, frame.place)
    if local.tzinfo is None:
        home.note("warning", "value", frame.place, "a time without zone or clock reading was cut to its date")
        return stamp.date().isoformat(), None
    return text_of(local), None


def _value(value: Amount | Choice | Flags | Pressures | Intervals, frame: Frame) -> Value:
    home, mdc = frame.home, frame.mdc
    if isinstance(value, Amount):
        return Quantity(value.number, _unit(value.ucum))
    if isinstance(value, Choice):
        return Coded(mdc.concept(*_code(value.key, home)))
    if isinstance(value, Flags):
        return Bits(value.value, 16)
    if isinstance(value, Pressures):
        parts = ((mdc.concept(*_code(key, home)), amount) for key, amount in value.parts)
        return Compound(tuple(Member(concept, Quantity(a.number, _unit(a.ucum))) for concept, a in parts))
    concept = mdc.concept(*_code("2A37.interval", home))
    return Compound(tuple(Member(concept, Quantity(time, _unit("ms"))) for time in value.times))


def _unit(ucum: str) -> JsonObject:
    return {"unit": ucum, "system": UCUM, "code": ucum}


def _code(key: str, home: Home) -> tuple[int, str]:
    """(MDC code, reference identifier). Raises DeviceError when a site's own map has lost it."""
    found = home.library.concept_map(_MAP)
    target = found.translate(key) if found else None
    if target is None or not target.code.isdigit():
        raise DeviceError(f"the map {_MAP} has no code for {key}")
    return int(target.code), target.display


def coincidence(frame: Frame, clock: Clock) -> JsonObject:
    """The coincident time stamp: what both clocks showed at one moment."""
    effective, shown = text_of(clock.gateway), text_of(clock.shown(clock.device))
    home = frame.home
    made: JsonObject = {
        "resourceType": "Observation",
        "id": home.id("Observation", "clock", *frame.device_facts, effective, shown),
        "meta": {"profile": [f"{PHD}PhdCoincidentTimeStampObservation"], "tag": list(tags_of(frame))},
        "status": "final",
        "code": frame.mdc.concept(_CLOCK_CODE),
        "subject": {"reference": frame.device},
        "effectiveDateTime": effective,
        "valueDateTime": shown,
    }
    if frame.gateway:
        made["device"] = {"reference": frame.gateway}
    return made


def _uuid(text: Any, place: str) -> str:
    """A characteristic's 16-bit UUID in hex. Raises DeviceError."""
    if not isinstance(text, str):
        raise DeviceError("characteristic: a UUID is needed", place)
    short = text.strip().upper().removeprefix("0X")
    if short.startswith("0000") and short.endswith(_BASE):
        short = short[4:8]
    if short not in gatt.characteristics():
        raise DeviceError("characteristic: none that is read", place)
    return short


def _bytes(one: JsonObject, place: str) -> bytes:
    text, encoding = one.get("value"), one.get("encoding", "base64")
    if isinstance(text, str) and encoding in ("base64", "hex"):
        try:
            return base64.b64decode(text, validate=True) if encoding == "base64" else bytes.fromhex(text)
        except (ValueError, binascii.Error):
            pass
    raise DeviceError("value: bytes in base64, or in hex with encoding hex", place)
