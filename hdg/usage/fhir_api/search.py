"""search by GET and by POST, paged by opaque links. R4 http.html#search, http.html#paging."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest, NotFound
from hdg.fhir import definitions
from hdg.usage.access import Caller
from hdg.usage.fhir_api import bundles, parameters
from hdg.usage.fhir_api.bodies import check_parameters
from hdg.usage.fhir_api.bundles import Link
from hdg.usage.fhir_api.context import Api, binding, caller_of, check_stored, query_of
from hdg.usage.fhir_api.errors import outcome_response
from hdg.usage.fhir_api.negotiation import check_accept, take_format
from hdg.usage.fhir_api.paging import PageToken
from hdg.usage.fhir_api.prefer import prefer
from hdg.usage.fhir_api.query import FORM, MAX_QUERY_BYTES, Pairs, describe, pairs
from hdg.usage.fhir_api.read import logical_id
from hdg.usage.fhir_api.responses import fhir_response
from hdg.usage.fhir_api.shaping import SHAPING, take_shape
from hdg.usage.unstored import UNSTORED


def routes(api: Api) -> list[Route]:
    """The routes of search: of a type, of several types, in a compartment."""

    async def search(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        return await _search(api, request, caller, Scope(resource_type, resource_type))

    async def search_all(request: Request) -> Response:
        caller = caller_of(api.gate, request)
        check_accept(request.headers.get("accept"))
        return await _search(api, request, caller, Scope(""))

    async def search_compartment(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        target = request.path_params["target"]
        if target != "*" and target not in definitions.resource_types():
            raise NotFound("no such type")
        if resource_type not in definitions.compartments():
            raise BadRequest("R4 gives this type no compartment", code="not-supported")
        if target != "*" and target not in _in_compartment(resource_type):
            raise BadRequest("resources of this type are in no such compartment", code="not-supported")
        compartment = f"{resource_type}/{logical_id(request)}"
        type_ = "" if target == "*" else target
        return await _search(api, request, caller, Scope(f"{compartment}/{target}", type_, compartment))

    compartment = "/fhir/{type}/{id}/{target}"
    return [
        Route("/fhir", search_all, methods=["GET"]),
        Route("/fhir/", search_all, methods=["GET"]),
        Route("/fhir/_search", search_all, methods=["POST"]),
        Route("/fhir/{type}", search, methods=["GET"]),
        Route("/fhir/{type}/_search", search, methods=["POST"]),
        Route(compartment, search_compartment, methods=["GET"]),
        Route(f"{compartment}/_search", search_compartment, methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a search is over. ``place``: the path below the base; ``type`` '': several types."""

    place: str
    type: str = ""
    compartment: str = ""


async def _given(request: Request) -> Pairs | Response:
    """The parameters of the URL and, of a POST, of the body."""
    if request.method != "POST":
        return query_of(request)
    content_type = request.headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if content_type != FORM:
        return outcome_response(415, "not-supported", f"_search takes {FORM}")
    check_parameters(request)
    body = await _body(request)
    if body is None:
        return outcome_response(413, "too-long", f"a search body holds at most {MAX_QUERY_BYTES} bytes")
    return query_of(request) + take_format(pairs(body))


async def _body(request: Request) -> bytes | None:
    """The request body, or None when it is longer than a search may be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_QUERY_BYTES:
            return None
    return bytes(body)


async def _search(api: Api, request: Request, caller: Caller, scope: Scope) -> Response:
    given = await _given(request)
    if isinstance(given, Response):
        return given
    route = f"search {scope.place}"
    token = page_token(api, given, caller, route)
    types, rest = _types(scope, list(token.pairs))
    shape, asked = take_shape(rest, types or (scope.type,))
    ignored: list[str] = []
    if prefer(request.headers.get("prefer")).is_lenient and not token.cursor:
        asked, ignored = _understood(api, scope, types, asked)
        kept = {id(pair) for pair in asked} | {id(pair) for pair in rest if pair[0] in SHAPING}
        dropped = [pair for pair in rest if id(pair) not in kept]
        token = PageToken(tuple(pair for pair in token.pairs if not any(pair is one for one in dropped)))
    query = parameters.parse(
        scope.type, asked, api.limits, token.cursor, types=types, compartment=scope.compartment
    )
    if shape.summary == "text" and query.includes:
        raise BadRequest("_summary=text goes with no _include and no _revinclude", code="not-supported")
    if shape.is_count:
        query = replace(query, count=0, with_total=True, total_max=None)
    page = await api.gate.search(caller, query, f"{scope.place}?{urlencode(token.pairs)}")
    url = f"{api.base_url}/{scope.place}".rstrip("/")
    links = link_urls(api, url, token, page.next_cursor, caller, route)
    notes = [f"{name} is not supported here and was ignored" for name in ignored]
    body = bundles.searchset(api.base_url, shape.page(page), links, notes)
    return fhir_response(body, method=request.method)


def _understood(api: Api, scope: Scope, types: tuple[str, ...], asked: Pairs) -> tuple[Pairs, list[str]]:
    """(what is understood, what the others are called), for clients that prefer an answer to an error.

    R4 search.html#lenient (Prefer: handling=lenient). A value that cannot be read stays an error.
    """
    kept: Pairs = []
    ignored: list[str] = []
    for pair in asked:
        try:
            parameters.parse(scope.type, [pair], api.limits, types=types)
        except BadRequest as error:
            if error.code != "not-supported":
                raise
            ignored.append(describe(pair[0]))
        else:
            kept.append(pair)
    return kept, ignored


def _types(scope: Scope, given: Pairs) -> tuple[tuple[str, ...], Pairs]:
    """The types of a search over several, by ``_type``; and what else is asked. Raises BadRequest."""
    if scope.type:
        return (), given
    named = [value for name, value in given if name == "_type"]
    rest = [pair for pair in given if pair[0] != "_type"]
    if len(named) > 1:
        raise BadRequest("parameter '_type' is given twice", code="value")
    known = definitions.resource_types() - UNSTORED
    every = _in_compartment(scope.compartment.partition("/")[0]) if scope.compartment else known
    types = tuple(dict.fromkeys(named[0].split(","))) if named else tuple(sorted(every - UNSTORED))
    check_stored(types)
    if not known.issuperset(types):
        raise BadRequest("parameter '_type': a type that R4 does not have", code="value")
    return types, rest


@cache
def _in_compartment(name: str) -> frozenset[str]:
    """The types that can be in a compartment."""
    types = definitions.resource_types()
    return frozenset(type_ for type_ in types if definitions.compartment_parameters(name, type_)) | {name}


def page_token(api: Api, given: Pairs, caller: Caller, route: str) -> PageToken:
    """What the request asks for: its own parameters, or those that a link of ours stands for."""
    tokens = [value for name, value in given if name == parameters.PAGE]
    if not tokens:
        return PageToken(tuple(given))
    if len(given) != 1:
        raise BadRequest("a page link takes no other parameter", code="value")
    return api.tokens.open(tokens[0], binding(caller, route))


def link_urls(
    api: Api, url: str, token: PageToken, next_cursor: str, caller: Caller, route: str
) -> list[Link]:
    """The links of a page, which hold nothing readable: to itself, and to the next one."""
    bound = binding(caller, route)

    def link(relation: str, target: PageToken) -> Link:
        if not target.pairs and not target.cursor:
            return relation, url
        return relation, f"{url}?{parameters.PAGE}={api.tokens.seal(target, bound)}"

    links = [link("self", token)]
    if next_cursor:
        links.append(link("next", PageToken(token.pairs, next_cursor)))
    return links
