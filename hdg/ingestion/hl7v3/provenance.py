"""The Provenance of a registry message: who sent it and who keeps it. R4 provenance.html."""

from __future__ import annotations

from collections.abc import Sequence

from hdg.fhir.times import instant
from hdg.ingestion import provenance as shared
from hdg.ingestion.cda.state import State
from hdg.ingestion.hl7v3.message import Message
from hdg.mapping.context import JsonObject

__all__ = ["provenance"]


def provenance(
    targets: Sequence[JsonObject],
    state: State,
    message: Message,
    sha256: str,
    digest: str,
    stated: str | None,
    at_us: int,
    custodians: Sequence[JsonObject],
) -> JsonObject:
    """A Provenance over all resources of a message. ``at_us`` (µs since the epoch) where no instant is ``stated``."""
    return shared.provenance(
        targets,
        id_key=state.id_key,
        sender=state.sender,
        sha256=sha256,
        mapping_digest=digest,
        recorded=stated or instant(at_us),
        agents=[
            {"type": shared.role("author"), "who": {"display": state.sender.name}},
            *({"type": shared.role("custodian"), "who": who} for who in custodians),
            shared.ASSEMBLER,
        ],
        what="message",
        display=f"HL7 v3 message {message.control_id}" if message.control_id else "",
    )
