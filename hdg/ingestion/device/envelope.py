"""The JSON envelope of a body-sensor gateway: characteristics as bytes, or samples, with what the bytes do not say.

docs/devices.md has its fields. The device's clock is corrected by the two clocks' readings at one moment; both times
stay: the corrected one is effective, the device's own is a component, and a coincident time stamp says by how much
they differ (PHD guide, https://hl7.org/fhir/uv/phd/TimeStamping.html).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any, BinaryIO

from hdg.errors import DeviceError
from hdg.fhir.ids import resource_id
from hdg.fhir.times import instant
from hdg.ingestion.device import gatt
from hdg.ingestion.device.envelope_streams import segments
from hdg.ingestion.device.gatt_readings import Amount, Choice, Flags, Intervals, Pressures, Reading
from hdg.ingestion.device.home import DEVICE_ASSERTED, PATIENT_ASSERTED, UCUM, Home, is_id
from hdg.ingestion.device.json_points import dig, objects
from hdg.ingestion.device.mdc import Mdc
from hdg.ingestion.device.observations import (
    PHD,
    Absent,
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

__all__ = ["read"]

_MAP = "gatt-mdc"
_BASE = "-0000-1000-8000-00805F9B34FB"
_CLOCK_CODE, _SIMPLE_DEVICE, _GATEWAY = 67975, 65573, 531981
_KNOWN = frozenset(
    {
        "patient",
        "gateway",
        "device",
        "received",
        "clock",
        "entered",
        "measurements",
        "streams",
        "characteristic",
        "value",
        "encoding",
        "sessionStart",
        "crc",
    }
)


@dataclass(frozen=True, slots=True)
class _Clock:
    """The device's and the gateway's clock at one moment. ``zone``: where the device is."""

    device: datetime
    gateway: datetime
    zone: tzinfo | None

    def corrected(self, stamp: datetime) -> datetime:
        """The moment at which the device's clock showed ``stamp``."""
        moment = self.gateway - (_plain(self.device) - _plain(stamp))
        return moment.astimezone(self.zone or self.gateway.tzinfo)

    def shown(self, stamp: datetime) -> datetime:
        """``stamp`` with the offset that the gateway's clock has: the device's clock knows none."""
        return stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=self.gateway.tzinfo)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What all measurements of an envelope share."""

    home: Home
    mdc: Mdc
    place: str
    device: str
    device_facts: tuple[str, ...]
    gateway: str
    clock: _Clock | None
    clock_id: str
    zone: tzinfo | None
    received: datetime | None
    marks: tuple[JsonObject, ...]


def read(
    open_: Callable[[], BinaryIO], home: Home, progress: Callable[[int], None] | None = None
) -> Iterator[JsonObject]:
    """The resources of one or several envelopes. Raises DeviceError."""
    caller = home.patient
    for place, envelope in objects(open_, "envelopes"):
        if not isinstance(envelope, dict):
            raise DeviceError("an envelope is an object", place)
        for name in sorted(set(envelope) - _KNOWN):
            shown = name if name.isidentifier() and len(name) < 40 else ""
            home.note("warning", "incomplete", shown, "a field that is not known is left out")
        yield from _patient(envelope.get("patient"), home, caller, place)
        yield from _envelope(envelope, home, place)


def _patient(told: Any, home: Home, caller: str, place: str) -> Iterator[JsonObject]:
    """Whose it is: who the caller says, else the envelope's id or identifier.

    Raises DeviceError when nobody is named, or another one than the caller's.
    """
    id_ = dig(told, "id")
    if isinstance(id_, str) and id_:
        if not is_id(id_):
            raise DeviceError("not an id (R4 datatypes.html#id)", f"{place}.patient.id")
        named, made = f"Patient/{id_}", None
    else:
        made = _identified_patient(dig(told, "identifier"), home)
        named = f"Patient/{made['id']}" if made else caller
    if not named:
        text = "nothing says whose data these are: neither patient.id nor patient.identifier with its system"
        raise DeviceError(text, f"{place}.patient")
    if caller and named != caller:
        raise DeviceError("the envelope is about another patient than the caller's", f"{place}.patient")
    home.patient = named
    if made is not None and not caller:
        yield made


def _identified_patient(identifier: Any, home: Home) -> JsonObject | None:
    """The Patient of an identifier with its system or authority; None without one."""
    value, system, authority = (dig(identifier, name) for name in ("value", "system", "authority"))
    if not isinstance(value, str) or not value.strip():
        return None
    value = value.strip()
    told: JsonObject = {"value": value}
    # The facts by which a PID-3 of the same assigner names the same Patient (hl7v2/identity.py).
    if isinstance(system, str) and system:
        facts, told["system"] = (system, value), system
    elif isinstance(authority, str) and authority:
        facts, told["assigner"] = (f"#{authority}", value), {"display": authority}
    else:
        return None
    id_ = resource_id(home.id_key, "Patient", home.institution, facts)
    return {"resourceType": "Patient", "id": id_, "identifier": [told]}


def _envelope(envelope: JsonObject, home: Home, place: str) -> Iterator[JsonObject]:
    mdc = Mdc(home.library.concept_map)
    told = envelope.get("device")
    device_facts = _facts(told, f"{place}.device")
    device = home.device(("phd", *device_facts), _device(told, mdc))
    yield device
    gateway = ""
    if isinstance(envelope.get("gateway"), dict):
        facts = ("phg", *_facts(envelope["gateway"], f"{place}.gateway"))
        hub = _device(envelope["gateway"], mdc, code=_GATEWAY)
        if (
            home.is_reported
        ):  # what a patient says of it is nothing to the institution's own, which others share
            hub = home.device(facts, hub)
        else:
            id_ = resource_id(home.id_key, "Device", home.institution, facts)
            hub = {"resourceType": "Device", "id": id_, **hub}
        gateway = f"Device/{hub['id']}"
        yield hub
    name = dig(told, "zone")
    zone = home.named_zone(name) if isinstance(name, str) else None
    received = _moment(envelope.get("received"), home, f"{place}.received")
    clock = _clock(envelope.get("clock"), home, zone, place)
    frame = _Frame(
        home,
        mdc,
        place,
        f"Device/{device['id']}",
        device_facts,
        gateway,
        clock,
        "",
        zone,
        received,
        (PATIENT_ASSERTED if envelope.get("entered") is True else DEVICE_ASSERTED,),
    )
    if clock is not None:
        stamp = _coincidence(frame, clock)
        frame = replace(frame, clock_id=f"Observation/{stamp['id']}")
        yield stamp
    yield from _measurements(envelope, frame)


def _measurements(envelope: JsonObject, frame: _Frame) -> Iterator[JsonObject]:
    listed = envelope.get("measurements")
    several = listed if isinstance(listed, list) else [envelope] if "characteristic" in envelope else []
    streams = envelope.get("streams")
    if not several and not isinstance(streams, list):
        raise DeviceError("an envelope has measurements or streams", frame.place)
    ties: dict[int, str] = {}
    for number, one in enumerate(several):
        place = f"{frame.place}.measurements[{number}]" if one is not envelope else frame.place
        if not isinstance(one, dict):
            raise DeviceError("a measurement is an object", place)
        yield from _characteristic(one, replace(frame, place=place), ties)
    for number, stream in enumerate(streams if isinstance(streams, list) else []):
        place = f"{frame.place}.streams[{number}]"
        shared = Measurement(
            code=0,
            value=Absent("unknown"),
            device=frame.device,
            gateway=frame.gateway,
            subject=frame.home.patient,
            performer=frame.home.patient,
            clock=frame.clock_id,
            tags=_tags(frame),
        )
        correct = None if frame.clock is None else frame.clock.corrected
        for made in segments(stream, shared, frame.mdc, frame.home, place, correct):
            yield _identified(made, frame, (place,))


def _tags(frame: _Frame) -> tuple[JsonObject, ...]:
    return tuple(frame.home.tags(*frame.marks)["tag"])


def _characteristic(one: JsonObject, frame: _Frame, ties: dict[int, str]) -> Iterator[JsonObject]:
    uuid = _uuid(one.get("characteristic"), frame.place)
    said = gatt.read(uuid, _bytes(one, frame.place), has_crc=_crc(one.get("crc")))
    for place, text in said.issues:
        frame.home.note("warning", "structure", f"{frame.place}: {place}", text)
    received = _moment(one.get("received"), frame.home, f"{frame.place}.received") or frame.received
    session = _moment(one.get("sessionStart"), frame.home, f"{frame.place}.sessionStart", is_plain=True)
    first = ""
    for number, reading in enumerate(said.readings):
        made = _measurement(reading, frame, received, session)
        about = first if reading.is_about_first else ""
        if uuid == "2A34":
            about = ties.get(said.sequence or 0, "")
        if about:
            made = replace(made, derived_from=(about,))
        resource = _identified(made, frame, (str(said.sequence), uuid) if said.sequence is not None else ())
        if not number:
            first = f"Observation/{resource['id']}"
            if uuid == "2A18" and said.sequence is not None:
                ties[said.sequence] = first
        yield resource


def _identified(made: Measurement, frame: _Frame, more: tuple[str, ...]) -> JsonObject:
    facts = facts_of(made, frame.device_facts, (frame.home.patient,))
    return observation(made, frame.mdc, frame.home.id("Observation", *facts, *more))


def _measurement(
    reading: Reading, frame: _Frame, received: datetime | None, session: datetime | None
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
        tags=_tags(frame),
        notes=reading.notes,
    )


def _times(
    reading: Reading, frame: _Frame, received: datetime | None, session: datetime | None
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
        return _text(received), None
    if stamp.tzinfo is not None:
        return _text(stamp), None
    if frame.clock is not None and not reading.is_time_fault:
        try:
            return _text(frame.clock.corrected(stamp)), _text(frame.clock.shown(stamp))
        except OverflowError:
            home.note("warning", "value", frame.place, "a time beyond the calendar")
    if reading.is_time_fault and received is not None:
        return _text(received), _text(home.at(stamp, received.tzinfo))
    local = home.at(stamp, frame.zone)
    if local.tzinfo is None:
        home.note("warning", "value", frame.place, "a time without zone or clock reading was cut to its date")
        return stamp.date().isoformat(), None
    return _text(local), None


def _value(value: Amount | Choice | Flags | Pressures | Intervals, frame: _Frame) -> Value:
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


# --- devices and clocks ---------------------------------------------------------------------------------------


def _facts(told: Any, place: str) -> tuple[str, ...]:
    """What tells a device from others: its id, else maker, model and serial number. Raises DeviceError."""
    texts = {name: dig(told, name) for name in ("id", "manufacturer", "model", "serial")}
    if isinstance(texts["id"], str) and texts["id"].strip():
        return ("id", texts["id"].strip().upper())
    found = tuple(text.strip() for text in texts.values() if isinstance(text, str) and text.strip())
    if not found:
        raise DeviceError("a device has an id, or manufacturer, model and serial", place)
    return found


def _device(told: Any, mdc: Mdc, code: int = _SIMPLE_DEVICE) -> JsonObject:
    text = {name: value for name, value in told.items() if isinstance(value, str) and value.strip()}
    made: JsonObject = {}
    if "id" in text:
        made["identifier"] = [{"value": text["id"]}]
    if "manufacturer" in text:
        made["manufacturer"] = text["manufacturer"]
    if "serial" in text:
        made["serialNumber"] = text["serial"]
    if "model" in text:
        made["modelNumber"] = text["model"]
    if "firmware" in text:
        made["version"] = [{"type": {"text": "firmware"}, "value": text["firmware"]}]
    return {**made, "type": mdc.concept(code)}


def _clock(told: Any, home: Home, zone: tzinfo | None, place: str) -> _Clock | None:
    if told is None:
        return None
    device = _moment(dig(told, "device"), home, f"{place}.clock.device", is_plain=True)
    gateway = _moment(dig(told, "gateway"), home, f"{place}.clock.gateway")
    if device is None or gateway is None:
        home.note("warning", "incomplete", f"{place}.clock", "both clocks are needed: times stay as they are")
        return None
    if device.tzinfo is not None:
        device = _plain(device.astimezone(gateway.tzinfo))
    return _Clock(device, gateway, zone)


def _coincidence(frame: _Frame, clock: _Clock) -> JsonObject:
    """The coincident time stamp: what both clocks showed at one moment."""
    effective, shown = _text(clock.gateway), _text(clock.shown(clock.device))
    home = frame.home
    made: JsonObject = {
        "resourceType": "Observation",
        "id": home.id("Observation", "clock", *frame.device_facts, effective, shown),
        "meta": {"profile": [f"{PHD}PhdCoincidentTimeStampObservation"], "tag": list(_tags(frame))},
        "status": "final",
        "code": frame.mdc.concept(_CLOCK_CODE),
        "subject": {"reference": frame.device},
        "effectiveDateTime": effective,
        "valueDateTime": shown,
    }
    if frame.gateway:
        made["device"] = {"reference": frame.gateway}
    return made


def _moment(text: Any, home: Home, place: str, *, is_plain: bool = False) -> datetime | None:
    """An ISO 8601 time; ``is_plain``: one without offset stays so, a device's clock has none."""
    if text is None or text == "":
        return None
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) and "T" in text else None
    except ValueError:
        moment = None
    if moment is None:
        home.note("error", "value", place, "not a time (ISO 8601): left out")
        return None
    moment = moment if is_plain else home.at(moment, None)
    if moment.tzinfo is None and not is_plain:
        home.note("error", "value", place, "a time without offset: left out")
        return None
    return moment


def _plain(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _text(moment: datetime) -> str:
    text = moment.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


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


def _crc(told: Any) -> bool | None:
    """Whether records end with a checksum; None where nobody says."""
    return told if isinstance(told, bool) else None


def _bytes(one: JsonObject, place: str) -> bytes:
    text, encoding = one.get("value"), one.get("encoding", "base64")
    if isinstance(text, str) and encoding in ("base64", "hex"):
        try:
            return base64.b64decode(text, validate=True) if encoding == "base64" else bytes.fromhex(text)
        except (ValueError, binascii.Error):
            pass
    raise DeviceError("value: bytes in base64, or in hex with encoding hex", place)
