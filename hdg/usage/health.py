"""``/healthz`` (the process answers), ``/readyz`` (database answers, ledger opens, room to write). Both
public.

``/readyz`` also tells free disk space and its limit, and how many messages wait in the outbox or are parked
there and how old the oldest waiting one is, in the lines of the Prometheus text format.
"""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError
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
        waiting = await run_in_threadpool(_outbox, gate)
        text = (
            f"{'ok' if is_ready else 'not ready'}\n"
            f"hdg_disk_free_bytes {space.free_bytes()}\n"
            f"hdg_disk_min_free_bytes {space.limit_bytes}\n"
            f"{waiting}"
        )
        return PlainTextResponse(text, 200 if is_ready else 503)

    return [Route("/healthz", healthz, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])]


def _outbox(gate: Gate) -> str:
    """Its lines; none when the database does not answer."""
    try:
        depth = gate.outbox()
    except SQLAlchemyError:
        return ""
    age_us = 0 if depth.oldest_us is None else max(gate.now_us() - depth.oldest_us, 0)
    return (
        f"hdg_outbox_queued {depth.queued}\n"
        f"hdg_outbox_refused {depth.refused}\n"
        f"hdg_outbox_oldest_seconds {age_us // 1_000_000}\n"
    )
