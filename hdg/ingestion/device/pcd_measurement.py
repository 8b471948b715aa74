"""The measurements of an IHE PCD-01 message: each OBX with its facets, members, device, codes and id.

The tables made an Observation of each OBX; here a measurement takes in its parts, gets its device, the LOINC code
beside the MDC code, what its measurement status does, an id that no two moments share, and the PHD guide's profile
where the device is a personal one. IHE Devices TF-2 §3.1; https://hl7.org/fhir/uv/phd/profiles.html.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from hdg.fhir.json import JsonObject
from hdg.ingestion.device.mdc import MDC
from hdg.ingestion.device.observations import (
    MEASUREMENT_STATUS,
    PHD_CATEGORY,
    absent,
    condition,
    gateway_reference,
)
from hdg.ingestion.device.pcd_assembly import Assembly
from hdg.ingestion.device.pcd_clock import Clocks
from hdg.ingestion.device.pcd_facets import (
    FACETS,
    Target,
    bit_parts,
    fold,
    phd_profile,
    settle_status,
)
from hdg.ingestion.device.pcd_metric import Metrics, Place
from hdg.ingestion.device.pcd_profile import Key
from hdg.ingestion.device.pcd_systems import Systems
from hdg.ingestion.device.pcd_tree import Node
from hdg.ingestion.device.pcd_values import WAVEFORM, special_reason
from hdg.ingestion.device.pcd_waveform import keep_unit, waveform
from hdg.ingestion.hl7v2.identity import entity_facts
from hdg.mapping.context import Build, Facts

__all__ = ["Measurements"]

_TYPE, _VALUE, _FLAGS, _TIME, _EQUIPMENT, _INSTANCE = 2, 5, 8, 14, 18, 21
"""Fields of OBX."""
_DOCUMENTS = frozenset({"ED", "RP"})
_CONDITIONS = frozenset({"invalid", "not-available", "test-data", "demo-data", "early-indication"})


class _Stand(NamedTuple):
    """``facts``: the parts of an id that all measurements of this place have; ``moment``: when none is said."""

    place: Place
    facts: tuple[str, ...]
    moment: str


class Measurements:
    """The measurements of one message. ``metrics``: what its devices can measure."""

    def __init__(self, one: Assembly, systems: Systems, clocks: Clocks) -> None:
        self._one = one
        self._systems = systems
        self._clocks = clocks
        self.metrics = Metrics(one.state, one.mdc)
        self._derived: dict[Node, Target] = {}
        self._measured: list[Node] = []
        self._stands: dict[tuple[int, Key, str], _Stand] = {}

    def add(self, node: Node) -> None:
        """One measurement, with all that is a part of it."""
        segment = node.segment
        build = self._one.built.get(segment.position)
        if build is None:
            return
        out = build.resource
        fields = segment.fields
        size = len(fields)
        kind = fields[2] if size > _TYPE else ""
        stand = self._stand(node, fields[18] if size > _EQUIPMENT else "")
        place = stand.place
        phd = place.is_personal
        calibrations: tuple[JsonObject, ...] = ()
        categories, has_bits, observed = self._code(node, out)
        if kind in WAVEFORM:
            waveform(out, node, self._one.mdc, self._one.built, self._one.state)
        elif has_bits if kind == "NM" else size > _VALUE and "(" in fields[5]:
            bits = bit_parts(node, self._one.mdc)
            if bits:
                Target(out, node, self._one.mdc).bits(node, bits)
        if node.parts:
            held: list[JsonObject] | None = [] if place.device is not None and node.code else None
            self._parts(Target(out, node, self._one.mdc, calibrations=held))
            calibrations = tuple(held or ())
        elif "valueQuantity" not in out and kind not in _DOCUMENTS and not _has_value(out):
            out["dataAbsentReason"] = absent(special_reason(segment.field(5), kind) or "unknown")
        if kind == "NM" and "valueString" in out:
            keep_unit(out, segment)
        if size > _FLAGS and fields[8]:
            self._conditions(out)
        if categories or phd:
            self._categorize(categories, out, is_personal=phd)
        if phd:
            self._personal(node, out)
        self._name_device(node, place, build, calibrations)
        if self._clocks.is_used:
            self._clocks.refer(node, out)
        if "component" in out:
            _apart_from_its_own(out)
        build.facts = self._metric_facts(node, stand, observed)
        self._measured.append(node)
        if self._one.state.trace is not None:
            self._one.mark(node, (2, 4, 5, 6, 18))

    def _stand(self, node: Node, text: str) -> _Stand:
        """Where a measurement stands. ``text``: its OBX-18. The same for all under one device that have the same."""
        key = (node.scope, node.above, text)
        found = self._stands.get(key)
        if found is None:
            place = self._systems.place(node, text)
            patient, moment = self._one.scope(node)
            found = _Stand(place, ("pcd", *place.facts, "", *patient, ""), moment)
            if self._systems.is_clear:
                self._stands[key] = found
        return found

    def _name_device(
        self, node: Node, place: Place, build: Build, calibrations: tuple[JsonObject, ...] = ()
    ) -> None:
        """What measured: the DeviceMetric, as the guide for bedside monitors has it; a personal device itself."""
        metric = self.metrics.of(node, place, build, calibrations)
        found = place.device if place.is_personal or metric is None else metric
        if found is not None:
            build.resource["device"] = found

    def _code(self, node: Node, out: JsonObject) -> tuple[tuple[JsonObject, ...], bool, str]:
        """The LOINC code beside the MDC code, where one is mapped and code and name agree; the categories of it,
        whether a number with it is BITs, and what names it in an id.
        """
        if not node.code:
            if node.name:
                self._one.issue(
                    node, "warning", "not-found", "the MDC name has no code in the map mdc-reference-id"
                )
            return (), bool(self._one.mdc.bits(0)), node.segment.field(3)
        text = node.segment.field(3)
        key = ("pcd code", text)
        state = self._one.state
        shared = state.shared
        found: tuple[Any, str, tuple[JsonObject, ...], bool, str] | None = (
            shared.get(key) if shared is not None else None
        )
        if found is None:
            has_bits = bool(self._one.mdc.bits(node.code))
            found = (*self._coded(node, out.get("code") or {}), has_bits, str(node.code))
            if "\\" not in text:
                state.keep(key, found)
        concept, problem, categories, has_bits, observed = found
        out["code"] = concept
        if state.values is not None:
            state.values.trust(concept)
        if problem:
            self._one.issue(node, "information" if "no map" in problem else "warning", "not-found", problem)
        return categories, has_bits, observed

    def _disagrees(self, node: Node) -> bool:
        """Whether code and name are known to be of different things."""
        other = self._one.mdc.code(node.name) if node.name else None
        return other is not None and other != node.code

    def _coded(self, node: Node, held: JsonObject) -> tuple[JsonObject, str, tuple[JsonObject, ...]]:
        name = self._one.mdc.name(node.code)
        if self._disagrees(node):
            return (
                held,
                "OBX-3: the code and the name are those of different things: no LOINC code was added",
                (),
            )
        codings = [dict(coding) for coding in held.get("coding", ())]
        if not any(
            coding.get("system") == MDC and coding.get("code") == str(node.code) for coding in codings
        ):
            codings.insert(0, {"system": MDC, "code": str(node.code), **({"display": name} if name else {})})
        for coding in self._one.mdc.concept(node.code, node.name)["coding"][1:]:
            if not any(one.get("system") == coding["system"] for one in codings):
                codings.append(coding)
        problem = "" if name else "no map knows this MDC code: it stays as sent"
        category = self._one.mdc.category(node.code)
        return {**held, "coding": codings}, problem, (category,) if category else ()

    def _parts(self, target: Target) -> None:
        """Facets and members, and theirs, into the measurement; a member of another time stays on its own."""
        node, out = target.node, target.out
        when = out.get("effectiveDateTime")  # before a duration makes a period of it
        pending = list(reversed(node.parts))
        while pending:
            part = pending.pop()
            pending.extend(reversed(part.parts))
            build = self._one.built.get(part.segment.position)
            if build is None:
                continue
            self._one.mark(part, (2, 3, 4, 5, 6, 11, 14, 18))
            role = self._one.mdc.role(part.code, part.name)
            if not role:
                self._code(part, build.resource)
            if role not in FACETS and part.segment.field(14) and _apart(when, build.resource):
                self._own(part, build, target)
                continue
            if part.segment.field(8):
                held = len(build.resource.get("note", ()))
                self._conditions(build.resource)
                for note in build.resource.get("note", ())[held:]:
                    note["text"] = f"{self._one.mdc.name(part.code) or part.name}: {note['text']}"
            fold(target, part, build.resource, role, self._one.state)
        settle_status(target)
        if target.derived_from:
            self._derived[node] = target
        if not _has_value(out):
            reason = special_reason(node.segment.field(5), node.segment.field(2))
            out["dataAbsentReason"] = absent(reason or "unknown")

    def _own(self, part: Node, build: Build, whole: Target) -> None:
        stand = self._stand(part, part.segment.field(18))
        self._name_device(part, stand.place, build)
        if self._one.state.message.first("PID") is not None:
            build.resource["subject"] = self._one.refer("Patient", self._one.scope(part)[0])
        observed = str(part.code) if part.code else part.segment.field(3)
        build.facts = self._metric_facts(part, stand, observed)
        member = self._one.refer("Observation", build.facts.parts)
        whole.out.setdefault("hasMember", []).append(member)

    def _conditions(self, out: JsonObject) -> None:
        """What a measurement status does beside being an interpretation."""
        for item in out.get("interpretation", ()):
            coding = item["coding"][0] if item.get("coding") else {}
            name = coding.get("code", "")
            if coding.get("system") == MEASUREMENT_STATUS and name in _CONDITIONS:
                condition(out, name, is_stated=True)

    def _categorize(self, categories: tuple[JsonObject, ...], out: JsonObject, *, is_personal: bool) -> None:
        found = (*categories, PHD_CATEGORY) if is_personal else categories
        if self._one.state.values is not None:
            for item in found:
                self._one.state.values.trust(item)
        held = out.get("category")
        out["category"] = [*held, *(item for item in found if item not in held)] if held else list(found)

    def _personal(self, node: Node, out: JsonObject) -> None:
        """The PHD guide's profile, its status, and the gateway."""
        meta = out["meta"] = dict(out.get("meta", {}))
        meta["profile"] = phd_profile(out, node)
        is_unverified = node.segment.field(11) == "R" or not node.segment.field(5)
        if out.get("status") == "preliminary" and is_unverified and not _is_early(out):
            out["status"] = "final"  # unverified is what home measurements are: the guide says final
        if self._systems.gateway is not None:
            reference = self._systems.gateway["reference"]
            out.setdefault("extension", []).append(gateway_reference(reference))

    def _metric_facts(self, node: Node, stand: _Stand, observed: str) -> Facts:
        """OBX-21; else device, patient, what was measured, where in the tree, and when: never the order alone, whose
        number many monitors repeat for ever.
        """
        fields = node.segment.fields
        size = len(fields)
        if size > _INSTANCE and fields[21]:
            named = entity_facts(fields[21], self._one.state)
            if named is not None:
                return Facts(("OBX-21", *named))
        path = _dotted(node.key) or node.segment.field(4)
        when = (fields[14] if size > _TIME else "") or self._clocks.own_time(node) or stand.moment
        return Facts((*stand.facts, observed, path, when))

    def link_sources(self) -> None:
        """References to measurements that a facet named by their path."""
        if not self._derived:
            return
        paths = {(node.scope, node.key): node for node in reversed(self._measured)}
        for node, target in self._derived.items():
            for key in target.derived_from:
                other = paths.get((node.scope, key))
                build = self._one.built.get(other.segment.position) if other is not None else None
                if build is not None and build.facts is not None and other is not node:
                    reference = self._one.refer("Observation", build.facts.parts)
                    target.out.setdefault("derivedFrom", []).append(reference)
                else:
                    text = "the measurement that this one is derived from is not in the message"
                    self._one.issue(node, "warning", "not-found", text)


