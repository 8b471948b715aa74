"""history of a resource, of a type and of the whole server, paged by opaque links. R4 http.html#history."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest
from hdg.management.store.values import date_range
from hdg.management.store.versions import Span
from hdg.usage.access import Caller, Results
from hdg.usage.fhir_api import bundles
from hdg.usage.fhir_api.context import Api, caller_of, check_stored, query_of
from hdg.usage.fhir_api.negotiation import check_accept
from hdg.usage.fhir_api.paging import PageToken
from hdg.usage.fhir_api.query import Pairs, describe
from hdg.usage.fhir_api.read import logical_id
from hdg.usage.fhir_api.responses import fhir_response
from hdg.usage.fhir_api.results import page_size
from hdg.usage.fhir_api.search import link_urls, page_token
from hdg.usage.fhir_api.shaping import take_shape

_TAKEN = frozenset({"_count", "_since", "_at"})


def routes(api: Api) -> list[Route]:
    """The routes of history; they stand before those of read, whose paths are alike."""

    async def of_one(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        check_stored((resource_type,))
        id_ = logical_id(request)
        place = f"{resource_type}/{id_}/_history"
        token = page_token(api, query_of(request), caller, place)
        shape, given = take_shape(list(token.pairs), (resource_type,))
        count, span = _asked(api, given)
        page = await api.gate.history(caller, resource_type, id_, count, token.cursor, span)
        return _answer(api, request, caller, place, token, shape.page(page))

    async def of_type(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        check_stored((resource_type,))
        return await _changes(api, request, caller, resource_type, f"{resource_type}/_history")

    async def of_all(request: Request) -> Response:
        caller = caller_of(api.gate, request)
        check_accept(request.headers.get("accept"))
        return await _changes(api, request, caller, "", "_history")

    return [
        Route("/fhir/_history", of_all, methods=["GET"]),
        Route("/fhir/{type}/_history", of_type, methods=["GET"]),
        Route("/fhir/{type}/{id}/_history", of_one, methods=["GET"]),
    ]


async def _changes(api: Api, request: Request, caller: Caller, type_: str, place: str) -> Response:
    token = page_token(api, query_of(request), caller, place)
    shape, given = take_shape(list(token.pairs), (type_,) if type_ else ())
    count, span = _asked(api, given)
    asked = f"{place}?{urlencode(token.pairs)}"
    page = await api.gate.changes(caller, type_, count, token.cursor, span, asked)
    return _answer(api, request, caller, place, token, shape.page(page))


def _answer(
    api: Api, request: Request, caller: Caller, place: str, token: PageToken, page: Results
) -> Response:
    links = link_urls(api, f"{api.base_url}/{place}", token, page.next_cursor, caller, place)
    body = bundles.history(api.base_url, page.matches, page.total, links)
    return fhir_response(body, method=request.method)


def _asked(api: Api, given: Pairs) -> tuple[int, Span]:
    """(entries of a page, which versions). Raises BadRequest."""
    named: dict[str, str] = {}
    for name, value in given:
        if name not in _TAKEN:
            raise BadRequest(f"{describe(name)} is not supported here", code="not-supported")
        if name in named:
            raise BadRequest(f"{describe(name)} is given twice", code="value")
        named[name] = value
    count = page_size(named["_count"], api.limits.page_max) if "_count" in named else api.limits.page_default
    times = {name: _time(name, named[name]) for name in ("_since", "_at") if name in named}
    return count, Span(times.get("_since", (0, 0))[0], times.get("_at"))


def _time(name: str, text: str) -> tuple[int, int]:
    """First and last microsecond of a time. A ``+`` that a URL turned into a space is one again."""
    found = date_range(text.replace(" ", "+"))
    if found is None:
        raise BadRequest(f"{describe(name)}: not a time", code="value")
    return found
