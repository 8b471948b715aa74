"""Every error as an OperationOutcome, and nothing of the inside in any of them.

R4 http.html#Status-Codes, R4 operationoutcome.html, RFC 9110 §15, RFC 6750 §3 (WWW-Authenticate). One table
maps the exception tree to HTTP; ``Shield`` is the outermost layer, so that a fault in our own code leaves as
an OperationOutcome too and is logged by place, never by message (a message could hold a patient's value).
"""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hdg.errors import (
    AccessDenied,
    BadRequest,
    Conflict,
    Gone,
    HdgError,
    IndexIncomplete,
    Issue,
    NotFound,
    ValidationFailed,
)
from hdg.fhir import json
from hdg.fhir.outcome import issues_of, operation_outcome
from hdg.fhir.patch_json import PatchFailed
from hdg.management.store.engine import NotCommitted, is_database_lost
from hdg.usage.access import Unavailable
from hdg.usage.fhir_api.bodies import Busy
from hdg.usage.fhir_api.entries import EntryFailed
from hdg.usage.fhir_api.negotiation import NotAcceptable
from hdg.usage.fhir_api.responses import fhir_response
from hdg.usage.outcomes import CannotCreate, PreconditionFailed

log = logging.getLogger("hdg.usage")

# The first class that fits decides; subclasses stand before their bases.
_STATUS: tuple[tuple[type[HdgError], int], ...] = (
    (NotAcceptable, 406),
    (PatchFailed, 422),
    (BadRequest, 400),
    (ValidationFailed, 422),
    (NotFound, 404),
    (Gone, 410),
    (PreconditionFailed, 412),
    (Conflict, 409),
    (CannotCreate, 405),
    (Unavailable, 503),
    (NotCommitted, 503),
    (Busy, 503),
    (IndexIncomplete, 503),
    (AccessDenied, 403),
)

_HTTP_ISSUES: dict[int, tuple[str, str]] = {
    404: ("not-found", "nothing is here"),
    405: ("not-supported", "this method is not supported here"),
    406: ("not-supported", "no media type that Accept names is offered here"),
    408: ("timeout", "the request arrived too slowly"),
    412: ("conflict", "a condition of the request does not hold"),
    413: ("too-long", "the request body is too large"),
    415: ("not-supported", "this media type is not supported here"),
}
_INTERNAL = "the gateway could not answer; its log has the place under this reference: "

SECURITY_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


def outcome_response(
    status: int, code: str, text: str, *, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> Response:
    """An OperationOutcome with one error issue."""
    issue = Issue("error", code, "", text)
    body = json.dumps(operation_outcome([issue]))
    return fhir_response(body, status=status, headers=headers, method=method)


def handle_hdg_error(request: Request, error: Exception) -> Response:
    """The answer to an HdgError. 404 is the same bytes whatever the reason."""
    if not isinstance(error, HdgError):
        raise error
    if isinstance(error, EntryFailed):
        return _entry_failed(error)
    status = status_of(error)
    if status == 500:
        return internal_error(error, request.method)
    if isinstance(error, NotFound):
        return not_found(request.method)
    if isinstance(error, AccessDenied):
        return _denied(error, request.method)
    if isinstance(error, ValidationFailed):
        body = json.dumps(operation_outcome(error.issues))
        return fhir_response(body, status=status, method=request.method)
    code = error.code if isinstance(error, BadRequest) else error.issue_code
    retry_after = "30" if isinstance(error, IndexIncomplete) else "1"
    headers = {"retry-after": retry_after} if status == 503 else None
    return outcome_response(status, code, str(error), headers=headers, method=request.method)


def status_of(error: HdgError) -> int:
    """The HTTP status of an error."""
    return next((status for family, status in _STATUS if isinstance(error, family)), 500)


def _entry_failed(error: EntryFailed) -> Response:
    """A transaction that failed: why, and by which entry."""
    status = status_of(error.cause)
    if status == 500:
        return internal_error(error.cause)
    entry = f"Bundle.entry[{error.index}]"
    if isinstance(error.cause, NotFound):
        issues = [Issue("error", "not-found", entry, _HTTP_ISSUES[404][1])]
    else:
        issues = [
            Issue(issue.severity, issue.code, _below(entry, issue.place), issue.text)
            for issue in issues_of(error.cause)
        ]
    return fhir_response(json.dumps(operation_outcome(issues)), status=status)


def _below(entry: str, place: str) -> str:
    """The expression of something in an entry; a resource's own begins with its type."""
    if not place:
        return entry
    type_, _, rest = place.partition(".")
    if type_[:1].isupper():
        return f"{entry}.resource.{rest}" if rest else f"{entry}.resource"
    return f"{entry}.{place}"


def not_found(method: str = "GET") -> Response:
    """The one 404: absent, hidden, unknown type and unknown route all look like this."""
    code, text = _HTTP_ISSUES[404]
    return outcome_response(404, code, text, method=method)


def _denied(error: AccessDenied, method: str) -> Response:
    if error.is_authenticated:
        return outcome_response(403, "forbidden", str(error), method=method)
    challenge = {"www-authenticate": 'Bearer realm="hdg", error="invalid_token"'}
    return outcome_response(401, "login", str(error), headers=challenge, method=method)


def handle_http_error(request: Request, error: Exception) -> Response:
    """The answer to what the router itself refuses (unknown route, wrong method)."""
    if not isinstance(error, HTTPException):
        raise error
    code, text = _HTTP_ISSUES.get(error.status_code, ("processing", "the request cannot be processed"))
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        headers["allow"] = _allowed(request)
    return outcome_response(error.status_code, code, text, headers=headers, method=request.method)


def _allowed(request: Request) -> str:
    """Every method of the URL (RFC 9110 §15.5.6): the router names those of the first route that has the path."""
    found: set[str] = set()
    for route in request.app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(found))


def internal_error(error: BaseException, method: str = "GET") -> Response:
    """500 with a random reference; the log gets the error's class and the frames, not its message.

    503 when it is the database that does not answer: the same request may succeed later.
    """
    reference = secrets.token_hex(8)
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-12:]))
    log.error("internal error %s: %s at %s", reference, type(error).__name__, places)
    if is_database_lost(error):
        text, headers = "the database does not answer", {"retry-after": "1"}
        return outcome_response(503, "transient", text, headers=headers, method=method)
    return outcome_response(500, "exception", _INTERNAL + reference, method=method)


class Shield:
    """Outermost ASGI layer: security headers on every answer, and a 500 that tells nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; answers for it when the application fails before it has begun an answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def guarded(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except Exception as error:
            if is_started:
                raise RuntimeError("the answer broke off after it had begun") from None
            await internal_error(error, scope["method"])(scope, receive, guarded)
