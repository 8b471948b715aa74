"""$document: a Composition and what it leads to, as one Bundle. R4 composition-operation-document.html, documents.html.

The document is made anew each time and not stored. It holds what its reader may see: a reference to what is hidden
leads nowhere, like one to what is absent.
"""

from __future__ import annotations

import uuid

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest, NotFound
from hdg.usage.fhir_api.bundles import instant
from hdg.usage.fhir_api.context import Api
from hdg.usage.fhir_api.operations import parameters_given
from hdg.usage.fhir_api.query import Pairs, describe
from hdg.usage.fhir_api.read import ID, logical_id
from hdg.usage.fhir_api.responses import fhir_response

__all__ = ["routes"]


def routes(api: Api) -> list[Route]:
    """The routes of $document, by GET and by POST."""

    async def document(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        if resource_type != "Composition":
            raise NotFound("no such operation")
        given = await parameters_given(request)
        id_ = _asked(api, given, logical_id(request) if "id" in request.path_params else "")
        found = await api.gate.document(caller, id_, f"Composition/{id_}/$document")
        body = orjson.dumps(
            {
                "resourceType": "Bundle",
                "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{uuid.uuid4()}"},
                "type": "document",
                "timestamp": instant(api.gate.now_us()),
                "entry": [
                    {
                        "fullUrl": f"{api.base_url}/{one.type}/{one.id}",
                        "resource": orjson.Fragment(one.body),
                    }
                    for one in found.matches
                ],
            }
        )
        return fhir_response(body, method=request.method)

    methods = ["GET", "POST"]
    return [
        Route("/fhir/{type}/$document", document, methods=methods),
        Route("/fhir/{type}/{id}/$document", document, methods=methods),
    ]


def _asked(api: Api, given: Pairs, id_: str) -> str:
    """The id of the Composition. Raises BadRequest."""
    for name, value in given:
        if name == "persist" and value == "false":
            continue
        if name == "persist":
            text = "a document is not stored here (persist=false); send it as a Bundle to have it stored"
            raise BadRequest(text, code="not-supported")
        if name != "id" or id_:
            raise BadRequest(f"{describe(name)} is not supported here", code="not-supported")
        id_ = value.removeprefix(f"{api.base_url}/").removeprefix("Composition/")
        if not ID.match(id_):
            raise BadRequest("parameter 'id': an id of a Composition of this server", code="value")
    if not id_:
        raise BadRequest("parameter 'id' is needed", code="required")
    return id_
