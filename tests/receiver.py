"""An MLLP receiver for tests of what is sent on: takes down what it gets, and answers as it is told to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.header import peek
from hdg.ingestion.hl7v2.mllp_frame import FrameDecoder, frame

Answer = Callable[[bytes], Sequence[bytes] | None]
"""Answers to a message; None: hang up."""


def says(code: str) -> Answer:
    """Always this code."""
    return lambda raw: [acknowledge(raw, code, control_id="R1", at_us=0)]  # type: ignore[arg-type]


def silent(raw: bytes) -> Sequence[bytes]:
    """Never answers."""
    return ()


@contextlib.contextmanager
def kept_port() -> Iterator[int]:
    """A port that is given to nobody else meanwhile: who names it may listen on it, once and again.

    While nobody does, it refuses connections (socket(7), SO_REUSEADDR: as long as the other does not listen).
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]


class Receiver:
    """Listens on ``port`` (0: any free) until ``close``; ``answer`` may be changed meanwhile."""

    def __init__(
        self, answer: Answer | None = None, *, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.answer = answer or says("AA")
        self.got: list[bytes] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"{'mllps' if tls else 'mllp'}://localhost:{self.port}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def ids(self) -> list[str]:
        """MSH-10 of what came, in order."""
        return [peek(raw).control_id for raw in list(self.got)]

    def wait_for(self, count: int, seconds: float = 120.0) -> list[str]:
        """The ids once so many came."""
        until(lambda: len(self.got) >= count, seconds)
        return self.ids

    def close(self) -> None:
        """Hangs up and listens no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            decoder = FrameDecoder(1 << 24)
            while data := connection.recv(65_536):
                for raw in decoder.feed(data):
                    assert isinstance(raw, bytes)
                    self.got.append(raw)
                    answers = self.answer(raw)
                    if answers is None:
                        return
                    for each in answers:
                        connection.sendall(frame(each))
        except OSError:
            return
        finally:
            connection.close()


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Waits; an AssertionError when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
