"""``$status``, ``$events``, ``$resend``, ``$get-ws-binding-token`` of a Subscription, and the websocket.

Subscriptions R5 Backport, OperationDefinitions; docs/subscriptions.md. All are for the principal whose the
Subscription is; to everybody else it looks as if it were not there.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from hdg.errors import AccessDenied, BadRequest, Conflict, Issue, NotFound
from hdg.fhir.outcome import operation_outcome
from hdg.fhir.times import instant
from hdg.usage.access import Caller
from hdg.usage.fhir_api.context import Api, caller_of
from hdg.usage.fhir_api.negotiation import check_accept
from hdg.usage.fhir_api.operations import parameters_given
from hdg.usage.fhir_api.query import Pairs
from hdg.usage.fhir_api.read import ID
from hdg.usage.fhir_api.responses import fhir_response
from hdg.usage.subscriptions.feed import Told, Unusable, identity
from hdg.usage.subscriptions.lane import Pace
from hdg.usage.subscriptions.notification import Status, bundle, status_parameters
from hdg.usage.subscriptions.sockets import TOKEN_S, BindingTokens, Sockets, address_of

__all__ = ["SOCKET_PATH", "routes", "socket_url"]

JsonObject = dict[str, Any]

SOCKET_PATH = "/fhir/websocket"
_EVENTS_MAX = 100
_CONTENTS = ("empty", "id-only", "full-resource")
_IDS_MAX = 100


def socket_url(base_url: str) -> str:
    """The websocket's URL."""
    parts = urlsplit(base_url)
    return urlunsplit(
        ("wss" if parts.scheme == "https" else "ws", parts.netloc, f"{parts.path}/websocket", "", "")
    )


def routes(api: Api, pace: Pace) -> list[BaseRoute]:
    """The operations' routes and the websocket's."""
    operations = _Operations(api, pace)
    place = "/fhir/Subscription/{id}"
    return [
        Route(f"{place}/$status", operations.status, methods=["GET", "POST"]),
        Route("/fhir/Subscription/$status", operations.status, methods=["GET", "POST"]),
        Route(f"{place}/$events", operations.events, methods=["GET", "POST"]),
        Route(f"{place}/$resend", operations.resend, methods=["POST"]),
        Route(f"{place}/$get-ws-binding-token", operations.token, methods=["GET", "POST"]),
        Route("/fhir/Subscription/$get-ws-binding-token", operations.token, methods=["GET", "POST"]),
        WebSocketRoute(SOCKET_PATH, operations.talk),
    ]


