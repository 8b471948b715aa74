"""One HTTP/1.1 request to an endpoint: the status is all that is read of the answer.

RFC 9112. No redirect is followed, no cookie kept, no body read; certificates and names are verified; everything
together has one time limit, so that an answer that drips in holds nothing up. A connection is for one request.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Sequence
from types import TracebackType

from hdg.usage.subscriptions.endpoints import Target

__all__ = ["Connection", "NotDelivered"]

_HEAD_MAX_BYTES = 16_384
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


class NotDelivered(Exception):
    """Why there was no positive answer; nothing of what the other side wrote is in it."""


class Connection:
    """A context: connected to ``target`` inside. Raises NotDelivered; the caller limits the time."""

    def __init__(self, target: Target, tls: ssl.SSLContext) -> None:
        self._target = target
        self._tls = tls
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None

    async def __aenter__(self) -> Connection:
        target = self._target
        try:
            address = await self._address()
            named = {"ssl": self._tls, "server_hostname": target.host} if target.is_tls else {}
            self._reader, self._writer = await asyncio.open_connection(
                address,
                target.port,
                limit=_HEAD_MAX_BYTES,
                **named,  # type: ignore[arg-type]  # typed per keyword
            )
        except ssl.SSLCertVerificationError:
            raise NotDelivered("its certificate is not valid") from None
        except UnicodeError:  # a label that is empty or too long
            raise NotDelivered("no connection: its host is no name") from None
        except OSError as error:
            text = error.strerror if not isinstance(error, socket.gaierror) else "unknown host"
            raise NotDelivered(f"no connection: {text or type(error).__name__}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    async def _address(self) -> str:
        target = self._target
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        addresses = [str(item[4][0]) for item in found]
        allowed = [address for address in addresses if target.may_use(address)]
        if not allowed or (len(allowed) < len(addresses) and not target.is_named):
            raise NotDelivered("its address is not one that this gateway sends to")
        return allowed[0]

    async def request(self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Sends it. Raises NotDelivered unless the answer is 2xx."""
        if self._reader is None or self._writer is None:
            raise NotDelivered("not connected")
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._target.authority}", "Connection: close"]
        lines += ["User-Agent: hdg", "Accept: */*", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        try:
            self._writer.write(head + body)
            await self._writer.drain()
            status = await self._status()
        except asyncio.LimitOverrunError:
            raise NotDelivered("its answer is no HTTP") from None
        except (OSError, asyncio.IncompleteReadError):
            raise NotDelivered("it hung up before it had answered") from None
        if not 200 <= status < 300:
            raise NotDelivered(f"it answered {status}")

    async def _status(self) -> int:
        while self._reader is not None:
            match = _STATUS.match(await self._reader.readuntil(b"\r\n"))
            if match is None:
                raise NotDelivered("its answer is no HTTP")
            if not match[1].startswith(b"1"):
                return int(match[1])
            while await self._reader.readuntil(b"\r\n") != b"\r\n":
                pass
        raise NotDelivered("not connected")
