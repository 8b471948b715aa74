"""Facets and members of a measurement in IHE PCD-01: what each does to the Observation that it is a part of.

Supplemental types, the device's own times, duration, accuracy, confidence, limits, BITs and waveforms have their places
in the PHD guide; any other facet becomes a component, so that nothing is dropped. IHE Devices TF-2 Appendix B.8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context
from typing import Any

from hdg.errors import Issue
from hdg.fhir.json import JsonObject
from hdg.ingestion.device.mdc import MDC, Mdc
from hdg.ingestion.device.observations import PHD, absent, bit_component, condition
from hdg.ingestion.device.pcd_metric import calibration
from hdg.ingestion.device.pcd_profile import Key, key_of
from hdg.ingestion.device.pcd_tree import Node
from hdg.ingestion.device.pcd_values import (
    WAVEFORM,
    bit_repetitions,
    microseconds,
    moment,
    shifted,
    special_reason,
    words,
)
from hdg.ingestion.device.pcd_waveform import keep_unit, waveform
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Unfit

__all__ = ["FACETS", "Target", "bit_parts", "fold", "phd_profile", "settle_status"]

_SAMPLING = frozenset({"sample-rate", "sample-period", "resolution", "data-range"})
_TIMES = {"time-stamp-relative": 125, "time-stamp-relative-us": 1}
_ALERT = {"alert-text": "alertOperationalText", "threshold-text": "thresholdNotificationText"}
FACETS = frozenset(
    {
        "supplemental",
        "time-stamp",
        "duration",
        "measurement-status",
        "accuracy",
        "confidence",
        "limits",
        "derived-from",
        "calibration",
    }
    | _SAMPLING
    | set(_TIMES)
    | set(_ALERT)
)
_SUPPLEMENTAL, _TICKS = 68193, 67985
_BITS = "http://terminology.hl7.org/CodeSystem/ASN1ToHL7"
_STATUS_BITS = {
    0: "invalid",
    1: "questionable",
    2: "not-available",
    3: "calibration-ongoing",
    4: "test-data",
    5: "demo-data",
    8: "validated-data",
    9: "early-indication",
    10: "msmt-ongoing",
    14: "in-alarm",
    15: "alarm-inhibited",
}
"""MeasurementStatus of 11073-20601, bit 0 the highest."""
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_STATUSES = ("preliminary", "corrected", "amended", "final", "cancelled", "entered-in-error", "unknown")
_WIDTHS = (16, 32)
_DIGITS_MAX = 10
_EXACT = Context(prec=18)


@dataclass(slots=True)
class Target:
    """An Observation that parts go into. ``derived_from``: paths of what it comes from.
    ``calibrations``: those of its DeviceMetric; None where it has none.
    """

    out: JsonObject
    node: Node
    mdc: Mdc
    derived_from: list[Key] = field(default_factory=list)
    calibrations: list[JsonObject] | None = None
    statuses: list[str] = field(default_factory=list)

    def component(self, component: JsonObject) -> None:
        """Add one."""
        self.out.setdefault("component", []).append(component)

    def extension(self, found: JsonObject) -> None:
        """Add one."""
        self.out.setdefault("extension", []).append(found)

    def bits(self, node: Node, found: tuple[tuple[int, bool], ...]) -> None:
        """A component for each bit that was sent; a cleared event says nothing."""
        known = {bit.number: bit for bit in self.mdc.bits(node.code)}
        for element in [key for key in self.out if key.startswith("value")] if node is self.node else ():
            del self.out[element]
        for number, is_set in found:
            bit = known.get(number)
            if is_set or bit is None or bit.is_state:
                self.component(bit_component(node.code, number, bit.name if bit else "", is_set=is_set))


def bit_parts(node: Node, mdc: Mdc) -> tuple[tuple[int, bool], ...]:
    """(bit, is set) of a BITs value: as PCD-01 writes it, or as a whole number where the code is known to be one."""
    text = node.segment.field(5)
    found = bit_repetitions(text) if "(" in text else ()
    known = mdc.bits(node.code) if not found and node.segment.field(2) == "NM" else ()
    if known and text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX:
        width = _WIDTHS[known[-1].number >= _WIDTHS[0] or int(text) >= 1 << _WIDTHS[0]]
        if int(text) < 1 << width:
            value, listed = int(text), {bit.number for bit in known}
            bits = ((number, bool(value >> (width - 1 - number) & 1)) for number in range(width))
            found = tuple((number, is_set) for number, is_set in bits if is_set or number in listed)
    return found


def fold(target: Target, part: Node, built: JsonObject, role: str, state: State) -> None:
    """Put one part into its measurement."""
    out = target.out
    if built.get("note"):
        out.setdefault("note", []).extend(built["note"])
    _circumstances(target, part, built)
    if role in _SAMPLING and "valueSampledData" in out:
        return
    if role == "supplemental":
        for value in _values(built):
            target.component(
                {
                    "code": target.mdc.concept(_SUPPLEMENTAL),
                    "valueCodeableConcept": _concept(value, target.mdc),
                }
            )
    elif role == "time-stamp" and _own_time(target, part):
        return
    elif role in _TIMES and (ticks := microseconds(part.segment, _TIMES[role])) is not None:
        quantity = {"value": ticks, **target.mdc.unit(264339)}
        target.component({"code": target.mdc.concept(part.code, part.name), "valueQuantity": quantity})
    elif (role == "duration" and _duration(out, built)) or (
        role == "measurement-status" and _statuses(out, part, built)
    ):
        return
    elif role == "accuracy" and "valueQuantity" in built:
        target.extension({"url": PHD + "Accuracy", "valueQuantity": _united(built["valueQuantity"], out)})
    elif role in ("confidence", "limits") and "valueRange" in built:
        limits = {side: _united(one, out) for side, one in built["valueRange"].items()}
        if role == "confidence":
            target.extension({"url": PHD + "Confidence95", "valueRange": limits})
        else:
            _alerting(target, {"url": "currentLimits", "valueRange": limits})
    elif role in _ALERT and "valueString" in built:
        _alerting(target, {"url": _ALERT[role], "valueString": built["valueString"]})
    elif role == "calibration" and target.calibrations is not None and (said := calibration(part, state)):
        target.calibrations.append(said)
    elif role == "derived-from" and (key := key_of(part.segment.field(5))):
        target.derived_from.append(key)
    else:
        _member(target, part, built, state)


def _circumstances(target: Target, part: Node, built: JsonObject) -> None:
    """Who measured a part, where and how, and its numbers: with the whole, which has room for one site and method."""
    out = target.out
    for element in ("performer", "identifier"):
        for one in built.get(element, ()):
            if one not in out.get(element, ()):
                out[element] = [*out.get(element, ()), one]
    for element in ("bodySite", "method"):
        if element not in built or out.setdefault(element, built[element]) == built[element]:
            continue
        name = target.mdc.name(part.code) or part.name
        out.setdefault("note", []).append({"text": f"{name}: {element} {words(built[element])}"})


def _member(target: Target, part: Node, built: JsonObject, state: State) -> None:
    """A part with a value of its own: a component."""
    bits = bit_parts(part, target.mdc)
    if bits:
        target.bits(part, bits)
        return
    if part.segment.field(2) in WAVEFORM:
        waveform(built, part, target.mdc, {}, state)
    if part.segment.field(2) == "NM" and "valueString" in built:
        keep_unit(target.out, part.segment)
    target.statuses.append(built.get("status", "unknown"))
    if "effectiveDateTime" not in target.out and "effectivePeriod" not in target.out:
        target.out.update({key: value for key, value in built.items() if key.startswith("effective")})
    head: JsonObject = {"code": built.get("code") or {"text": "unknown"}}
    names = ("dataAbsentReason", "interpretation", "referenceRange", "extension")
    rest = {key: value for key, value in built.items() if key.startswith("value") or key in names}
    if built.get("component"):
        for component in built["component"]:
            target.component(component)
    elif rest or not part.parts:
        if not any(key.startswith("value") or key == "dataAbsentReason" for key in rest):
            reason = special_reason(part.segment.field(5), part.segment.field(2))
            rest["dataAbsentReason"] = absent(reason or "unknown")
        if "valueQuantity" in rest and "unit" not in rest["valueQuantity"]:
            text = "a number without a unit"
            state.issues.append(Issue("information", "incomplete", part.segment.place(5), text))
        target.component({**head, **rest})


def settle_status(target: Target) -> None:
    """A compound measurement without a value of its own is as final as the least final of its members."""
    if target.statuses and not target.node.segment.field(5):
        target.out["status"] = min(
            target.statuses, key=lambda one: _STATUSES.index(one) if one in _STATUSES else 9
        )


def _values(built: JsonObject) -> list[Any]:
    own = [value for key, value in built.items() if key.startswith("value")]
    for component in built.get("component", ()):
        own.extend(value for key, value in component.items() if key.startswith("value"))
    return own


def _concept(value: Any, mdc: Mdc) -> JsonObject:
    """A coded value; an MDC code alone with its reference identifier."""
    if not isinstance(value, dict):
        return {"text": str(value)}
    codings = value.get("coding", ())
    code = str(codings[0].get("code", "")) if codings else ""
    if len(codings) == 1 and codings[0].get("system") == MDC and code.isdecimal():
        return mdc.concept(int(code), codings[0].get("display", ""))
    return value if codings or "text" in value else {"text": words(value) or "unknown"}


def _own_time(target: Target, part: Node) -> bool:
    """The time as the device stated it, in the zone of the corrected one."""
    text = part.segment.field(5)
    out = target.out
    when = out.get("effectiveDateTime") or out.get("effectivePeriod", {}).get("start", "")
    here = moment(text)
    kind = target.mdc.concept(part.code, part.name)
    try:
        there = datetime.fromisoformat(when.replace("Z", "+00:00")) if "T" in when else None
    except ValueError:
        there = None
    zone: Any = here.tzinfo if here is not None and here.tzinfo is not None else there and there.tzinfo
    if here is None:
        return False
    try:
        stated = shifted(text, timedelta(0), zone) if zone is not None else ""
    except Unfit:
        stated = ""
    target.component(
        {"code": kind, **({"valueDateTime": stated} if stated else {"valueString": text.strip()})}
    )
    return True


def _duration(out: JsonObject, built: JsonObject) -> bool:
    """A measurement's active period: from its time, as long as that."""
    quantity = built.get("valueQuantity", {})
    scale = _SECONDS.get(quantity.get("code", ""))
    when = out.get("effectiveDateTime", "")
    if scale is None or "T" not in when or "value" not in quantity:
        return False
    try:
        start = datetime.fromisoformat(when.replace("Z", "+00:00"))
        end = start + timedelta(seconds=float(quantity["value"]) * scale)
    except (ValueError, OverflowError):
        return False
    del out["effectiveDateTime"]
    out["effectivePeriod"] = {
        "start": when,
        "end": end.isoformat(timespec="milliseconds" if end.microsecond else "seconds"),
    }
    return True