@lru_cache(maxsize=4096)
def _dotted(key: Key) -> str:
    return ".".join(map(str, key))


def _has_value(out: JsonObject) -> bool:
    if "valueQuantity" in out or "component" in out or "dataAbsentReason" in out:
        return True
    return any(key.startswith("value") for key in out)


def _apart_from_its_own(out: JsonObject) -> None:
    """A value beside a component of the same code becomes a component too: R4 obs-7 allows no value there."""
    names = [key for key in out if key.startswith("value")]
    own = out.get("code", {}).get("coding", ())
    if names and any(coding in own for part in out["component"] for coding in part["code"].get("coding", ())):
        out["component"] = [{"code": out["code"], names[0]: out.pop(names[0])}, *out["component"]]


def _apart(when: str | None, part: JsonObject) -> bool:
    """Whether a member was measured at another time than the whole."""
    other = part.get("effectiveDateTime")
    return when is not None and other is not None and when != other


def _is_early(out: JsonObject) -> bool:
    """Whether the device said that the value is an early estimate."""
    items = [
        *out.get("interpretation", ()),
        *(i for c in out.get("component", ()) for i in c.get("interpretation", ())),
    ]
    return any(
        coding.get("code") == "early-indication" for item in items for coding in item.get("coding", ())
    )
