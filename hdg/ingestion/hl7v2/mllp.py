"""MLLP: HL7 v2 over TCP. HL7 Transport Specification: MLLP, Release 1.

The listener lies here; what happens on a connection in mllp_connection.py, framing in mllp_frame.py, the
client in mllp_client.py.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable

from hdg.ingestion.hl7v2.mllp_budget import Budget
from hdg.ingestion.hl7v2.mllp_client import PORT, MllpClient
from hdg.ingestion.hl7v2.mllp_connection import Connection, Handler, Mode, Service, as_asked
from hdg.ingestion.hl7v2.mllp_frame import MAX_BYTES, FrameDecoder, Oversize, frame
from hdg.throttle import Throttle

__all__ = [
    "MAX_BYTES",
    "PORT",
    "Budget",
    "FrameDecoder",
    "Handler",
    "MllpClient",
    "MllpServer",
    "Oversize",
    "frame",
    "serve_mllp",
]

MAX_CONNECTIONS = 1_024
HANDSHAKE_S = 15.0
FRAME_S = 60.0
_log = logging.getLogger(__name__)


class MllpServer:
    """A running listener. ``address`` is ``host:port`` as bound."""

    def __init__(self, server: asyncio.Server, service: Service) -> None:
        self._server = server
        self._service = service
        host, port = server.sockets[0].getsockname()[:2]
        self.host: str = host
        self.port: int = port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def close(self, *, grace_s: float = 10.0) -> None:
        """Stops listening; messages received are finished and acknowledged, for ``grace_s`` at most.

        Connections are given the time to send what is written: to abort one at once would lose an ACK whose
        message is stored.
        """
        self._server.close()
        await _turns()  # connections just accepted appear
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + grace_s
        while (left_s := deadline_s - loop.time()) > 0:
            for connection in list(self._service.connections):
                connection.finish()
            if self._service.tasks:
                await asyncio.wait(list(self._service.tasks), timeout=left_s)
            elif self._service.connections:
                await asyncio.sleep(min(0.005, left_s))
            else:
                break
        for connection in list(self._service.connections):
            connection.abort()
        await self._server.wait_closed()
        await _turns()  # closed transports report


async def _turns() -> None:
    """A few turns of the event loop, for what it has to report."""
    for _ in range(3):
        await asyncio.sleep(0)


def _now_us() -> int:
    return time.time_ns() // 1000


async def serve_mllp(
    host: str,
    port: int,
    handler: Handler,
    *,
    mode: Mode = as_asked,
    max_bytes: int = MAX_BYTES,
    idle_s: float = 300.0,
    frame_s: float = FRAME_S,
    max_connections: int = MAX_CONNECTIONS,
    end_pause_s: float = 0.0,
    tls: ssl.SSLContext | None = None,
    budget: Budget | None = None,
    clock: Callable[[], int] = _now_us,
) -> MllpServer:
    """Listens. ``handler`` gets each message with its Origin and returns the answers, one at a time.

    If it raises, the sender gets AE (or CE) and the connection stays; ``mode`` says what is declared about who is
    sent which acknowledgement of what the handler has not taken. Port 0 binds any free port. ``tls``:
    only TLS is spoken (mllp_tls.server_context). ``end_pause_s``: after such a pause behind an FS the frame
    counts as ended although its CR is missing; 0 waits for the CR (FrameDecoder says why).

    ``idle_s``: a connection on which nothing comes or goes for so long is closed. ``frame_s``: so long a
    message may take to arrive, and longer by its size (FRAME_BYTES_PER_S); one that takes longer is answered
    AE (or CE) and its connection closed. ``budget``: what all connections may hold; give it to several
    listeners to share it. Raises OSError.
    """
    service = Service(
        handler,
        mode,
        max_bytes,
        max_connections,
        idle_s,
        frame_s,
        end_pause_s,
        clock,
        budget or Budget(),
        connections=set(),
        tasks=set(),
        tell=Throttle(_log),
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(service),
        host,
        port,
        backlog=256,
        ssl=tls,
        ssl_handshake_timeout=HANDSHAKE_S if tls is not None else None,
    )
    return MllpServer(server, service)
