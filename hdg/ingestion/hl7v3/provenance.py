"""The Provenance of a registry message: which bytes, which tables, when, who sent it and who keeps it.

R4 provenance.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hdg.fhir.ids import resource_id
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import children
from hdg.ingestion.hl7v3.message import Message
from hdg.ingestion.times import to_instant
from hdg.mapping.context import JsonObject, Unfit

__all__ = ["provenance", "stated", "stated_us"]

_DIGEST = "https://hdg.dev/fhir/StructureDefinition/mapping-digest"
_AGENT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def provenance(
    targets: Sequence[JsonObject],
    state: State,
    message: Message,
    sha256: str,
    digest: str,
    instant: str | None,
    at_us: int,
    custodians: Sequence[JsonObject],
) -> JsonObject:
    """A Provenance over all resources of a message. ``at_us`` (µs since the epoch) where it states no ``instant``."""
    facts = ("provenance", state.sender.name, sha256)
    source: JsonObject = {
        "identifier": {"type": {"text": "SHA-256 of the message as received"}, "value": sha256}
    }
    if message.control_id:
        source["display"] = f"HL7 v3 message {message.control_id}"
    return {
        "resourceType": "Provenance",
        "id": resource_id(state.id_key, "Provenance", state.institution, facts),
        "extension": [{"url": _DIGEST, "valueString": digest}],
        "target": [{"reference": f"{resource['resourceType']}/{resource['id']}"} for resource in targets],
        "recorded": instant or _instant(at_us),
        "agent": [
            {"type": _role("author"), "who": {"display": state.sender.name}},
            *({"type": _role("custodian"), "who": who} for who in custodians),
            {"type": _role("assembler"), "who": {"display": "Healthcare Data Gateway"}},
        ],
        "entity": [{"role": "source", "what": source}],
    }


def stated(state: State) -> str | None:
    """creationTime, if it tells an instant."""
    for time in children(state.root, "creationTime"):
        try:
            return to_instant(time.get("value", ""), state.zone)
        except Unfit:
            pass
    return None


def stated_us(instant: str) -> int:
    """µs since the epoch."""
    moment = datetime.fromisoformat(instant)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _role(code: str) -> JsonObject:
    return {"coding": [{"system": _AGENT, "code": code}]}


def _instant(at_us: int) -> str:
    moment = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_us % 1_000_000:06}Z"
