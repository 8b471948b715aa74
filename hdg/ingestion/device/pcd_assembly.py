"""What the rooms of IHE PCD-01 share while a message is put together: its OBX as a tree, what tables made of each."""

from __future__ import annotations

from typing import Any

from hdg.errors import Issue
from hdg.fhir.json import JsonObject
from hdg.ingestion.device.mdc import Mdc
from hdg.ingestion.device.pcd_tree import Node
from hdg.ingestion.device.pcd_values import mdc_of
from hdg.ingestion.hl7v2.identity import patient_facts
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Build, Facts

__all__ = ["Assembly", "order_time"]


class Assembly:
    """One message. ``built``: the resources of OBX by the place of their segments; ``extra``: those made on top."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.mdc: Mdc = mdc_of(state)
        self.nodes: list[Node] = []
        self.built: dict[int, Build] = {}
        self.extra: list[Build] = []
        self._scopes: dict[int, tuple[tuple[str, ...], str]] = {}

    def refer(self, resource_type: str, facts: tuple[str, ...]) -> JsonObject:
        """A reference to what these facts identify."""
        reference = {"reference": f"{resource_type}/{self.state.resource_id(resource_type, Facts(facts))}"}
        if self.state.values is not None:
            self.state.values.trust(reference)
        return reference

    def scope(self, node: Node) -> tuple[tuple[str, ...], str]:
        """Facts of the patient, and the times of the order above or else of the message: one for all under an OBR."""
        found = self._scopes.get(node.scope)
        if found is None:
            state, build = self.state, self.built[node.segment.position]
            state.segment, state.group = node.segment, build.group
            when = order_time(build.group) or state.message.segments[0].field(7)
            found = self._scopes[node.scope] = patient_facts(state), when
        return found

    def issue(self, node: Node, severity: Any, code: str, text: str) -> None:
        """Says something of an OBX."""
        self.state.issues.append(Issue(severity, code, node.segment.place(3), text))

    def mark(self, node: Node, fields: tuple[int, ...]) -> None:
        """Tracing only: these fields were read here, not by a row."""
        if self.state.trace is not None:
            self.state.read.update((node.segment.position, number, 0) for number in fields)


def order_time(group: Any) -> str:
    """The times of the nearest order; '' when it has none."""
    while group is not None:
        header = group.first("OBR")
        if header is not None:
            start, end = header.field(7), header.field(8)
            return f"{start}/{end}" if start or end else ""
        group = group.parent
    return ""
