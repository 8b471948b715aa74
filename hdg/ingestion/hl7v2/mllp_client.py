"""A blocking MLLP client. HL7 Transport Specification: MLLP, Release 1."""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Self

from hdg.ingestion.hl7v2.mllp_frame import END, MAX_BYTES, START, FrameDecoder, Oversize, frame

PORT = 2575
"""IANA's port for HL7."""
_READ_BYTES = 262_144


class MllpClient:
    """A blocking client: one message, one answer, in turn. Use as a context manager.

    ``timeout_s`` bounds connecting, and each ``send`` as a whole. Raises OSError (TimeoutError,
    ConnectionError) when the other side is not there, does not answer in time, or hangs up.
    """

    def __init__(
        self, host: str, port: int = PORT, *, timeout_s: float = 30.0, max_bytes: int = MAX_BYTES
    ) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._socket: socket.socket | None = None
        self._decoder = FrameDecoder(max_bytes)

    def send(self, message: bytes) -> bytes:
        """Sends one message and returns its answer, both without framing. ValueError for framing bytes."""
        if START in message or END in message:
            raise ValueError("the message holds MLLP framing bytes")
        connection = self._connect()
        deadline_s = time.monotonic() + self._timeout_s
        try:
            connection.settimeout(self._timeout_s)
            connection.sendall(frame(message))
            while True:
                connection.settimeout(max(deadline_s - time.monotonic(), 0.001))
                data = connection.recv(_READ_BYTES)
                if not data:
                    raise ConnectionError("the connection was closed before the answer")
                answers = self._decoder.feed(data)
                if answers:
                    return self._only(answers)
        except OSError:
            self.close()  # a late answer must not be taken for the next message's
            raise

    def _only(self, answers: list[bytes | Oversize]) -> bytes:
        if len(answers) > 1:
            raise ConnectionError("more than one answer to one message")
        if isinstance(answers[0], Oversize):
            raise ConnectionError(
                f"an answer of {answers[0].size_bytes} bytes; the limit is {self._max_bytes}"
            )
        return answers[0]

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._decoder = FrameDecoder(self._max_bytes)
        return self._socket

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
