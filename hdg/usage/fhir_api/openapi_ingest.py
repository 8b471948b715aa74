"""The part of the OpenAPI description that is about taking data in: ``/ingest/…`` and STOW-RS (OpenAPI 3.1).

The routes lie above this layer (hdg/ingest_api.py, device_api.py, imaging_api.py); a test holds what stands here to
what they take and answer.
"""

from __future__ import annotations

from hdg.fhir.json import JsonObject
from hdg.usage.fhir_api.negotiation import FHIR_JSON

__all__ = ["ingest_paths"]

ER7 = "x-application/hl7-v2+er7"
DICOM_JSON = "application/dicom+json"
DICOM = 'multipart/related; type="application/dicom"'
V2_TYPES = (ER7, "application/hl7-v2+er7", "application/hl7-v2", "text/plain")
CDA_TYPES = ("application/hl7-cda+xml", "application/hl7-sda+xml", "application/xml", "text/xml")
SOAP = "application/soap+xml"
DEVICE_TYPES = (
    "application/xml",
    "text/xml",
    "application/zip",
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "application/octet-stream",
)
_BINARY = frozenset({"application/zip", "application/octet-stream"})
_OUTCOME: JsonObject = {FHIR_JSON: {"schema": {"$ref": "#/components/schemas/Resource"}}}
_TEXT: JsonObject = {"schema": {"type": "string"}}
_BYTES: JsonObject = {"schema": {"type": "string", "format": "binary"}}
_UID: JsonObject = {"type": "string", "pattern": r"^[0-9.]{1,64}$"}
_REFUSED = {
    "400": "an empty body, or a request that is not understood",
    "401": "no valid token",
    "403": "not for this role",
    "413": "the body is too long",
    "415": "a media type or content encoding that is not taken here",
}
_AGAIN = "nothing, or not all, could be kept: send it again (Retry-After)"


def ingest_paths() -> JsonObject:
    """The path items, by path."""
    return {
        "/ingest/hl7v2": {"post": _hl7v2()},
        "/ingest/cda": {"post": _kept("One CDA document: to FHIR, stored, then answered", CDA_TYPES)},
        "/ingest/hl7v3": {"post": _hl7v3()},
        "/ingest/device": {"post": _device()},
        "/dicomweb/studies": {"post": _stow("Store DICOM objects (STOW-RS)")},
        "/dicomweb/studies/{study}": {
            "parameters": [{"name": "study", "in": "path", "required": True, "schema": _UID}],
            "post": _stow("Store DICOM objects of one study (STOW-RS)"),
        },
    }


def _body(types: tuple[str, ...]) -> JsonObject:
    return {"required": True, "content": {kind: _BYTES if kind in _BINARY else _TEXT for kind in types}}


def _kept(summary: str, types: tuple[str, ...]) -> JsonObject:
    """An operation that answers with an OperationOutcome after the commit."""
    responses: JsonObject = {
        "200": {
            "description": "committed; the OperationOutcome says what was not understood",
            "content": _OUTCOME,
        },
        "422": {
            "description": "refused, and kept in quarantine with the reason of the OperationOutcome",
            "content": _OUTCOME,
        },
        "503": {"description": f"OperationOutcome: {_AGAIN}", "content": _OUTCOME},
    }
    for status, text in _REFUSED.items():
        responses[status] = {"description": f"OperationOutcome: {text}", "content": _OUTCOME}
    return {"summary": summary, "requestBody": _body(types), "responses": responses}


def _hl7v2() -> JsonObject:
    operation = _kept("One HL7 v2 message or a batch: to FHIR, stored, then acknowledged", V2_TYPES)
    both = {ER7: _TEXT, **_OUTCOME}
    operation["responses"] |= {
        "200": {
            "description": "all committed: the acknowledgements, or an OperationOutcome where Accept prefers it; "
            "for a query (QBP), its response",
            "content": both,
        },
        "204": {"description": "all committed, and MSH-15 and MSH-16 asked for no acknowledgement"},
        "422": {
            "description": "some were refused; each is kept in quarantine with the reason",
            "content": both,
        },
        "503": {"description": f"acknowledgements or OperationOutcome: {_AGAIN}", "content": both},
        "406": {
            "description": "OperationOutcome: neither HL7 v2 nor FHIR JSON is accepted, or not HL7 v2 for a query",
            "content": _OUTCOME,
        },
    }
    return operation


def _hl7v3() -> JsonObject:
    operation = _kept(
        "One HL7 v3 message, also in a SOAP envelope: to FHIR, stored, then answered", (*CDA_TYPES, SOAP)
    )
    both = dict.fromkeys(("application/xml", SOAP), _TEXT) | _OUTCOME
    operation["responses"] |= {
        "200": {
            "description": "committed: MCCI_IN000002UV01 where Accept prefers XML, else OperationOutcome",
            "content": both,
        },
        "204": {"description": "committed, and the message asked for no acknowledgement"},
        "422": {"description": "refused, and kept in quarantine with the reason", "content": both},
        "406": {
            "description": "OperationOutcome: neither XML nor FHIR JSON is accepted",
            "content": _OUTCOME,
        },
    }
    return operation


def _device() -> JsonObject:
    operation = _kept(
        "Data of personal devices: Apple Health (XML, ZIP), Open mHealth, Health Connect, a gateway's envelope, CSV",
        DEVICE_TYPES,
    )
    schema = {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"}
    operation["parameters"] = [{"name": "patient", "in": "query", "required": False, "schema": schema}]
    return operation


def _stow(summary: str) -> JsonObject:
    told = {DICOM_JSON: {"schema": {"type": "object"}}}
    responses: JsonObject = {
        "200": {"description": "all are stored (or were)", "content": told},
        "202": {"description": "some are not stored; the answer names them and why", "content": told},
        "409": {"description": "none is stored", "content": told},
        "408": {"description": "OperationOutcome: the body came too slowly", "content": _OUTCOME},
        "503": {
            "description": "no room at the moment: send them again (Retry-After)",
            "content": {**told, **_OUTCOME},
        },
    }
    for status in ("401", "403", "415"):
        responses[status] = {"description": f"OperationOutcome: {_REFUSED[status]}", "content": _OUTCOME}
    text = "a multipart body that is damaged, or has no part"
    responses["400"] = {"description": text, "content": {**told, **_OUTCOME}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {DICOM: _BYTES}},
        "responses": responses,
    }
