"""``/dicomweb``: QIDO-RS and WADO-RS. DICOM PS3.18 §10.4, §10.6.

Who may see an ImagingStudy may see its objects; researchers may not, for neither headers nor pixels are de-identified.
Errors are OperationOutcomes, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from hdg.errors import BadRequest, NotFound
from hdg.usage.dicomweb import objects
from hdg.usage.dicomweb.archive import Archive, Image
from hdg.usage.dicomweb.datasets import quiet
from hdg.usage.dicomweb.matching import narrowing, parse
from hdg.usage.dicomweb.media import ranges
from hdg.usage.dicomweb.query import Query
from hdg.usage.fhir_api import parameters
from hdg.usage.fhir_api.context import Api, caller_of
from hdg.usage.fhir_api.negotiation import NotAcceptable
from hdg.usage.fhir_api.query import Pairs, pairs

__all__ = ["routes"]

_STUDY = "/dicomweb/studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_JSON = "application/dicom+json"
_PICTURES = 2
"""Pictures made at a time: one of the largest takes two GB of memory."""
_CANDIDATES = 100
"""ImagingStudies looked into at a time."""


def routes(api: Api) -> list[Route]:
    """The routes of DICOMweb."""
    quiet()
    service = _Service(api)
    found = [
        Route("/dicomweb/studies", service.search("study"), methods=["GET"]),
        *(
            Route(f"{place}/{name}", service.search(level), methods=["GET"])
            for place, name, level in (
                ("/dicomweb", "series", "series"),
                ("/dicomweb", "instances", "instance"),
                (_STUDY, "series", "series"),
                (_STUDY, "instances", "instance"),
                (_SERIES, "instances", "instance"),
            )
        ),
    ]
    for place in (_STUDY, _SERIES, _INSTANCE):
        found += [
            Route(place, service.retrieve, methods=["GET"]),
            Route(f"{place}/metadata", service.metadata, methods=["GET"]),
            Route(f"{place}/rendered", service.rendered, methods=["GET"]),
            Route(f"{place}/thumbnail", service.thumbnail, methods=["GET"]),
        ]
    return [
        *found,
        Route(_INSTANCE + "/frames/{frames}", service.frames, methods=["GET"]),
        Route(_INSTANCE + "/frames/{frames}/rendered", service.rendered, methods=["GET"]),
        Route(_INSTANCE + "/frames/{frames}/thumbnail", service.thumbnail, methods=["GET"]),
        Route(_INSTANCE + "/bulkdata/{tag}", service.bulkdata, methods=["GET"]),
    ]


class _Service:
    """The handlers around one gate."""

    def __init__(self, api: Api) -> None:
        self._api, self._gate = api, api.gate
        self._pictures = CapacityLimiter(_PICTURES)
        self._base = f"{api.base_url.removesuffix('/fhir')}/dicomweb"

    def search(self, level: str) -> _Handler:
        """The handler of QIDO-RS at a level."""

        async def handle(request: Request) -> Response:
            caller = caller_of(self._gate, request)
            _check_json(request)
            place = request.path_params
            asked = parse(level, _without_accept(pairs(request.scope["query_string"])))
            study_uid = place.get("study", "")
            narrowed = parameters.parse(
                "ImagingStudy", narrowing(asked, study_uid), self._api.limits, count=_CANDIDATES
            )
            query = Query(
                asked, narrowed, self._base, study_uid=study_uid, series_uid=place.get("series", "")
            )
            found = await self._gate.images(caller, query, _asked(request))
            headers = {}
            if query.is_cut:
                headers["warning"] = f'299 {self._base}: "There are more results; ask with offset"'
            body = orjson.dumps([one.attributes for one in found[: asked.limit]])
            return Response(body, 200, headers, _JSON)

        return handle

    async def _found(self, request: Request) -> Sequence[Image]:
        """The objects that the path names. Raises NotFound where the caller sees none."""
        caller = caller_of(self._gate, request)
        place = request.path_params

        def find(archive: Archive) -> list[Image]:
            return list(
                archive.images(
                    study_uid=place["study"],
                    series_uid=place.get("series", ""),
                    sop_uid=place.get("instance", ""),
                )
            )

        found = await self._gate.images(caller, find, _asked(request))
        if not found:
            raise NotFound("nothing is here")
        return found

    async def retrieve(self, request: Request) -> Response:
        """Whole objects, as they are stored."""
        accepted = _accepted(request)
        found = await self._found(request)
        return _streamed(objects.retrieved(found, accepted, is_one="instance" in request.path_params))

    async def metadata(self, request: Request) -> Response:
        """The headers in the DICOM JSON model."""
        _check_json(request)
        found = await self._found(request)
        return StreamingResponse(objects.metadata(found, self._base), media_type=_JSON)

    async def frames(self, request: Request) -> Response:
        """Frames of one object, as they are stored."""
        numbers = _numbers(request)
        accepted = _accepted(request)
        (image, *_) = await self._found(request)
        return _streamed(await run_in_threadpool(objects.frames, image, numbers, accepted))

    async def bulkdata(self, request: Request) -> Response:
        """One large value."""
        accepted = _accepted(request)
        (image, *_) = await self._found(request)
        return _streamed(await run_in_threadpool(objects.bulk, image, request.path_params["tag"], accepted))

    async def rendered(self, request: Request) -> Response:
        """A picture for people."""
        return await self._picture(request, objects.VIEWPORT_MAX)

    async def thumbnail(self, request: Request) -> Response:
        """A small one."""
        return await self._picture(request, objects.THUMBNAIL)

    async def _picture(self, request: Request, most: int) -> Response:
        view = objects.view(_without_accept(pairs(request.scope["query_string"])), most)
        media_type = next(
            (one for wanted in _accepted(request) for one in objects.PICTURE_TYPES if wanted.takes(one)), None
        )
        if media_type is None:
            raise NotAcceptable(", ".join(objects.PICTURE_TYPES))
        numbers = _numbers(request) if "frames" in request.path_params else (0,)
        found = await self._found(request)
        body = await to_thread.run_sync(
            objects.rendered, found, numbers[0], view, media_type, limiter=self._pictures
        )
        return Response(body, 200, media_type=media_type)


_Handler = objects.Handler


def _asked(request: Request) -> str:
    """For the audit."""
    query = request.scope["query_string"].decode("latin-1")
    return request.url.path + (f"?{query}" if query else "")


def _without_accept(given: Pairs) -> Pairs:
    return [pair for pair in given if pair[0] not in ("accept", "charset")]


def _accepted(request: Request) -> list[objects.Range]:
    return ranges(request.headers.get("accept"), dict(pairs(request.scope["query_string"])).get("accept", ""))


def _check_json(request: Request) -> None:
    if not any(one.takes(_JSON) or one.takes("application/json") for one in _accepted(request)):
        raise NotAcceptable(_JSON)


def _numbers(request: Request) -> tuple[int, ...]:
    """The numbers of a list of frames. Raises BadRequest."""
    parts = request.path_params["frames"].split(",")
    if len(parts) > objects.FRAMES_MAX or not all(part.isascii() and part.isdecimal() for part in parts):
        raise BadRequest(f"frames: up to {objects.FRAMES_MAX} numbers with commas between", code="value")
    return tuple(int(part[:9]) for part in parts)


def _streamed(answer: objects.Answer) -> Response:
    # Neither pixels nor parts get smaller by gzip, and it would cost more than all else.
    headers = {"content-encoding": "identity"}
    return StreamingResponse(answer.content, headers=headers, media_type=answer.media_type)
