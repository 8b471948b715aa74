"""Binary in its own form: a read that accepts its type gets the content, a create may bring content alone.

R4 binary.html#rest. Who accepts JSON or XML (``*/*`` too) gets the resource, as of any type. Content that comes alone
becomes a Binary of its Content-Type, of whom ``X-Security-Context`` names. What a browser makes of content is up to
whoever stored it, so it is told to do nothing with it (Content-Security-Policy).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hdg.fhir import json
from hdg.usage.access import Visible
from hdg.usage.fhir_api.bodies import is_resource_type, media_type, raw_body
from hdg.usage.fhir_api.negotiation import NotAcceptable, accepts_json
from hdg.usage.fhir_api.responses import etag, http_date, is_unchanged

__all__ = ["content_response", "posted_content", "wants_content"]

JsonObject = dict[str, Any]
_TYPE = re.compile(r"[!#$&^_.+\-0-9A-Za-z]{1,127}/[!#$&^_.+\-0-9A-Za-z]{1,127}(?:; ?[\x21-\x7e]{1,200})*")
_SAFE = {"content-security-policy": "default-src 'none'; sandbox", "content-disposition": "attachment"}


def wants_content(request: Request, resource_type: str) -> bool:
    """Whether a read is of a Binary's content: its Accept header rules FHIR's forms out."""
    accept = request.headers.get("accept")
    named = "_format" in request.query_params
    return resource_type == "Binary" and not named and bool(accept) and not accepts_json(accept)


def content_response(visible: Visible, request: Request) -> Response:
    """The content of a Binary, or 304. Raises NotAcceptable for another type than its own."""
    stored = json.loads(visible.body)
    said = str(stored.get("contentType", ""))
    own = said.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(said) or not any(
        _fits(part, own) for part in request.headers.get("accept", "").lower().split(",")
    ):
        raise NotAcceptable("application/fhir+json, application/fhir+xml and the content's own type")
    headers = {**_SAFE, "etag": etag(visible.version), "last-modified": http_date(visible.updated_us)}
    if is_unchanged(visible, request.headers):
        return Response(b"", 304, headers)
    content = b64decode(stored.get("data", ""))
    headers |= {"content-type": said, "content-length": str(len(content))}
    return Response(b"" if request.method == "HEAD" else content, 200, headers)


def _fits(part: str, own: str) -> bool:
    """Whether a media range of an Accept header takes a type (RFC 9110 §12.5.1)."""
    name, *rest = (piece.strip() for piece in part.split(";"))
    weights = [piece[2:] for piece in rest if piece.startswith("q=")]
    is_refused = any(not weight.strip("0.") for weight in weights)
    return not is_refused and name in (own, f"{own.partition('/')[0]}/*")


async def posted_content(request: Request, most_bytes: int) -> JsonObject | None:
    """The Binary that content alone becomes; None when the body says that it is a resource.

    Raises HTTPException (413, 415).
    """
    said = request.headers.get("content-type", "")
    if not said or is_resource_type(media_type(request)):
        return None
    if not _TYPE.fullmatch(said):
        raise HTTPException(415)
    made: JsonObject = {"resourceType": "Binary", "contentType": said}
    if "x-security-context" in request.headers:
        made["securityContext"] = {"reference": request.headers["x-security-context"].strip()}
    body = await raw_body(request, most_bytes)
    return {**made, "data": b64encode(body).decode()} if body else made
