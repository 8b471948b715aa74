"""``GET /fhir/metadata``. R4 http.html#capabilities. Public: what the server can do, not what it holds."""

from __future__ import annotations

from functools import lru_cache

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest
from hdg.fhir import json
from hdg.management.store.custom import CustomSet
from hdg.usage.fhir_api.capability import capability_statement
from hdg.usage.fhir_api.context import Api, query_of
from hdg.usage.fhir_api.custom_capability import with_custom
from hdg.usage.fhir_api.negotiation import check_accept
from hdg.usage.fhir_api.query import describe
from hdg.usage.fhir_api.responses import fhir_response


class Version:
    """A set of search parameters; equal to others of the same version."""

    def __init__(self, custom: CustomSet) -> None:
        self.set = custom

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.set.version == other.set.version

    def __hash__(self) -> int:
        return hash(self.set.version)


def routes(api: Api, at_us: int) -> list[Route]:
    """The route of the CapabilityStatement, which is kept until other search parameters are in use."""

    @lru_cache(maxsize=1)
    def of(custom: Version) -> bytes:
        statement = capability_statement(api.base_url, at_us, api.gate.policy)
        return json.dumps(with_custom(statement, custom.set))

    def statement() -> bytes:
        return of(Version(api.gate.catalog.known_or_current()))

    async def metadata(request: Request) -> Response:
        check_accept(request.headers.get("accept"))
        for name, value in query_of(request):
            if name != "mode" or value not in ("full", "normative"):
                raise BadRequest(f"{describe(name)} is not supported here", code="not-supported")
        return fhir_response(await run_in_threadpool(statement), method=request.method)

    return [Route("/fhir/metadata", metadata, methods=["GET"])]
