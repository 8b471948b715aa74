"""$validate: R4 resource-operation-validate.html. Nothing is stored, whatever the mode.

R4's rules, then the profiles asked for, those that meta.profile names, and the definitions of extensions, as far as
they are loaded. The modes create, update and delete ask the store as well: the write is run to its end under the
caller's own view and taken back (Gate.rehearse), so the answer is the one that the write would get.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest, HdgError, Issue, ValidationFailed
from hdg.fhir import json
from hdg.fhir.outcome import issues_of, operation_outcome
from hdg.usage.access import Caller
from hdg.usage.fhir_api import changes
from hdg.usage.fhir_api.bodies import json_of
from hdg.usage.fhir_api.changes import Change, new_id
from hdg.usage.fhir_api.context import Api, query_of
from hdg.usage.fhir_api.query import describe
from hdg.usage.fhir_api.read import logical_id
from hdg.usage.fhir_api.responses import fhir_response

__all__ = ["routes"]

JsonObject = dict[str, Any]

MODES = ("create", "update", "delete", "profile")
_ALL_OK = Issue("information", "informational", "", "All OK")
_NAMES = ("valueUri", "valueCanonical", "valueUrl", "valueString", "valueCode")


@dataclass(frozen=True, slots=True)
class _Asked:
    """``resource`` None: the stored one. ``id`` '' for the operation on a type."""

    type: str
    id: str
    resource: Any = None
    mode: str = ""
    profiles: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What the audit trail names."""
        return f"{self.type}/{self.id}" if self.id else self.type


def routes(api: Api, *, with_claimed: bool) -> list[Route]:
    """The routes of $validate. ``with_claimed``: profiles that meta.profile names are asked, too."""

    async def validate(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        id_ = logical_id(request) if "id" in request.path_params else ""
        with api.room.hold(request) as most:
            asked = await _asked(request, most, resource_type, id_)
            issues = await _issues(api, caller, asked)
        body = json.dumps(operation_outcome(issues or [_ALL_OK]))
        return fhir_response(body, method=request.method)

    async def _issues(api: Api, caller: Caller, asked: _Asked) -> list[Issue]:
        if asked.mode == "delete":
            return await _refusals(api, caller, asked)
        if asked.resource is None:
            visible = await api.gate.read(caller, asked.type, asked.id)
            asked = replace(asked, resource=json.loads(visible.body))
        else:
            await api.gate.examined(caller, asked.place)
        found = await run_in_threadpool(
            lambda: api.gate.profiles.check(asked.resource, asked.profiles, with_claimed=with_claimed)
        )
        wrong = _misplaced(asked)
        issues = [*wrong, *found]
        if asked.mode in ("create", "update") and not any(one.severity == "error" for one in issues):
            issues += await _refusals(api, caller, asked)
        return issues

    return [
        Route("/fhir/{type}/$validate", validate, methods=["POST"]),
        Route("/fhir/{type}/{id}/$validate", validate, methods=["GET", "POST"]),
    ]


def _misplaced(asked: _Asked) -> list[Issue]:
    """Whether the resource is what the URL says (R4 http.html#update: the ids must be the same)."""
    resource = asked.resource
    if not isinstance(resource, dict):
        return []
    if resource.get("resourceType") != asked.type:
        return [Issue("error", "invalid", "", "the resource is not of the URL's type")]
    if asked.id and resource.get("id") != asked.id:
        text = "the id of the resource must be that of the URL"
        return [Issue("error", "invalid", f"{asked.type}.id", text)]
    if asked.mode == "update" and "id" not in resource:
        return [Issue("error", "required", f"{asked.type}.id", "an update needs an id")]
    if asked.mode == "create" and "id" in resource:
        text = "the server chooses the id; the one that is given is not kept"
        return [Issue("information", "informational", f"{asked.type}.id", text)]
    return []


async def _refusals(api: Api, caller: Caller, asked: _Asked) -> list[Issue]:
    """Why the write would be refused; what is not here to be deleted is not here (404), as for the write."""
    if asked.mode == "delete":
        change = Change("DELETE", asked.type, asked.id)
    else:
        id_ = asked.resource["id"] if asked.mode == "update" else new_id()
        try:
            draft = await api.gate.draft(asked.resource, id_, is_long=True)
        except ValidationFailed as error:
            return list(error.issues)
        method = "PUT" if asked.mode == "update" else "POST"
        change = Change(method, asked.type, id_ if method == "PUT" else "", draft=draft)
    refusal: HdgError | None = await api.gate.rehearse(
        caller, asked.place, {asked.type}, lambda writing: changes.run(change, writing)
    )
    return [] if refusal is None else list(issues_of(refusal))


async def _asked(request: Request, most_bytes: int, resource_type: str, id_: str) -> _Asked:
    """What the URL and the body ask. Raises BadRequest, HTTPException."""
    given: list[tuple[str, str]] = []
    for name, value in query_of(request):
        if name not in ("profile", "mode"):
            raise BadRequest(f"{describe(name)} is not supported here", code="not-supported")
        given.append((name, value))
    resource: Any = None
    has_body = request.headers.get("content-length", "") != "0" and "content-type" in request.headers
    if request.method == "POST" and has_body:
        body = await json_of(request, most_bytes)
        resource, more = _parts(body, resource_type)
        given += more
    modes = [value for name, value in given if name == "mode"]
    profiles = tuple(dict.fromkeys(value for name, value in given if name == "profile"))
    if len(modes) > 1 or not set(modes) <= set(MODES):
        raise BadRequest("parameter 'mode': one of create, update, delete, profile", code="value")
    asked = _Asked(resource_type, id_, resource, modes[0] if modes else "", profiles)
    if asked.mode in ("delete", "profile") and (
        not id_ or (asked.mode == "profile" and resource is not None)
    ):
        raise BadRequest("this mode is for a stored resource: Type/id/$validate", code="not-supported")
    if asked.mode == "profile" and not profiles:
        raise BadRequest("mode 'profile' needs a profile", code="required")
    if resource is None and not id_:
        raise BadRequest("a resource is needed", code="required")
    return asked


def _parts(body: Any, resource_type: str) -> tuple[Any, list[tuple[str, str]]]:
    """(resource or None, mode and profiles) of a body: a Parameters resource, or the resource itself."""
    if not isinstance(body, dict):
        raise BadRequest("the body is not a resource", code="structure")
    parts = body.get("parameter", ())
    if body.get("resourceType") != "Parameters":
        return body, []
    if not isinstance(parts, list | tuple) or not all(isinstance(part, dict) for part in parts):
        raise BadRequest("a Parameters resource that cannot be read", code="structure")
    if resource_type == "Parameters" and not any(part.get("name") == "resource" for part in parts):
        return body, []
    resource: Any = None
    given: list[tuple[str, str]] = []
    for part in parts:
        name = part.get("name")
        if name == "resource" and resource is None and isinstance(part.get("resource"), dict):
            resource = part["resource"]
        elif name in ("mode", "profile"):
            value = next((part[key] for key in _NAMES if isinstance(part.get(key), str)), None)
            if value is None:
                raise BadRequest(f"parameter '{name}': a value is missing", code="value")
            given.append((name, value))
        else:
            raise BadRequest("$validate takes one resource, mode and profile", code="not-supported")
    return resource, given
