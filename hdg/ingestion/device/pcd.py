"""IHE PCD-01 to FHIR: puts together what the tables made of each OBX, by the containment tree.

The tables (``messages/PCD_01.csv``) make a Device of each device OBX and an Observation of each other one. Here
attributes go into their Device, facets and members into their Observation, measurements get their device, ids that
no two moments share, and the PHD guide's profile where the device is a personal one. IHE Devices TF-2 §3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hdg.errors import Issue
from hdg.fhir.json import JsonObject
from hdg.ingestion.device.mdc import MDC, Mdc
from hdg.ingestion.device.observations import (
    MEASUREMENT_STATUS,
    PHD_CATEGORY,
    absent,
    condition,
    gateway_reference,
)
from hdg.ingestion.device.pcd_clock import Clocks
from hdg.ingestion.device.pcd_device import GATEWAY, apply, finish, first_equipment, is_personal
from hdg.ingestion.device.pcd_facets import (
    FACETS,
    Target,
    bit_parts,
    fold,
    keep_unit,
    phd_profile,
    settle_status,
    waveform,
)
from hdg.ingestion.device.pcd_metric import Metrics, Place
from hdg.ingestion.device.pcd_tree import COMPONENT, MDS, Devices, Key, Node, grown, is_pcd
from hdg.ingestion.device.pcd_values import WAVEFORM, mdc_of, special_reason
from hdg.ingestion.hl7v2.groups import Grouped
from hdg.ingestion.hl7v2.identity import entity_facts, patient_facts
from hdg.ingestion.hl7v2.parser import Message
from hdg.ingestion.hl7v2.primitives import plain
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Build, Facts

__all__ = ["PROFILE", "TABLE", "Containment", "profiled"]

PROFILE, TABLE = "@PCD-01", "PCD_01"
_PARTS = "Observation:part"
_TYPE, _VALUE, _FLAGS, _TIME, _EQUIPMENT, _INSTANCE = 2, 5, 8, 14, 18, 21
"""Fields of OBX."""
_DOCUMENTS = frozenset({"ED", "RP"})
_CONDITIONS = frozenset({"invalid", "not-available", "test-data", "demo-data", "early-indication"})


def profiled(message: Message) -> tuple[str, str, str]:
    """MSH-9 for the choice of a table: its trigger event says so when the message is PCD-01."""
    code, trigger, structure = message.message_type
    if code == "ORU" and trigger == "R01" and is_pcd(message):
        return code, trigger + PROFILE, structure
    return code, trigger, structure


class Containment:
    """The tree of one message, before (``place``) and after (``assemble``) the tables have run."""

    def __init__(self, grouped: Grouped, state: State) -> None:
        """Moves each OBX to the group that says what it is."""
        self._state = state
        self._mdc: Mdc = mdc_of(state)
        self._nodes = grown(grouped, self._mdc, state.issues)
        self._devices = Devices(self._nodes)
        self._clocks = Clocks(self._nodes, self._devices, self._mdc, state)
        self._built: dict[int, Build] = {}
        self._facts: dict[Node, tuple[str, ...]] = {}
        self._references: dict[Node, JsonObject] = {}
        self._others: dict[tuple[int, str], tuple[tuple[str, ...], JsonObject] | None] = {}
        self._extra: list[Build] = []
        self._scopes: dict[int, tuple[tuple[str, ...], str]] = {}
        self._derived: dict[Node, Target] = {}
        self._measured: list[Node] = []
        self._metrics = Metrics(state, self._mdc)
        self._known: dict[tuple[int, Key, str], Place] = {}
        """Where measurements stand by OBR, path above and OBX-18."""
        self._gateway = next((node for node in self._devices.systems if node.code == GATEWAY), None)

    @property
    def has_parents(self) -> bool:
        """Whether an order names a parent: containment is not among what links families here."""
        segments = self._state.message.segments
        return any(one.name == "OBR" and (one.field(26) or one.field(29)) for one in segments)

    def assemble(self, builds: list[Build]) -> list[Build]:
        """The builds that stay, completed. Facts of ids are set here: call it before ids are given."""
        for build in builds:
            if build.type in ("Observation", "Device") and build.origin.name == "OBX":
                self._built.setdefault(build.origin.position, build)
        for node in self._nodes:
            if node.kind in (MDS, COMPONENT):
                self._device(node)
        self._attributes()
        for node in self._nodes:
            if node.owner is None and node.kind not in (MDS, COMPONENT):
                self._metric(node)
        self._sources()
        self._reports(builds)
        for build in builds:
            if build.label == _PARTS and build.facts is None and build.deletions:
                text = "a delete in a part of a measurement or device was not carried out"
                self._state.issues.append(Issue("warning", "not-supported", build.origin.place(), text))
        kept = [build for build in builds if build.label != _PARTS or build.facts is not None]
        self._extra.extend(self._clocks.builds)
        return [*kept, *self._extra, *self._metrics.builds]

    # Devices

    def _device(self, node: Node) -> None:
        build = self._built.get(node.segment.position)
        if build is None:
            return
        state = self._state
        state.segment = node.segment
        state.group = build.group
        facts, identifiers = first_equipment(node, state)
        state.settle(18, 1)
        owner = node.owner if node.kind == COMPONENT else None
        if owner is not None and facts == self._facts.get(owner):
            facts = None
        if facts is None:
            facts = self._device_facts(node, owner)
        elif identifiers:
            build.resource["identifier"] = identifiers
        build.facts = Facts(facts, is_thing=True)
        self._facts[node] = facts
        self._references[node] = self._refer("Device", facts)
        if owner is not None and owner in self._references:
            build.resource["parent"] = self._references[owner]
        finish(build.resource, node, self._mdc)
        self._mark(node, (4, 18))

    def _device_facts(self, node: Node, owner: Node | None) -> tuple[str, ...]:
        """What identifies a device that OBX-18 does not: its system id, serial number, place in another, or patient."""
        said: dict[str, str] = {}
        for part in node.parts:
            role = self._mdc.role(part.code, part.name)
            said.setdefault(role, plain(part.segment.field(5).partition("^")[0], self._state))
        if said.get("system-id"):
            return ("system-id", "".join(one for one in said["system-id"].upper() if one.isalnum()))
        if said.get("serial-number"):
            return (
                "serial",
                said.get("manufacturer", ""),
                said.get("model-number", ""),
                said["serial-number"],
            )
        kind = node.segment.field(3).partition("^")[0]
        path = ".".join(map(str, node.key))
        if owner is not None and owner in self._facts:
            return ("part", *self._facts[owner], path, kind)
        return ("at", self._state.sender.name, *patient_facts(self._state), path, kind)

    def _refer(self, resource_type: str, facts: tuple[str, ...]) -> JsonObject:
        reference = {"reference": f"{resource_type}/{self._state.resource_id(resource_type, Facts(facts))}"}
        if self._state.values is not None:
            self._state.values.trust(reference)
        return reference

    def _attributes(self) -> None:
        """Attributes into the Device of the device that they are of; clocks into time stamps of their own."""
        gateway = self._references.get(self._gateway) if self._gateway is not None else None
        for node in self._nodes:
            owner = node.owner
            while owner is not None and owner.owner is not None and owner.kind not in (MDS, COMPONENT):
                owner = owner.owner
            if owner is None or owner.kind not in (MDS, COMPONENT) or node.kind in (MDS, COMPONENT):
                continue
            build, whole = self._built.get(node.segment.position), self._built.get(owner.segment.position)
            if build is None or whole is None or owner not in self._references:
                continue
            self._mark(node, (2, 3, 4, 5, 6, 11, 14))
            if self._clocks.stamp(node, owner, self._facts[owner], self._references[owner], gateway, build):
                continue
            bits = bit_parts(node, self._mdc)
            if not apply(whole.resource, node, build.resource, self._mdc, bits):
                text = "an attribute that the map mdc-attribute does not have: it stands as a property of the device"
                self._issue(node, "information", "not-found", text)
            whole.resource.setdefault("note", []).extend(build.resource.get("note", ()))
            if not whole.resource["note"]:
                del whole.resource["note"]

    # Measurements

    def _metric(self, node: Node) -> None:
        segment = node.segment
        build = self._built.get(segment.position)
        if build is None:
            return
        out = build.resource
        fields = segment.fields
        size = len(fields)
        kind = fields[2] if size > _TYPE else ""
        text = fields[18] if size > _EQUIPMENT else ""
        key = (node.scope, node.above, text)
        place = self._known.get(key)
        if place is None:
            place = self._place(node, text)
            if self._devices.is_clear:
                self._known[key] = place
        phd = place.is_personal
        calibrations: list[JsonObject] = []
        categories = self._code(node, out)
        if kind in WAVEFORM:
            waveform(Target(out, node, self._mdc), self._built, self._state)
        elif self._mdc.bits(node.code) if kind == "NM" else size > _VALUE and "(" in fields[5]:
            bits = bit_parts(node, self._mdc)
            if bits:
                Target(out, node, self._mdc).bits(node, bits)
        if node.parts:
            held = calibrations if place.device is not None and node.code else None
            self._parts(Target(out, node, self._mdc, calibrations=held))
        elif kind not in _DOCUMENTS and not _has_value(out):
            out["dataAbsentReason"] = absent(special_reason(segment.field(5), kind) or "unknown")
        if kind == "NM" and "valueString" in out:
            keep_unit(out, segment)
        if size > _FLAGS and fields[8]:
            self._conditions(out)
        if categories or phd:
            self._categorize(categories, out, is_personal=phd)
        if phd:
            self._personal(node, out)
        self._name_device(node, place, build, tuple(calibrations))
        self._clocks.refer(node, out)
        if "component" in out:
            _apart_from_its_own(out)
        build.facts = self._metric_facts(node, place.facts)
        self._measured.append(node)
        if self._state.trace is not None:
            self._mark(node, (2, 4, 5, 6, 18))

    def _name_device(
        self, node: Node, place: Place, build: Build, calibrations: tuple[JsonObject, ...] = ()
    ) -> None:
        """What measured: the DeviceMetric, as the guide for bedside monitors has it; a personal device itself."""
        metric = self._metrics.of(node, place, build, calibrations)
        found = place.device if place.is_personal or metric is None else metric
        if found is not None:
            build.resource["device"] = found

    def _place(self, node: Node, text: str) -> Place:
        source, facts, reference = self._source(node, text)
        top = self._top(source) if source is not None else None
        system = self._references.get(top) if top is not None else None
        return Place(reference, facts, system, top is not None and is_personal(top))

    def _source(self, node: Node, text: str) -> tuple[Node | None, tuple[str, ...], JsonObject | None]:
        """(device in the tree, facts, reference) of what measured: by containment, or by an OBX-18 that differs."""
        found = self._devices.of(node)
        if text:
            other = self._equipment(node, found, text)
            if other is not None:
                return found, *other
        if found is None:
            return None, (), None
        return found, self._facts.get(found, ()), self._references.get(found)

    def _equipment(
        self, node: Node, above: Node | None, text: str
    ) -> tuple[tuple[str, ...], JsonObject] | None:
        """What OBX-18 of a measurement names, unless it is a device of the tree above it."""
        key = (0 if above is None else above.segment.position, text)
        if key in self._others:
            return self._others[key]
        build = self._built[node.segment.position]
        self._state.segment = node.segment
        facts, identifiers = first_equipment(node, self._state)
        self._state.settle(18, 1)
        found: tuple[tuple[str, ...], JsonObject] | None = None
        higher = above
        while higher is not None and facts != self._facts.get(higher):
            higher = higher.owner
        if facts is not None and higher is None:
            resource: JsonObject = {"resourceType": "Device", "id": "", "identifier": identifiers}
            if above is not None and above in self._references:
                resource["parent"] = self._references[above]
            made = Build("Device", "Device:equipment", resource, "OBX", build.group, origin=node.segment)
            made.facts = Facts(facts, is_thing=True)
            self._extra.append(made)
            found = facts, self._refer("Device", facts)
        self._others[key] = found
        return found

    def _top(self, node: Node) -> Node:
        while node.owner is not None:
            node = node.owner
        return node

    def _code(self, node: Node, out: JsonObject) -> tuple[JsonObject, ...]:
        """The LOINC code beside the MDC code, where one is mapped and code and name agree; the categories of it."""
        if not node.code:
            if node.name:
                self._issue(
                    node, "warning", "not-found", "the MDC name has no code in the map mdc-reference-id"
                )
            return ()
        text = node.segment.field(3)
        key = ("pcd code", text)
        shared = self._state.shared
        found: tuple[Any, str, tuple[JsonObject, ...]] | None = (
            shared.get(key) if shared is not None else None
        )
        if found is None:
            found = self._coded(node, out.get("code") or {})
            if "\\" not in text:
                self._state.keep(key, found)
        concept, problem, categories = found
        out["code"] = concept
        if self._state.values is not None:
            self._state.values.trust(concept)
        if problem:
            self._issue(node, "information" if "no map" in problem else "warning", "not-found", problem)
        return categories

    def _disagrees(self, node: Node) -> bool:
        """Whether code and name are known to be of different things."""
        other = self._mdc.code(node.name) if node.name else None
        return other is not None and other != node.code

    def _coded(self, node: Node, held: JsonObject) -> tuple[JsonObject, str, tuple[JsonObject, ...]]:
        name = self._mdc.name(node.code)
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
        for coding in self._mdc.concept(node.code, node.name)["coding"][1:]:
            if not any(one.get("system") == coding["system"] for one in codings):
                codings.append(coding)
        problem = "" if name else "no map knows this MDC code: it stays as sent"
        category = self._mdc.category(node.code)
        return {**held, "coding": codings}, problem, (category,) if category else ()

    def _parts(self, target: Target) -> None:
        """Facets and members, and theirs, into the measurement; a member of another time stays on its own."""
        node, out = target.node, target.out
        when = out.get("effectiveDateTime")  # before a duration makes a period of it
        pending = list(reversed(node.parts))
        while pending:
            part = pending.pop()
            pending.extend(reversed(part.parts))
            build = self._built.get(part.segment.position)
            if build is None:
                continue
            self._mark(part, (2, 3, 4, 5, 6, 11, 14, 18))
            role = self._mdc.role(part.code, part.name)
            if not role:
                self._code(part, build.resource)
            if role not in FACETS and part.segment.field(14) and _apart(when, build.resource):
                self._own(part, build, target)
                continue
            if part.segment.field(8):
                held = len(build.resource.get("note", ()))
                self._conditions(build.resource)
                for note in build.resource.get("note", ())[held:]:
                    note["text"] = f"{self._mdc.name(part.code) or part.name}: {note['text']}"
            fold(target, part, build.resource, role, self._state)
        settle_status(target)
        if target.derived_from:
            self._derived[node] = target
        if not _has_value(out):
            reason = special_reason(node.segment.field(5), node.segment.field(2))
            out["dataAbsentReason"] = absent(reason or "unknown")

    def _own(self, part: Node, build: Build, whole: Target) -> None:
        place = self._place(part, part.segment.field(18))
        self._name_device(part, place, build)
        if self._state.message.first("PID") is not None:
            build.resource["subject"] = self._refer("Patient", self._scope(part)[0])
        build.facts = self._metric_facts(part, place.facts)
        member = self._refer("Observation", build.facts.parts)
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
        if self._state.values is not None:
            for item in found:
                self._state.values.trust(item)
        held = out.get("category")
        out["category"] = [*held, *(item for item in found if item not in held)] if held else list(found)

    def _personal(self, node: Node, out: JsonObject) -> None:
        """The PHD guide's profile, its status, and the gateway."""
        meta = out["meta"] = dict(out.get("meta", {}))
        meta["profile"] = phd_profile(out, node)
        is_unverified = node.segment.field(11) == "R" or not node.segment.field(5)
        if out.get("status") == "preliminary" and is_unverified and not _is_early(out):
            out["status"] = "final"  # unverified is what home measurements are: the guide says final
        if self._gateway is not None and self._gateway in self._references:
            reference = self._references[self._gateway]["reference"]
            out.setdefault("extension", []).append(gateway_reference(reference))

    def _metric_facts(self, node: Node, device: tuple[str, ...]) -> Facts:
        """OBX-21; else device, patient, what was measured, where in the tree, and when: never the order alone, whose
        number many monitors repeat for ever.
        """
        fields = node.segment.fields
        size = len(fields)
        if size > _INSTANCE and fields[21]:
            named = entity_facts(fields[21], self._state)
            if named is not None:
                return Facts(("OBX-21", *named))
        observed = str(node.code) if node.code else node.segment.field(3)
        path = ".".join(map(str, node.key)) or node.segment.field(4)
        patient, moment = self._scope(node)
        when = (fields[14] if size > _TIME else "") or self._clocks.own_time(node) or moment
        return Facts(("pcd", *device, "", *patient, "", observed, path, when))

    def _scope(self, node: Node) -> tuple[tuple[str, ...], str]:
        """Facts of the patient, and the times of the order above or else of the message: one for all under an OBR."""
        found = self._scopes.get(node.scope)
        if found is None:
            state, build = self._state, self._built[node.segment.position]
            state.segment, state.group = node.segment, build.group
            when = _order_time(build.group) or state.message.segments[0].field(7)
            found = self._scopes[node.scope] = patient_facts(state), when
        return found

    def _sources(self) -> None:
        """References to measurements that a facet named by their path."""
        if not self._derived:
            return
        paths = {(node.scope, node.key): node for node in reversed(self._measured)}
        for node, target in self._derived.items():
            for key in target.derived_from:
                other = paths.get((node.scope, key))
                build = self._built.get(other.segment.position) if other is not None else None
                if build is not None and build.facts is not None and other is not node:
                    reference = self._refer("Observation", build.facts.parts)
                    target.out.setdefault("derivedFrom", []).append(reference)
                else:
                    text = "the measurement that this one is derived from is not in the message"
                    self._issue(node, "warning", "not-found", text)

    def _reports(self, builds: Sequence[Build]) -> None:
        """The report of one moment: many monitors repeat the order number for ever."""
        for build in builds:
            if build.type == "DiagnosticReport" and build.facts is not None:
                when = _order_time(build.group) or self._state.message.segments[0].field(7)
                build.facts = Facts((*build.facts.parts, "pcd", when), build.facts.is_thing)

    def _issue(self, node: Node, severity: Any, code: str, text: str) -> None:
        self._state.issues.append(Issue(severity, code, node.segment.place(3), text))

    def _mark(self, node: Node, fields: tuple[int, ...]) -> None:
        """Tracing only: these fields were read here, not by a row."""
        if self._state.trace is not None:
            self._state.read.update((node.segment.position, number, 0) for number in fields)


def _order_time(group: Any) -> str:
    while group is not None:
        header = group.first("OBR")
        if header is not None:
            start, end = header.field(7), header.field(8)
            return f"{start}/{end}" if start or end else ""
        group = group.parent
    return ""


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
