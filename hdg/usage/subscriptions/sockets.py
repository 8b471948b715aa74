"""The websocket channel: ``bind``, ``bound``, ``ping`` of R4, and binding tokens with Bundles for topics.

R4 subscription.html (websockets); Subscriptions R5 Backport, channels.html#websockets. A connection binds with the
access token that it was opened with (``bind ID``), or with a binding token (``bind-with-token TOKEN``); it ends
when that access token, or the one that the binding token was asked for with, is valid no more. One connection at a
time has a subscription: the newest bind wins. What comes while none has it waits in the log.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from hdg.errors import AccessDenied, BadRequest, Conflict, HdgError
from hdg.management.identity import Principal
from hdg.management.store import StoredVersion
from hdg.usage.fhir_api.paging import PageToken, PageTokens
from hdg.usage.subscriptions.feed import Feed, Told, identity
from hdg.usage.subscriptions.lane import Lane, Make, Pace
from hdg.usage.subscriptions.post import NotDelivered

__all__ = ["TOKEN_S", "BindingTokens", "Sockets"]

TOKEN_S = 300
"""How long a binding token may be used to bind."""
UNBOUND_S = 20.0
"""How long a connection may be open without a subscription."""
SOCKETS_MAX = 500
BOUND_MAX = 100
"""Subscriptions of one connection."""
_BINDING = ("websocket binding 2",)
_POLICY = 1008
_AGAIN = 1012
_log = logging.getLogger("hdg.subscriptions")


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a connection is: the principal, by the access token of that id, until it expires (µs since the epoch)."""

    who: tuple[str, ...]
    token_id: str
    expires_us: int

    @classmethod
    def of(cls, principal: Principal) -> Bearer:
        """The bearer of a verified token."""
        return cls(identity(principal), principal.token_id, principal.expires_us)


class BindingTokens:
    """Makes and opens binding tokens: stateless, sealed, for the principal who asked."""

    def __init__(self, tokens: PageTokens) -> None:
        self._tokens = tokens

    def seal(self, who: Principal, ids: list[str], until_us: int) -> str:
        """A token for these subscriptions."""
        credential = (("token", who.token_id), ("expires", str(who.expires_us)))
        pairs = (("", "\0".join(identity(who))), *credential, *(("id", id_) for id_ in ids))
        return self._tokens.seal(PageToken(pairs, str(until_us)), _BINDING)

    def open(self, text: str, now_us: int) -> tuple[Bearer, list[str]]:
        """Whose it is and for what. Raises BadRequest when it is not valid (any more)."""
        token = self._tokens.open(text, _BINDING)
        if now_us >= int(token.cursor):
            raise BadRequest("the binding token has expired")
        who, token_id, expires, *ids = (value for _, value in token.pairs)
        return Bearer(tuple(who.split("\0")), token_id, int(expires)), ids


class Sockets:
    """All websocket connections of this process. ``caller``: the bearer of a connection's access token."""

    def __init__(self, feed: Feed, tokens: BindingTokens, pace: Pace, base_url: str) -> None:
        self._feed = feed
        self._tokens = tokens
        self._pace = pace
        self._base_url = base_url
        self._count = 0

    async def serve(self, socket: WebSocket, who: Principal | None) -> None:
        """One connection, from its handshake to its end. ``who``: None without an access token."""
        if self._count >= SOCKETS_MAX:
            await socket.close(_POLICY)
            return
        self._count += 1
        try:
            await socket.accept()
            await _Talk(self, socket, who).run()
        finally:
            self._count -= 1

    async def bind(self, socket: WebSocket, id_: str, bearer: Bearer) -> Lane:
        """The lane of a subscription that is the bearer's. Raises AccessDenied, NotFound, BadRequest, Conflict."""
        if not await self._feed.aside(self._feed.is_valid, bearer.token_id, bearer.expires_us):
            raise AccessDenied("the access token is not valid any more", is_authenticated=False)
        told = await self._feed.aside(self._feed.told_to, bearer.who, id_)
        if told.definition.channel != "websocket" or told.row.status not in ("requested", "active"):
            raise BadRequest("this subscription is not one to bind to")
        await self._feed.aside(self._feed.check, told)
        row = await self._feed.claim(told.row, is_fresh=True)
        carrier = _Socket(self._feed, socket, bearer)
        return Lane(self._feed, row, carrier, self._pace, self._base_url, is_bound=True)

    def opened(self, token: str) -> tuple[Bearer, list[str]]:
        """See BindingTokens.open."""
        return self._tokens.open(token, self._feed.now_us())

    def listen(self, lane: Lane) -> None:
        """Has the lane told of what is new."""
        self._feed.listeners.add(lane.poke)

    def forget(self, lane: Lane) -> None:
        """The lane has ended."""
        self._feed.listeners.discard(lane.poke)


