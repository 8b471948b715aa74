"""``/ledger/checkpoint`` (public) and ``/ledger/proof`` (behind the gate).

C2SP tlog-checkpoint; RFC 6962 §2.1.1 (inclusion proofs). A checkpoint holds a tree size, a root hash and a
signature, so anyone may have it: that lets a stranger hold the gateway to its word. A proof tells that a certain
resource exists, so it passes the gate like a read.
"""

from __future__ import annotations

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hdg.errors import BadRequest, NotFound
from hdg.usage.access import Gate
from hdg.usage.fhir_api.query import pairs
from hdg.usage.fhir_api.read import ID, VERSION

_PARAMETERS = frozenset({"type", "id", "version"})


def routes(gate: Gate) -> list[Route]:
    """The two routes."""

    async def checkpoint(request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(gate.checkpoint))

    async def proof(request: Request) -> Response:
        principal = gate.principal(request.headers.get("authorization"))
        given = pairs(request.scope["query_string"])
        asked = dict(given)
        if len(asked) != len(given) or not asked.keys() <= _PARAMETERS or not {"type", "id"} <= asked.keys():
            raise BadRequest("a proof takes the parameters type and id, and version where wanted")
        version = asked.get("version")
        if not ID.match(asked["id"]) or (version is not None and not VERSION.match(version)):
            raise NotFound("no such resource")
        found = await gate.proof(
            principal, asked["type"], asked["id"], None if version is None else int(version)
        )
        body = orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        return Response(body, media_type="application/json")

    return [
        Route("/ledger/checkpoint", checkpoint, methods=["GET"]),
        Route("/ledger/proof", proof, methods=["GET"]),
    ]
