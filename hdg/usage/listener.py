"""The HTTP listener's protocol with bounds: without a token nobody takes memory or sockets for long.

uvicorn with httptools limits neither the size of a request's head nor the time it may take to arrive. A
client that goes beyond these bounds gets its connection closed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedHttp"]

MAX_CONNECTIONS = 1_024
MAX_HEAD_BYTES = 131_072
"""Request line and headers; one read more may be taken in before the connection is closed."""
REQUEST_S = 20.0
"""How long the head of a request may take to arrive, and how long its body may pause."""

_log = logging.getLogger("hdg.usage")


class BoundedHttp(HttpToolsProtocol):
    """One connection. Closed when a head is too long, when a request stops arriving, or over the cap."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._heads = 0
        self._is_head = True
        self._is_upgraded = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Refuses connections over the cap."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            _log.warning("http: connection refused, %d are open", MAX_CONNECTIONS)
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Counts what arrives between the ends of two heads."""
        heads, was_head = self._heads, self._is_head  # what ends a body is none of a head's bytes
        super().data_received(data)
        if self._is_upgraded:
            return
        is_counted = was_head and self._is_head and self._heads == heads
        self._head_bytes = self._head_bytes + len(data) if is_counted else 0
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()
        elif self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()  # bytes that begin no request must not keep a connection for ever

    def on_message_begin(self) -> None:
        """A request begins: its time runs."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """The head is whole; now the body must keep coming."""
        self._heads += 1
        self._is_head = False
        self._wait()
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        """From here on it is the websocket's protocol that has the connection."""
        self._is_upgraded = True
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._wait()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; how long its answer takes is our own matter."""
        self._is_head = True
        self._stop_waiting()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(REQUEST_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self.transport.close()
