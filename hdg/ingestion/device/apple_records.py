"""What a Record, a Correlation and a Workout of an Apple Health export become: an Observation and its Devices.

R4 observation.html; units per UCUM. HealthKit writes percentages as fractions (0.98 with unit %) and times with the
offset of the phone at the time of the export; HKTimeZone says where the measurement was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from hdg.ingestion.device.home import (
    DEVICE_ASSERTED,
    GATEWAY_DEVICE,
    PATIENT_ASSERTED,
    Home,
    category,
    is_flag,
    map_names,
    number,
    quantity,
    shifted,
    words,
)
from hdg.mapping.context import JsonObject

__all__ = ["APPLE", "Fact", "Records", "instant"]

APPLE = "http://developer.apple.com/documentation/healthkit"
Fact = tuple[str, ...]
Metadata = Sequence[tuple[str, str]]
Member = tuple[dict[str, str], Metadata]
_MOLAR_MASS = re.compile(r"<[0-9.]+>")
_MAP, _UNITS, _WORDS = "apple-health-observation", "apple-health-unit", "apple-health-metadata"
_PANEL = "HKCorrelationTypeIdentifierBloodPressure"
_VITAL = frozenset(
    {
        "BloodPressure",
        "BloodPressureDiastolic",
        "BloodPressureSystolic",
        "BodyMass",
        "BodyMassIndex",
        "BodyTemperature",
        "HeartRate",
        "Height",
        "OxygenSaturation",
        "RespiratoryRate",
        "RestingHeartRate",
    }
)
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}", re.ASCII)
_PART = re.compile(
    r"(name|manufacturer|model|hardware|firmware|software|localIdentifier|UDIDeviceIdentifier):"
)
_KIND = re.compile(
    r"HK(?:Quantity|Category|Correlation|Data)Type(?:Identifier)?|HKWorkoutActivityType|HK(?=Workout)"
)
_FLAGS = frozenset({"HKWasUserEntered", "HKMetadataKeyWasUserEntered"})
_ZONES = frozenset({"HKTimeZone", "HKMetadataKeyTimeZone"})
_NO_VALUE = "HKCategoryValueNotApplicable"
_CACHED_MAX = 4096


class Records:
    """Makes Observations for one reading."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._shapes: dict[tuple[str, str], JsonObject] = {}
        self._units: dict[str, str] = {}
        self._references: dict[tuple[str, str, str], JsonObject] = {}
        self._texts: dict[tuple[str, str], JsonObject] = {}
        self._unmapped: set[str] = set()

    def note_unmapped(self) -> None:
        """Says of each type without a standard code that it kept Apple's."""
        for kind in sorted(self._unmapped):
            place = kind if re.fullmatch(r"[A-Za-z0-9]{1,80}", kind) else "Record/@type"
            text = "no standard code is known: Apple's own is kept"
            self._home.note("information", "not-found", place, text)
        self._unmapped.clear()

    def of_record(self, record: dict[str, str], metadata: Metadata, element: Any) -> list[JsonObject]:
        """A Record: its new Devices, then its Observation."""
        given = record.get
        kind, unit, value = given("type", ""), given("unit", ""), given("value", "")
        devices = self._new_devices(record)
        start, end = instant(given("startDate", "")), instant(given("endDate", ""))
        facts = (kind, given("sourceName", ""), start, end, value)
        made = self._observation(kind, unit, record, metadata, facts)
        self._set_value(made, kind, value, unit)
        beats = _beats(element) if "HeartRateVariability" in kind else ""
        if beats:
            made.setdefault("component", []).append(_text("InstantaneousBeatsPerMinute", beats))
        return [*devices, made]

    def is_panel(self, correlation: dict[str, str], members: Sequence[Member]) -> bool:
        """Whether the members are told by the correlation alone: a blood pressure of two plain numbers."""
        if correlation.get("type") != _PANEL:
            return False
        same = ("startDate", "endDate", "sourceName", "device")
        return bool(members) and all(
            number(one.get("value", "")) is not None
            and all(one.get(name) == correlation.get(name, one.get(name)) for name in same)
            for one, _ in members
        )

    def of_correlation(
        self,
        correlation: dict[str, str],
        metadata: Metadata,
        members: Sequence[Member],
        *,
        is_panel: bool,
    ) -> Iterator[JsonObject]:
        """A Correlation: a panel with components, or an Observation that names its members."""
        kind = correlation.get("type", "")
        yield from self._new_devices(correlation)
        values = sorted(f"{one.get('type')}={one.get('value')}" for one, _ in members)
        facts = (kind, correlation.get("sourceName", ""), instant(correlation.get("startDate", "")), *values)
        all_metadata = dict.fromkeys([*metadata, *(pair for _, pairs in members for pair in pairs)])
        made = self._observation(kind, "", correlation, list(all_metadata) if is_panel else metadata, facts)
        if is_panel:
            components = [
                self._component(one.get("type", ""), one.get("value", ""), one.get("unit", ""))
                for one, _ in members
            ]
            made["component"] = [*components, *made.get("component", ())]
        elif members:
            made["hasMember"] = [{"reference": f"Observation/{self._member_id(one)}"} for one, _ in members]
        yield made

    def of_workout(self, workout: Any) -> Iterator[JsonObject]:
        """A Workout: one Observation with its totals and statistics."""
        attributes = dict(workout.attrib)
        yield from self._new_devices(attributes)
        activity = attributes.get("workoutActivityType", "")
        metadata = [
            (one.get("key", ""), one.get("value", "")) for one in workout if one.tag == "MetadataEntry"
        ]
        facts = (
            "workout",
            activity,
            attributes.get("sourceName", ""),
            *(instant(attributes.get(name, "")) for name in ("startDate", "endDate")),
        )
        made = self._observation("HKWorkout", "", attributes, metadata, facts)
        made["category"] = [category("activity")]
        made["valueCodeableConcept"] = {
            "coding": [{"system": APPLE, "code": activity or "unknown"}],
            "text": words(_KIND.sub("", activity)),
        }
        parts = made.setdefault("component", [])
        for name in ("duration", "totalDistance", "totalEnergyBurned"):
            if attributes.get(name):
                parts.append(
                    self._component(f"HKWorkout {name}", attributes[name], attributes.get(f"{name}Unit", ""))
                )
        for one in workout:
            if one.tag == "WorkoutStatistics":
                for name in ("sum", "average", "minimum", "maximum"):
                    if one.get(name):
                        part = self._component(one.get("type", ""), one.get(name), one.get("unit", ""))
                        part["code"]["text"] += f" ({name})"
                        parts.append(part)
            elif one.tag != "MetadataEntry":
                text = "an event or route of a workout is left out"
                self._home.note("information", "incomplete", "Workout", text)
        if not parts:
            del made["component"]
        yield made

    # --- parts ------------------------------------------------------------------------------------------------

    def _observation(
        self, kind: str, unit: str, record: dict[str, str], metadata: Metadata, facts: Fact
    ) -> JsonObject:
        home = self._home
        zone: str | None = None
        is_typed, extra = False, []
        for key, text in metadata:
            if key in _FLAGS:
                is_typed = is_flag(text)
            elif key in _ZONES:
                zone = text
            elif key and text:
                extra.append(self._metadata(key, text))
        made = {
            "resourceType": "Observation",
            "id": home.id("Observation", "apple-health", *facts),
            **self._shape(kind, unit, is_typed=is_typed, is_measured=bool(record.get("device"))),
        }
        self._set_times(made, record, zone)
        made |= self._references[_device_key(record)]
        if extra:
            made["component"] = extra
        return made

    def _metadata(self, key: str, text: str) -> JsonObject:
        """A component that carries metadata over; never changed."""
        found = self._texts.get((key, text))
        if found is None:
            found = self._home.shared(_text(key, text, self._word(key, text)))
            if len(self._texts) >= _CACHED_MAX:
                self._texts.clear()
            self._texts[key, text] = found
        return found

    def _word(self, key: str, text: str) -> str:
        found = self._home.library.concept_map(_WORDS)
        target = found.translate(f"{key}={text}") if found else None
        return target.display if target else ""

    def _shape(self, kind: str, unit: str, *, is_typed: bool, is_measured: bool) -> JsonObject:
        """What all records of a type share; never changed."""
        key = (kind, f"{unit}|{is_typed:d}{is_measured:d}")
        found = self._shapes.get(key)
        if found is None:
            if len(self._shapes) >= _CACHED_MAX:
                self._shapes.clear()
            marks = [PATIENT_ASSERTED] if is_typed else [DEVICE_ASSERTED] if is_measured else []
            home = self._home
            subject = {"reference": home.patient}
            found = self._shapes[key] = {
                "meta": home.shared(home.tags(*marks)),
                "status": "final",
                "category": [home.shared(category(_category(_KIND.sub("", kind))))],
                "code": home.shared(self._code(kind, unit)),
                "subject": subject,
                "performer": [subject],
            }
            if not found["meta"]["tag"]:
                del found["meta"]
        return found

    def _code(self, kind: str, unit: str) -> JsonObject:
        standard = self._home.coding(_MAP, *map_names(kind, unit, self._ucum(unit)))
        if standard is None and not kind.startswith("HKWorkout"):
            self._unmapped.add(kind)
        own = {"system": APPLE, "code": re.sub(r"\s+", ".", kind) or "unknown"}
        return {
            "coding": [standard, own] if standard else [own],
            "text": words(_KIND.sub("", kind)) or "unknown",
        }

    def _set_value(self, made: JsonObject, kind: str, value: str, unit: str) -> None:
        amount = number(value)
        if unit and amount is not None:
            made["valueQuantity"] = self._quantity(amount, unit)
        elif value and not unit:
            made["valueCodeableConcept"] = {"coding": [{"system": APPLE, "code": " ".join(value.split())}]}
        elif value:
            made["valueString"] = f"{value} {unit}"
            self._home.note("error", "value", "Record/@value", "a value that is no number is kept as text")
        elif kind.startswith("HKCategory"):
            made["valueCodeableConcept"] = {"coding": [{"system": APPLE, "code": _NO_VALUE}]}
        else:
            made["dataAbsentReason"] = {
                "coding": [
                    {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown"}
                ]
            }

    def _component(self, kind: str, value: str, unit: str) -> JsonObject:
        part: JsonObject = {"code": dict(self._code(kind, unit))}
        self._set_value(part, kind, value, unit)
        return part

    def _quantity(self, amount: Any, unit: str) -> JsonObject:
        ucum = self._ucum(unit)
        if ucum == "%":
            return quantity(shifted(amount, 2), "%")
        if not ucum:
            self._home.note(
                "warning", "not-found", "Record/@unit", "a unit that no table has is kept as text"
            )
        return quantity(amount, ucum, unit if unit.isascii() else "")

    def _ucum(self, unit: str) -> str:
        found = self._units.get(unit)
        if found is None:
            if len(self._units) >= _CACHED_MAX:
                self._units.clear()
            plain = _MOLAR_MASS.sub("", unit)  # written with more or fewer digits
            found = self._home.code_of(_UNITS, unit) or self._home.code_of(_UNITS, plain) or ""
            self._units[unit] = found
        return found

    def _set_times(self, made: JsonObject, record: dict[str, str], zone: str | None) -> None:
        start = self._time(record, "startDate", zone)
        is_moment = record.get("endDate") == record.get("startDate")
        end = start if is_moment else self._time(record, "endDate", zone)
        if start and (not end or start == end):
            made["effectiveDateTime"] = start
        elif start or end:
            made["effectivePeriod"] = {name: at for name, at in (("start", start), ("end", end)) if at}
        is_at_once = not zone and record.get("creationDate") == record.get("startDate")
        created = start if is_at_once else self._time(record, "creationDate", None)
        if created:
            made["issued"] = created

    def _time(self, record: dict[str, str], name: str, zone: str | None) -> str:
        text = record.get(name, "")
        if _TIME.fullmatch(text) is None:
            if text:
                self._home.note("error", "value", f"@{name}", "not a time as HealthKit writes it: left out")
            return ""
        if zone:
            there = self._home.named_zone(zone)
            if there is not None:
                return _moved(text, there)
            self._home.note(
                "warning", "value", "MetadataEntry", "a time zone that is not known: the offset stays"
            )
        return f"{text[:10]}T{text[11:19]}{text[20:23]}:{text[23:]}"

    def _member_id(self, record: dict[str, str]) -> str:
        kind, source, start, end, value = (
            record.get(name, "") for name in ("type", "sourceName", "startDate", "endDate", "value")
        )
        return self._home.id("Observation", "apple-health", kind, source, instant(start), instant(end), value)

    def _new_devices(self, record: dict[str, str]) -> tuple[JsonObject, ...]:
        key = _device_key(record)
        if key in self._references:
            return ()
        if len(self._references) >= _CACHED_MAX:
            self._references.clear()
        devices = tuple(self._make_devices(*key))
        self._references[key] = self._named(devices)
        return devices

    def _named(self, devices: Sequence[JsonObject]) -> JsonObject:
        """How an Observation names what measured it, and the application that it came through."""
        made: JsonObject = {}
        if len(devices) > 1:
            reference = {"reference": f"Device/{devices[0]['id']}"}
            made["extension"] = [self._home.shared({"url": GATEWAY_DEVICE, "valueReference": reference})]
        if devices:
            made["device"] = {"reference": f"Device/{devices[-1]['id']}"}
        return made

    def _make_devices(self, source: str, version: str, device: str) -> Iterator[JsonObject]:
        """The application that wrote the record, then the device that measured."""
        if source:
            content: JsonObject = {"deviceName": [{"name": source, "type": "user-friendly-name"}]}
            if version:
                content["version"] = [{"type": {"text": "software"}, "value": version}]
            yield self._home.device(("apple-source", source, version), content)
        told = _told(device)
        if told:
            yield self._home.device(
                ("apple-device", *(part for pair in told.items() for part in pair)), _content(told)
            )


def _device_key(record: dict[str, str]) -> tuple[str, str, str]:
    return record.get("sourceName", ""), record.get("sourceVersion", ""), record.get("device", "")


@lru_cache(maxsize=1024)
def _parts(text: str) -> tuple[tuple[str, str], ...]:
    inner = text.partition(">")[2] if text.startswith("<<") else text
    inner = inner.removesuffix(">").lstrip(", ")
    found = list(_PART.finditer(inner))
    ends = [*(one.start() for one in found[1:]), len(inner)][: len(found)]
    pairs = ((one[1], inner[one.end() : end].strip(", ")) for one, end in zip(found, ends, strict=True))
    return tuple((name, value) for name, value in pairs if value)


def _told(text: str) -> dict[str, str]:
    """``<<HKDevice: 0x28…>, name:Apple Watch, model:Watch>``: what is said, without the address in memory."""
    return dict(_parts(text))


def _content(told: dict[str, str]) -> JsonObject:
    made: JsonObject = {}
    if "localIdentifier" in told:
        made["identifier"] = [{"type": {"text": "local identifier"}, "value": told["localIdentifier"]}]
    if "UDIDeviceIdentifier" in told:
        made["udiCarrier"] = [{"deviceIdentifier": told["UDIDeviceIdentifier"]}]
    if "manufacturer" in told:
        made["manufacturer"] = told["manufacturer"]
    if "name" in told:
        made["deviceName"] = [{"name": told["name"], "type": "user-friendly-name"}]
    if "model" in told:
        made.setdefault("deviceName", []).append({"name": told["model"], "type": "model-name"})
    if "hardware" in told:
        made["modelNumber"] = told["hardware"]
    versions = [
        {"type": {"text": name}, "value": told[name]} for name in ("firmware", "software") if name in told
    ]
    if versions:
        made["version"] = versions
    return made


@lru_cache(_CACHED_MAX)
def instant(text: str) -> str:
    """A time as what it tells apart: seconds since 1970, whatever offset the phone had when it wrote the export."""
    if _TIME.fullmatch(text) is None:
        return text
    try:
        moment = datetime.fromisoformat(f"{text[:19]}{text[20:]}")
    except ValueError:
        return text
    return str(int(moment.timestamp()))


def _moved(text: str, zone: Any) -> str:
    """The same instant on the clocks of ``zone``."""
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").astimezone(zone)
    except (ValueError, OverflowError):
        return f"{text[:10]}T{text[11:19]}{text[20:23]}:{text[23:]}"
    return moment.isoformat()


def _category(name: str) -> str:
    if name in _VITAL:
        return "vital-signs"
    if name == "BloodGlucose":
        return "laboratory"
    return "survey" if name.startswith("Dietary") or name == "Food" else "activity"


def _text(key: str, text: str, word: str = "") -> JsonObject:
    """A component that carries metadata over: as text, or in words where a table has them."""
    own = re.sub(r"\s+", ".", key) or "unknown"
    code = {"coding": [{"system": APPLE, "code": own}]}
    if not word:
        return {"code": code, "valueString": text}
    coding = {"system": APPLE, "code": f"{own}={text}"}
    return {"code": code, "valueCodeableConcept": {"coding": [coding], "text": word}}


def _beats(element: Any) -> str:
    """The beats of a heart rate variability: ``67 at 7:45:12.34 AM; …``."""
    found = [
        f"{beat.get('bpm', '')} at {beat.get('time', '')}"
        for one in element
        if one is not None and one.tag == "HeartRateVariabilityMetadataList"
        for beat in one
    ]
    return "; ".join(found)
