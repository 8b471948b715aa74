"""``POST /ingest/hl7v2``: one HL7 v2 message or a batch, acknowledged in the body once it is committed.

Media type ``x-application/hl7-v2+er7`` (as in HAPI's HL7 over HTTP) or ``text/plain``; a charset parameter is
ignored, since MSH-18 says it. By Accept the answer is HL7 v2 (the default) or an OperationOutcome. Status
200: all accepted; 204: all accepted, and no acknowledgement was asked for; 422: some were not (each is kept
with its reason); 503 with Retry-After: some could not be kept, send all of it again; 413, 415, 406, 401, 403.

``POST /ingest/cda``: one CDA document (``text/xml``, ``application/xml``, ``application/hl7-cda+xml``), answered by an
OperationOutcome with the same status codes.

``POST /ingest/hl7v3``: one HL7 v3 message in the same media types or ``application/soap+xml`` (its envelope is taken
off). Where Accept names XML and prefers it, the answer is MCCI_IN000002UV01 (204 where the message asks for none), else
an OperationOutcome; the same status codes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.documents import Documents, Taken
from hdg.errors import AccessDenied, HdgError
from hdg.fhir import json
from hdg.fhir.outcome import operation_outcome
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.batch import read_batch
from hdg.ingestion.hl7v2.query import is_query
from hdg.ingestion.hl7v3.ack import acknowledge
from hdg.ingestion.sender import Origin
from hdg.intake import answer, take_all
from hdg.query_answer import Queries
from hdg.usage.access import Caller, Gate
from hdg.usage.fhir_api.context import caller_of
from hdg.usage.fhir_api.errors import outcome_response
from hdg.usage.fhir_api.negotiation import FHIR_JSON

PATH = "/ingest/hl7v2"
DOCUMENTS_PATH = "/ingest/cda"
V3_PATH = "/ingest/hl7v3"
ER7 = "x-application/hl7-v2+er7"
ROLES = frozenset({"operator", "sender"})
REQUESTS_MAX = 64
"""Requests under way at a time; the next is told to come again."""
BODIES_MAX = 4
"""Bodies of the largest size that may be under way together: bounds memory."""
RETRY_S = 5

_TYPES = frozenset({ER7, "application/hl7-v2+er7", "application/hl7-v2", "text/plain"})
_XML_TYPES = frozenset({"application/hl7-cda+xml", "application/hl7-sda+xml", "application/xml", "text/xml"})
_SOAP = "application/soap+xml"
_SOAP_1_2 = b"http://www.w3.org/2003/05/soap-envelope"
_V3_RANGES = frozenset({"application/xml", "text/xml", _SOAP})
_OUTCOME_RANGES = frozenset({"application/fhir+json", "application/json"})
_ER7_RANGES = _TYPES | {"*/*", "x-application/*", "text/*"}


_log = logging.getLogger("hdg.ingest")


def mount(app: FastAPI, gate: Gate, gateway: Gateway, queries: Queries | None = None) -> None:
    """Adds the routes to the application."""
    messages, documents = Ingest(gate, gateway, queries), _IngestDocuments(gate, gateway, None)
    app.router.routes.insert(0, Route(PATH, messages.post, methods=["POST"]))
    app.router.routes.insert(0, Route(DOCUMENTS_PATH, documents.post, methods=["POST"]))
    registry = _IngestV3(gate, gateway, None)
    app.router.routes.insert(0, Route(V3_PATH, registry.post, methods=["POST"]))


class Ingest:
    """The endpoint, and what is under way in it."""

    types = _TYPES

    def __init__(self, gate: Gate, gateway: Gateway, queries: Queries | None) -> None:
        self._gate = gate
        self._queries = queries
        self._gateway = gateway
        self._max_bytes = gateway.settings.ingest_max_bytes
        self._requests = 0
        self._bytes = 0

    async def post(self, request: Request) -> Response:
        """The answer to one request. Raises AccessDenied, HTTPException."""
        caller = caller_of(self._gate, request)
        origin = _origin(caller)
        is_er7 = self._wants_er7(request.headers.get("accept"))
        size = self._checked(request)
        if self._requests >= REQUESTS_MAX or self._bytes + size > BODIES_MAX * self._max_bytes:
            return busy("the gateway has too much under way; send it again")
        with self._room(size):
            return await self._answer(await self._body(request), origin, is_er7=is_er7)

    def _checked(self, request: Request) -> int:
        """How many bytes to make room for."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "identity").lower()
        if kind not in self.types or encoding != "identity":
            raise HTTPException(415)
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdigit() and len(length) < 20 else self._max_bytes
        if size > self._max_bytes:
            raise HTTPException(413)
        return size

    @contextmanager
    def _room(self, size: int) -> Iterator[None]:
        self._requests += 1
        self._bytes += size
        try:
            yield
        finally:
            self._requests -= 1
            self._bytes -= size

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                if len(body) > self._max_bytes:
                    raise HTTPException(413)
        except ClientDisconnect:
            raise HTTPException(400) from None
        return bytes(body)

    def _wants_er7(self, accept: str | None) -> bool:
        return _wants_er7(accept)

    async def _answer(self, body: bytes, origin: Origin, *, is_er7: bool) -> Response:
        if not body.strip():
            return outcome_response(400, "required", "the body holds no message", method="POST")
        batch = read_batch(body)
        if self._queries is not None and len(batch.messages) == 1 and is_query(batch.messages[0]):
            if not is_er7:
                raise HTTPException(406)
            return Response(await self._queries.answer(batch.messages[0], origin), 200, {"content-type": ER7})
        outcomes = await take_all(self._gateway, batch.messages, origin)
        is_to_be_sent_again = any(outcome.is_to_be_sent_again for outcome in outcomes)
        is_accepted = all(outcome.is_accepted for outcome in outcomes) and not batch.errors
        status = 503 if is_to_be_sent_again else 200 if is_accepted else 422
        headers = {"retry-after": str(RETRY_S)} if status == 503 else {}
        if is_er7:
            text = answer(batch, outcomes, self._gateway.clock())
            if not text:
                return Response(status_code=204, headers=headers)
            return Response(text, status, {**headers, "content-type": ER7})
        issues = [issue for outcome in outcomes for issue in outcome.issues()]
        content = json.dumps(operation_outcome([*issues, *batch.issues]))
        return Response(content, status, {**headers, "content-type": FHIR_JSON})


