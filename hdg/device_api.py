"""``POST /ingest/device``: data of personal health devices, answered by an OperationOutcome once they are committed.

An Apple Health export (``application/xml``, ``application/zip``), Open mHealth, Health Connect or a gateway's envelope
(``application/json``), home measurements (``text/csv``). Roles: ``patient``, whose data they then are, signed by the
patient's key; ``sender`` and ``operator``, who name the patient inside the data or with ``?patient=ID``. Status 200:
accepted; 422: refused and kept with the reason; 503 with Retry-After: could not be kept; 413, 415, 401, 403.
"""

from __future__ import annotations

import logging

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.devices import Devices
from hdg.errors import AccessDenied, HdgError
from hdg.fhir import json
from hdg.fhir.outcome import operation_outcome
from hdg.gateway import Gateway
from hdg.ingest_api import BODIES_MAX, REQUESTS_MAX, Ingest, busy
from hdg.ingestion.sender import Origin
from hdg.management.identity import Principal
from hdg.usage.access import Gate
from hdg.usage.fhir_api.context import caller_of
from hdg.usage.fhir_api.errors import outcome_response
from hdg.usage.fhir_api.negotiation import FHIR_JSON

__all__ = ["PATH", "mount"]

PATH = "/ingest/device"
_TYPES = frozenset(
    {
        "application/json",
        "application/octet-stream",
        "application/x-ndjson",
        "application/xml",
        "application/zip",
        "text/csv",
        "text/xml",
    }
)
_ID_MAX = 64

_log = logging.getLogger("hdg.ingest")


def mount(app: FastAPI, gate: Gate, gateway: Gateway, devices: Devices) -> None:
    """Adds the route to the application."""
    app.router.routes.insert(0, Route(PATH, _IngestDevice(gate, gateway, devices).post, methods=["POST"]))


class _IngestDevice(Ingest):
    types = _TYPES

    def __init__(self, gate: Gate, gateway: Gateway, devices: Devices) -> None:
        super().__init__(gate, gateway, None)
        self._devices = devices

    async def post(self, request: Request) -> Response:
        """The answer to one request. Raises AccessDenied, HTTPException."""
        caller = caller_of(self._gate, request)
        origin = _origin(caller.principal, request.query_params.get("patient", ""))
        size = self._checked(request)
        if self._requests >= REQUESTS_MAX or self._bytes + size > BODIES_MAX * self._max_bytes:
            return busy("the gateway has too much under way; send it again")
        with self._room(size):
            return await self._taken(await self._body(request), origin)

    async def _taken(self, body: bytes, origin: Origin) -> Response:
        if not body.strip():
            return outcome_response(400, "required", "the body holds no data", method="POST")
        try:
            taken = await self._devices.take(body, origin)
        except HdgError as error:
            _log.error("data of a device were not kept: %s", type(error).__name__)
            return busy("the data could not be kept; send them again")
        content = json.dumps(operation_outcome(taken.issues()))
        return Response(content, 200 if taken.is_accepted else 422, {"content-type": FHIR_JSON})


def _origin(who: Principal, named: str) -> Origin:
    """Where the data come from. Raises AccessDenied for a role that sends none, or a patient naming another."""
    if len(named) > _ID_MAX:
        raise HTTPException(400)
    if who.role == "patient":
        if named and named != who.patient:
            raise AccessDenied("a patient hands in data about themselves")
        return Origin("http", patient=who.patient, is_patient=True)
    if who.role not in ("operator", "sender"):
        raise AccessDenied("this role sends no data")
    return Origin("http", institution=who.institution if who.role == "sender" else "", patient=named)
