"""Patient/ID/$ccd: a patient's record as a Continuity of Care Document. An operation of this gateway; C-CDA R2.1.

The document holds what its reader may see, is made anew each time and is not stored.
"""

from __future__ import annotations

import uuid

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import NotFound
from hdg.fhir import json
from hdg.usage.access import Visible
from hdg.usage.ccd.document import MEDIA_TYPE, Making, document
from hdg.usage.fhir_api.bundles import instant
from hdg.usage.fhir_api.context import Api, caller_of, refuse_parameters
from hdg.usage.fhir_api.formats import without
from hdg.usage.fhir_api.query import pairs
from hdg.usage.fhir_api.read import logical_id
from hdg.usage.fhir_api.responses import fhir_response

__all__ = ["routes"]


def routes(api: Api) -> list[Route]:
    """The route of $ccd."""

    async def ccd(request: Request) -> Response:
        caller = caller_of(api.gate, request)
        if request.path_params["type"] != "Patient":
            raise NotFound("no such operation")
        refuse_parameters(pairs(without(request.scope["query_string"], "_format")))  # there is one format
        id_ = logical_id(request)
        found = await api.gate.record(caller, id_, f"Patient/{id_}/$ccd")
        making = Making(str(uuid.uuid4()), instant(api.gate.now_us()), api.gate.institution, api.base_url)
        body = await run_in_threadpool(_document, found.matches, making)
        return fhir_response(body, method=request.method, content_type=MEDIA_TYPE)

    return [Route("/fhir/{type}/{id}/$ccd", ccd, methods=["GET"])]


def _document(found: tuple[Visible, ...], making: Making) -> bytes:
    return document((json.loads(one.body) for one in found), making)
