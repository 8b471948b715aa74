"""An HTTP endpoint for tests of notifications: takes down what it gets, and answers as it is told to."""

from __future__ import annotations

import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from receiver import until


@dataclass(frozen=True)
class Got:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """The type of a topic's notification."""
        return self.parameters["type"]

    @property
    def parameters(self) -> dict[str, str]:
        found = self.json()["entry"][0]["resource"]["parameter"]
        return {p["name"]: next((v for k, v in p.items() if k.startswith("value")), "") for p in found}

    @property
    def number(self) -> str:
        """The event's number."""
        found = self.json()["entry"][0]["resource"]["parameter"]
        (event,) = (p for p in found if p["name"] == "notification-event")
        return next(part["valueString"] for part in event["part"] if part["name"] == "event-number")


class Endpoint:
    """Listens on ``port`` (0: any free) until ``close``; ``status`` may be changed meanwhile."""

    def __init__(
        self,
        status: int = 200,
        *,
        port: int = 0,
        headers: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.status = status
        self.got: list[Got] = []
        self.hold = threading.Event()
        self.hold.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                fields = {name.lower(): value for name, value in self.headers.items()}
                outer.hold.wait(600)
                outer.got.append(Got(self.command, self.path, fields, body))
                self.send_response(outer.status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()

            do_POST = do_PUT = do_GET = _take

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.url = f"https://localhost:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def wait_for(self, count: int, seconds: float = 120.0) -> list[Got]:
        """What came, once so many did."""
        until(lambda: len(self.got) >= count, seconds)
        return list(self.got)

    @property
    def places(self) -> list[str]:
        """Paths of what came, in order."""
        return [got.path for got in list(self.got)]

    def close(self) -> None:
        """Listens no more."""
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
