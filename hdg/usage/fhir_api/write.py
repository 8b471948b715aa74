"""create, update, patch, delete, and their conditional forms.

R4 http.html#create, #update, #patch, #delete, #ops (Prefer). What they do is in changes.py; here is HTTP.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest, Issue
from hdg.fhir import json
from hdg.fhir.outcome import operation_outcome
from hdg.usage.access import Caller
from hdg.usage.committing import Finding
from hdg.usage.fhir_api import changes
from hdg.usage.fhir_api.binaries import posted_content
from hdg.usage.fhir_api.bodies import JSON_PATCH, LONG_BYTES, json_of, media_type, resource_of
from hdg.usage.fhir_api.changes import Change, Patch, new_id
from hdg.usage.fhir_api.conditions import condition, exist_condition, if_match, is_only_new
from hdg.usage.fhir_api.context import Api, query_of, refuse_parameters
from hdg.usage.fhir_api.patches import fhirpath_patch, json_patch
from hdg.usage.fhir_api.prefer import Prefer, prefer
from hdg.usage.fhir_api.read import logical_id
from hdg.usage.fhir_api.responses import etag, fhir_response, http_date
from hdg.usage.outcomes import Written


def routes(api: Api) -> list[Route]:
    """The routes of all single writes."""
    writes = _Writes(api)
    return [
        Route("/fhir/{type}", writes.patch_matching, methods=["PATCH"]),
        Route("/fhir/{type}/{id}", writes.patch, methods=["PATCH"]),
        Route("/fhir/{type}", writes.create, methods=["POST"]),
        Route("/fhir/{type}", writes.update_matching, methods=["PUT"]),
        Route("/fhir/{type}", writes.delete_matching, methods=["DELETE"]),
        Route("/fhir/{type}/{id}", writes.update, methods=["PUT"]),
        Route("/fhir/{type}/{id}", writes.delete, methods=["DELETE"]),
    ]


class _Writes:
    """The single writes: each makes a Change of its request and performs it."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, request: Request) -> Response:
        """R4 http.html#create, and with If-None-Exist #ccreate."""
        caller, resource_type = self._api.enter(request)
        refuse_parameters(query_of(request))
        query, asked = exist_condition(resource_type, request.headers, self._api.limits)
        with self._api.room.hold(request) as most:
            given = await posted_content(request, most) if resource_type == "Binary" else None
            content = given or await resource_of(request, most, resource_type)
            draft = await self._api.gate.draft(content, new_id(), is_long=most > LONG_BYTES)
            change = Change("POST", resource_type, query=query, asked=asked, draft=draft)
            return await _perform(self._api, request, caller, change)

    async def update(self, request: Request) -> Response:
        """R4 http.html#update."""
        caller, resource_type = self._api.enter(request)
        refuse_parameters(query_of(request))
        id_ = logical_id(request)
        with self._api.room.hold(request) as most:
            content = await resource_of(request, most, resource_type)
            if content.get("id") != id_:
                raise BadRequest("the id of the resource must be that of the URL", code="invalid")
            draft = await self._api.gate.draft(content, id_, is_long=most > LONG_BYTES)
            change = Change(
                "PUT",
                resource_type,
                id_,
                if_match=if_match(request.headers),
                only_new=is_only_new(request.headers),
                draft=draft,
            )
            return await _perform(self._api, request, caller, change)

    async def update_matching(self, request: Request) -> Response:
        """R4 http.html#cond-update."""
        caller, resource_type = self._api.enter(request)
        query, asked = condition(resource_type, query_of(request), self._api.limits)
        with self._api.room.hold(request) as most:
            content = await resource_of(request, most, resource_type)
            id_ = content.get("id", "")
            draft = await self._api.gate.draft(content, id_ or new_id(), is_long=most > LONG_BYTES)
            change = Change(
                "PUT",
                resource_type,
                id_,
                query,
                asked,
                if_match(request.headers),
                is_only_new(request.headers),
                draft,
            )
            return await _perform(self._api, request, caller, change)

    async def delete(self, request: Request) -> Response:
        """R4 http.html#delete."""
        caller, resource_type = self._api.enter(request)
        refuse_parameters(query_of(request))
        change = Change("DELETE", resource_type, logical_id(request), if_match=if_match(request.headers))
        return await _perform(self._api, request, caller, change)

    async def delete_matching(self, request: Request) -> Response:
        """R4 http.html#3.1.0.7.1 (conditional delete)."""
        caller, resource_type = self._api.enter(request)
        query, asked = condition(resource_type, query_of(request), self._api.limits)
        change = Change("DELETE", resource_type, "", query, asked, if_match(request.headers))
        return await _perform(self._api, request, caller, change)

    async def patch(self, request: Request) -> Response:
        """R4 http.html#patch."""
        caller, resource_type = self._api.enter(request)
        refuse_parameters(query_of(request))
        id_ = logical_id(request)
        with self._api.room.hold(request) as most:
            change = Change(
                "PATCH",
                resource_type,
                id_,
                if_match=if_match(request.headers),
                patch=await _patch(request, most),
            )
            return await _perform(self._api, request, caller, change)

    async def patch_matching(self, request: Request) -> Response:
        """R4 http.html#patch, with a condition."""
        caller, resource_type = self._api.enter(request)
        query, asked = condition(resource_type, query_of(request), self._api.limits)
        with self._api.room.hold(request) as most:
            change = Change(
                "PATCH",
                resource_type,
                "",
                query,
                asked,
                if_match(request.headers),
                patch=await _patch(request, most),
            )
            return await _perform(self._api, request, caller, change)


