"""One MLLP connection of the server: frames in, answers out. HL7 Transport Specification: MLLP, Release 1.

The listener is mllp.py, framing mllp_frame.py, what all connections may hold together mllp_budget.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

from hdg.errors import HdgError, Hl7v2Error
from hdg.ingestion.hl7v2.ack import Code, acknowledge
from hdg.ingestion.hl7v2.ack_mode import AckMode, replies
from hdg.ingestion.hl7v2.mllp_budget import Budget
from hdg.ingestion.hl7v2.mllp_frame import Cut, FrameDecoder, Oversize, frame
from hdg.ingestion.hl7v2.mllp_tls import subject_of
from hdg.ingestion.sender import Origin
from hdg.throttle import Throttle

__all__ = ["Connection", "Handler", "Mode", "Service", "as_asked"]

QUEUE_FRAMES = 16
QUEUE_BYTES = 1024 * 1024
"""What one connection may have waiting for its turn before reading pauses."""
FRAME_BYTES_PER_S = 32 * 1024
"""A message has ``frame_s`` to arrive, and a second more for so many bytes of it."""

Handler = Callable[[bytes, Origin], Awaitable[Sequence[bytes]]]
"""Takes a message and where it came from; returns what is sent back, in order."""
Mode = Callable[[bytes, Origin], AckMode | None]
"""The acknowledgements that are declared for the sender of a message; None: as the message asks."""
_Frame = bytes | Oversize | Cut


def as_asked(raw: bytes, origin: Origin) -> None:
    """The Mode where nothing is declared."""


@dataclass(frozen=True, slots=True)
class Service:
    """What every connection of one server shares (serve_mllp says what the values mean)."""

    handler: Handler
    mode: Mode
    max_bytes: int
    max_connections: int
    idle_s: float
    frame_s: float
    end_pause_s: float
    clock: Callable[[], int]
    budget: Budget
    connections: set[Connection]
    tasks: set[asyncio.Task[None]]
    tell: Throttle


class Connection(asyncio.Protocol):
    """One connection: frames are handled one after the other, so answers keep the order of the messages.

    A Protocol rather than streams: no task and no future per read.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._decoder = FrameDecoder(service.max_bytes, is_lenient=service.end_pause_s > 0)
        self._origin = Origin("mllp")
        self._pause: asyncio.TimerHandle | None = None
        self._waiting: deque[_Frame] = deque()
        self._waiting_bytes = 0
        self._handled_bytes = 0
        self._is_busy = False
        self._is_closing = False
        self._is_junk_told = False
        self._is_full = False  # too much waits for its turn
        self._is_over = False  # too much is held by all connections
        self._is_reading = True
        self._active_s = 0.0
        self._begun_s: float | None = None  # when the frame began that has not ended
        self._transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None
        self._blocked_s = 0.0  # since when the sender has not read its answers
        self._timer: asyncio.TimerHandle | None = None
        self._frame_timer: asyncio.TimerHandle | None = None
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
        self._active_s = now_s = self._loop.time()
        if self._is_closing:
            return
        decoder = self._decoder
        frames = decoder.feed(data)
        if decoder.junk_bytes and not self._is_junk_told:
            self._tell_junk()
        if not decoder.is_inside:
            self._begun_s = None
        elif frames or self._begun_s is None:
            self._begun_s = now_s
            if self._frame_timer is None:
                self._frame_timer = self._loop.call_later(self._service.frame_s, self._check_frame)
        self._take(frames)
        self._account()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if decoder.is_at_end:
            self._pause = self._loop.call_later(self._service.end_pause_s, self._end_of_pause)

    def _tell_junk(self) -> None:
        """Once a connection: who sends without framing gets no answer, so nobody else would know."""
        self._is_junk_told = True
        text = "mllp: bytes outside a frame (VT … FS CR) were dropped, without an answer"
        self._service.tell(logging.WARNING, text)

    def _end_of_pause(self) -> None:
        self._pause = None
        if not self._is_closing:
            self._take(self._decoder.end_of_pause())
            self._begun_s = None
            self._account()

    def _take(self, frames: Sequence[_Frame]) -> None:
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
        if is_long:
            self._is_full = True
            self._read_or_not()

    def _account(self) -> None:
        """Tells the common budget what this connection holds now."""
        held = self._waiting_bytes + self._handled_bytes
        if self._transport is not None:
            held += self._decoder.held_bytes
        self._service.budget.hold(self, held)

    def wait_for_room(self) -> None:
        """All connections together hold too much: reads no further."""
        self._is_over = True
        self._read_or_not()

    def go_on(self) -> None:
        """There is room."""
        self._is_over = False
        self._read_or_not()

    def _read_or_not(self) -> None:
        transport = self._transport
        if transport is None or self._is_closing or transport.is_closing():
            return
        is_wanted = not (self._is_full or self._is_over)
        if is_wanted != self._is_reading:
            self._is_reading = is_wanted
            if is_wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    async def _work(self) -> None:
        """Handles waiting frames until there are none."""
        try:
            while self._waiting and self._transport is not None:
                received = self._waiting.popleft()
                self._handled_bytes = _size(received)
                self._waiting_bytes -= self._handled_bytes
                answers = await self._answer(received)
                self._handled_bytes = 0
                self._account()
                if self._transport is not None and answers:
                    self._transport.write(b"".join(map(frame, answers)))
                if self._writable is not None:
                    await self._writable
                if self._is_full and not self._waiting:
                    self._is_full = False
                    self._begun_s = self._loop.time() if self._decoder.is_inside else None
                    self._read_or_not()
        finally:
            self._is_busy = False
            self._active_s = self._loop.time()
            if self._is_closing and self._transport is not None:
                self._transport.close()

    async def _answer(self, received: _Frame) -> Sequence[bytes]:
        """The handler's answers; AE or CE if it fails or the frame did not end in time, AR or CR for one over
        the cap. Never raises.
        """
        if isinstance(received, Cut):
            text = f"the message had not ended in time, {received.size_bytes} bytes had come; send it again"
            return self._refusal(received.head, Hl7v2Error(text, condition="207"))
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
        return replies(received, ack, is_kept=False, mode=self._service.mode(received, self._origin))

    def _check_idle(self) -> None:
        """Closes a connection on which nothing was received or answered for ``idle_s``."""
        if self._transport is None:
            return
        now_s = self._loop.time()
        left_s = self._active_s + self._service.idle_s - now_s
        if self._writable is not None and now_s - self._blocked_s >= self._service.idle_s:
            self._service.tell(
                logging.WARNING, "mllp: connection ended, its sender does not read its answers"
            )
            self.abort()
        elif left_s <= 0 and not self._is_busy and not self._is_over:
            self.finish()
        else:
            self._timer = self._loop.call_later(max(left_s, 0.05), self._check_idle)

    def _check_frame(self) -> None:
        """Ends a connection whose frame takes too long, with an answer: also a byte now and then comes to an
        end. Time in which we do not read because of all the others counts, so that what they hold is freed.
        """
        self._frame_timer = None
        if self._transport is None or self._is_closing or self._begun_s is None:
            return
        now_s = self._loop.time()
        if self._is_full:  # it is we who are slow
            self._begun_s = now_s
        size = min(self._decoder.frame_bytes, self._service.max_bytes)
        left_s = self._begun_s + self._service.frame_s + size / FRAME_BYTES_PER_S - now_s
        if left_s > 0:
            self._frame_timer = self._loop.call_later(max(left_s, 0.05), self._check_frame)
            return
        self._service.tell(logging.WARNING, "mllp: connection ended, its message took too long")
        self._take([self._decoder.cut()])
        self.finish()
        self._account()

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
        self._blocked_s = self._loop.time()
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
        self._waiting_bytes = 0
        self._account()
        self.resume_writing()
        for timer in (self._timer, self._pause, self._frame_timer):
            if timer is not None:
                timer.cancel()
        self._service.connections.discard(self)
        if self._decoder.junk_bytes or self._decoder.is_inside:
            what = "ended within a message" if self._decoder.is_inside else "ended"
            text = "mllp: connection %s; %d bytes of it were outside frames"
            self._service.tell(logging.INFO, text, what, self._decoder.junk_bytes)


def _size(received: _Frame) -> int:
    return len(received) if isinstance(received, bytes) else len(received.head)
