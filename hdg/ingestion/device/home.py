"""What all readers of personal health data share: ids, codes, units, marks, and what was met on the way.

A reader yields resources one by one, so that a file of any size takes little memory. Everything of a person's own is
marked in ``meta.tag`` with codes of v3-ObservationValue (https://terminology.hl7.org/CodeSystem-v3-ObservationValue.html):
PATRPT, the patient handed it in; PATAST, somebody typed it in; DEVAST, a device measured it. R4 observation.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hdg.errors import DeviceError, Issue, Severity
from hdg.fhir.ids import resource_id
from hdg.fhir.invariants import Trusted
from hdg.fhir.json import Decimal
from hdg.ingestion.times import doubt_at
from hdg.mapping.context import JsonObject
from hdg.mapping.library import Library

__all__ = [
    "DEVICE_ASSERTED",
    "GATEWAY_DEVICE",
    "LOINC",
    "PATIENT_ASSERTED",
    "PATIENT_REPORTED",
    "UCUM",
    "Home",
    "absent",
    "category",
    "is_flag",
    "is_id",
    "number",
    "quantity",
    "shifted",
    "words",
]

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
GATEWAY_DEVICE = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice"
_MARKS = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
PATIENT_REPORTED: JsonObject = {"system": _MARKS, "code": "PATRPT", "display": "patient reported"}
PATIENT_ASSERTED: JsonObject = {"system": _MARKS, "code": "PATAST", "display": "patient asserted"}
DEVICE_ASSERTED: JsonObject = {"system": _MARKS, "code": "DEVAST", "display": "device asserted"}

_ISSUES_MAX = 1000
_SHARED_MAX = 16_384
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,30})(?:\.\d{1,30})?", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(slots=True)
class Home:
    """One reading of one input.

    ``patient``: whose it is, ``Patient/ID``; '' until the input says so. ``is_reported``: the patient handed it in.
    ``facts``: what goes into every id before the resource's own facts.
    """

    id_key: bytes
    institution: str
    library: Library
    patient: str = ""
    zone: tzinfo | None = None
    at_us: int = 0
    is_reported: bool = True
    name: str = ""
    """The file's name, for places; '' without one."""
    anonymous: str = ""
    """What tells this input from all others, where it may be about somebody whom nobody names; '' where not."""
    provider: str = ""
    """Who made what is being read, where the patient only hands it on; '' for what is the patient's own."""
    counts: dict[tuple[Severity, str, str], tuple[str, int]] = field(default_factory=dict)
    trusted: Trusted = field(default_factory=dict)
    """Objects that many resources share and nobody changes: they are validated once."""
    _zones: dict[str, tzinfo | None] = field(default_factory=dict)

    def nobody(self) -> JsonObject:
        """A Patient of this input alone, for data that name nobody. Raises DeviceError where that may not be."""
        if not self.anonymous:
            raise DeviceError("nothing says whose data these are: name the patient", self.name)
        made: JsonObject = {"resourceType": "Patient", "id": self.id("Patient", "nobody", self.anonymous)}
        self.patient = f"Patient/{made['id']}"
        return {**made, "meta": self.tags()} if self.is_reported else made

    def check_one(self, seen: set[str], who: str, place: str) -> None:
        """Notes that data of ``who`` came, in data of which the caller says that they are one patient's.

        Raises DeviceError when they name a second one.
        """
        seen.add(who)
        if len(seen) > 1:
            raise DeviceError("data of several people, and one patient was named for them", place)

    def shared(self, value: JsonObject) -> JsonObject:
        """``value``, from now on never to be changed."""
        if len(self.trusted) >= _SHARED_MAX:
            self.trusted.clear()
        self.trusted[id(value)] = [value, None]
        return value

    def note(self, severity: Severity, code: str, place: str, text: str) -> None:
        """An Issue; equal ones are counted, at the place of the first."""
        key = (severity, code, text)
        first, count = self.counts.get(key, (place, 0))
        if not count and len(self.counts) >= _ISSUES_MAX:
            key = ("warning", "too-costly", "further kinds of problems are not listed")
            first, count = self.counts.get(key, (place, 0))
        self.counts[key] = (first, count + 1)

    def issues(self) -> Iterator[Issue]:
        """What was noted so far, and forgets it."""
        for (severity, code, text), (place, count) in self.counts.items():
            yield Issue(severity, code, place, text if count == 1 else f"{text} ({count} times)")
        self.counts.clear()

    def id(self, resource_type: str, *facts: str) -> str:
        """The id of what these facts tell from all else that is this patient's."""
        return resource_id(self.id_key, resource_type, self.institution, ("personal", self.patient, *facts))

    def tags(self, *marks: JsonObject) -> JsonObject:
        """``meta`` with the marks, and that the patient handed it in where so."""
        return {"tag": [PATIENT_REPORTED, *marks] if self.is_reported else list(marks)}

    def coding(self, map_name: str, *codes: str) -> JsonObject | None:
        """The Coding of the first code that a shipped or own map has."""
        found = self.library.concept_map(map_name)
        for code in codes:
            target = found.translate(code) if found else None
            if target is not None:
                return target.coding()
        return None

    def code_of(self, map_name: str, code: str) -> str | None:
        """The same, the code alone."""
        found = self.library.concept_map(map_name)
        target = found.translate(code) if found else None
        return None if target is None else target.code

    def named_zone(self, name: str) -> tzinfo | None:
        """A zone by its IANA name; None for what is none."""
        if name not in self._zones:
            if len(self._zones) > _ISSUES_MAX:
                self._zones.clear()
            try:
                self._zones[name] = ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                self._zones[name] = None
        return self._zones[name]

    def device(self, facts: Sequence[str], content: JsonObject) -> JsonObject:
        """A Device that is the patient's own."""
        device: JsonObject = {"resourceType": "Device", "id": self.id("Device", *facts), **content}
        device["patient"] = {"reference": self.patient}
        return device

    def observation(
        self,
        facts: Sequence[str],
        code: JsonObject,
        times: JsonObject,
        *,
        kind: str,
        marks: Sequence[JsonObject] = (),
    ) -> JsonObject:
        """An Observation without its value. ``times``: its effective element; ``kind``: its category's code."""
        subject = {"reference": self.patient}
        made: JsonObject = {"resourceType": "Observation", "id": self.id("Observation", *facts)}
        meta = self.tags(*marks)
        if meta["tag"]:
            made["meta"] = meta
        made |= {"status": "final", "category": [category(kind)], "code": code, "subject": subject}
        return made | {"performer": [subject], **times}

    def codes(self, map_name: str, own_system: str, own: str, *codes: str) -> JsonObject:
        """A CodeableConcept: the standard code where a map has one, and the source's own."""
        standard = self.coding(map_name, *(codes or (own,)))
        kept = {"system": own_system, "code": re.sub(r"\s+", "-", own) or "unknown"}
        if standard is None:
            text = "no standard code is known: the source's own is kept"
            place = own if re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", own) else ""
            self.note("information", "not-found", place, text)
        return {"coding": [standard, kept] if standard else [kept], "text": words(own.rpartition(".")[2])}

    def at(self, moment: datetime, zone: tzinfo | None, place: str) -> datetime:
        """A zone-less moment in ``zone``, else in the input's; as it is when neither is known.

        One that the zone's clocks pass twice or skip is noted.
        """
        zone = zone or self.zone
        if zone is None or moment.tzinfo is not None:
            return moment
        found = moment.replace(tzinfo=zone)
        why = doubt_at(found)
        if why:
            self.note("warning", "value", place, why)
        return found