async def _patch(request: Request, most_bytes: int) -> Patch:
    """What the body asks for: JSON Patch by its media type, else a Parameters resource (FHIRPath Patch)."""
    is_json_patch = media_type(request) == JSON_PATCH
    given = await json_of(request, most_bytes)
    return json_patch(given) if is_json_patch else fhirpath_patch(given)


async def _perform(api: Api, request: Request, caller: Caller, change: Change) -> Response:
    own = {(change.type, change.id)} if change.id and change.query is None else set[tuple[str, str]]()
    about = change.draft.patients if change.draft is not None else frozenset[str]()
    found = own | {("Patient", patient) for patient in about}
    work = Finding(lambda writing: changes.run(change, writing), found, own)
    written = await api.gate.write(
        caller, change.interaction, change.place, {change.type}, work, change.asked
    )
    return answer(api.base_url, change, written, prefer(request.headers.get("prefer")))


def answer(base_url: str, change: Change, written: Written, preferred: Prefer) -> Response:
    """The response to one write."""
    status = status_of(change, written)
    headers: dict[str, str] = {}
    if written.version:
        headers = {"etag": etag(written.version), "last-modified": http_date(written.updated_us)}
    if not written.is_deleted:
        headers["location"] = f"{base_url}/{version_url(written)}"
    if preferred.returns == "OperationOutcome":
        return fhir_response(outcome_of(written), status=200 if status == 204 else status, headers=headers)
    if status == 204:
        return Response(b"", status, headers)
    if preferred.returns == "minimal":
        return Response(b"", status, headers)
    return fhir_response(written.body, status=status, headers=headers)


def status_of(change: Change, written: Written) -> int:
    """201 for what is new, 204 for a deletion, else 200 (R4 http.html#Status-Codes)."""
    if change.method == "DELETE":
        return 204
    return 201 if written.is_created else 200


def version_url(written: Written) -> str:
    """``Type/id/_history/version``."""
    return f"{written.type}/{written.id}/_history/{written.version}"


def outcome_of(written: Written) -> bytes:
    """An OperationOutcome that says what was done."""
    text = "deleted" if written.is_deleted else "created" if written.is_created else "updated"
    if not written.version:
        text = "nothing was found to delete"
    elif not written.is_changed:
        text = "nothing was changed: the content was there already"
    return json.dumps(operation_outcome([Issue("information", "informational", "", text)]))
