"""The listener's bounds end with the handshake of a websocket: what is bound stays open."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect

from hdg import operator
from hdg.gateway import Gateway
from hdg.server import Server
from hdg.settings import Settings
from hdg.usage import listener
from hdg.usage.subscriptions import sockets


def test_a_bound_connection_outlives_the_time_that_a_request_may_take(tmp_path, monkeypatch):
    monkeypatch.setattr(listener, "REQUEST_S", 0.2)
    assert asyncio.run(told_after(tmp_path / "data", 0.6, is_bound=True)) == "open"


def test_a_connection_that_binds_to_nothing_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(sockets, "UNBOUND_S", 0.2)
    assert asyncio.run(told_after(tmp_path / "data", 5, is_bound=False)) == "closed"


async def told_after(data, seconds, *, is_bound):
    settings = Settings(data=data, http="127.0.0.1:0", mllp="127.0.0.1:0", dicom="127.0.0.1:0")
    with Gateway.open(settings) as gateway:
        server = Server(settings, gateway)
        await server.start()
        try:
            token = operator.mint_token(settings, role="clinician", hours=1, user="u", institution="local")
            headers = {"authorization": f"Bearer {token}"}
            url = f"ws://{server.http_address}/fhir/websocket"
            async with connect(url, additional_headers=headers, proxy=None) as socket:
                if is_bound:
                    await bind(server.http_address, headers, socket)
                try:
                    await asyncio.wait_for(socket.wait_closed(), seconds)
                except TimeoutError:
                    return "open"
                return "closed"
        finally:
            await server.stop()


async def bind(address, headers, socket):
    import httpx

    made = {"resourceType": "Subscription", "status": "requested", "reason": "t", "criteria": "Patient?"}
    async with httpx.AsyncClient() as client:
        made["channel"] = {"type": "websocket"}
        answer = await client.post(f"http://{address}/fhir/Subscription", json=made, headers=headers)
    id_ = answer.json()["id"]
    await socket.send(f"bind {id_}")
    assert await socket.recv() == f"bound {id_}"
