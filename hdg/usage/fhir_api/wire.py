"""What happens to finished answers: ``_pretty``. R4 http.html#parameters."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hdg.fhir import json
from hdg.usage.fhir_api.bodies import LONG_BYTES

__all__ = ["Pretty", "pretty"]


def pretty(body: bytes) -> bytes:
    """JSON laid out by two spaces; numbers keep their literals."""
    return json.dumps(json.loads(body), pretty=True) + b"\n"


class Pretty:
    """ASGI layer: answers to requests with ``_pretty=true`` are laid out for people."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; holds the answer back until it is whole when it is to be laid out."""
        if scope["type"] != "http" or not _is_asked(scope):
            await self._app(scope, receive, send)
            return
        start: Message = {}
        parts: list[bytes] = []

        async def gather(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(parts)
            headers = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
            if any(k.lower() == b"content-type" and b"json" in v for k, v in headers):
                body = await _laid_out(body)
            headers.append((b"content-length", str(len(body)).encode()))
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, gather)


async def _laid_out(body: bytes) -> bytes:
    if len(body) > LONG_BYTES:
        return await asyncio.to_thread(pretty, body)
    return pretty(body) if body else body


def _is_asked(scope: Scope) -> bool:
    query: bytes = scope["query_string"]
    return b"_pretty=" in query and parse_qs(query.decode("latin-1")).get("_pretty") == ["true"]
