"""STOW-RS: ``POST /dicomweb/studies`` and ``/dicomweb/studies/{study}``. PS3.18 §10.5, Annex I.

https://dicom.nema.org/medical/dicom/current/output/chtml/part18/sect_10.5.html. The body is multipart/related; its
parts are of type application/dicom and taken in one after the other while they arrive, in constant memory. The answer
is DICOM JSON (PS3.18 §F): what is stored, what is not and why. Status 200: all are stored (or were); 202: some are
not; 409: none is; 503 with Retry-After: the gateway has no room at the moment; 400, 401, 403, 415.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import AccessDenied, DicomError
from hdg.fhir import json
from hdg.imaging import Expected, Imaging, Intake, Outcome
from hdg.ingestion.dicom.association_dimse import Status
from hdg.ingestion.dicom.scp_multipart import Multipart, boundary_of
from hdg.ingestion.sender import Origin
from hdg.management.store.engine import NotCommitted
from hdg.usage.access import Gate
from hdg.usage.fhir_api.context import caller_of
from hdg.usage.fhir_api.errors import outcome_response

PATHS = ("/dicomweb/studies", "/dicomweb/studies/{study}")
ROLES = frozenset({"operator", "sender"})
REQUESTS_MAX = 16
"""Requests under way at a time; the next is told to come again."""
RETRY_S = 5
IDLE_S = 60.0
BYTES_S = 32 * 1024
"""A body that arrives more slowly than this, after ``IDLE_S``, is given up: slow senders shall not hold all places."""
_PIECE_BYTES = 1 << 20
_JSON = "application/dicom+json"

_log = logging.getLogger("hdg.imaging")


def mount(app: FastAPI, gate: Gate, imaging: Imaging) -> None:
    """Adds the routes to the application."""
    store = _Store(gate, imaging)
    for path in PATHS:
        app.router.routes.insert(0, Route(path, store.post, methods=["POST"]))


class _Store:
    """The endpoint, and how much is under way in it."""

    def __init__(self, gate: Gate, imaging: Imaging) -> None:
        self._gate = gate
        self._imaging = imaging
        self._requests = 0

    async def post(self, request: Request) -> Response:
        """The answer to one request. Raises AccessDenied, HTTPException."""
        who = caller_of(self._gate, request).principal
        if who.role not in ROLES:
            raise AccessDenied("this role stores no images")
        kind = request.headers.get("content-type", "")
        if not _is_dicom(kind) or request.headers.get("content-encoding", "identity").lower() != "identity":
            raise HTTPException(415)
        if self._requests >= REQUESTS_MAX:
            return _busy()
        self._requests += 1
        try:
            self._imaging.gateway.store.space.check()
            # a number without an issuer is somebody's within this sender only, as within an AE title
            origin = Origin(f"http|{who.user}", institution=who.institution if who.role == "sender" else "")
            study = str(request.path_params.get("study", ""))
            parts = _Parts(self._imaging, origin, study, Multipart(boundary_of(kind)))
            outcomes = await parts.all_of(request)
        except DicomError as error:
            return outcome_response(400, "structure", error.text, method="POST")
        except NotCommitted:
            return _busy()
        except ClientDisconnect:
            raise HTTPException(400) from None
        finally:
            self._requests -= 1
        return _answer(outcomes, str(request.base_url).rstrip("/"))


async def _in_time(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises HTTPException (408) once it comes more slowly than is waited for."""
    pieces = aiter(request.stream())
    deadline = time.monotonic() + IDLE_S
    while True:
        try:
            data = await asyncio.wait_for(anext(pieces), max(deadline - time.monotonic(), 0))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408) from None
        deadline += len(data) / BYTES_S
        yield data


