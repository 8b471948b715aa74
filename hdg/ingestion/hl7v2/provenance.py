"""The Provenance of a message: who sent it, and the instant that it states for itself. R4 provenance.html."""

from __future__ import annotations

from collections.abc import Sequence

from hdg.errors import Issue
from hdg.fhir.times import instant
from hdg.ingestion import provenance as shared
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.times import doubt, to_instant
from hdg.mapping.context import JsonObject, Unfit


def provenance(
    targets: Sequence[JsonObject], state: State, sha256: str, mapping_digest: str, at_us: int
) -> JsonObject:
    """A Provenance over all resources of a message.

    ``recorded`` is MSH-7 when it tells an instant, else ``at_us`` (µs since the epoch).
    """
    control_id = state.message.control_id.strip()
    return shared.provenance(
        targets,
        id_key=state.id_key,
        sender=state.sender,
        sha256=sha256,
        mapping_digest=mapping_digest,
        recorded=recorded(state, at_us),
        agents=_agents(state),
        what="message",
        display=f"HL7 v2 message {control_id}" if control_id else "",
        identity=state.provenance_id,
    )


def _agents(state: State) -> tuple[JsonObject, ...]:
    """Who said it and who put it together: for one sender the same objects every time, never changed."""
    found: tuple[JsonObject, ...] | None = state.shared.get("agents") if state.shared is not None else None
    if found is None:
        author = {"type": shared.role("author"), "who": {"display": state.sender.name or "unnamed sender"}}
        found = (author, shared.ASSEMBLER)
        state.keep("agents", found)
    if state.values is not None:
        for agent in found:
            state.values.trust(agent)
    return found


def recorded(state: State, at_us: int) -> str:
    """The instant that the message states for itself, else the time of receipt."""
    text = state.message.segments[0].field(7).partition("^")[0].strip()
    if text:
        try:
            found = to_instant(text, state.zone)
        except Unfit:
            return instant(at_us)  # MSH-7 says less than an instant
        why = doubt(text, state.zone)
        if why:
            state.issues.append(Issue("warning", "value", "MSH-7", why))
        return found
    return instant(at_us)
