"""Orders that take the place of others in one message: RP, RQ or RU, then RO. HL7 v2.9 §4.5.1.1.

The ORCs with RP, RQ or RU that stand before one or more ORCs with RO are the orders that these take the place of,
however many on either side. R4: ``ServiceRequest.replaces``, ``MedicationRequest.priorPrescription`` (one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hdg.errors import Issue
from hdg.fhir.accept_parts import literal
from hdg.ingestion.hl7v2.parser import Segment
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Build, JsonObject

_REPLACED: Final = frozenset({"RP", "RQ", "RU"})
_REPLACES: Final = "RO"


def link_replaced(builds: Sequence[Build], state: State) -> None:
    """Link orders to those that they replace; ``builds`` have their ids already."""
    orders = state.message.all("ORC")
    if not any(order.field(1) == _REPLACES for order in orders):
        return
    begun: dict[int, list[Build]] = {}
    for build in builds:
        if build.type in ("ServiceRequest", "MedicationRequest") and build.origin.name == "ORC":
            begun.setdefault(build.origin.position, []).append(build)
    gone: list[Segment] = []
    last = ""
    for order in orders:
        control = order.field(1)
        if control in _REPLACED:
            gone = [*gone, order] if last in _REPLACED else [order]
        elif control == _REPLACES:
            before = [build for segment in gone for build in begun.get(segment.position, ())]
            for build in begun.get(order.position, ()):
                _link(build, before, state)
        else:
            gone = []
        last = control


def _link(build: Build, before: Sequence[Build], state: State) -> None:
    """A prescription takes the place of the one of its own kind (original or encoded)."""
    found = [_reference(other, build.type) for other in before if _is_counterpart(other, build)]
    if not found:
        return
    if build.type == "ServiceRequest":
        build.resource.setdefault("replaces", []).extend(found)
        return
    build.resource["priorPrescription"] = found[0]
    if len(found) > 1:
        text = "several prescriptions are replaced by one, and R4 has a place for one: the first stays"
        state.issues.append(Issue("warning", "incomplete", build.origin.place(), text))


def _is_counterpart(other: Build, build: Build) -> bool:
    return other.label == build.label or _is_bare(other)


def _is_bare(build: Build) -> bool:
    """An ORC without detail: what it is about is known by its number alone."""
    return build.type == "ServiceRequest" and "code" not in build.resource


def _reference(other: Build, type_: str) -> JsonObject:
    numbers = other.resource.get("identifier")
    if _is_bare(other) and numbers:
        return {"type": type_, "identifier": numbers[0]}
    return {"reference": literal(other.type, other.id)}
