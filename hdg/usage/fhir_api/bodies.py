"""Request bodies: bounded, JSON, one resource of the right type.

R4 http.html#mime-type, #create, #update. What cannot be parsed is 400, another media type 415, too much 413.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from hdg.errors import BadRequest, HdgError
from hdg.fhir import json

__all__ = [
    "JSON_PATCH",
    "LONG_BYTES",
    "PART",
    "Room",
    "body_of",
    "check_parameters",
    "is_resource_type",
    "json_given",
    "json_of",
    "media_type",
    "parsed",
    "raw_body",
    "resource_in",
    "resource_of",
]

JsonObject = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
LONG_BYTES = 64 * 1024
"""What is longer keeps the event loop for tens of milliseconds, and is better done on a thread."""
PART = "hdg.part"
"""Key of the scope of a request that is an entry of another one, which has room for it already."""
_JSON = frozenset({"application/fhir+json", "application/json", "text/json"})
_UNDERSTOOD = {"fhirversion": ("4.0", "4.0.1"), "charset": ("utf-8", "utf8", "us-ascii")}
"""Parameters of a Content-Type that change what the bytes mean, and what they may say."""


def media_type(request: Request) -> str:
    """The Content-Type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_parameters(request: Request) -> None:
    """Raises HTTPException (415) for a body that says it is in another FHIR version or not in UTF-8.

    R4 http.html#version-parameter, json.html: read as R4 and UTF-8 it would come out as something else.
    """
    for piece in request.headers.get("content-type", "").lower().split(";")[1:]:
        name, _, value = (part.strip() for part in piece.partition("="))
        if value.strip('"') not in _UNDERSTOOD.get(name, (value.strip('"'),)):
            raise HTTPException(415)


class Busy(HdgError):
    """Too much is under way: the client is told to come again (HTTP 503)."""

    issue_code = "transient"


class Room:
    """Bounds the bodies that are under way at a time. ``most_bytes``: of one body; four such may be together."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0

    @contextmanager
    def hold(self, request: Request) -> Iterator[int]:
        """Room for the request's body: how long it may be. Raises HTTPException (413, 415), Busy."""
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise HTTPException(415)
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdigit() and len(length) < 18 else self._most_bytes
        if size > self._most_bytes:
            raise HTTPException(413)
        if PART in request.scope:
            yield size
            return
        if self._bytes and self._bytes + size > 4 * self._most_bytes:
            raise Busy("the gateway has too much under way; send it again")
        self._bytes += size
        try:
            yield size
        finally:
            self._bytes -= size


def is_resource_type(name: str) -> bool:
    """Whether a media type is one of FHIR's own forms (XML has become JSON by then)."""
    return name in _JSON


async def raw_body(request: Request, most_bytes: int) -> bytes:
    """The body, whatever it is. Raises HTTPException (413)."""
    return await _body(request, most_bytes)


async def _body(request: Request, most_bytes: int) -> bytes:
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > most_bytes:
                raise HTTPException(413)
    except ClientDisconnect:
        raise HTTPException(400) from None
    return bytes(body)


async def json_of(request: Request, most_bytes: int) -> Any:
    """The body as a JSON value. Raises HTTPException (413, 415), BadRequest."""
    if media_type(request) not in _JSON | {JSON_PATCH}:
        raise HTTPException(415)
    check_parameters(request)
    return parsed(await _body(request, most_bytes))


async def json_given(request: Request, most_bytes: int) -> Any:
    """The body as a JSON value; None when there is none, however that is said. Raises what ``json_of`` does."""
    body = await _body(request, most_bytes)
    if not body:
        return None
    if media_type(request) not in _JSON:
        raise HTTPException(415)
    check_parameters(request)
    return parsed(body)


def parsed(body: bytes) -> Any:
    """Raises BadRequest for what is not JSON as FHIR uses it."""
    try:
        return json.loads(body)
    except json.JsonError as error:
        raise BadRequest(f"the body cannot be read: {error}", code="structure") from None


async def body_of(request: Request, most_bytes: int) -> bytes:
    """The body of a request that brings a resource. Raises HTTPException (413, 415)."""
    if media_type(request) not in _JSON:
        raise HTTPException(415)
    check_parameters(request)
    return await _body(request, most_bytes)


async def resource_of(request: Request, most_bytes: int, resource_type: str) -> JsonObject:
    """The body as a resource of that type. Raises HTTPException, BadRequest."""
    return resource_in(await body_of(request, most_bytes), resource_type)


def resource_in(body: bytes, resource_type: str) -> JsonObject:
    """Raises BadRequest for what is no resource of that type."""
    content = parsed(body)
    if not isinstance(content, dict):
        raise BadRequest("the body is not a resource", code="structure")
    if content.get("resourceType") != resource_type:
        raise BadRequest("the body is not a resource of the URL's type", code="invalid")
    return content
