"""Measurements of devices as Observations in the shapes of HL7's Personal Health Device guide.

One Measurement, whatever it came in (PCD-01, a BLE characteristic, an 11073-20601 object), becomes one Observation:
numeric, compound, coded, BITs, string or sampled. Nothing here reads bytes. https://hl7.org/fhir/uv/phd/profiles.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hdg.fhir.json import Decimal, JsonObject
from hdg.ingestion.device.floats import Special
from hdg.ingestion.device.mdc import Mdc

__all__ = [
    "ABSENT_DISPLAYS",
    "MEASUREMENT_STATUS",
    "PHD",
    "PHD_CATEGORY",
    "Absent",
    "Bits",
    "Coded",
    "Compound",
    "Measurement",
    "Member",
    "Moment",
    "Quantity",
    "Samples",
    "Text",
    "Value",
    "absent",
    "bit_component",
    "bit_components",
    "clock_reference",
    "condition",
    "facts_of",
    "gateway_reference",
    "observation",
    "sampled_data",
    "value_of",
]

PHD = "http://hl7.org/fhir/uv/phd/StructureDefinition/"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_BITS = "http://terminology.hl7.org/CodeSystem/ASN1ToHL7"
MEASUREMENT_STATUS = "http://hl7.org/fhir/uv/pocd/CodeSystem/measurement-status"
_ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
PHD_CATEGORY: JsonObject = {
    "coding": [{"system": "http://hl7.org/fhir/uv/phd/CodeSystem/PhdObservationCategories", "code": "phd"}]
}
ABSENT_DISPLAYS = {
    "not-a-number": "Not a Number (NaN)",
    "positive-infinity": "Positive Infinity (PINF)",
    "negative-infinity": "Negative Infinity (NINF)",
    "error": "Error",
    "unknown": "Unknown",
    "unsupported": "Unsupported",
    "not-performed": "Not Performed",
}
_INTERPRETATIONS = {
    "questionable": "Questionable measurement",
    "calibration-ongoing": "Calibration ongoing",
    "validated-data": "Validated measurement",
    "early-indication": "Early estimate",
    "msmt-ongoing": "Measurement ongoing",
    "in-alarm": "Measurement in alarm",
    "alarm-inhibited": "Alarms inhibited",
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit. ``unit``: unit, system and code of a FHIR Quantity (``Mdc.unit``), or {}."""

    number: Decimal | int | Special
    unit: JsonObject


@dataclass(frozen=True, slots=True)
class Coded:
    """A code as a CodeableConcept (``Mdc.concept``)."""

    concept: JsonObject


@dataclass(frozen=True, slots=True)
class Text:
    """A string enumeration."""

    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as an R4 dateTime."""

    time: str


@dataclass(frozen=True, slots=True)
class Bits:
    """A BITs value of ``width`` bits, bit 0 the highest. ``supported``: which bits the device has; None unknown."""

    value: int
    width: int
    supported: int | None = None


@dataclass(frozen=True, slots=True)
class Samples:
    """A waveform: ``data`` × ``factor`` + ``origin``, one sample every ``period_ms`` milliseconds (R4 SampledData)."""

    origin: Decimal | int
    unit: JsonObject
    period_ms: Decimal | int
    data: str
    factor: Decimal | int | None = None
    lower: Decimal | int | None = None
    upper: Decimal | int | None = None
    dimensions: int = 1


@dataclass(frozen=True, slots=True)
class Absent:
    """No value, and why: a code of the data-absent-reason code system."""

    reason: str


@dataclass(frozen=True, slots=True)
class Member:
    """One part of a compound measurement."""

    concept: JsonObject
    value: Value


@dataclass(frozen=True, slots=True)
class Compound:
    """Several values measured together, as a blood pressure."""

    members: tuple[Member, ...]


Value = Quantity | Coded | Text | Moment | Bits | Samples | Absent | Compound


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement of a personal health device.

    ``code``: MDC code. ``name``: its reference identifier where no map has it. ``time``: R4 dateTime on the gateway's
    time line (corrected where the device's clock was off); None when the source has none. ``end``: makes it a Period.
    ``stated``: the time as the device stated it, where ``time`` differs from it. The others are references
    (``Device/ID``): the device, the gateway, the subject, and ``clock``, the coincident time stamp.
    ``supplemental``: MDC codes. ``conditions``: measurement status by the guide's names (``questionable`` …).
    ``tags``: Codings for meta.tag, such as the marks of patient-entered data.
    """

    code: int
    value: Value
    name: str = ""
    time: str | None = None
    end: str | None = None
    stated: str | None = None
    device: str = ""
    gateway: str = ""
    subject: str = ""
    performer: str = ""
    clock: str = ""
    supplemental: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()
    derived_from: tuple[str, ...] = ()
    accuracy: Decimal | int | None = None
    confidence: tuple[Decimal | int, Decimal | int] | None = None
    relative_us: int | None = None
    body_site: JsonObject | None = None
    text: str = ""
    tags: tuple[JsonObject, ...] = ()
    notes: tuple[str, ...] = ()


