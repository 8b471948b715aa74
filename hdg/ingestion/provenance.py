"""The Provenance of a conversion: which bytes, which tables, when, by whom. R4 provenance.html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hdg.fhir.ids import resource_id
from hdg.ingestion.sender import Sender
from hdg.mapping.context import JsonObject

__all__ = ["ASSEMBLER", "provenance", "provenance_facts", "provenance_id", "role"]

_DIGEST: Final = "https://hdg.dev/fhir/StructureDefinition/mapping-digest"
_AGENT: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def role(code: str) -> JsonObject:
    """The kind of an agent."""
    return {"coding": [{"system": _AGENT, "code": code}]}


ASSEMBLER: Final[JsonObject] = {"type": role("assembler"), "who": {"display": "Healthcare Data Gateway"}}
"""The gateway as an agent; never changed."""


def provenance_id(id_key: bytes, sender: Sender, sha256: str, *part: str) -> str:
    """The id of the Provenance of an input, by the digest of its bytes as received."""
    return resource_id(id_key, "Provenance", sender.institution, provenance_facts(sender, sha256, *part))


def provenance_facts(sender: Sender, sha256: str, *part: str) -> tuple[str, ...]:
    """What identifies the Provenance of an input."""
    return ("provenance", sender.name, sha256, *part)


def provenance(
    targets: Sequence[JsonObject],
    *,
    id_key: bytes,
    sender: Sender,
    sha256: str,
    mapping_digest: str,
    recorded: str,
    agents: Sequence[JsonObject],
    what: str,
    display: str = "",
    part: Sequence[str] = (),
    identity: str = "",
) -> JsonObject:
    """A Provenance over all resources of an input, or over a ``part`` that has agents of its own.

    ``recorded``: an instant; ``what`` was received ("message", "document"), and how it is called (``display``).
    ``identity``: its id, where that is known.
    """
    source: JsonObject = {
        "identifier": {"type": {"text": f"SHA-256 of the {what} as received"}, "value": sha256}
    }
    if display:
        source["display"] = display
    return {
        "resourceType": "Provenance",
        "id": identity or provenance_id(id_key, sender, sha256, *part),
        "extension": [{"url": _DIGEST, "valueString": mapping_digest}],
        "target": [{"reference": f"{resource['resourceType']}/{resource['id']}"} for resource in targets],
        "recorded": recorded,
        "agent": list(agents),
        "entity": [{"role": "source", "what": source}],
    }
