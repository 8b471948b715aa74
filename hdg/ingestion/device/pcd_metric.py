"""DeviceMetrics of an IHE PCD-01 message: what a device can measure, said once however often it measures it.

A DeviceMetric is known by its device and the MDC code: OBX-4 counts the OBX of one message, and its numbers may change
from one message to the next (IHE Devices TF-2 Appendix A). Shapes:
https://build.fhir.org/ig/HL7/phd/StructureDefinition-PhdDeviceMetric.html for personal devices, whose Observations name
the Device, and https://build.fhir.org/ig/HL7/uv-pocd/profiles.html for all others, whose Observations name the metric.
"""

from __future__ import annotations

from typing import NamedTuple

from hdg.fhir.json import JsonObject
from hdg.ingestion.device.mdc import MDC, UCUM, Mdc
from hdg.ingestion.device.observations import PHD
from hdg.ingestion.device.pcd_tree import Node
from hdg.ingestion.hl7v2.primitives import instant
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Build, Facts, Unfit

__all__ = ["Metrics", "Place", "calibration"]

_VALUE, _UNIT, _TIME, _METHOD = 5, 6, 14, 17
"""Fields of OBX."""
_SETTING = "_SETTING"
_STATES = {"not-calibrated": "not-calibrated", "calibrated": "calibrated"} | dict.fromkeys(
    ("cal-required", "calibration-required"), "calibration-required"
)
_TYPES = {
    **dict.fromkeys(("cal-offset", "offset"), "offset"),
    **dict.fromkeys(("cal-gain", "gain"), "gain"),
    **dict.fromkeys(("cal-two-point", "two-point"), "two-point"),
}
"""MetricCalState and MetricCalType of ISO/IEEE 11073-10201 as R4 DeviceMetric.calibration writes them."""


class Place(NamedTuple):
    """Where a measurement stands: the ``device`` that it names and what identifies that, the whole ``system`` above it,
    whether that is a personal health device. References are None where the message has no device.
    """

    device: JsonObject | None
    facts: tuple[str, ...]
    system: JsonObject | None
    is_personal: bool


class Metrics:
    """The DeviceMetrics of one message. ``builds``: made so far, in the order of the message."""

    def __init__(self, state: State, mdc: Mdc) -> None:
        self._state = state
        self._mdc = mdc
        self._known: dict[tuple[int, int, str, str], JsonObject] = {}
        self.builds: list[Build] = []

    def of(
        self, node: Node, place: Place, build: Build, calibrations: tuple[JsonObject, ...] = ()
    ) -> JsonObject | None:
        """A reference to the DeviceMetric of a measurement; None without a device or an MDC code.

        ``build``: its Observation, whose code and categories are told already.
        """
        if place.device is None or not node.code:
            return None
        fields = node.segment.fields
        size = len(fields)
        method = fields[_METHOD] if size > _METHOD else ""
        unit = _unit_text(node) if node.parts else fields[_UNIT] if size > _UNIT else ""
        key = (id(place.device), node.code, unit, method)  # one object in all of a message
        known = self._known.get(key)
        if known is not None and not calibrations:
            return known
        facts = Facts(("metric", *place.facts, str(node.code)), is_thing=True)
        made = Build("DeviceMetric", "DeviceMetric", {}, "OBX", build.group, origin=node.segment)
        made.resource = self._resource(node, place, unit, self._category(node, place, build.resource, method))
        if calibrations:
            made.resource["calibration"] = list(calibrations)
        made.facts = facts
        self.builds.append(made)
        found: JsonObject = {"reference": f"DeviceMetric/{self._state.resource_id('DeviceMetric', facts)}"}
        if self._state.values is not None:
            for one in (found, *(made.resource[name] for name in ("type", "unit") if name in made.resource)):
                self._state.values.trust(one)
        self._known[key] = found
        return found

    def _resource(self, node: Node, place: Place, unit: str, category: str) -> JsonObject:
        found: JsonObject = {"resourceType": "DeviceMetric", "id": ""}
        if place.is_personal:
            found["meta"] = {"profile": [PHD + "PhdDeviceMetric"]}
        found["type"] = self._mdc.concept(node.code, node.name)
        concept = self._unit(unit)
        if concept:
            found["unit"] = concept
        if place.is_personal or place.system is None or place.system == place.device:
            found["source"] = place.device
        else:
            found["source"], found["parent"] = place.system, place.device
        found["category"] = category
        return found

    def _category(self, node: Node, place: Place, observation: JsonObject, method: str) -> str:
        """By OBX-17, else by the name of the code; what a device measures of its own accord is a measurement."""
        table = self._state.library.concept_map("pcd-metric-category")
        stated = table.translate(method.partition("^")[0].strip()) if table is not None and method else None
        if stated is not None:
            return stated.code
        if (self._mdc.name(node.code) or node.name).endswith(_SETTING):
            return "setting"
        is_vital = any(
            coding.get("code") == "vital-signs"
            for item in observation.get("category", ())
            for coding in item.get("coding", ())
        )
        return "measurement" if place.is_personal or is_vital else "unspecified"

    def _unit(self, text: str) -> JsonObject:
        """OBX-6 as a CodeableConcept: UCUM where it is known, and the MDC code; {} for what has no code."""
        key = ("pcd metric unit", text)
        shared = self._state.shared
        found: JsonObject | None = shared.get(key) if shared is not None else None
        if found is None:
            found = _unit_concept(text, self._mdc)
            if "\\" not in text:
                self._state.keep(key, found)
        return found


def _unit_text(node: Node) -> str:
    """OBX-6 of a measurement, or the one that all members of a compound measurement have."""
    own = node.segment.field(_UNIT)
    if own or node.segment.field(_VALUE) or not node.parts:
        return own
    texts = {text for part in node.parts if part.kind == node.kind and (text := part.segment.field(_UNIT))}
    return texts.pop() if len(texts) == 1 else ""


def _unit_concept(text: str, mdc: Mdc) -> JsonObject:
    parts = [*(part.strip() for part in text.partition("~")[0].split("^")), "", "", "", "", ""]
    codings: list[JsonObject] = []
    for first in (0, 3):
        code, name, system = parts[first : first + 3]
        if system == "MDC" and code.isascii() and code.isdecimal():
            if mdc.has_unit(int(code)):
                ucum = mdc.unit(int(code))
                codings.append({"system": UCUM, "code": ucum["code"]})
            codings.append({"system": MDC, "code": code, **({"display": name} if name else {})})
        elif system == "UCUM" and code and " " not in code:
            codings.append({"system": UCUM, "code": code})
    unique = [one for index, one in enumerate(codings) if one not in codings[:index]]
    unique.sort(key=lambda one: one["system"] != UCUM)
    return {"coding": unique} if unique else {}


def calibration(node: Node, state: State) -> JsonObject | None:
    """What MDC_ATTR_METRIC_CALIB says, by the names of ISO/IEEE 11073-10201; None when it has none of them.

    OBX-14 with an offset is when it was calibrated.
    """
    found: JsonObject = {}
    for text in node.segment.field(_VALUE).replace("~", "^").split("^"):
        name = text.partition("(")[0].strip().lower()
        if name in _TYPES:
            found.setdefault("type", _TYPES[name])
        elif name in _STATES:
            found.setdefault("state", _STATES[name])
    if not found:
        return None
    try:
        when = instant(node.segment.field(_TIME), state)
    except Unfit:
        when = None
    if when:
        found["time"] = when
    return found
