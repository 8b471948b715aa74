"""Operations that read: $everything, $lastn, $meta. R4 operations.html; each passes the gate like a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest, NotFound, ValidationFailed
from hdg.fhir import definitions, json
from hdg.fhir.validate import validate
from hdg.management.store.everything import Everything
from hdg.management.store.search import Sort
from hdg.management.store.values import date_range
from hdg.usage.access import Results
from hdg.usage.fhir_api import bundles, parameters
from hdg.usage.fhir_api.bodies import json_given, json_of
from hdg.usage.fhir_api.context import Api, check_stored, query_of, refuse_parameters
from hdg.usage.fhir_api.last import Last
from hdg.usage.fhir_api.query import FORBIDDEN, Pairs
from hdg.usage.fhir_api.read import logical_id
from hdg.usage.fhir_api.responses import fhir_response
from hdg.usage.fhir_api.search import link_urls, page_token
from hdg.usage.outcomes import Written
from hdg.usage.writing import Writing

JsonObject = dict[str, Any]

EVERYTHING = ("Encounter", "Patient")
"""The types that have $everything."""
_LASTN_PAGES, _LASTN_PAGE = 20, 500
_FIRST_US, _LAST_US = -(1 << 62), 1 << 62
_PRIMITIVES = (
    "valueString",
    "valueCode",
    "valueInstant",
    "valueDate",
    "valueInteger",
    "valueUri",
    "valueId",
    "valueBoolean",
)


def routes(api: Api) -> list[Route]:
    """The routes of the operations, by GET and by POST."""
    asked = _Operations(api)
    return [
        Route("/fhir/{type}/{id}/$meta-add", asked.change_meta, methods=["POST"]),
        Route("/fhir/{type}/{id}/$meta-delete", asked.change_meta, methods=["POST"]),
        Route("/fhir/{type}/{id}/$everything", asked.everything, methods=["GET", "POST"]),
        Route("/fhir/{type}/$lastn", asked.lastn, methods=["GET", "POST"]),
        Route("/fhir/{type}/{id}/$meta", asked.meta, methods=["GET"]),
    ]


class _Operations:
    """What answers each of them."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def everything(self, request: Request) -> Response:
        """All that is about a patient or a visit."""
        api = self._api
        caller, resource_type = api.enter(request)
        if resource_type not in EVERYTHING:
            raise NotFound("no such operation")
        place = f"{resource_type}/{logical_id(request)}/$everything"
        token = page_token(api, await parameters_given(request), caller, place)
        asked = _everything(api, resource_type, logical_id(request), list(token.pairs), token.cursor)
        page = await api.gate.everything(caller, asked, f"{place}?{urlencode(token.pairs)}")
        links = link_urls(api, f"{api.base_url}/{place}", token, page.next_cursor, caller, place)
        return fhir_response(bundles.searchset(api.base_url, page, links), method=request.method)

    async def lastn(self, request: Request) -> Response:
        """The last Observations of each code."""
        api = self._api
        caller, resource_type = api.enter(request)
        if resource_type != "Observation":
            raise NotFound("no such operation")
        place = "Observation/$lastn"
        token = page_token(api, await parameters_given(request), caller, place)
        given = list(token.pairs)
        most = _most([value for name, value in given if name == "max"])
        asked = [pair for pair in given if pair[0] != "max"]
        names = {name.partition(":")[0].partition(".")[0] for name, _ in asked}
        if not names & {"patient", "subject"} or not names & {"category", "code"}:
            raise BadRequest("$lastn needs a patient or subject and a category or code", code="required")
        page = Results((), None, "")
        last = Last(most)
        for _ in range(_LASTN_PAGES):
            query = parameters.parse("Observation", asked, api.limits, page.next_cursor, count=_LASTN_PAGE)
            query = parameters.sorted_by(query, (Sort("date", "date", is_descending=True),))
            page = await api.gate.search(caller, query, f"{place}?{urlencode(given)}")
            for match in page.matches:
                last.take(match)
            if not page.next_cursor:
                break
        else:
            raise BadRequest("$lastn would have to look at too many results; ask for less", code="too-costly")
        kept = last.kept()
        found = Results(kept, len(kept), "")
        links = link_urls(api, f"{api.base_url}/{place}", token, "", caller, place)
        return fhir_response(bundles.searchset(api.base_url, found, links), method=request.method)

    async def meta(self, request: Request) -> Response:
        """The Meta of a resource."""
        api = self._api
        caller, resource_type = api.enter(request)
        refuse_parameters(query_of(request))
        visible = await api.gate.read(caller, resource_type, logical_id(request))
        return fhir_response(_returned(json.loads(visible.body)["meta"]), method=request.method)

    async def change_meta(self, request: Request) -> Response:
        """Adds to the Meta of a resource, or takes from it."""
        api = self._api
        caller, resource_type = api.enter(request)
        refuse_parameters(query_of(request))
        id_ = logical_id(request)
        is_adding = request.url.path.endswith("$meta-add")
        given = _meta_of(await json_of(request, 65_536))

        def work(writing: Writing) -> Written:
            place = writing.find(resource_type, id_)
            if place is None:
                raise NotFound("nothing is here")
            content = writing.content(place)
            content["meta"] = changed_meta(content.get("meta", {}), given, is_adding=is_adding)
            if not content["meta"]:
                del content["meta"]
            return writing.put(writing.draft(content, id_), place)

        place = f"{resource_type}/{id_}"
        written = await api.gate.write(caller, "update", place, {resource_type}, work)
        return fhir_response(_returned(json.loads(written.body)["meta"]))


