"""POST to the base: batch and transaction. R4 http.html#transaction.

The reads of both and all of a batch go through the application itself, one request an entry: so each is
authenticated, decided, audited and refused exactly as if it had come alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from hdg.errors import BadRequest
from hdg.fhir import json
from hdg.fhir.links import Links
from hdg.usage.access import Caller
from hdg.usage.fhir_api import transaction
from hdg.usage.fhir_api.bodies import JSON_PATCH, PART, body_of, resource_in
from hdg.usage.fhir_api.bundles import instant
from hdg.usage.fhir_api.context import Api, caller_of, query_of, refuse_parameters
from hdg.usage.fhir_api.drafting import steps_from
from hdg.usage.fhir_api.entries import METHODS, Entry, EntryFailed, entries_of
from hdg.usage.fhir_api.errors import handle_hdg_error
from hdg.usage.fhir_api.formats import without
from hdg.usage.fhir_api.negotiation import FHIR_JSON, check_accept
from hdg.usage.fhir_api.prefer import prefer
from hdg.usage.fhir_api.responses import etag, fhir_response
from hdg.usage.fhir_api.write import outcome_of, version_url
from hdg.usage.outcomes import Written

JsonObject = dict[str, Any]
_AT_ONCE = 16
"""Requests of one batch that are under way together."""
_REASONS = {200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified"}


def routes(api: Api) -> list[Route]:
    """The routes of batch and transaction."""

    async def post(request: Request) -> Response:
        caller = caller_of(api.gate, request)
        check_accept(request.headers.get("accept"))
        refuse_parameters(query_of(request))
        with api.room.hold(request) as most:
            sent = await body_of(request, most)
            wanted = prefer(request.headers.get("prefer")).returns if _says_return(request) else "minimal"
            answers = await _helped(api, caller, sent, wanted)
            kind: Any = "transaction"
            if answers is None:
                given = resource_in(sent, "Bundle")
                kind = given.get("type")
                if kind not in ("batch", "transaction"):
                    raise BadRequest("a Bundle of type batch or transaction is needed", place="Bundle.type")
                entries = entries_of(given, api.base_url)
                run = _transaction if kind == "transaction" else _batch
                answers = await run(api, request, caller, entries, wanted)
        body: JsonObject = {"resourceType": "Bundle", "type": f"{kind}-response"}
        if answers:
            body["entry"] = answers
        return fhir_response(orjson.dumps(body))

    return [Route(path, post, methods=["POST"]) for path in ("/fhir", "/fhir/")]


def _says_return(request: Request) -> bool:
    """Without a preference nothing but what became of the entries is answered: it may be ten thousand."""
    return "return" in request.headers.get("prefer", "")


async def _helped(api: Api, caller: Caller, body: bytes, wanted: str) -> list[JsonObject] | None:
    """The answers to a transaction that the helper has made ready; None: do it here."""
    steps = await steps_from(api.gate.helper, body, api.limits)
    if steps is None:
        return None
    try:
        written = await transaction.perform(api, caller, steps)
    except transaction.ContentNeeded:  # nothing was kept
        return None
    return [_written(api.base_url, result, wanted) for result in written]


async def _transaction(
    api: Api, request: Request, caller: Caller, given: Sequence[Entry | EntryFailed], wanted: str
) -> list[JsonObject]:
    entries: list[Entry] = []
    for entry in given:
        if isinstance(entry, EntryFailed):
            raise entry
        entries.append(entry)
    steps = transaction.steps_of(entries, api.limits)
    reads = [entry for entry in entries if not entry.is_write]
    for entry in reads:
        if entry.method not in ("GET", "HEAD", "POST"):
            raise EntryFailed(entry.index, BadRequest("the method is not supported", place="request.method"))
    written = await transaction.perform(api, caller, steps)
    answers = {
        step.index: _written(api.base_url, result, wanted)
        for step, result in zip(steps, written, strict=True)
    }
    for entry, answer in zip(reads, await _ask_all(request, reads, wanted), strict=True):
        answers[entry.index] = answer
    return [answers[entry.index] for entry in entries]


def _written(base_url: str, written: Written, wanted: str) -> JsonObject:
    status = 204 if written.is_deleted else 201 if written.is_created else 200
    response: JsonObject = {"status": f"{status} {_REASONS[status]}"}
    if not written.is_deleted:
        response["location"] = f"{base_url}/{version_url(written)}"
    if written.version:
        response["etag"] = etag(written.version)
        response["lastModified"] = instant(written.updated_us)
    entry: JsonObject = {"response": response}
    if wanted == "representation" and written.body:
        entry["resource"] = orjson.Fragment(written.body)
    if wanted == "OperationOutcome":
        response["outcome"] = orjson.Fragment(outcome_of(written))
    return entry


async def _batch(
    api: Api, request: Request, caller: Caller, given: Sequence[Entry | EntryFailed], wanted: str
) -> list[JsonObject]:
    answers: list[JsonObject] = [{} for _ in given]
    entries: list[Entry] = []
    for index, entry in enumerate(given):
        if isinstance(entry, EntryFailed):
            answers[index] = _refused(request, entry)
        else:
            entries.append(entry)
    # What only this Bundle names: nobody can know where it will be. The id of a PUT is known.
    known = {
        e.full_url for e in entries if e.full_url and (e.method == "POST" or e.full_url.startswith("urn:"))
    }
    for method in METHODS:
        group = [entry for entry in entries if entry.method == method]
        for entry, answer in zip(group, await _ask_all(request, group, wanted, known), strict=True):
            answers[entry.index] = answer
    return answers


def _refused(request: Request, error: EntryFailed) -> JsonObject:
    """The answer to an entry of a batch that never became a request."""
    response = handle_hdg_error(request, error)
    return _answered(response.status_code, dict(response.headers), bytes(response.body))


async def _ask_all(
    request: Request, entries: Sequence[Entry], wanted: str, known: set[str] | None = None
) -> list[JsonObject]:
    """The answers to requests that are independent of each other."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def ask(entry: Entry) -> JsonObject:
        async with room:
            if known and entry.resource is not None:
                links = Links(entry.resource, entry.full_url, known)
                if links.targets or links.dangling:
                    cause = BadRequest("an entry of a batch cannot refer to another entry", place="resource")
                    return _refused(request, EntryFailed(entry.index, cause))
            return _answered(*await _ask(request, entry, wanted))

    return list(await asyncio.gather(*(ask(entry) for entry in entries)))