class _Operations:
    """What each of the routes answers."""

    def __init__(self, api: Api, pace: Pace) -> None:
        self._api = api
        self._feed = api.gate.feed
        self._tokens = BindingTokens(api.tokens)
        self._sockets = Sockets(self._feed, self._tokens, pace, api.base_url)

    async def _enter(self, request: Request) -> tuple[Caller, Pairs, list[str]]:
        caller = caller_of(self._api.gate, request)
        check_accept(request.headers.get("accept"))
        given = await parameters_given(request)
        if "id" not in request.path_params:
            ids = list(dict.fromkeys(value for name, value in given if name == "id"))
            if not ids or len(ids) > _IDS_MAX:
                raise BadRequest("the ids of Subscriptions are needed", code="required")
            return caller, given, ids
        return caller, given, [request.path_params["id"]]

    async def _own(self, caller: Caller, ids: list[str]) -> list[tuple[Told, JsonObject]]:
        """Subscriptions of the caller's own, each read and audited like any other resource."""
        found = []
        for id_ in ids:
            if not ID.match(id_):
                raise NotFound("no such id")
            visible = await self._api.gate.read(caller, "Subscription", id_)
            try:
                told = await self._feed.aside(self._feed.told_to, identity(caller.principal), id_)
            except Unusable as error:
                raise Conflict(str(error)) from None
            found.append((told, orjson.loads(visible.body)))
        return found

    async def status(self, request: Request) -> Response:
        caller, given, ids = await self._enter(request)
        _only(given, "id", "status")
        wanted = [value for name, value in given if name == "status"]
        entries = []
        for told, content in await self._own(caller, ids):
            if not wanted or content["status"] in wanted:
                count = await self._feed.aside(self._feed.count, told.row.id)
                shell = status_parameters(self._status(told, content, "query-status", count), (), "id-only")
                entries.append(
                    {"fullUrl": f"urn:uuid:{shell['id']}", "resource": shell, "search": {"mode": "match"}}
                )
        made: JsonObject = {"resourceType": "Bundle", "type": "searchset", "total": len(entries)}
        return fhir_response(
            orjson.dumps({**made, "entry": entries} if entries else made), method=request.method
        )

    async def events(self, request: Request) -> Response:
        caller, given, ids = await self._enter(request)
        _only(given, "eventsSinceNumber", "eventsUntilNumber", "content")
        named = dict(given)
        ((told, content),) = await self._own(caller, ids)
        level = named.get("content", told.definition.content)
        if level not in _CONTENTS:
            raise BadRequest("parameter 'content': empty, id-only or full-resource", code="value")
        since = _number(named, "eventsSinceNumber") or 1
        until = _number(named, "eventsUntilNumber")
        notices = await self._feed.recall(caller, told.row.id, since, until, _EVENTS_MAX)
        count = await self._feed.aside(self._feed.count, told.row.id)
        made = bundle(self._status(told, content, "query-event", count), notices, level, self._feed.now_us())
        return fhir_response(made, method=request.method)

    async def resend(self, request: Request) -> Response:
        caller, given, ids = await self._enter(request)
        _only(given, "eventsSinceNumber")
        ((told, _),) = await self._own(caller, ids)
        if told.row.status not in ("requested", "active"):
            raise Conflict("it is off or in error: write it anew first")
        first = await self._feed.resend(told, _number(dict(given), "eventsSinceNumber") or 1)
        text = f"sent again from number {first}" if first else "nothing to send again"
        outcome = operation_outcome([Issue("information", "informational", "", text)])
        return fhir_response(orjson.dumps(outcome))

    async def token(self, request: Request) -> Response:
        caller, given, ids = await self._enter(request)
        _only(given, "id")
        if any(told.definition.channel != "websocket" for told, _ in await self._own(caller, ids)):
            raise BadRequest("only websocket subscriptions are bound to", code="business-rule")
        until_us = min(self._feed.now_us() + TOKEN_S * 1_000_000, caller.principal.expires_us)
        parameters: list[JsonObject] = [
            {"name": "token", "valueString": self._tokens.seal(caller.principal, ids, until_us)},
            {"name": "expiration", "valueDateTime": instant(until_us)},
            *({"name": "subscription", "valueString": id_} for id_ in ids),
            {"name": "websocket-url", "valueUrl": socket_url(self._api.base_url)},
        ]
        return fhir_response(orjson.dumps({"resourceType": "Parameters", "parameter": parameters}))

    async def talk(self, socket: WebSocket) -> None:
        authorization = socket.headers.get("authorization")
        who = None
        if authorization is not None:
            try:
                who = self._api.gate.caller(authorization, address_of(socket)).principal
            except AccessDenied:
                await socket.close()  # before it was accepted: HTTP 403
                return
        await self._sockets.serve(socket, who)

    def _status(self, told: Told, content: JsonObject, kind: str, count: int) -> Status:
        error = content.get("error", "")
        return Status(self._api.base_url, told.row.id, content["status"], kind, count, told.definition, error)


def _only(given: Pairs, *names: str) -> None:
    for name, _ in given:
        if name not in names:
            raise BadRequest(f"the parameters are {', '.join(names)}", code="not-supported")


def _number(named: dict[str, str], name: str) -> int | None:
    text = named.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise BadRequest(f"parameter '{name}': a number of an event", code="value")
    return int(text)
