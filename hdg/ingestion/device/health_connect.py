"""Health Connect records as JSON: the fields of androidx.health.connect.client.records, one object a record.

https://developer.android.com/reference/kotlin/androidx/health/connect/client/records/package-summary. Health Connect
has no export format of its own; exporters write its records with the names of their fields, units in the name
(``inKilograms``) or beside the value. Codes and units go by ``terminology/maps/health-connect-*.csv``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from hdg.ingestion.device.home import DEVICE_ASSERTED, PATIENT_ASSERTED, Home, quantity
from hdg.ingestion.device.json_points import amount, dig, objects, time_of
from hdg.mapping.context import JsonObject

__all__ = ["SYSTEM", "read"]

SYSTEM = "https://developer.android.com/health-connect"
_MAP, _UNITS = "health-connect-observation", "health-connect-unit"
_ABOUT = frozenset(
    {
        "recordType",
        "metadata",
        "time",
        "zoneOffset",
        "startTime",
        "endTime",
        "startZoneOffset",
        "endZoneOffset",
    }
)
_LISTS = {"samples": "time", "stages": "startTime"}
_VITAL = frozenset(
    {
        "BloodPressure",
        "BodyTemperature",
        "HeartRate",
        "Height",
        "OxygenSaturation",
        "RespiratoryRate",
        "Weight",
    }
)
_MANUAL = frozenset({3, "3", "MANUAL_ENTRY", "RECORDING_METHOD_MANUAL_ENTRY"})
_AUTOMATIC = frozenset(
    {
        1,
        2,
        "1",
        "2",
        "RECORDING_METHOD_ACTIVELY_RECORDED",
        "RECORDING_METHOD_AUTOMATICALLY_RECORDED",
        "ACTIVELY_RECORDED",
        "AUTOMATICALLY_RECORDED",
    }
)


def read(
    open_: Callable[[], BinaryIO], home: Home, progress: Callable[[int], None] | None = None
) -> Iterator[JsonObject]:
    """The resources of a file of records. Raises DeviceError."""
    if not home.patient:
        yield home.nobody()
    devices: set[str] = set()
    for place, record in objects(open_, "records", "data"):
        kind = dig(record, "recordType")
        if not isinstance(kind, str) or not kind:
            home.note("error", "structure", place, "a record has a recordType: left out")
            continue
        device = _device(record.get("metadata"), home)
        if device is not None and device["id"] not in devices:
            devices.add(device["id"])
            yield device
        yield from _record(kind.rpartition(".")[2].removesuffix("Record"), record, device, home, place)


def _device(metadata: Any, home: Home) -> JsonObject | None:
    told = {name: dig(metadata, "device", name) for name in ("manufacturer", "model")}
    origin = dig(metadata, "dataOrigin", "packageName") or dig(metadata, "dataOrigin")
    told = {name: text for name, text in told.items() if isinstance(text, str) and text.strip()}
    if isinstance(origin, str) and origin.strip():
        told["origin"] = origin
    if not told:
        return None
    content: JsonObject = {}
    kind = dig(metadata, "device", "type")
    if isinstance(kind, int | str) and not isinstance(kind, bool) and str(kind).strip():
        content["type"] = {"text": str(kind)}
        told["type"] = str(kind)
    if "manufacturer" in told:
        content["manufacturer"] = told["manufacturer"]
    name = {"name": told.get("model") or told.get("origin") or told["manufacturer"]}
    content["deviceName"] = [{**name, "type": "model-name" if "model" in told else "user-friendly-name"}]
    if "origin" in told:
        content["note"] = [{"text": f"recorded by {told['origin']}"}]
    return home.device(("health-connect", *(part for pair in sorted(told.items()) for part in pair)), content)


def _record(
    kind: str, record: JsonObject, device: JsonObject | None, home: Home, place: str
) -> Iterator[JsonObject]:
    lists = [name for name in _LISTS if isinstance(record.get(name), list)]
    if not lists:
        yield _observation(kind, record, record, device, home, place, ())
        return
    members: list[JsonObject] = []
    for name in lists:
        for number, item in enumerate(record[name]):
            if not isinstance(item, dict):
                home.note("error", "structure", f"{place}.{name}[{number}]", "not an object: left out")
                continue
            part = {
                "startZoneOffset": record.get("startZoneOffset"),
                "zoneOffset": record.get("startZoneOffset"),
                "endZoneOffset": record.get("endZoneOffset"),
                **item,
            }
            members.append(
                _observation(
                    kind, part, record, device, home, f"{place}.{name}[{number}]", (name, str(number))
                )
            )
    yield from members
    rest = {key: value for key, value in record.items() if key not in lists}
    if kind == "SleepSession" or set(rest) - _ABOUT:
        session = _observation(kind, rest, record, device, home, place, ("session",))
        if members:
            session["hasMember"] = [{"reference": f"Observation/{one['id']}"} for one in members]
        yield session


def _observation(
    kind: str,
    fields: JsonObject,
    record: JsonObject,
    device: JsonObject | None,
    home: Home,
    place: str,
    item: tuple[str, ...],
) -> JsonObject:
    values = {
        name: _quantity(kind, name, value, home) for name, value in fields.items() if name not in _ABOUT
    }
    measured = {name: found for name, found in values.items() if found is not None}
    single = next(iter(measured)) if len(measured) == 1 else ""
    own = f"{kind}.{single}" if single else kind
    times = _times(fields, home, place)
    key = dig(record, "metadata", "id") or dig(record, "metadata", "clientRecordId")
    if key:
        stated: tuple[str, ...] = (str(key), *item)
    else:
        by: tuple[str, ...] = () if device is None else (str(device["id"]),)
        told = (times.get("effectiveDateTime", ""), *times.get("effectivePeriod", {}).values())
        if any(one and "T" not in one for one in told):  # cut to dates: others of the day have the same
            by += tuple(str(fields.get(name)) for name in ("time", "startTime", "endTime"))
        stated = (repr(sorted(times.items())), repr(sorted(values.items(), key=str)), *by)
    unit = (measured[single] if single else {}).get("code", "")
    code = home.codes(_MAP, SYSTEM, own, f"{own} {unit}", own)
    if not single:
        code["text"] = home.codes(_MAP, SYSTEM, kind, own)["text"]
    made = home.observation(
        ("health-connect", kind, *stated),
        code,
        times,
        kind="vital-signs" if kind in _VITAL else "laboratory" if kind == "BloodGlucose" else "activity",
        marks=_marks(record),
    )
    issued = time_of(dig(record, "metadata", "lastModifiedTime"), None, home, f"{place}.metadata")
    if "T" in issued:
        made["issued"] = issued
    client = dig(record, "metadata", "clientRecordId")
    if isinstance(client, str) and client.strip() and not item:
        made["identifier"] = [{"type": {"text": "clientRecordId"}, "value": client.strip()}]
    if device is not None:
        made["device"] = {"reference": f"Device/{device['id']}"}
    parts: list[JsonObject] = []
    if single:
        made["valueQuantity"] = measured[single]
    else:
        parts = [
            {"code": home.codes(_MAP, SYSTEM, f"{kind}.{name}"), "valueQuantity": found}
            for name, found in measured.items()
        ]
    for name, value in fields.items():
        if name not in measured and name not in _ABOUT:
            parts += _rest(f"{kind}.{name}", value, home)
    if parts:
        made["component"] = parts
    return made


def _marks(record: JsonObject) -> list[JsonObject]:
    method = dig(record, "metadata", "recordingMethod")
    if not isinstance(method, int | str):
        return []
    return [PATIENT_ASSERTED] if method in _MANUAL else [DEVICE_ASSERTED] if method in _AUTOMATIC else []


def _quantity(kind: str, name: str, value: Any, home: Home) -> JsonObject | None:
    """A number whose unit is known by its field, in its own name or beside it; None for anything else."""
    known = home.code_of(_UNITS, f"{kind}.{name}")
    bare = amount(value)
    if bare is None and known:
        bare = amount(dig(value, "value"))
    if bare is not None:
        return quantity(bare, known) if known and not dig(value, "unit") else None
    if not isinstance(value, dict):
        return None
    for key, inner in value.items():
        ucum, found = home.code_of(_UNITS, key), amount(inner)
        if ucum and found is not None:
            return quantity(found, ucum)
    return None


def _rest(name: str, value: Any, home: Home) -> Iterator[JsonObject]:
    code = {"coding": [{"system": SYSTEM, "code": name}]}
    if isinstance(value, bool):
        yield {"code": code, "valueBoolean": value}
    elif isinstance(value, str) and value.strip():
        yield {"code": code, "valueString": value}
    elif amount(value) is not None:
        yield {"code": code, "valueQuantity": {"value": value}}
    elif value not in (None, "", [], {}):
        home.note("warning", "incomplete", name, "a structure is not carried over")


def _times(fields: JsonObject, home: Home, place: str) -> JsonObject:
    moment = time_of(fields.get("time"), fields.get("zoneOffset"), home, f"{place}.time")
    if moment:
        return {"effectiveDateTime": moment}
    start = time_of(fields.get("startTime"), fields.get("startZoneOffset"), home, f"{place}.startTime")
    end = time_of(fields.get("endTime"), fields.get("endZoneOffset"), home, f"{place}.endTime")
    period = {name: at for name, at in (("start", start), ("end", end)) if at}
    if not period:
        home.note("warning", "required", place, "a record without a time")
    return {"effectivePeriod": period} if period else {}
