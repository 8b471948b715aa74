"""read and vread. R4 http.html#read, http.html#vread, http.html#cread."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest, NotFound
from hdg.usage.fhir_api.binaries import content_response, wants_content
from hdg.usage.fhir_api.context import Api, query_of, refuse_parameters
from hdg.usage.fhir_api.responses import resource_response
from hdg.usage.fhir_api.shaping import Shape, take_shape

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
VERSION = re.compile(r"[1-9][0-9]{0,8}\Z")


def routes(api: Api) -> list[Route]:
    """The routes of read and vread, GET and HEAD."""

    async def read(request: Request) -> Response:
        caller, resource_type = api.enter(request, has_own_form=True)
        shape = _shape(request, resource_type)
        visible = await api.gate.read(caller, resource_type, logical_id(request))
        if wants_content(request, resource_type):
            return content_response(visible, request)
        return resource_response(shape.of(visible), request.headers, request.method)

    async def vread(request: Request) -> Response:
        caller, resource_type = api.enter(request, has_own_form=True)
        shape = _shape(request, resource_type)
        version = request.path_params["version"]
        if not VERSION.match(version):
            raise NotFound("no such version")
        visible = await api.gate.vread(caller, resource_type, logical_id(request), int(version))
        if wants_content(request, resource_type):
            return content_response(visible, request)
        return resource_response(shape.of(visible), request.headers, request.method)

    return [
        Route("/fhir/{type}/{id}", read, methods=["GET"]),
        Route("/fhir/{type}/{id}/_history/{version}", vread, methods=["GET"]),
    ]


def _shape(request: Request, resource_type: str) -> Shape:
    """The parameters of a read. Raises BadRequest."""
    shape, rest = take_shape(query_of(request), (resource_type,))
    refuse_parameters(rest)
    if shape.is_count:
        raise BadRequest("parameter '_summary': a read has nothing to count", code="not-supported")
    return shape


def logical_id(request: Request) -> str:
    """The path's id. Raises NotFound for what no id can look like (R4 datatypes.html#id)."""
    text: str = request.path_params["id"]
    if not ID.match(text):
        raise NotFound("no such id")
    return text