class _Talk:
    """What one connection says and is told."""

    def __init__(self, sockets: Sockets, socket: WebSocket, who: Principal | None) -> None:
        self._sockets = sockets
        self._socket = socket
        self._bearer = None if who is None else Bearer.of(who)
        self._lanes: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until either side ends it."""
        try:
            while True:
                limit_s = None if self._lanes else UNBOUND_S
                async with asyncio.timeout(limit_s):
                    text = await self._socket.receive_text()
                await self._take(text)
        except (WebSocketDisconnect, RuntimeError, KeyError):  # gone, or closed by a lane, or sent bytes
            return
        except (HdgError, TimeoutError) as error:
            _log.info("websocket closed: %s", type(error).__name__)
            await self._close(_POLICY)
        finally:
            for task in self._lanes.values():
                task.cancel()
            await asyncio.gather(*self._lanes.values(), return_exceptions=True)

    async def _take(self, text: str) -> None:
        """A bind; anything else ends the connection. Raises HdgError."""
        verb, _, rest = text.strip().partition(" ")
        if verb == "bind" and self._bearer is not None:
            await self._bind(rest.strip(), self._bearer)
        elif verb == "bind-with-token":
            bearer, ids = self._sockets.opened(rest.strip())
            for id_ in ids:
                await self._bind(id_, bearer)
        elif verb == "bind":
            raise AccessDenied("an access token is needed", is_authenticated=False)
        else:
            raise BadRequest("bind ID, or bind-with-token TOKEN")

    async def _bind(self, id_: str, bearer: Bearer) -> None:
        if len(self._lanes) >= BOUND_MAX or id_ in self._lanes:
            raise Conflict("bound already")
        lane = await self._sockets.bind(self._socket, id_, bearer)
        await self._socket.send_text(f"bound {id_}")
        self._lanes[id_] = asyncio.create_task(self._run(lane))

    async def _run(self, lane: Lane) -> None:
        """A lane that ends by itself (another has bound, off, in error) ends the connection: bind again."""
        self._sockets.listen(lane)
        try:
            await lane.run()
        except Exception as error:  # the store's troubles: nothing would be told any more
            _log.warning("websocket closed: %s", type(error).__name__)
        finally:
            self._sockets.forget(lane)
        await self._close(_AGAIN)

    async def _close(self, code: int) -> None:
        try:
            await self._socket.close(code)
        except RuntimeError:
            return


class _Socket:
    """A Carrier over a bound connection."""

    def __init__(self, feed: Feed, socket: WebSocket, bearer: Bearer) -> None:
        self._feed = feed
        self._socket = socket
        self._bearer = bearer
        self.client = address_of(socket)

    async def carry(self, told: Told, make: Make, version: StoredVersion | None, limit_s: float) -> bool:
        """``ping ID``, or the Bundle of a topic."""
        async with asyncio.timeout(limit_s):
            if not await self._feed.aside(
                self._feed.is_valid, self._bearer.token_id, self._bearer.expires_us
            ):
                raise NotDelivered("the access token of the connection is not valid any more")
            if told.definition.is_silent(version):
                return True
            body = await make()
            if body is None:
                return False
            text = f"ping {told.row.id}" if told.definition.is_bare else body.decode()
            try:
                await self._socket.send_text(text)
            except (WebSocketDisconnect, RuntimeError, OSError):
                raise NotDelivered("the connection has ended") from None
        return True


def address_of(connection: HTTPConnection) -> str:
    """The network address of the other side."""
    client: Any = connection.scope.get("client")
    return str(client[0]) if client else ""
