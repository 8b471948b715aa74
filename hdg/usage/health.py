"""``/healthz`` (the process answers), ``/readyz`` (database answers, ledger opens, room to write). Both
public.

``/readyz`` also tells free disk space and its limit, in the lines of the Prometheus text format.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hdg.usage.access import Gate


def routes(gate: Gate) -> list[Route]:
    """The two routes; a probe learns yes or no, never why."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        is_ready = await run_in_threadpool(gate.is_ready)
        space = gate.space()
        text = (
            f"{'ok' if is_ready else 'not ready'}\n"
            f"hdg_disk_free_bytes {space.free_bytes()}\n"
            f"hdg_disk_min_free_bytes {space.limit_bytes}\n"
        )
        return PlainTextResponse(text, 200 if is_ready else 503)

    return [Route("/healthz", healthz, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])]
