"""A mail server for tests: takes down what it gets (RFC 5321), over TLS from the first byte or by STARTTLS."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from receiver import until


@dataclass
class MailServer:
    """``refuse``: a code that it answers to every RCPT; ``with_starttls``: not TLS from the first byte."""

    tls: ssl.SSLContext
    with_starttls: bool = False
    offers_tls: bool = True
    refuse: int = 0
    got: list[EmailMessage] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        outer = self

        class Handler(StreamRequestHandler):
            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

            def wrap(self) -> None:
                self.rfile.close()
                self.request = outer.tls.wrap_socket(self.request, server_side=True)
                self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", 0)

            def handle(self) -> None:
                try:
                    if not outer.with_starttls:
                        self.wrap()
                    self.talk()
                except OSError:
                    return
                finally:
                    if isinstance(self.request, ssl.SSLSocket):  # the server closes the one that was wrapped
                        self.request.close()

            def talk(self) -> None:
                is_safe = not outer.with_starttls
                self.say("220 test")
                while line := self.rfile.readline():  # another file after STARTTLS
                    word = line.split()[0].upper() if line.split() else b""
                    if word == b"EHLO":
                        more = [] if is_safe or not outer.offers_tls else ["STARTTLS"]
                        names = ["test", "AUTH PLAIN", *more]
                        for name in names[:-1]:
                            self.say(f"250-{name}")
                        self.say(f"250 {names[-1]}")
                    elif word == b"STARTTLS":
                        self.say("220 go")
                        self.wrap()
                        is_safe = True
                    elif word == b"AUTH":
                        outer.logins.append(line.split()[2].decode())
                        self.say("235 in")
                    elif word == b"RCPT" and outer.refuse:
                        self.say(f"{outer.refuse} no")
                    elif word == b"DATA":
                        self.say("354 go")
                        self.say(self.take())
                    elif word == b"QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 ok")

            def take(self) -> str:
                lines = []
                for line in self.rfile:
                    if line == b".\r\n":
                        break
                    lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
                made: Any = message_from_bytes(b"".join(lines), policy=policy.default)
                outer.got.append(made)
                return "250 taken"

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def wait_for(self, count: int) -> list[EmailMessage]:
        """What came, once so many did."""
        until(lambda: len(self.got) >= count, 20.0)
        return list(self.got)

    def close(self) -> None:
        """Listens no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