def _statuses(out: JsonObject, part: Node, built: JsonObject) -> bool:
    names = [_STATUS_BITS.get(number) for number, is_set in bit_repetitions(part.segment.field(5)) if is_set]
    if not names and (not bit_repetitions(part.segment.field(5)) or _values(built)):
        return False
    for name in names:
        if name is None:
            return False
    for name in names:
        condition(out, name or "")
    return True


def _united(quantity: JsonObject, out: JsonObject) -> JsonObject:
    """A quantity without a unit has that of the measurement."""
    if "unit" in quantity or "code" in quantity:
        return quantity
    held = out.get("valueQuantity") or out.get("valueSampledData", {}).get("origin", {})
    return {**quantity, **{key: held[key] for key in ("unit", "system", "code") if key in held}}


def _alerting(target: Target, inner: JsonObject) -> None:
    url = PHD + "SimpleAlerting"
    for extension in target.out.get("extension", ()):
        if extension["url"] == url:
            extension["extension"].append(inner)
            return
    target.extension({"url": url, "extension": [inner]})


def phd_profile(out: JsonObject, node: Node) -> list[str]:
    """The PHD guide's profile for what an Observation holds."""
    if "valueSampledData" in out:
        return [PHD + "PhdRtsaObservation"]
    if "valueCodeableConcept" in out:
        return [PHD + "PhdCodedEnumerationObservation"]
    if "valueString" in out:
        return [PHD + "PhdStringObservation"]
    aside = {str(_SUPPLEMENTAL), str(_TICKS), "67984", "68226", "68073"}
    members = [
        component
        for component in out.get("component", ())
        if not any(coding.get("code") in aside for coding in component["code"].get("coding", ()))
    ]
    if not members or "valueQuantity" in out:
        return [PHD + "PhdNumericObservation"]
    if all(coding.get("system") == _BITS for one in members for coding in one["code"].get("coding", ())):
        return [PHD + "PhdBitsEnumerationObservation"]
    is_numeric = all("valueQuantity" in one or "dataAbsentReason" in one for one in members)
    numeric = [PHD + "PhdCompoundNumericObservation"] if is_numeric else []
    return [*numeric, PHD + "PhdCompoundObservation"]
