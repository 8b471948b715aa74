"""IHE PCD-01 to FHIR: puts together what the tables made of each OBX, by the containment tree.

The tables (``messages/PCD_01.csv``) make a Device of each device OBX and an Observation of each other one. Here
attributes go into their Device (pcd_systems.py), facets and members into their Observation (pcd_measurement.py), and
reports get ids that no two moments share. IHE Devices TF-2 §3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from hdg.errors import Issue
from hdg.ingestion.device.pcd_assembly import Assembly, order_time
from hdg.ingestion.device.pcd_clock import Clocks
from hdg.ingestion.device.pcd_measurement import Measurements
from hdg.ingestion.device.pcd_systems import Systems
from hdg.ingestion.device.pcd_tree import COMPONENT, MDS, Devices, grown
from hdg.ingestion.hl7v2.groups import Grouped
from hdg.ingestion.hl7v2.identity import patient_facts
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Build, Facts

__all__ = ["Containment"]

_PARTS = "Observation:part"


class Containment:
    """The tree of one message, before and after the tables have run."""

    def __init__(self, grouped: Grouped, state: State) -> None:
        """Moves each OBX to the group that says what it is."""
        one = self._one = Assembly(state)
        one.nodes = grown(grouped, one.mdc, state.issues)
        devices = Devices(one.nodes)
        self._clocks = Clocks(one.nodes, devices, one.mdc, state)
        self._systems = Systems(one, devices)
        self._measurements = Measurements(one, self._systems, self._clocks)

    @property
    def has_parents(self) -> bool:
        """Whether an order names a parent: containment is not among what links families here."""
        segments = self._one.state.message.segments
        return any(one.name == "OBR" and (one.field(26) or one.field(29)) for one in segments)

    def assemble(self, builds: list[Build]) -> list[Build]:
        """The builds that stay, completed. Facts of ids are set here: call it before ids are given."""
        one = self._one
        for build in builds:
            if build.type in ("Observation", "Device") and build.origin.name == "OBX":
                one.built.setdefault(build.origin.position, build)
        self._systems.build()
        self._systems.attributes(self._clocks)
        for node in one.nodes:
            if node.owner is None and node.kind not in (MDS, COMPONENT):
                self._measurements.add(node)
        self._measurements.link_sources()
        self._events(builds)
        kept = []
        for build in builds:
            if build.label != _PARTS or build.facts is not None:
                kept.append(build)
            elif build.deletions:
                text = "a delete in a part of a measurement or device was not carried out"
                one.state.issues.append(Issue("warning", "not-supported", build.origin.place(), text))
        return [*kept, *one.extra, *self._clocks.builds, *self._measurements.metrics.builds]

    def _events(self, builds: Sequence[Build]) -> None:
        """The report of one moment, since many monitors repeat the order number for ever; and a visit without a number:
        the same for all messages that say the same of it, not one of its own for each of a thousand snapshots.
        """
        state = self._one.state
        for build in builds:
            if build.facts is None:
                continue
            if build.type == "DiagnosticReport":
                when = order_time(build.group) or state.message.segments[0].field(7)
                build.facts = Facts((*build.facts.parts, "pcd", when), build.facts.is_thing)
            elif build.type == "Encounter" and build.facts.is_local:
                state.segment, state.group = build.origin, build.group
                said = "|".join(build.origin.fields[2:]).rstrip("|")
                build.facts = Facts(("pcd visit", *patient_facts(state), "", said), is_thing=True)
