"""The document as it was received, for those who want to read it themselves: DocumentReference and Binary.

R4 documentreference.html; C-CDA on FHIR keeps the original beside what was made of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

from hdg.fhir.ids import resource_id
from hdg.mapping.context import JsonObject

__all__ = ["original", "reference_id", "replaced"]

_RELATIONS: Final = frozenset({"replaces", "appends", "transforms"})
"""Of a Composition's relatesTo, those that a DocumentReference has too."""


def reference_id(id_key: bytes, institution: str, identifier: JsonObject) -> str:
    """The id of the DocumentReference of a document with that identifier."""
    facts = ("cda-document", identifier.get("system", ""), identifier.get("value", ""))
    return resource_id(id_key, "DocumentReference", institution, facts)


def replaced(composition: JsonObject) -> list[JsonObject]:
    """Identifiers of the documents in whose place this one stands; a document cannot stand in its own."""
    own = composition.get("identifier")
    return [
        one["targetIdentifier"]
        for one in composition.get("relatesTo", ())
        if one.get("code") == "replaces" and one.get("targetIdentifier", own) != own
    ]


def original(
    data: bytes, composition: JsonObject, *, id_key: bytes, institution: str, recorded: str
) -> Sequence[JsonObject]:
    """A DocumentReference, and the Binary that it leads to. ``recorded``: an instant."""
    sha256 = hashlib.sha256(data).hexdigest()
    binary = {
        "resourceType": "Binary",
        "id": resource_id(id_key, "Binary", institution, ("cda-original", sha256)),
        "contentType": "text/xml",
        "data": base64.b64encode(data).decode("ascii"),
    }
    identifier = composition.get("identifier") or {"system": "urn:hdg:sha256", "value": sha256}
    attachment: JsonObject = {
        "contentType": "text/xml",
        "url": f"Binary/{binary['id']}",
        "size": len(data),
        "hash": base64.b64encode(hashlib.sha1(data).digest()).decode("ascii"),  # noqa: S324  # R4 wants SHA-1
    }
    if "title" in composition:
        attachment["title"] = composition["title"]
    found: JsonObject = {
        "resourceType": "DocumentReference",
        "id": reference_id(id_key, institution, identifier),
        "masterIdentifier": identifier,
        "status": "current",
        "date": recorded,
        "content": [{"attachment": attachment}],
    }
    for name in ("type", "subject", "author", "custodian"):
        if name in composition and "extension" not in composition[name]:
            found[name] = composition[name]
    relations = [
        {"code": one["code"], "target": {"identifier": one["targetIdentifier"]}}
        for one in composition.get("relatesTo", ())
        if one.get("code") in _RELATIONS and "targetIdentifier" in one
    ]
    if relations:
        found["relatesTo"] = relations
    return found, binary
