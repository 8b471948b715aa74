"""``/ledger/checkpoint`` (public) and ``/ledger/proof`` (behind the gate).

C2SP tlog-checkpoint; RFC 6962 §2.1.1 (inclusion proofs). A checkpoint holds a tree size, a root hash and a
signature, so anyone may have it and hold the gateway to its word. A proof tells that a certain
resource exists, so it passes the gate like a read.
"""

from __future__ import annotations

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hdg.errors import BadRequest, NotFound
from hdg.management.ledger.proof import tlog_proof
from hdg.usage.access import Gate, Proof
from hdg.usage.fhir_api.context import caller_of
from hdg.usage.fhir_api.query import pairs
from hdg.usage.fhir_api.read import ID, VERSION
from hdg.usage.fhir_api.responses import fhir_response

_PARAMETERS = frozenset({"type", "id", "version"})


def routes(gate: Gate) -> list[Route]:
    """The two routes."""

    async def checkpoint(request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(gate.checkpoint))

    async def proof(request: Request) -> Response:
        caller = caller_of(gate, request)
        given = pairs(request.scope["query_string"])
        asked = dict(given)
        if len(asked) != len(given) or not asked.keys() <= _PARAMETERS or not {"type", "id"} <= asked.keys():
            raise BadRequest("a proof takes the parameters type and id, and version where wanted")
        version = asked.get("version")
        if not ID.match(asked["id"]) or (version is not None and not VERSION.match(version)):
            raise NotFound("no such resource")
        wanted = None if version is None else int(version)
        found = await gate.proof(caller, asked["type"], asked["id"], wanted)
        body = orjson.dumps(_as_json(found), option=orjson.OPT_INDENT_2)
        return fhir_response(body, method=request.method, content_type="application/json")

    return [
        Route("/ledger/checkpoint", checkpoint, methods=["GET"]),
        Route("/ledger/proof", proof, methods=["GET"]),
    ]


def _as_json(proof: Proof) -> dict[str, object]:
    """The proof with hashes in lower-case hex; ``tlog_proof`` is the same as one C2SP tlog-proof file."""
    return {
        "resource": f"{proof.type}/{proof.id}",
        "version": proof.version,
        "leaf": proof.leaf.decode(),
        "index": proof.index,
        "size": proof.size,
        "path": [value.hex() for value in proof.path],
        "checkpoint": proof.checkpoint,
        "verifier_key": proof.verifier_key,
        "tlog_proof": tlog_proof(proof.index, proof.path, proof.checkpoint),
    }