def observation(measurement: Measurement, mdc: Mdc, resource_id: str = "") -> JsonObject:
    """The Observation of a measurement. Objects that ``mdc`` gave are shared: copy before changing them."""
    m = measurement
    out: JsonObject = {"resourceType": "Observation"}
    if resource_id:
        out["id"] = resource_id
    out["meta"] = {"profile": profiles_of(m.value)}
    if m.tags:
        out["meta"]["tag"] = list(m.tags)
    extensions = _extensions(m)
    if extensions:
        out["extension"] = extensions
    out["status"] = "final"
    category = mdc.category(m.code)
    out["category"] = [category, PHD_CATEGORY] if category else [PHD_CATEGORY]
    concept = mdc.concept(m.code, m.name)
    out["code"] = {**concept, "text": m.text} if m.text else concept
    if m.subject:
        out["subject"] = {"reference": m.subject}
    if m.time and m.end:
        out["effectivePeriod"] = {"start": m.time, "end": m.end}
    elif m.time:
        out["effectiveDateTime"] = m.time
    if m.performer:
        out["performer"] = [{"reference": m.performer}]
    put_value(out, m.value, m.code, mdc)
    for name in m.conditions:
        condition(out, name)
    if m.body_site:
        out["bodySite"] = m.body_site
    if m.device:
        out["device"] = {"reference": m.device}
    if m.derived_from:
        out["derivedFrom"] = [{"reference": one} for one in m.derived_from]
    if m.notes:
        out["note"] = [{"text": text} for text in m.notes]
    components = _further(m, mdc)
    if components:
        out["component"] = [*out.get("component", ()), *components]
    return out


def profiles_of(value: Value) -> list[str]:
    """The guide's profile for a kind of value."""
    if isinstance(value, Compound):
        is_numeric = all(isinstance(member.value, Quantity | Absent) for member in value.members)
        compound = [PHD + "PhdCompoundNumericObservation"] if is_numeric else []
        return [*compound, PHD + "PhdCompoundObservation"]
    names = {
        Coded: "PhdCodedEnumerationObservation",
        Bits: "PhdBitsEnumerationObservation",
        Text: "PhdStringObservation",
        Samples: "PhdRtsaObservation",
    }
    return [PHD + names.get(type(value), "PhdNumericObservation")]


def value_of(value: Value) -> JsonObject:
    """``value[x]`` or ``dataAbsentReason`` of an Observation or a component; {} for what has components instead."""
    if isinstance(value, Quantity):
        if isinstance(value.number, Special):
            return {"dataAbsentReason": absent(value.number.reason)}
        return {"valueQuantity": {"value": value.number, **value.unit}}
    if isinstance(value, Coded):
        return {"valueCodeableConcept": value.concept}
    if isinstance(value, Text):
        return {"valueString": value.text}
    if isinstance(value, Moment):
        return {"valueDateTime": value.time}
    if isinstance(value, Samples):
        return {"valueSampledData": sampled_data(value)}
    if isinstance(value, Absent):
        return {"dataAbsentReason": absent(value.reason)}
    return {}


def put_value(out: JsonObject, value: Value, code: int, mdc: Mdc) -> None:
    """Write a value into an Observation, with components where it has any."""
    out.update(value_of(value))
    components: list[JsonObject] = []
    if isinstance(value, Bits):
        components = bit_components(code, value, mdc)
    elif isinstance(value, Compound):
        components = [{"code": member.concept, **value_of(member.value)} for member in value.members]
    if components:
        out["component"] = [*out.get("component", ()), *components]


def sampled_data(samples: Samples) -> JsonObject:
    """An R4 SampledData."""
    out: JsonObject = {"origin": {"value": samples.origin, **samples.unit}, "period": samples.period_ms}
    for name, number in (
        ("factor", samples.factor),
        ("lowerLimit", samples.lower),
        ("upperLimit", samples.upper),
    ):
        if number is not None:
            out[name] = number
    out["dimensions"] = samples.dimensions
    out["data"] = samples.data
    return out


def bit_components(code: int, bits: Bits, mdc: Mdc) -> list[JsonObject]:
    """A component for each bit that says something, as the guide wants it.

    An event bit says something when it is set; a state bit both ways. A bit that the device is known not to support
    is said to be unsupported where it is a state, and left out where it is an event. A set bit without a known name
    is kept by its number.
    """
    known = {bit.number: bit for bit in mdc.bits(code)}
    found = []
    for number in range(bits.width):
        mask = 1 << (bits.width - 1 - number)
        is_set = bool(bits.value & mask)
        bit = known.get(number)
        is_state = bit is not None and bit.is_state
        if not is_set and not is_state:
            continue
        component = bit_component(code, number, bit.name if bit is not None else "", is_set=is_set)
        if bits.supported is not None and not bits.supported & mask and not is_set:
            del component["valueBoolean"]
            component["dataAbsentReason"] = absent("unsupported")
        found.append(component)
    return found


