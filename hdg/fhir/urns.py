"""UUIDs and OIDs as URNs: one spelling of each, whoever writes it.

RFC 9562 §4: a UUID is read in either letter case and written in lower case, as R4 datatypes.html#uri wants it.
HL7 v3 asked for upper case and leaves it open now
(https://build.fhir.org/ig/HL7/CDA-core-sd/StructureDefinition-uuid.html), so senders write both. ``urn:uuid:`` and
``urn:oid:`` have no case either (RFC 8141 §3.1). What stands beside a UUID, such as an extension, is told apart by its
case.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["UUID_LENGTH", "plain_uuid", "spellings", "urn_of_uuid", "with_one_case"]

UUID_LENGTH: Final = 36
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_URN: Final = re.compile(
    r"urn:(?:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|oid:[0-9.]+)", re.I | re.ASCII
)


def plain_uuid(text: str) -> str | None:
    """A UUID in lower case, without the braces that some put around it; None for anything else."""
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    return inner.lower() if len(inner) == UUID_LENGTH and _UUID.fullmatch(inner) else None


def urn_of_uuid(text: str) -> str | None:
    """``urn:uuid:…`` of a UUID in any letter case, with or without braces; None for anything else."""
    found = plain_uuid(text)
    return None if found is None else f"urn:uuid:{found}"


def with_one_case(uri: str) -> str:
    """A URI as it is; ``urn:uuid:…`` and ``urn:oid:…`` in lower case."""
    return uri.lower() if uri[:4].lower() == "urn:" and _URN.fullmatch(uri) else uri


def spellings(text: str) -> tuple[str, ...]:
    """As it is written, and a UUID also in lower and in upper case: what people declare is looked up by each."""
    found = plain_uuid(text)
    return (text,) if found is None else tuple(dict.fromkeys((text, found, found.upper())))