class _Parts:
    """The objects of one request."""

    def __init__(self, imaging: Imaging, origin: Origin, study: str, multipart: Multipart) -> None:
        self._imaging, self._origin, self._study = imaging, origin, study
        self._multipart = multipart
        self._outcomes: list[Outcome] = []
        self._intake: Intake | None = None
        self._is_wrong = False
        self._pending = bytearray()

    async def all_of(self, request: Request) -> list[Outcome]:
        """Takes them in. Raises DicomError when the body is damaged (what came before stays stored)."""
        try:
            async for data in _in_time(request):
                for event in self._multipart.feed(data):
                    await self._event(event)
            self._multipart.close()
        finally:
            if self._intake is not None:
                self._intake.abort()
        return self._outcomes

    async def _event(self, event: dict[str, str] | bytes | None) -> None:
        if isinstance(event, dict):
            kind = event.get("content-type", "application/dicom").partition(";")[0].strip().lower()
            self._is_wrong = kind != "application/dicom"
            self._intake = self._imaging.intake(self._origin, Expected(study_uid=self._study))
        elif isinstance(event, bytes):
            self._pending += event
            if len(self._pending) >= _PIECE_BYTES:
                await self._write()
        elif self._is_wrong:
            self._pending.clear()
            self._outcomes.append(Outcome(Status.NOT_UNDERSTOOD, "a part is not application/dicom"))
        else:
            await self._finish()

    async def _write(self) -> None:
        data, self._pending = bytes(self._pending), bytearray()
        if self._intake is not None and not self._is_wrong:
            await asyncio.to_thread(self._intake.write, data)

    async def _finish(self) -> None:
        intake, data = self._intake, bytes(self._pending)
        self._intake, self._pending = None, bytearray()
        if intake is None:
            return

        def whole() -> Outcome:
            intake.write(data)
            return intake.finish()

        self._outcomes.append(await asyncio.to_thread(whole))


def _is_dicom(content_type: str) -> bool:
    kind, _, rest = content_type.partition(";")
    settings = [part.strip().lower() for part in rest.split(";")]
    is_other = any(
        part.startswith("type=") and part[5:].strip('"') != "application/dicom" for part in settings
    )
    return kind.strip().lower() == "multipart/related" and not is_other


def _busy() -> Response:
    text = "the gateway has no room for images at the moment; send them again"
    return outcome_response(503, "transient", text, headers={"retry-after": str(RETRY_S)}, method="POST")


def _answer(outcomes: Sequence[Outcome], base: str) -> Response:
    """Store Instances Response Module (PS3.18 Table I.2-1)."""
    stored = [one for one in outcomes if one.status == Status.SUCCESS]
    failed = [one for one in outcomes if one.status != Status.SUCCESS and one.sop_uid]
    other = [one for one in outcomes if one.status != Status.SUCCESS and not one.sop_uid]
    told: dict[str, Any] = {}
    studies = {one.study_uid for one in stored}
    if len(studies) == 1:
        told["00081190"] = _value("UR", f"{base}/dicomweb/studies/{studies.pop()}")
    if stored:
        told["00081199"] = {"vr": "SQ", "Value": [_stored(one, base) for one in stored]}
    if failed:
        items = [{**_named(one), "00081197": _value("US", one.status)} for one in failed]
        told["00081198"] = {"vr": "SQ", "Value": items}
    if other:
        told["0008119A"] = {"vr": "SQ", "Value": [{"00081197": _value("US", one.status)} for one in other]}
    is_later = any(one.status == Status.OUT_OF_RESOURCES for one in outcomes)
    status = 200 if stored and len(stored) == len(outcomes) else 202 if stored else 503 if is_later else 409
    headers = {"retry-after": str(RETRY_S)} if status == 503 else {}
    return Response(json.dumps(told), status if outcomes else 400, {**headers, "content-type": _JSON})


def _named(one: Outcome) -> dict[str, Any]:
    return {"00081150": _value("UI", one.sop_class), "00081155": _value("UI", one.sop_uid)}


def _stored(one: Outcome, base: str) -> dict[str, Any]:
    url = f"{base}/dicomweb/studies/{one.study_uid}/instances/{one.sop_uid}"
    return {**_named(one), "00081190": _value("UR", url)}


def _value(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