def _returned(meta: JsonObject) -> bytes:
    return json.dumps({"resourceType": "Parameters", "parameter": [{"name": "return", "valueMeta": meta}]})


def _meta_of(body: Any) -> JsonObject:
    """The Meta that $meta-add and $meta-delete are given. Raises BadRequest, ValidationFailed."""
    parts = body.get("parameter") if isinstance(body, dict) else None
    metas = [
        part.get("valueMeta")
        for part in (parts if isinstance(parts, list) else ())
        if isinstance(part, dict) and part.get("name") == "meta"
    ]
    if len(metas) != 1 or not isinstance(metas[0], dict):
        raise BadRequest("a Parameters resource with one parameter 'meta' is needed", code="required")
    issues = validate(body)
    if issues:
        raise ValidationFailed(issues)
    return metas[0]


def changed_meta(meta: JsonObject, given: JsonObject, *, is_adding: bool) -> JsonObject:
    """``meta`` with the profiles, tags and labels of ``given``, or without them.

    R4 resource-operation-meta-add.html: tags and labels are told apart by system and code.
    """
    made = dict(meta)
    for name in ("profile", "tag", "security"):
        named = {_key(item): item for item in given.get(name, ())}
        kept = [item for item in meta.get(name, ()) if is_adding or _key(item) not in named]
        if is_adding:
            there = {_key(item) for item in kept}
            kept += [item for key, item in named.items() if key not in there]
        made.pop(name, None)
        if kept:
            made[name] = kept
    return made


def _key(item: Any) -> Any:
    return (item.get("system"), item.get("code")) if isinstance(item, dict) else item


async def parameters_given(request: Request) -> Pairs:
    """The parameters of an operation: of the URL, and of the Parameters resource that a POST brings."""
    found = query_of(request)
    body = await json_given(request, 65_536) if request.method == "POST" else None
    if body is None:
        return found
    if not isinstance(body, dict) or body.get("resourceType") != "Parameters":
        raise BadRequest("an operation takes a Parameters resource", code="structure")
    parts = body.get("parameter", [])
    if not isinstance(parts, list):
        raise BadRequest("parameter is a list", code="structure", place="Parameters.parameter")
    return found + [_simple(part) for part in parts]


def _simple(part: Any) -> tuple[str, str]:
    """Name and value of a parameter. Raises BadRequest unless it has a name and a simple value, as text."""
    name = part.get("name") if isinstance(part, dict) else None
    value = next((part[key] for key in _PRIMITIVES if key in part), None) if name else None
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif type(value) is int:
        value = str(value)
    if not isinstance(name, str) or not isinstance(value, str):
        raise BadRequest("a parameter has a name and a simple value", code="structure")
    if FORBIDDEN.search(name) or FORBIDDEN.search(value):
        raise BadRequest("a control character in a parameter", code="value")
    return name, value


def _everything(api: Api, type_: str, id_: str, given: Pairs, cursor: str) -> Everything:
    named: dict[str, str] = {}
    for name, value in given:
        if name not in ("_since", "_type", "_count") and (name not in ("start", "end") or type_ != "Patient"):
            text = "$everything takes _since, _type and _count; of a Patient also start and end"
            raise BadRequest(text, code="not-supported")
        if name == "_type" and name in named:
            named[name] += f",{value}"
        elif name in named:
            raise BadRequest(f"parameter '{name}' is given twice", code="value")
        else:
            named[name] = value
    types = tuple(dict.fromkeys(named["_type"].split(","))) if "_type" in named else ()
    check_stored(types)
    if not definitions.resource_types().issuperset(types):
        raise BadRequest("parameter '_type': a type that R4 does not have", code="value")
    since = _times(named, "_since", (0, 0))
    start, end = _times(named, "start", (_FIRST_US, 0)), _times(named, "end", (0, _LAST_US))
    cared = (start[0], end[1]) if "start" in named or "end" in named else None
    count = named.get("_count", str(api.limits.page_default))
    if not count.isdecimal() or len(count) > 9 or not int(count):
        raise BadRequest("parameter '_count': not a number of entries", code="value")
    return Everything(type_, id_, types, since[0], cared, min(int(count), api.limits.page_max), cursor)


def _times(named: Mapping[str, str], name: str, other: tuple[int, int]) -> tuple[int, int]:
    """The first and the last µs of a time that is given, else ``other``. Raises BadRequest."""
    if name not in named:
        return other
    found = date_range(named[name].replace(" ", "+"))
    if found is None:
        raise BadRequest(f"parameter '{name}': not a time", code="value")
    return found


def _most(given: list[str]) -> int:
    """``max``: how many of each group, 1 if nothing is said."""
    if len(given) > 1 or not all(text.isdecimal() and 0 < int(text) < 1000 for text in given):
        raise BadRequest("parameter 'max': a number from 1 to 999", code="value")
    return int(given[0]) if given else 1