def bit_component(code: int, number: int, name: str, *, is_set: bool) -> JsonObject:
    """One bit of a BITs value as a component. ``name``: '' for a bit that no map knows."""
    coding = {"system": _BITS, "code": f"{code}.{number}"}
    if name:
        coding["display"] = name
    return {"code": {"coding": [coding]}, "valueBoolean": is_set}


def absent(reason: str) -> JsonObject:
    """A dataAbsentReason."""
    coding = {"system": _ABSENT, "code": reason}
    if reason in ABSENT_DISPLAYS:
        coding["display"] = ABSENT_DISPLAYS[reason]
    return {"coding": [coding]}


def condition(out: JsonObject, name: str, *, is_stated: bool = False) -> None:
    """What a measurement status does to an Observation (PHD guide, table of PhdBaseObservation).

    A value that stands beside ``invalid`` or ``not-available`` stays in a note: R4 allows no reason for its absence
    beside it, and it must not be read as a value. ``is_stated``: the interpretation says it already.
    """
    if name in ("invalid", "not-available"):
        for element in [key for key in out if key.startswith("value")]:
            value = out.pop(element)
            number = value.get("value") if isinstance(value, dict) else value
            if isinstance(number, Decimal | int | str):
                shown = number.literal if isinstance(number, Decimal) else number
                out.setdefault("note", []).append({"text": f"the device gave {shown} and said it is {name}"})
        out["dataAbsentReason"] = absent("error" if name == "invalid" else "not-performed")
        if name == "invalid":
            out["status"] = "entered-in-error"
        return
    if name in ("test-data", "demo-data"):
        meta = out["meta"] = dict(out.get("meta", {}))
        label = {"system": _ACT_REASON, "code": "HTEST", "display": "test health data"}
        meta["security"] = [*meta.get("security", ()), label]
        return
    if name == "early-indication":
        out["status"] = "preliminary"
    if name in _INTERPRETATIONS and not is_stated:
        coding = {"system": MEASUREMENT_STATUS, "code": name, "display": _INTERPRETATIONS[name]}
        out.setdefault("interpretation", []).append({"coding": [coding]})


def gateway_reference(reference: str) -> JsonObject:
    """The extension that names the gateway an Observation came through."""
    url = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice"
    return {"url": url, "valueReference": {"reference": reference}}


def clock_reference(reference: str) -> JsonObject:
    """The extension that names the coincident time stamp an Observation's time was corrected by."""
    return {"url": PHD + "CoincidentTimeStampReference", "valueReference": {"reference": reference}}


def _extensions(m: Measurement) -> list[JsonObject]:
    found = []
    if m.gateway:
        found.append(gateway_reference(m.gateway))
    if m.clock:
        found.append(clock_reference(m.clock))
    unit = m.value.unit if isinstance(m.value, Quantity | Samples) else {}
    if m.confidence is not None:
        low, high = ({"value": number, **unit} for number in m.confidence)
        found.append({"url": PHD + "Confidence95", "valueRange": {"low": low, "high": high}})
    if m.accuracy is not None:
        found.append({"url": PHD + "Accuracy", "valueQuantity": {"value": m.accuracy, **unit}})
    return found


def _further(m: Measurement, mdc: Mdc) -> list[JsonObject]:
    """Components beside the value: supplemental types, and the times as the device stated them."""
    kind = mdc.concept(68193)
    found: list[JsonObject] = [
        {"code": kind, "valueCodeableConcept": mdc.concept(code)} for code in m.supplemental
    ]
    if m.relative_us is not None:
        quantity = {"value": m.relative_us, **mdc.unit(264339)}
        found.append({"code": mdc.concept(67985), "valueQuantity": quantity})
    if m.stated is not None and m.stated != m.time:
        found.append({"code": mdc.concept(67984), "valueDateTime": m.stated})
    return found


def facts_of(m: Measurement, device: Sequence[str], patient: Sequence[str]) -> tuple[str, ...]:
    """What identifies a measurement: device, patient, kind, the device's own time, duration, supplemental types.

    The same measurement sent again, also by another gateway, has the same facts (PHD guide, conditional create).
    """
    when = m.stated or m.time or ""
    extra = "-".join(map(str, m.supplemental))
    return (
        "measurement",
        *device,
        "",
        *patient,
        "",
        str(m.code) if m.code else m.name,
        when,
        m.end or "",
        extra,
    )
