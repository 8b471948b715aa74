"""The JSON envelope of a body-sensor gateway: characteristics as bytes, or samples, with what the bytes do not say.

docs/devices.md has its fields. Here: whose it is, its devices, and what it holds; one characteristic is read in
envelope_readings.py, the clocks in envelope_clock.py, streams in envelope_streams.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from hdg.errors import DeviceError
from hdg.fhir.ids import resource_id
from hdg.ingestion.device.envelope_clock import clock_of, moment_of
from hdg.ingestion.device.envelope_readings import (
    Frame,
    Taken,
    characteristic,
    coincidence,
    identified,
    tags_of,
)
from hdg.ingestion.device.envelope_streams import segments
from hdg.ingestion.device.home import DEVICE_ASSERTED, PATIENT_ASSERTED, Home, is_id
from hdg.ingestion.device.json_points import dig, objects
from hdg.ingestion.device.mdc import Mdc
from hdg.ingestion.device.observations import Absent, Measurement
from hdg.mapping.context import JsonObject

__all__ = ["read"]

_SIMPLE_DEVICE, _GATEWAY = 65573, 531981
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
    received = moment_of(envelope.get("received"), home, f"{place}.received")
    clock = clock_of(envelope.get("clock"), home, zone, place)
    frame = Frame(
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
        stamp = coincidence(frame, clock)
        frame = replace(frame, clock_id=f"Observation/{stamp['id']}")
        yield stamp
    yield from _measurements(envelope, frame)


def _measurements(envelope: JsonObject, frame: Frame) -> Iterator[JsonObject]:
    listed = envelope.get("measurements")
    several = listed if isinstance(listed, list) else [envelope] if "characteristic" in envelope else []
    streams = envelope.get("streams")
    if not several and not isinstance(streams, list):
        raise DeviceError("an envelope has measurements or streams", frame.place)
    ties: dict[int, str] = {}
    taken: Taken = {}
    for number, one in enumerate(several):
        place = f"{frame.place}.measurements[{number}]" if one is not envelope else frame.place
        if not isinstance(one, dict):
            raise DeviceError("a measurement is an object", place)
        yield from characteristic(one, replace(frame, place=place), ties, taken)
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
            tags=tags_of(frame),
        )
        correct = None if frame.clock is None else frame.clock.corrected
        for made in segments(stream, shared, frame.mdc, frame.home, place, correct):
            yield identified(made, frame, (place,))


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
