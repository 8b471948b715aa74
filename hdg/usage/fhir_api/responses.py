"""HTTP responses of the FHIR API: resources byte for byte, Bundles spliced from stored bytes, cache headers.

R4 http.html#versioning (ETag is ``W/"version"``), R4 http.html#cread (conditional read), RFC 9110 §8.8, §13.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

from starlette.responses import Response

from hdg.usage.access import Visible
from hdg.usage.fhir_api.negotiation import FHIR_JSON

_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def etag(version: int) -> str:
    """The weak entity tag of a version."""
    return f'W/"{version}"'


def http_date(at_us: int) -> str:
    """IMF-fixdate of a time, cut to whole seconds as Last-Modified needs it."""
    return formatdate(at_us // 1_000_000, usegmt=True)


def fhir_response(
    body: bytes,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    content_type: str = FHIR_JSON,
) -> Response:
    """A body of the API. For HEAD only the headers, with the length that GET would send."""
    sent = dict(headers or {})
    sent["content-type"] = content_type
    sent["content-length"] = str(len(body))
    return Response(b"" if method == "HEAD" else body, status, sent)


def resource_response(visible: Visible, request_headers: Mapping[str, str], method: str) -> Response:
    """The stored bytes of a version, or 304 when the client holds that version already.

    Version 0: the caller is told neither version nor time, so no condition is about them either.
    """
    if not visible.version:
        return fhir_response(visible.body, method=method)
    headers = {"etag": etag(visible.version), "last-modified": http_date(visible.updated_us)}
    if is_unchanged(visible, request_headers):
        return Response(b"", 304, headers)
    return fhir_response(visible.body, headers=headers, method=method)


def is_unchanged(visible: Visible, request_headers: Mapping[str, str]) -> bool:
    """Whether If-None-Match, else If-Modified-Since, finds the client's copy current (RFC 9110 §13.2.2)."""
    match = request_headers.get("if-none-match")
    if match is not None:
        return match.strip() == "*" or str(visible.version) in _ENTITY_TAG.findall(match)
    since = request_headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return visible.updated_us // 1_000_000 <= parsedate_to_datetime(since).timestamp()
    except (ValueError, OverflowError):
        return False  # RFC 9110 §13.1.3: a date that cannot be read is ignored
