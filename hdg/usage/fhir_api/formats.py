"""XML at the door: inside everything is JSON. R4 http.html#mime-type, #parameters (``_format`` overrides Accept).

A body in XML becomes JSON when it is asked for, which is after the request was authenticated; an answer in JSON
becomes XML for a client that prefers it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import parse_qsl, unquote_plus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hdg.errors import BadRequest
from hdg.fhir import json, xml
from hdg.usage.fhir_api.bodies import LONG_BYTES
from hdg.usage.fhir_api.query import FORM, MAX_QUERY_BYTES

__all__ = ["FHIR_XML", "XML_TYPES", "Formats", "without"]

FHIR_XML = "application/fhir+xml;fhirVersion=4.0"
XML_TYPES = frozenset({"application/fhir+xml", "application/xml", "text/xml", "xml"})
_JSON_TYPES = frozenset({"application/fhir+json", "application/json", "text/json", "json"})
_ANY = frozenset({"*/*", "application/*", "text/*", "*"})
Headers = list[tuple[bytes, bytes]]


class Formats:
    """ASGI layer around the JSON application. ``most_bytes``: of a body."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, with its body and its answer in the formats that the two sides speak."""
        if scope["type"] != "http" or not scope["path"].startswith("/fhir"):
            await self._app(scope, receive, send)
            return
        headers: Headers = list(scope["headers"])
        if scope["method"] == "POST" and _media_type(_header(headers, b"content-type")) == FORM:
            scope, receive = await _with_form(scope, receive)
            headers = list(scope["headers"])
        is_sent = _media_type(_header(headers, b"content-type")) in XML_TYPES
        is_wanted = _wants_xml(scope, _header(headers, b"accept"))
        if not is_sent and not is_wanted:
            await self._app(scope, receive, send)
            return
        inner = dict(scope)
        if is_wanted:
            headers = [*_without(headers, b"accept"), (b"accept", b"application/fhir+json")]
            inner["query_string"] = without(scope["query_string"], "_format")
        if is_sent:
            said = _header(headers, b"content-type").partition(";")[1:]
            headers = _without(_without(headers, b"content-type"), b"content-length")
            headers.append((b"content-type", ("application/fhir+json" + "".join(said)).encode("latin-1")))
            receive = self._reading(receive)
        inner["headers"] = headers
        await self._app(inner, receive, _Answer(send, scope["method"]).take if is_wanted else send)

    def _reading(self, receive: Receive) -> Receive:
        """What hands over the whole body as JSON. Raises BadRequest when it is no FHIR XML."""
        is_read = False

        async def read() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            body = bytearray()
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return message
                body += message.get("body", b"")
                if len(body) > self._most_bytes:
                    raise BadRequest(f"a body holds at most {self._most_bytes} bytes", code="too-long")
                if not message.get("more_body"):
                    break
            is_read = True
            return {"type": "http.request", "body": await _aside(_to_json, bytes(body)), "more_body": False}

        return read


async def _with_form(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """A request with the ``_format`` of its form in the URL, as R4 search.html#post has them mean the same."""
    messages: list[Message] = []
    size = 0
    while size <= MAX_QUERY_BYTES:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    body = b"".join(message.get("body", b"") for message in messages)
    asked = b"&".join(piece for piece in body.split(b"&") if piece.startswith(b"_format="))
    if asked and messages[-1]["type"] == "http.request" and not messages[-1].get("more_body"):
        scope = {**scope, "query_string": b"&".join(filter(None, (scope["query_string"], asked)))}
        scope["headers"] = _without(list(scope["headers"]), b"content-length")
        messages = [{"type": "http.request", "body": without(body, "_format"), "more_body": False}]

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return scope, again


class _Answer:
    """Holds an answer back until it is whole, and sends it as XML."""

    def __init__(self, send: Send, method: str) -> None:
        self._send = send
        self._method = method
        self._start: Message = {}
        self._body = bytearray()

    async def take(self, message: Message) -> None:
        """One message of the application's."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        headers: Headers = list(self._start["headers"])
        body = bytes(self._body)
        if _media_type(_header(headers, b"content-type")) in _JSON_TYPES:
            headers = [*_without(headers, b"content-type"), (b"content-type", FHIR_XML.encode())]
            headers = _without(headers, b"content-length")
            if body:
                body = await _aside(_to_xml, body)
                headers.append((b"content-length", str(len(body)).encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


async def _aside(convert: Callable[[bytes], bytes], body: bytes) -> bytes:
    """The other form of a body; what takes long is done in a thread, and other requests go on."""
    if len(body) < LONG_BYTES:
        return convert(body)
    return await asyncio.to_thread(convert, body)


def _to_json(body: bytes) -> bytes:
    return json.dumps(xml.loads(body))


def _to_xml(body: bytes) -> bytes:
    return xml.dumps(json.loads(body))


def _header(headers: Headers, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")


def _without(headers: Headers, name: bytes) -> Headers:
    return [(key, value) for key, value in headers if key.lower() != name]


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def _wants_xml(scope: Scope, accept: str) -> bool:
    """Whether XML is asked for by ``_format``, else preferred to JSON by Accept (RFC 9110 §12.5.1)."""
    query: bytes = scope["query_string"]
    if b"_format" in query or b"%" in query:  # a name may be written with percent signs
        given = parse_qsl(query.decode("latin-1"))
        named = [value for name, value in given if name == "_format"]
        if named:
            return _media_type(named[0].replace(" ", "+")) in XML_TYPES
    return _prefers_xml(accept)


@lru_cache(256)
def _prefers_xml(accept: str) -> bool:
    weights = {"xml": 0.0, "json": 0.0}
    for part in accept.split(","):
        name, *rest = (piece.strip().lower() for piece in part.split(";"))
        weight = next((_number(piece[2:]) for piece in rest if piece.startswith("q=")), 1.0)
        version = next((piece[12:].strip('"') for piece in rest if piece.startswith("fhirversion=")), "4.0")
        if version not in ("4.0", "4.0.1"):
            continue
        if name in XML_TYPES:
            weights["xml"] = max(weights["xml"], weight)
        if name in _JSON_TYPES or name in _ANY:
            weights["json"] = max(weights["json"], weight)
    return weights["xml"] > weights["json"]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def without(query: bytes, *names: str) -> bytes:
    """A query string without the parameters of these names; the others stay as they are written."""
    kept = [
        piece
        for piece in query.split(b"&")
        if unquote_plus(piece.partition(b"=")[0].decode("latin-1")) not in names
    ]
    return b"&".join(kept)
