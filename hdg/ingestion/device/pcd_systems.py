"""The devices of an IHE PCD-01 message: what each is, what identifies it, and which one a measurement is of.

A device is a row's Device; its attributes go into it, its clock becomes a coincident time stamp. What OBX-18 of a
measurement names, and the tree above it does not have, is a Device of its own. IHE Devices TF-2 §3.1, Appendix B.8.
"""

from __future__ import annotations

from hdg.fhir.json import JsonObject
from hdg.ingestion.device.pcd_assembly import Assembly
from hdg.ingestion.device.pcd_clock import Clocks
from hdg.ingestion.device.pcd_device import GATEWAY, apply, finish, first_equipment, is_personal
from hdg.ingestion.device.pcd_facets import bit_parts
from hdg.ingestion.device.pcd_metric import Place
from hdg.ingestion.device.pcd_profile import Key
from hdg.ingestion.device.pcd_tree import COMPONENT, MDS, Devices, Node
from hdg.ingestion.hl7v2.identity import patient_facts
from hdg.ingestion.hl7v2.primitives import plain
from hdg.mapping.context import Build, Facts

__all__ = ["Systems"]


class Systems:
    """The devices of one message. ``gateway``: the reference of the one that sent it, a personal health gateway."""

    def __init__(self, one: Assembly, devices: Devices) -> None:
        self._one = one
        self._devices = devices
        self._facts: dict[Node, tuple[str, ...]] = {}
        self._references: dict[Node, JsonObject] = {}
        self._others: dict[tuple[int, str], tuple[tuple[str, ...], JsonObject] | None] = {}
        self._known: dict[tuple[int, Key, str], Place] = {}
        """Where measurements stand by OBR, path above and OBX-18."""
        self.gateway: JsonObject | None = None
        self.is_clear = devices.is_clear
        """Whether path above and OBX-18 alone tell where a measurement stands."""

    def build(self) -> None:
        """The Devices of the tree, in the order of the message."""
        for node in self._one.nodes:
            if node.kind in (MDS, COMPONENT):
                self._device(node)
        gateway = next((node for node in self._devices.systems if node.code == GATEWAY), None)
        self.gateway = self._references.get(gateway) if gateway is not None else None

    def place(self, node: Node, text: str) -> Place:
        """Where a measurement stands. ``text``: its OBX-18."""
        key = (node.scope, node.above, text)
        found = self._known.get(key)
        if found is None:
            found = self._placed(node, text)
            if self.is_clear:
                self._known[key] = found
        return found

    def _device(self, node: Node) -> None:
        build = self._one.built.get(node.segment.position)
        if build is None:
            return
        state = self._one.state
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
        self._references[node] = self._one.refer("Device", facts)
        if owner is not None and owner in self._references:
            build.resource["parent"] = self._references[owner]
        finish(build.resource, node, self._one.mdc)
        self._one.mark(node, (4, 18))

    def _device_facts(self, node: Node, owner: Node | None) -> tuple[str, ...]:
        """What identifies a device that OBX-18 does not: its system id, serial number, place in another, or patient."""
        said: dict[str, str] = {}
        for part in node.parts:
            role = self._one.mdc.role(part.code, part.name)
            said.setdefault(role, plain(part.segment.field(5).partition("^")[0], self._one.state))
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
        return ("at", self._one.state.sender.name, *patient_facts(self._one.state), path, kind)

    def attributes(self, clocks: Clocks) -> None:
        """Attributes into the Device of the device that they are of; clocks into time stamps of their own."""
        for node in self._one.nodes:
            owner = node.owner
            while owner is not None and owner.owner is not None and owner.kind not in (MDS, COMPONENT):
                owner = owner.owner
            if owner is None or owner.kind not in (MDS, COMPONENT) or node.kind in (MDS, COMPONENT):
                continue
            build, whole = (
                self._one.built.get(node.segment.position),
                self._one.built.get(owner.segment.position),
            )
            if build is None or whole is None or owner not in self._references:
                continue
            self._one.mark(node, (2, 3, 4, 5, 6, 11, 14))
            if clocks.stamp(node, owner, self._facts[owner], self._references[owner], self.gateway, build):
                continue
            bits = bit_parts(node, self._one.mdc)
            if not apply(whole.resource, node, build.resource, self._one.mdc, bits):
                text = "an attribute that the map mdc-attribute does not have: it stands as a property of the device"
                self._one.issue(node, "information", "not-found", text)
            whole.resource.setdefault("note", []).extend(build.resource.get("note", ()))
            if not whole.resource["note"]:
                del whole.resource["note"]

    def _placed(self, node: Node, text: str) -> Place:
        source, facts, reference = self._source(node, text)
        top = _top(source) if source is not None else None
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
        build = self._one.built[node.segment.position]
        self._one.state.segment = node.segment
        facts, identifiers = first_equipment(node, self._one.state)
        self._one.state.settle(18, 1)
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
            self._one.extra.append(made)
            found = facts, self._one.refer("Device", facts)
        self._others[key] = found
        return found


def _top(node: Node) -> Node:
    while node.owner is not None:
        node = node.owner
    return node
