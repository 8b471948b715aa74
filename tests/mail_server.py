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
    """``refuse``: a code that it answers to every RCPT; ``with_starttls``: not TLS from the first byte.

    While ``hold`` is not set it reads no more than a line of a mail (``holding``); ``cut``: what came of mails
    without an end. ``is_rude``: it answers no QUIT.
    """

    tls: ssl.SSLContext
    with_starttls: bool = False
    offers_tls: bool = True
    refuse: int = 0
    is_rude: bool = False
    hold: threading.Event = field(default_factory=threading.Event)
    holding: threading.Event = field(default_factory=threading.Event)
    got: list[EmailMessage] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    cut: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        outer = self
        self.hold.set()

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
                        if not self.take():
                            return
                        self.say("250 taken")
                    elif word == b"QUIT":
                        if outer.is_rude:
                            self.rfile.read()
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 ok")

            def take(self) -> bool:
                lines = []
                is_whole = False
                try:
                    for line in self.rfile:
                        is_whole = line == b".\r\n"
                        if is_whole:
                            break
                        lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
                        outer.holding.set()
                        outer.hold.wait(60)
                finally:
                    if not is_whole:
                        outer.cut.append(b"".join(lines))
                if not is_whole:
                    return False
                made: Any = message_from_bytes(b"".join(lines), policy=policy.default)
                outer.got.append(made)
                return True

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