async def _ask(request: Request, entry: Entry, wanted: str) -> tuple[int, dict[str, str], bytes]:
    """One entry as a request to the application. (status, headers, body)."""
    body, content_type = b"", FHIR_JSON
    if entry.resource is not None and entry.method != "GET":
        patch = entry.json_patch() if entry.method == "PATCH" else None
        body = json.dumps(entry.resource if patch is None else patch)
        content_type = FHIR_JSON if patch is None else JSON_PATCH
    own = ("authorization", "x-forwarded-for")
    headers = {name: request.headers[name] for name in own if name in request.headers}
    headers |= {**entry.headers, "accept": "application/fhir+json", "prefer": f"return={wanted}"}
    if body:
        headers |= {"content-type": content_type, "content-length": str(len(body))}
    path = f"/fhir/{entry.path}".rstrip("/")
    scope = {
        **request.scope,
        "method": entry.method,
        "path": unquote(path),
        "raw_path": path.encode(),
        # Every part is in the format of the whole.
        "query_string": without(entry.query.encode(), "_format", "_pretty"),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "path_params": {},
        PART: True,
    }
    for name in ("route", "endpoint", "router", "state"):
        scope.pop(name, None)
    sent: list[Message] = []
    is_given = False

    async def receive() -> Message:
        nonlocal is_given
        if is_given:
            return {"type": "http.disconnect"}
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await request.app(scope, receive, send)
    start = next((message for message in sent if message["type"] == "http.response.start"), None)
    if start is None:
        raise HTTPException(500)
    found = b"".join(message.get("body", b"") for message in sent)
    return start["status"], {k.decode().lower(): v.decode() for k, v in start["headers"]}, found


def _answered(status: int, headers: dict[str, str], body: bytes) -> JsonObject:
    """An entry of the response."""
    response: JsonObject = {"status": f"{status} {_REASONS.get(status, '')}".strip()}
    for header, name in (("location", "location"), ("etag", "etag")):
        if header in headers:
            response[name] = headers[header]
    if "last-modified" in headers:
        response["lastModified"] = parsedate_to_datetime(headers["last-modified"]).isoformat()
    entry: JsonObject = {"response": response}
    if body and status >= 400:
        response["outcome"] = orjson.Fragment(body)
    elif body:
        entry["resource"] = orjson.Fragment(body)
    return entry
