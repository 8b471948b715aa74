"""A blocking MLLP client. HL7 Transport Specification: MLLP, Release 1."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections import deque
from types import TracebackType
from typing import Self

from hdg.ingestion.hl7v2.ack_mode import awaited
from hdg.ingestion.hl7v2.mllp_frame import END, MAX_BYTES, START, FrameDecoder, Oversize, frame

PORT = 2575
"""IANA's port for HL7."""
QUIET_S = 2.0
"""How long an acknowledgement is awaited that the other side may send or not (MSH-15, MSH-16 ER or SU)."""
_READ_BYTES = 262_144


class UnaskedAnswer(ConnectionError):
    """More answers came than the message asked for; ``answers``: all of them, in order."""

    def __init__(self, answers: tuple[bytes, ...]) -> None:
        super().__init__("more answers than the message asked for")
        self.answers = answers


class MllpClient:
    """A blocking client: one message, then its answers. Use as a context manager.

    ``timeout_s`` bounds connecting, and each ``send`` as a whole. ``tls``: mllp_tls.client_context; the
    certificate must name ``host``. Raises OSError (TimeoutError, ConnectionError, ssl.SSLError) when the
    other side is not there, is not who it should be, does not answer in time, or hangs up.
    """

    def __init__(
        self,
        host: str,
        port: int = PORT,
        *,
        timeout_s: float = 30.0,
        max_bytes: int = MAX_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._tls = tls
        self._socket: socket.socket | None = None
        self._decoder = FrameDecoder(max_bytes)
        self._read: deque[bytes] = deque()

    def send(self, message: bytes) -> bytes:
        """Sends one message; its last answer, without framing (b'' when it asks for none)."""
        return (self.exchange(message) or (b"",))[-1]

    def exchange(self, message: bytes) -> tuple[bytes, ...]:
        """Sends one message; every answer that its MSH-15 and MSH-16 ask for, in order.

        An answer that may come or not is awaited for ``QUIET_S``. Raises ValueError for framing
        bytes, OSError.
        """
        if START in message or END in message:
            raise ValueError("the message holds MLLP framing bytes")
        connection = self._connect()
        deadline_s = time.monotonic() + self._timeout_s
        answers: tuple[bytes, ...] = ()
        try:
            connection.settimeout(self._timeout_s)
            connection.sendall(frame(message))
            while (wait := awaited(message, answers)) != "no":
                if wait == "maybe":
                    deadline_s = min(deadline_s, time.monotonic() + QUIET_S)
                try:
                    answers += (self._answer(connection, deadline_s),)
                except TimeoutError:
                    if wait == "yes":
                        raise
                    self.close()  # should it come late, it must not be taken for the next message's
                    break
            if self._read:
                raise UnaskedAnswer((*answers, *self._read))
        except OSError:
            self.close()  # a late answer must not be taken for the next message's
            raise
        return answers

    def _answer(self, connection: socket.socket, deadline_s: float) -> bytes:
        """The next answer. Raises OSError."""
        while not self._read:
            connection.settimeout(max(deadline_s - time.monotonic(), 0.001))
            data = connection.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("the connection was closed before the answer")
            for answer in self._decoder.feed(data):
                if isinstance(answer, Oversize):
                    text = f"an answer of {answer.size_bytes} bytes; the limit is {self._max_bytes}"
                    raise ConnectionError(text)
                self._read.append(answer)
        return self._read.popleft()

    def _connect(self) -> socket.socket:
        if self._socket is None:
            plain = socket.create_connection(self._address, timeout=self._timeout_s)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self._socket = (
                    self._tls.wrap_socket(plain, server_hostname=self._address[0]) if self._tls else plain
                )
            except BaseException:
                plain.close()
                raise
            self._decoder = FrameDecoder(self._max_bytes)
            self._read.clear()
        return self._socket

    def abort(self) -> None:
        """Ends, from another thread, a ``send`` that is under way: it raises OSError."""
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection; the next ``send`` opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