def map_names(own: str, unit: str, ucum: str) -> tuple[str, ...]:
    """What a code map may call a measurement: with its UCUM code, else by its ``own`` name alone.

    With a ``unit`` that has no UCUM code the name alone will not do: a standard code may say a property
    (glucose by mass or by moles) that such a unit is not of.
    """
    return (f"{own} {unit}",) if unit and not ucum else (f"{own} {ucum}", own)


def absent(code: str) -> JsonObject:
    """The CodeableConcept of a data-absent-reason."""
    return {"coding": [{"system": _ABSENT, "code": code}]}


def category(code: str) -> JsonObject:
    """The CodeableConcept of an observation category."""
    return {"coding": [{"system": _CATEGORY, "code": code}]}


def number(text: str) -> Decimal | None:
    """A number with its digits as written; None for what is none."""
    if _PLAIN.fullmatch(text) is not None:
        return Decimal(text)
    if _NUMBER.fullmatch(text) is None:
        return None
    sign = "-" if text[0] == "-" else ""
    text = text.lstrip("+-")
    mantissa, mark, exponent = text.replace("E", "e").partition("e")
    whole, point, fraction = mantissa.partition(".")
    whole = whole.lstrip("0") or "0"
    return Decimal(sign + whole + (point + fraction if fraction else "") + mark + exponent)


def shifted(value: Decimal, places: int) -> Decimal:
    """``value`` × 10 ** ``places`` with the same significant digits: 0.980 by 2 is 98.0."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return value
    exponent += places
    text = "".join(map(str, digits))
    minus = "-" if sign else ""
    if exponent > 0:
        text, exponent = text + "0" * exponent, 0
    if exponent < 0:
        text = text.rjust(1 - exponent, "0")
        return Decimal(f"{minus}{text[:exponent]}.{text[exponent:]}")
    return Decimal(minus + (text.lstrip("0") or "0"))


def words(name: str) -> str:
    """``HeartRateVariabilitySDNN`` as people write it: ``Heart rate variability SDNN``."""
    parts = [part for part in _HUMPS.split(name.replace("_", " ")) if part]
    lower = [part if part.isupper() and len(part) > 1 else part.lower() for part in parts]
    text = " ".join(lower)
    return text[:1].upper() + text[1:]


def quantity(value: Decimal | int, ucum: str, unit: str = "") -> JsonObject:
    """A Quantity; without a UCUM code the unit stays as the source wrote it."""
    if not ucum:
        return {"value": value, "unit": unit} if unit else {"value": value}
    return {"value": value, "unit": unit or ucum, "system": UCUM, "code": ucum}


def is_id(text: str) -> bool:
    """Whether a text can be a resource's id (R4 datatypes.html#id)."""
    return _ID.fullmatch(text) is not None


def is_flag(value: Any) -> bool:
    """Whether metadata say yes."""
    return value is True or value in ("1", "true", 1)
