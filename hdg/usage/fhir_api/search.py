"""search by GET and by POST, and instance history; both paged by opaque links.

R4 http.html#search, http.html#history, http.html#paging.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest
from hdg.usage.access import Caller
from hdg.usage.fhir_api import bundles, parameters
from hdg.usage.fhir_api.bundles import Link
from hdg.usage.fhir_api.context import Api, binding, query_of, refuse_parameters
from hdg.usage.fhir_api.errors import outcome_response
from hdg.usage.fhir_api.negotiation import take_format
from hdg.usage.fhir_api.paging import PageToken
from hdg.usage.fhir_api.query import FORM, MAX_QUERY_BYTES, Pairs, pairs
from hdg.usage.fhir_api.read import logical_id
from hdg.usage.fhir_api.responses import fhir_response


def routes(api: Api) -> list[Route]:
    """The routes of search (GET, HEAD, POST _search) and instance history."""

    async def search_by_get(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        return await _search(api, request, caller, resource_type, query_of(request))

    async def search_by_post(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        content_type = request.headers.get("content-type", FORM).partition(";")[0].strip().lower()
        if content_type != FORM:
            return outcome_response(415, "not-supported", f"_search takes {FORM}")
        body = await _body(request)
        if body is None:
            return outcome_response(413, "too-long", f"a search body holds at most {MAX_QUERY_BYTES} bytes")
        given = query_of(request) + take_format(pairs(body))
        return await _search(api, request, caller, resource_type, given)

    async def history(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        return await _history(api, request, caller, resource_type)

    return [
        Route("/fhir/{type}", search_by_get, methods=["GET"]),
        Route("/fhir/{type}/_search", search_by_post, methods=["POST"]),
        Route("/fhir/{type}/{id}/_history", history, methods=["GET"]),
    ]


async def _body(request: Request) -> bytes | None:
    """The request body, or None when it is longer than a search may be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_QUERY_BYTES:
            return None
    return bytes(body)


async def _search(api: Api, request: Request, caller: Caller, resource_type: str, given: Pairs) -> Response:
    route = f"search {resource_type}"
    token = _token(api, given, caller, route)
    query = parameters.parse(resource_type, list(token.pairs), api.limits, token.cursor)
    page = await api.gate.search(caller, query, f"{resource_type}?{urlencode(token.pairs)}")
    links = _links(api, f"{api.base_url}/{resource_type}", token, page.next_cursor, caller, route)
    body = bundles.searchset(api.base_url, page.matches, page.total, links)
    return fhir_response(body, method=request.method)


async def _history(api: Api, request: Request, caller: Caller, resource_type: str) -> Response:
    resource_id = logical_id(request)
    place = f"{resource_type}/{resource_id}/_history"
    token = _token(api, query_of(request), caller, place)
    refuse_parameters([pair for pair in token.pairs if pair[0] != "_count"])
    count = parameters.parse(resource_type, list(token.pairs), api.limits).count
    page = await api.gate.history(caller, resource_type, resource_id, count, token.cursor)
    links = _links(api, f"{api.base_url}/{place}", token, page.next_cursor, caller, place)
    body = bundles.history(api.base_url, page.matches, page.total, links)
    return fhir_response(body, method=request.method)


def _token(api: Api, given: Pairs, caller: Caller, route: str) -> PageToken:
    """What the request asks for: its own parameters, or those that a link of ours stands for."""
    tokens = [value for name, value in given if name == parameters.PAGE]
    if not tokens:
        return PageToken(tuple(given))
    if len(given) != 1:
        raise BadRequest("a page link takes no other parameter", code="value")
    return api.tokens.open(tokens[0], binding(caller, route))


def _links(api: Api, url: str, token: PageToken, next_cursor: str, caller: Caller, route: str) -> list[Link]:
    bound = binding(caller, route)

    def link(relation: str, target: PageToken) -> Link:
        if not target.pairs and not target.cursor:
            return relation, url
        return relation, f"{url}?{parameters.PAGE}={api.tokens.seal(target, bound)}"

    links = [link("self", token)]
    if next_cursor:
        links.append(link("next", PageToken(token.pairs, next_cursor)))
    return links