class _IngestDocuments(Ingest):
    """``POST /ingest/cda``: one document, answered by an OperationOutcome once it is committed."""

    types = _XML_TYPES

    def __init__(self, gate: Gate, gateway: Gateway, queries: Queries | None) -> None:
        super().__init__(gate, gateway, queries)
        self._documents = Documents(gateway)

    def _wants_er7(self, accept: str | None) -> bool:
        return False

    async def _answer(self, body: bytes, origin: Origin, *, is_er7: bool) -> Response:
        if not body.strip():
            return outcome_response(400, "required", "the body holds no document", method="POST")
        try:
            taken = await self._documents.take(body, origin)
        except HdgError as error:
            _log.error("a document was not kept: %s", type(error).__name__)
            return busy("the document could not be kept; send it again")
        return await self._answered(body, taken, is_er7=is_er7)

    async def _answered(self, body: bytes, taken: Taken, *, is_er7: bool) -> Response:
        content = json.dumps(operation_outcome(taken.issues()))
        return Response(content, 200 if taken.is_accepted else 422, {"content-type": FHIR_JSON})


class _IngestV3(_IngestDocuments):
    """``POST /ingest/hl7v3``: one message, answered by MCCI_IN000002UV01 or an OperationOutcome."""

    types = _XML_TYPES | {_SOAP}

    def _wants_er7(self, accept: str | None) -> bool:
        return _wants_xml(accept)

    async def _answered(self, body: bytes, taken: Taken, *, is_er7: bool) -> Response:
        if not is_er7:
            return await super()._answered(body, taken, is_er7=is_er7)
        at_us = self._gateway.clock()
        text = await asyncio.to_thread(acknowledge, body, taken.issues(), at_us=at_us)
        if text is None:
            return Response(status_code=204 if taken.is_accepted else 422)
        kind = _SOAP if _SOAP_1_2 in text[:256] else "application/xml"
        return Response(text, 200 if taken.is_accepted else 422, {"content-type": f"{kind}; charset=utf-8"})


def _origin(caller: Caller) -> Origin:
    """Where a caller's messages come from. Raises AccessDenied (403) for a role that sends none."""
    who = caller.principal
    if who.role not in ROLES:
        raise AccessDenied("this role sends no messages")
    return Origin("http", institution=who.institution if who.role == "sender" else "")


def busy(text: str) -> Response:
    """503: to be sent again."""
    return outcome_response(503, "transient", text, headers={"retry-after": str(RETRY_S)}, method="POST")


def _wants_er7(accept: str | None) -> bool:
    """Whether HL7 v2 is the answer: unless an OperationOutcome is preferred. Raises HTTPException 406."""
    best: dict[bool, float] = {}
    for part in (accept or "*/*").lower().split(","):
        name, _, settings = part.strip().partition(";")
        weight = _weight(settings)
        name = name.strip()
        if name in _ER7_RANGES:
            best[True] = max(weight, best.get(True, 0))
        if name in _OUTCOME_RANGES or name == "application/*":
            best[False] = max(weight, best.get(False, 0))
    if not any(best.values()):
        raise HTTPException(406)
    return best.get(True, 0) >= best.get(False, 0)


def _wants_xml(accept: str | None) -> bool:
    """Whether XML is named and preferred to an OperationOutcome in JSON. Raises HTTPException 406."""
    best: dict[str, float] = {}
    for part in (accept or "*/*").lower().split(","):
        name, _, settings = part.strip().partition(";")
        name = name.strip()
        kind = "xml" if name in _V3_RANGES else "json" if name in _OUTCOME_RANGES else ""
        if name in ("*/*", "application/*"):
            kind = "any"
        if kind:
            best[kind] = max(_weight(settings), best.get(kind, 0))
    if not any(best.values()):
        raise HTTPException(406)
    return best.get("xml", 0) > 0 and best["xml"] >= best.get("json", 0)


def _weight(settings: str) -> float:
    """The q parameter of a media range (RFC 9110 §12.4.2)."""
    for setting in settings.split(";"):
        name, _, value = setting.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
