"""Open mHealth and IEEE 1752.1 data points: one measure each, with the header that says whose, when and how.

https://www.openmhealth.org/documentation/#/schema-docs/schema-library and IEEE Std 1752.1-2021
(https://opensource.ieee.org/omh/1752). A property with value and unit is a quantity, whatever the schema; codes and
units go by ``terminology/maps/open-mhealth-*.csv``, and what they lack keeps its own name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from hdg.ingestion.device.home import DEVICE_ASSERTED, PATIENT_ASSERTED, Home, map_names, quantity
from hdg.ingestion.device.json_points import amount, dig, objects, plus, time_of
from hdg.mapping.context import JsonObject

__all__ = ["SYSTEM", "read"]

SYSTEM = "https://w3id.org/openmhealth"
_MAP, _UNITS = "open-mhealth-observation", "open-mhealth-unit"
_VITAL = frozenset(
    {
        "blood-pressure",
        "body-height",
        "body-mass-index",
        "body-temperature",
        "body-weight",
        "heart-rate",
        "oxygen-saturation",
        "respiratory-rate",
    }
)
_SECONDS = {"sec": 1, "s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604800}
_HEADER = frozenset(
    {
        "acquisition_provenance",
        "creation_date_time",
        "id",
        "modality",
        "schema_id",
        "source_creation_date_time",
        "user_id",
        "uuid",
    }
)
_TIMES = frozenset({"effective_time_frame"})
_NOTES = frozenset({"user_notes"})
_STATISTIC = "descriptive_statistic"


def read(
    open_: Callable[[], BinaryIO], home: Home, progress: Callable[[int], None] | None = None
) -> Iterator[JsonObject]:
    """The resources of a file of data points. Raises DeviceError."""
    caller = home.patient
    devices: set[str] = set()
    users: set[str] = set()
    for place, point in objects(open_, "data", "body"):
        if not isinstance(dig(point, "header"), dict) or not isinstance(dig(point, "body"), dict):
            home.note("error", "structure", place, "a data point has a header and a body: left out")
            continue
        header, body = point["header"], point["body"]
        if not caller:
            yield from _patient(header, home)
        elif isinstance(header.get("user_id"), str):
            home.check_one(users, header["user_id"], place)
        device = _device(header, home)
        if device is not None and device["id"] not in devices:
            devices.add(device["id"])
            yield device
        yield from _observation(header, body, device, home, place)


def _patient(header: JsonObject, home: Home) -> Iterator[JsonObject]:
    """The person by user_id, of this source only; else one of this input. Raises DeviceError (Home.nobody)."""
    user = header.get("user_id")
    home.patient = ""
    if not isinstance(user, str) or not user.strip():
        yield home.nobody()
        return
    made: JsonObject = {"resourceType": "Patient", "id": home.id("Patient", "open-mhealth", user)}
    made["meta"] = home.tags()
    made["identifier"] = [{"type": {"text": "Open mHealth user"}, "value": user.strip()}]
    home.patient = f"Patient/{made['id']}"
    yield made


def _device(header: JsonObject, home: Home) -> JsonObject | None:
    name = dig(header, "acquisition_provenance", "source_name")
    if not isinstance(name, str) or not name.strip():
        return None
    content = {"deviceName": [{"name": name.strip(), "type": "user-friendly-name"}]}
    return home.device(("open-mhealth", name), content)


def _observation(
    header: JsonObject, body: JsonObject, device: JsonObject | None, home: Home, place: str
) -> Iterator[JsonObject]:
    schema = str(dig(header, "schema_id", "name") or "unknown")
    key = next((str(header[name]) for name in ("uuid", "id") if header.get(name)), "")
    statistic = body.get(_STATISTIC)
    values = {name: _quantity(name, value, home) for name, value in body.items()}
    measured = {name: found for name, found in values.items() if found is not None}
    times = _times(body.get("effective_time_frame"), home, f"{place}.body.effective_time_frame")
    for name in sorted(set(header) - _HEADER):
        known = name if re.fullmatch(r"[a-z_]{1,40}", name) else ""
        home.note("warning", "incomplete", f"header.{known}", "a field of the header is not carried over")
    modality = dig(header, "acquisition_provenance", "modality") or header.get("modality")
    marks = {"self-reported": [PATIENT_ASSERTED], "sensed": [DEVICE_ASSERTED]}.get(str(modality), [])
    facts = (
        ("open-mhealth", schema, key)
        if key
        else ("open-mhealth", schema, repr(sorted(body.items(), key=str)))
    )
    kind = "vital-signs" if schema in _VITAL else "laboratory" if schema == "blood-glucose" else "activity"
    single = next(iter(measured)) if len(measured) == 1 else ""
    value: JsonObject = measured[single] if single else {}
    own = single or schema
    names = map_names(own, value.get("unit", "?") if value else "", value.get("code", ""))
    code = home.codes(_MAP, SYSTEM, own, *names)
    made = home.observation(facts, code, times, kind=kind, marks=marks)
    if statistic and isinstance(
        statistic, str
    ):  # a mean is no single measurement: the code would say it is one
        code["coding"] = code["coding"][-1:]
        code["text"] += f" ({statistic})"
    issued = _issued(header, home, place)
    if issued:
        made["issued"] = issued
    if device is not None:
        made["device"] = {"reference": f"Device/{device['id']}"}
    if single:
        made["valueQuantity"] = measured[single]
    parts = [
        {"code": home.codes(_MAP, SYSTEM, name), "valueQuantity": found} for name, found in measured.items()
    ]
    parts = [] if single else parts
    for name, value in body.items():
        if name not in measured and name not in _TIMES | _NOTES:
            parts += _rest(name, value, home, place)
    if parts:
        made["component"] = parts
    notes = body.get("user_notes")
    if isinstance(notes, str) and notes.strip():
        made["note"] = [{"text": notes}]
    yield made


def _issued(header: JsonObject, home: Home, place: str) -> str:
    stated = (
        header.get("source_creation_date_time")
        or dig(header, "acquisition_provenance", "source_creation_date_time")
        or header.get("creation_date_time")
    )
    found = time_of(stated, None, home, f"{place}.header")
    return found if "T" in found else ""


def _quantity(name: str, value: Any, home: Home) -> JsonObject | None:
    """A value with a unit, or a bare count; None for anything else."""
    bare = amount(value)
    if bare is not None:
        ucum = "{steps}" if name == "step_count" else ""
        return quantity(bare, ucum) if ucum else None
    found = amount(dig(value, "value"))
    unit = dig(value, "unit")
    if found is None or not isinstance(unit, str) or set(value) - {"value", "unit"}:
        return None
    ucum = home.code_of(_UNITS, unit) or ""
    if not ucum:
        home.note("warning", "not-found", f"body.{name}.unit", "a unit that no table has is kept as text")
    return quantity(found, ucum, unit)


def _rest(name: str, value: Any, home: Home, place: str) -> Iterator[JsonObject]:
    """What is no quantity: a text or a number as a component; structures are reported."""
    code = {"coding": [{"system": SYSTEM, "code": name}]}
    if isinstance(value, bool):
        yield {"code": code, "valueBoolean": value}
    elif isinstance(value, str) and value.strip():
        yield {"code": code, "valueString": value}
    elif amount(value) is not None:
        yield {"code": code, "valueQuantity": {"value": value}}
    elif value not in (None, "", [], {}):
        home.note("warning", "incomplete", f"body.{name}", "a structure is not carried over")


def _times(frame: Any, home: Home, place: str) -> JsonObject:
    moment = time_of(dig(frame, "date_time"), None, home, place)
    if moment:
        return {"effectiveDateTime": moment}
    interval = dig(frame, "time_interval")
    start = time_of(dig(interval, "start_date_time"), None, home, place)
    end = time_of(dig(interval, "end_date_time"), None, home, place)
    length, unit = amount(dig(interval, "duration", "value")), dig(interval, "duration", "unit")
    if length is not None and unit in _SECONDS and (bool(start) != bool(end)):
        seconds = float(length) * _SECONDS[unit]
        start, end = start or plus(end, -seconds), end or plus(start, seconds)
    if start or end:
        return {"effectivePeriod": {name: at for name, at in (("start", start), ("end", end)) if at}}
    day = time_of(dig(interval, "date"), None, home, place)
    if day and dig(interval, "part_of_day"):
        home.note("warning", "incomplete", place, "the part of the day is left out")
    if not day:
        home.note("warning", "required", place, "a data point without a time")
    return {"effectiveDateTime": day} if day else {}
