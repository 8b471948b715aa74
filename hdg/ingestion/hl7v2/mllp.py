"""MLLP: HL7 v2 over TCP. HL7 Transport Specification: MLLP, Release 1.

The server lies here; framing in mllp_frame.py, the client in mllp_client.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

from hdg.errors import HdgError, Hl7v2Error
from hdg.ingestion.hl7v2.ack import Code, acknowledge
from hdg.ingestion.hl7v2.ack_mode import replies
from hdg.ingestion.hl7v2.mllp_client import PORT, MllpClient
from hdg.ingestion.hl7v2.mllp_frame import MAX_BYTES, FrameDecoder, Oversize, frame
from hdg.ingestion.hl7v2.mllp_tls import subject_of
from hdg.ingestion.sender import Origin
from hdg.throttle import Throttle

__all__ = [
    "MAX_BYTES",
    "PORT",
    "FrameDecoder",
    "Handler",
    "MllpClient",
    "MllpServer",
    "Oversize",
    "frame",
    "serve_mllp",
]

MAX_CONNECTIONS = 1_024
QUEUE_FRAMES = 16
QUEUE_BYTES = 1024 * 1024
"""What one connection may have waiting for its turn before reading pauses."""

HANDSHAKE_S = 15.0

Handler = Callable[[bytes, Origin], Awaitable[Sequence[bytes]]]
"""Takes a message and where it came from; returns what is sent back, in order."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Service:
    """What every connection of one server shares."""

    handler: Handler
    max_bytes: int
    max_connections: int
    idle_s: float
    end_pause_s: float
    clock: Callable[[], int]
    connections: set[_Connection]
    tasks: set[asyncio.Task[None]]
    tell: Throttle


