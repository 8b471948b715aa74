"""The OpenAPI description behind ``/docs``, made from the same lists as the routes (OpenAPI 3.1).

Search parameters differ per type and stand in the CapabilityStatement, whose place the description names.
"""

from __future__ import annotations

from hdg import __version__
from hdg.fhir import definitions
from hdg.fhir.json import JsonObject
from hdg.usage.fhir_api.bodies import JSON_PATCH
from hdg.usage.fhir_api.formats import FHIR_XML
from hdg.usage.fhir_api.negotiation import FHIR_JSON
from hdg.usage.fhir_api.openapi_ingest import ingest_paths
from hdg.usage.fhir_api.query import FORM

_ID = {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"}
_FHIR = (FHIR_JSON, FHIR_XML)
_PATCHES = (JSON_PATCH, *_FHIR)
_PATCH = {"type": "object", "required": ["op", "path"]}
_MEDIA: dict[str, JsonObject] = {
    FHIR_JSON: {"schema": {"$ref": "#/components/schemas/Resource"}},
    FHIR_XML: {"schema": {"type": "string"}},
    JSON_PATCH: {"schema": {"type": "array", "items": _PATCH}},  # RFC 6902 §3
}
_ERRORS = {
    "400": "a parameter that is not understood",
    "401": "no valid token",
    "403": "not for this role",
    "404": "absent or hidden",
    "406": "a format other than JSON and XML",
    "503": "the audit trail cannot be written, so nothing is answered",
}


def openapi() -> JsonObject:
    """The description of every route; bodies under ``/fhir`` are FHIR JSON or FHIR XML."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Healthcare Data Gateway",
            "version": __version__,
            "description": "FHIR R4 (4.0.1). Search parameters of each type: GET /fhir/metadata.",
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Resource": {"type": "object", "required": ["resourceType"]}},
        },
        "security": [{"bearer": []}],
        "paths": {
            **_interactions(),
            **_subscriptions(),
            **_reports(),
            **_documents(),
            **_validation(),
            **_compartments(),
            **ingest_paths(),
            "/ledger/checkpoint": {"get": _plain("Signed checkpoint (C2SP tlog-checkpoint)", "text/plain")},
            "/ledger/proof": {"get": _proof()},
            "/healthz": {"get": _plain("The process answers", "text/plain")},
            "/readyz": {"get": _plain("The database answers and the ledger opens", "text/plain")},
        },
    }


def _interactions() -> JsonObject:
    """R4 http.html: the RESTful interactions."""
    return {
        "/fhir": {
            "get": _operation("Search over several types (_type)", _paged()),
            "post": _write("Batch or transaction; the Bundle's type says which"),
        },
        "/fhir/_search": {"post": _post_search()},
        "/fhir/_history": {"get": _operation("History of everything", [*_paged(), *_span()])},
        "/fhir/metadata": {"get": _operation("CapabilityStatement", is_public=True)},
        "/fhir/{type}": {
            "parameters": _path("type"),
            "get": _operation("Search", _paged()),
            "post": _write("Create (If-None-Exist: conditional create)"),
            "put": _placed("Conditional update; the query string is the condition"),
            "patch": _write("Conditional patch; the query string is the condition", takes=_PATCHES),
            "delete": _write("Conditional delete; the query string is the condition", takes=()),
        },
        "/fhir/{type}/_search": {"parameters": _path("type"), "post": _post_search()},
        "/fhir/{type}/{id}": {
            "parameters": _path("type", "id"),
            "get": _read("Read"),
            "put": _placed("Update, or create under an id of the client's (If-Match, If-None-Match: *)"),
            "patch": _write("JSON Patch or FHIRPath Patch (If-Match)", takes=_PATCHES),
            "delete": _write("Delete (If-Match)", takes=()),
        },
        "/fhir/{type}/{id}/_history": {
            "parameters": _path("type", "id"),
            "get": _operation("History of one resource", [*_paged(), *_span()]),
        },
        "/fhir/{type}/_history": {
            "parameters": _path("type"),
            "get": _operation("History of a type", [*_paged(), *_span()]),
        },
        "/fhir/{type}/{id}/_history/{version}": {
            "parameters": _path("type", "id", "version"),
            "get": _read("Read one version"),
        },
    }


def _compartments() -> JsonObject:
    """Search in a compartment."""
    return {
        "/fhir/{type}/{id}/{target}": {
            "parameters": _path("type", "id", "target"),
            "get": _operation(
                "Search in a compartment (R4 compartmentdefinition.html): a type, or * for all",
                _paged(),
            ),
        },
        "/fhir/{type}/{id}/{target}/_search": {
            "parameters": _path("type", "id", "target"),
            "post": _post_search(),
        },
    }


def _subscriptions() -> JsonObject:
    """The operations of Subscriptions."""
    return {
        "/fhir/Subscription/$status": {
            "get": _operation("Status of one's own Subscriptions", [_text("id"), _text("status")]),
            "post": _write("$status with a Parameters resource"),
        },
        "/fhir/Subscription/{id}/$status": {
            "parameters": _path("id"),
            "get": _operation("Status of one's own Subscription", [_text("status")]),
            "post": _write("$status with a Parameters resource"),
        },
        "/fhir/Subscription/{id}/$events": {
            "parameters": _path("id"),
            "get": _operation(
                "What one's own Subscription was told of",
                [_text("eventsSinceNumber"), _text("eventsUntilNumber"), _text("content")],
            ),
            "post": _write("$events with a Parameters resource"),
        },
        "/fhir/Subscription/{id}/$resend": {
            "parameters": _path("id"),
            "post": _write("Events that one's own Subscription was told of, again (eventsSinceNumber)"),
        },
        "/fhir/Subscription/$get-ws-binding-token": {
            "get": _operation("A token to bind a websocket with", [_text("id")]),
            "post": _write("$get-ws-binding-token with a Parameters resource"),
        },
        "/fhir/Subscription/{id}/$get-ws-binding-token": {
            "parameters": _path("id"),
            "get": _operation("A token to bind a websocket with"),
            "post": _write("$get-ws-binding-token with a Parameters resource"),
        },
    }


def _documents() -> JsonObject:
    """What makes documents."""
    return {
        "/fhir/{type}/{id}/$ccd": {
            "parameters": _path("type", "id"),
            "get": _ccd(),
        },
        "/fhir/{type}/$document": {
            "parameters": _path("type"),
            "get": _of_one(_operation("A Composition as a document", [_text("id"), _persist()])),
            "post": _of_one(_write("$document with a Parameters resource")),
        },
        "/fhir/{type}/{id}/$document": {
            "parameters": _path("type", "id"),
            "get": _of_one(_operation("A Composition and what it leads to, as one Bundle", [_persist()])),
            "post": _of_one(_write("$document with a Parameters resource")),
        },
    }


def _validation() -> JsonObject:
    """$validate and the operations of meta."""
    return {
        "/fhir/{type}/$validate": {
            "parameters": _path("type"),
            "post": _validate("Check a resource; nothing is stored", has_body=True),
        },
        "/fhir/{type}/{id}/$validate": {
            "parameters": _path("type", "id"),
            "get": _of_one(_validate("Check the stored resource")),
            "post": _of_one(_validate("Check a resource for this place, or the stored one", has_body=True)),
        },
        "/fhir/{type}/{id}/$meta": {
            "parameters": _path("type", "id"),
            "get": _of_one(_operation("The meta")),
        },
        "/fhir/{type}/{id}/$meta-add": {
            "parameters": _path("type", "id"),
            "post": _write("Adds profiles, tags and labels"),
        },
        "/fhir/{type}/{id}/$meta-delete": {
            "parameters": _path("type", "id"),
            "post": _write("Takes profiles, tags and labels away"),
        },
    }


def _reports() -> JsonObject:
    """Operations that answer with a patient's record or a part of it."""
    return {
        "/fhir/{type}/$lastn": {
            "parameters": _path("type"),
            "get": _operation("The newest Observations of each code", [_query("max", {"type": "integer"})]),
            "post": _write("$lastn with a Parameters resource"),
        },
        "/fhir/{type}/{id}/$everything": {
            "parameters": _path("type", "id"),
            "get": _of_one(
                _operation(
                    "All about a Patient or of an Encounter",
                    [*_paged(), *_since(), _text("start"), _text("end")],
                )
            ),
            "post": _of_one(_write("$everything with a Parameters resource")),
        },
        "/fhir/{type}/$stats": {
            "parameters": _path("type"),
            "get": _operation(
                "Statistics of one patient's results",
                [
                    _text(name)
                    for name in ("subject", "system", "code", "coding", "statistic", "start", "end")
                ],
            ),
            "post": _write("$stats with a Parameters resource"),
        },
    }


def _path(*names: str) -> list[JsonObject]:
    schemas: dict[str, JsonObject] = {
        "type": {"type": "string", "enum": sorted(definitions.resource_types())},
        "id": _ID,
        "target": {"type": "string", "enum": [*sorted(definitions.resource_types()), "*"]},
        "version": {"type": "string", "pattern": "^[1-9][0-9]*$"},
    }
    return [{"name": name, "in": "path", "required": True, "schema": schemas[name]} for name in names]


def _persist() -> JsonObject:
    return _query("persist", {"type": "boolean", "enum": [False]})


def _text(name: str) -> JsonObject:
    return _query(name, {"type": "string"})


def _paged() -> list[JsonObject]:
    return [_query("_count", {"type": "integer", "minimum": 0}), _query("_page", {"type": "string"})]


def _span() -> list[JsonObject]:
    return [_query("_since", {"type": "string"}), _query("_at", {"type": "string"})]


def _since() -> list[JsonObject]:
    return [_query("_since", {"type": "string"}), _query("_type", {"type": "string"})]


def _query(name: str, schema: JsonObject, *, is_required: bool = False) -> JsonObject:
    return {"name": name, "in": "query", "required": is_required, "schema": schema}


def _media(names: tuple[str, ...]) -> JsonObject:
    return {name: _MEDIA[name] for name in names}


def _operation(
    summary: str,
    parameters: list[JsonObject] | None = None,
    *,
    is_public: bool = False,
    gives: tuple[str, ...] = _FHIR,
) -> JsonObject:
    content = _media(gives)
    responses: JsonObject = {"200": {"description": "the answer", "content": content}}
    for status, text in _ERRORS.items():
        responses[status] = {"description": f"OperationOutcome: {text}", "content": content}
    operation: JsonObject = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if is_public:
        operation["security"] = []
    return operation


def _of_one(operation: JsonObject) -> JsonObject:
    """About a resource that the caller may know to be deleted."""
    operation["responses"]["410"] = {"description": "OperationOutcome: deleted"}
    return operation


def _read(summary: str) -> JsonObject:
    operation = _of_one(_operation(summary))
    operation["responses"]["304"] = {
        "description": "the caller holds it already (If-None-Match, If-Modified-Since)"
    }
    return operation


def _ccd() -> JsonObject:
    operation = _of_one(_operation("A Patient's record as a Continuity of Care Document"))
    content = {"application/hl7-cda+xml": {"schema": {"type": "string"}}}
    operation["responses"]["200"] = {"description": "C-CDA R2.1", "content": content}
    return operation


_WRITE_ERRORS = {
    "400": "a body or condition that cannot be read",
    "403": "not for this role, or not the own institution's",
    "409": "others keep changing the same resource",
    "412": "a condition does not hold, or finds several",
    "413": "the body is too long",
    "415": "a media type that is not taken here",
    "422": "not valid, or about a patient that is not known here",
}


def _write(summary: str, *, takes: tuple[str, ...] = _FHIR) -> JsonObject:
    operation = _operation(summary)
    for status, text in _WRITE_ERRORS.items():
        operation["responses"][status] = {"description": f"OperationOutcome: {text}"}
    operation["responses"]["201"] = {"description": "created"}
    operation["responses"]["204"] = {"description": "deleted"}
    if takes:
        operation["requestBody"] = {"required": True, "content": _media(takes)}
    return operation


def _placed(summary: str) -> JsonObject:
    """A write that would create where there is nothing."""
    operation = _write(summary)
    operation["responses"]["405"] = {
        "description": "OperationOutcome: not there, and no id of the caller's to choose"
    }
    return operation


def _validate(summary: str, *, has_body: bool = False) -> JsonObject:
    modes = {"type": "string", "enum": ["create", "update", "delete", "profile"]}
    asked = [_query("mode", modes), _query("profile", {"type": "string"})]
    if not has_body:
        return _operation(summary, asked)
    return {**_write(summary), "parameters": asked}


def _post_search() -> JsonObject:
    form = {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}
    operation = _operation("Search, parameters in the body")
    for status in ("413", "415"):
        operation["responses"][status] = {"description": f"OperationOutcome: {_WRITE_ERRORS[status]}"}
    return {**operation, "requestBody": {"content": {FORM: form}}}


def _plain(summary: str, media_type: str) -> JsonObject:
    answer = {"description": summary, "content": {media_type: {"schema": {"type": "string"}}}}
    return {"summary": summary, "security": [], "responses": {"200": answer}}


def _proof() -> JsonObject:
    parameters = [
        _query("type", {"type": "string"}, is_required=True),
        _query("id", _ID, is_required=True),
        _query("version", {"type": "string", "pattern": "^[1-9][0-9]*$"}),
    ]
    summary = "Inclusion proof of a resource version (RFC 6962 §2.1.1)"
    return _operation(summary, parameters, gives=(FHIR_JSON,))
