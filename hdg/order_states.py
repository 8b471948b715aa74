"""What a control (ORC-1, table 0119) makes of the state of an order. HL7 v2.9 §4.5.1.1; docs/hl7v2.md."""

from __future__ import annotations

from hdg.ingestion.converted import JsonObject

__all__ = ["CONTROL", "CONTROLS", "DONE", "ENDED", "RELEASES", "STOPPED", "control_of", "status_of"]

CONTROLS = frozenset(
    {"CA", "OC", "CR", "DC", "OD", "DR", "DF", "RP", "RQ", "RU", "HD", "OH", "HR", "RL", "OE", "OR"}
)
"""Those that end, hold or release an order."""
RELEASES = frozenset({"RL", "OE", "OR"})
STOPPED = frozenset({"DC", "OD", "DR", "DF", "RP", "RQ", "RU"})
"""Those after which a prescription is ``stopped``, as in terminology/maps/medication-order-control.csv."""

CONTROL = "https://hdg.dev/fhir/StructureDefinition/order-control"
"""The extension with ORC-1."""
ENDED = frozenset({"revoked", "cancelled", "stopped", "completed", "entered-in-error"})
DONE = frozenset({"completed", "entered-in-error"})


def control_of(resource: JsonObject) -> str:
    """ORC-1, where it is none of NW and RE; else ''."""
    for extension in resource.get("extension", ()):
        if extension.get("url") == CONTROL:
            return str(extension["valueCodeableConcept"]["coding"][0].get("code", ""))
    return ""


def status_of(type_: str, own: JsonObject, status: object, control: str) -> object:
    """The ``status`` of ``own`` for the same order as a resource of ``type_``."""
    if type_ == own["resourceType"] or status != "revoked":
        return status
    return "stopped" if control in STOPPED else "cancelled"