class _Connection(asyncio.Protocol):
    """One connection: frames are handled one after the other, so answers keep the order of the messages.

    A Protocol rather than streams: no task and no future per read.
    """

    def __init__(self, service: _Service) -> None:
        self._service = service
        self._decoder = FrameDecoder(service.max_bytes, is_lenient=service.end_pause_s > 0)
        self._origin = Origin("mllp")
        self._pause: asyncio.TimerHandle | None = None
        self._waiting: deque[bytes | Oversize] = deque()
        self._waiting_bytes = 0
        self._is_busy = False
        self._is_closing = False
        self._is_reading = True
        self._active_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuses connections over the cap; sets TCP_NODELAY, since an ACK is one small write."""
        self._transport = cast(asyncio.Transport, transport)
        if len(self._service.connections) >= self._service.max_connections:
            tell = self._service.tell
            tell(logging.WARNING, "mllp: connection refused, %d are open", len(self._service.connections))
            self._transport.abort()
            return
        self._service.connections.add(self)
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._origin = Origin("mllps", subject_of(tls))
        self._active_s = self._loop.time()
        self._timer = self._loop.call_later(self._service.idle_s, self._check_idle)

    def data_received(self, data: bytes) -> None:
        """Frames go to the end of the line; reading pauses while the line is long."""
        self._active_s = self._loop.time()
        if self._is_closing:
            return
        self._take(self._decoder.feed(data))
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._decoder.is_at_end:
            self._pause = self._loop.call_later(self._service.end_pause_s, self._end_of_pause)

    def _end_of_pause(self) -> None:
        self._pause = None
        if not self._is_closing:
            self._take(self._decoder.end_of_pause())

    def _take(self, frames: list[bytes | Oversize]) -> None:
        if not frames:
            return
        self._waiting.extend(frames)
        self._waiting_bytes += sum(map(_size, frames))
        if not self._is_busy:
            self._is_busy = True
            task = self._loop.create_task(self._work())
            self._service.tasks.add(task)
            task.add_done_callback(self._service.tasks.discard)
        is_long = len(self._waiting) > QUEUE_FRAMES or self._waiting_bytes > QUEUE_BYTES
        if is_long and self._is_reading and self._transport is not None:
            self._transport.pause_reading()
            self._is_reading = False

    async def _work(self) -> None:
        """Handles waiting frames until there are none."""
        try:
            while self._waiting and self._transport is not None:
                received = self._waiting.popleft()
                self._waiting_bytes -= _size(received)
                answers = await self._answer(received)
                if self._transport is not None and answers:
                    self._transport.write(b"".join(map(frame, answers)))
                if self._writable is not None:
                    await self._writable
                if not self._is_reading and not self._waiting:
                    self._resume()
        finally:
            self._is_busy = False
            self._active_s = self._loop.time()
            if self._is_closing and self._transport is not None:
                self._transport.close()

    async def _answer(self, received: bytes | Oversize) -> Sequence[bytes]:
        """The handler's answers; AE or CE if it fails, AR or CR for a frame over the cap. Never raises."""
        if isinstance(received, Oversize):
            text = f"{received.size_bytes} bytes; the limit is {self._service.max_bytes}"
            return self._refusal(received.head, Hl7v2Error(text, condition="207", is_rejection=True))
        try:
            return await self._service.handler(received, self._origin)
        except Exception as error:  # one message must not end the connection
            self._service.tell(logging.ERROR, "mllp: handler failed: %s", type(error).__name__)
            text = str(error) if isinstance(error, HdgError) else "the message could not be processed"
            return self._refusal(received, Hl7v2Error(text, condition="207"))

    def _refusal(self, received: bytes, error: Hl7v2Error) -> Sequence[bytes]:
        at_us = self._service.clock()
        code: Code = "AR" if error.is_rejection else "AE"
        ack = acknowledge(received, code, errors=[error], control_id=f"E{at_us}", at_us=at_us)
        return replies(received, ack, is_kept=False)

    def _resume(self) -> None:
        if self._transport is not None and not self._is_closing:
            self._transport.resume_reading()
            self._is_reading = True

    def _check_idle(self) -> None:
        """Closes a connection on which nothing was received or answered for ``idle_s``."""
        if self._transport is None:
            return
        left_s = self._active_s + self._service.idle_s - self._loop.time()
        if left_s <= 0 and not self._is_busy:
            self.finish()
        else:
            self._timer = self._loop.call_later(max(left_s, 0.05), self._check_idle)

    def finish(self) -> None:
        """Takes no further message; closes once those received are answered."""
        self._is_closing = True
        if self._transport is not None and not self._is_busy:
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool:
        """The sender has finished; what it sent is still answered."""
        self.finish()
        return self._is_busy and self._origin.listener == "mllp"  # TLS has no half-closed connections

    def pause_writing(self) -> None:
        """The sender does not read its answers: handle no further message until it does."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """The sender reads again."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def connection_lost(self, error: Exception | None) -> None:
        """What is being handled still finishes; what only waits was never acknowledged and is dropped."""
        self._transport = None
        self._waiting.clear()
        self.resume_writing()
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._service.connections.discard(self)
        if self._decoder.junk_bytes or self._decoder.is_inside:
            what = "cut frame" if self._decoder.is_inside else "closed"
            _log.info("mllp: %s, %d bytes between frames", what, self._decoder.junk_bytes)


def _size(received: bytes | Oversize) -> int:
    return len(received.head if isinstance(received, Oversize) else received)


class MllpServer:
    """A running listener. ``address`` is ``host:port`` as bound."""

    def __init__(self, server: asyncio.Server, service: _Service) -> None:
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
    max_bytes: int = MAX_BYTES,
    idle_s: float = 300.0,
    max_connections: int = MAX_CONNECTIONS,
    end_pause_s: float = 0.0,
    tls: ssl.SSLContext | None = None,
    clock: Callable[[], int] = _now_us,
) -> MllpServer:
    """Listens. ``handler`` gets each message with its Origin and returns the answers, one at a time.

    If it raises, the sender gets AE (or CE) and the connection stays. Port 0 binds any free port. ``tls``:
    only TLS is spoken (mllp_tls.server_context). ``end_pause_s``: after such a pause behind an FS the frame
    counts as ended although its CR is missing; 0 waits for the CR (FrameDecoder says why). Raises OSError.
    """
    service = _Service(
        handler, max_bytes, max_connections, idle_s, end_pause_s, clock, set(), set(), Throttle(_log)
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(service),
        host,
        port,
        backlog=256,
        ssl=tls,
        ssl_handshake_timeout=HANDSHAKE_S if tls is not None else None,
    )
    return MllpServer(server, service)
