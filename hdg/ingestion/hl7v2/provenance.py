"""The Provenance of a conversion: which bytes, which tables, when. R4 provenance.html."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hdg.fhir.ids import resource_id
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.times import to_instant
from hdg.mapping.context import JsonObject, Unfit

_DIGEST = "https://hdg.dev/fhir/StructureDefinition/mapping-digest"
_AGENT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def provenance(
    targets: Sequence[JsonObject], state: State, sha256: str, mapping_digest: str, at_us: int
) -> JsonObject:
    """A Provenance over all resources of a message.

    ``recorded`` is MSH-7 when it tells an instant, else ``at_us`` (µs since the epoch).
    """
    facts = ("provenance", state.sender.name, sha256)
    return {
        "resourceType": "Provenance",
        "id": resource_id(state.id_key, "Provenance", state.sender.institution, facts),
        "extension": [{"url": _DIGEST, "valueString": mapping_digest}],
        "target": [{"reference": f"{resource['resourceType']}/{resource['id']}"} for resource in targets],
        "recorded": recorded(state, at_us),
        "agent": list(_agents(state)),
        "entity": [{"role": "source", "what": _source(state, sha256)}],
    }


def _agents(state: State) -> tuple[JsonObject, ...]:
    """Who said it and who put it together: for one sender the same objects every time, never changed."""
    found: tuple[JsonObject, ...] | None = state.shared.get("agents") if state.shared is not None else None
    if found is None:
        found = (
            {"type": _role("author"), "who": {"display": state.sender.name or "unnamed sender"}},
            {"type": _role("assembler"), "who": {"display": "Healthcare Data Gateway"}},
        )
        state.keep("agents", found)
    if state.values is not None:
        for agent in found:
            state.values.trust(agent)
    return found


def _role(code: str) -> JsonObject:
    return {"coding": [{"system": _AGENT, "code": code}]}


def _source(state: State, sha256: str) -> JsonObject:
    found: JsonObject = {
        "identifier": {"type": {"text": "SHA-256 of the message as received"}, "value": sha256}
    }
    if state.message.control_id.strip():
        found["display"] = f"HL7 v2 message {state.message.control_id.strip()}"
    return found


def recorded(state: State, at_us: int) -> str:
    """The instant that the message states for itself, else the time of receipt."""
    text = state.message.segments[0].field(7).partition("^")[0].strip()
    if text:
        try:
            return to_instant(text, state.zone)
        except Unfit:
            pass  # MSH-7 says less than an instant
    moment = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_us % 1_000_000:06}Z"
