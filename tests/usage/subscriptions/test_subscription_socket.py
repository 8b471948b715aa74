"""The listener's bounds end with the handshake of a websocket: what is bound stays open."""

from __future__ import annotations

import asyncio

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import loop_time
from hdg import operator
from hdg.gateway import Gateway
from hdg.server import Server
from hdg.settings import Settings
from hdg.usage import listener
from hdg.usage.subscriptions import sockets


def test_a_bound_connection_outlives_the_time_that_a_request_may_take(tmp_path):
    told = told_after(tmp_path / "data", max(listener.REQUEST_S, sockets.UNBOUND_S) + 1, is_bound=True)
    assert loop_time.run(told) == "open"


def test_a_connection_that_binds_to_nothing_is_closed(tmp_path):
    told = told_after(tmp_path / "data", sockets.UNBOUND_S + 1, is_bound=False)
    assert loop_time.run(told) == "closed"


def test_a_connection_ends_when_its_own_access_token_is_revoked_though_the_subscription_lives_on(tmp_path):
    assert asyncio.run(told_after_revocation(tmp_path / "data", with_binding_token=False)) == ([], 1012)


def test_a_binding_token_is_worth_no_more_than_the_access_token_that_it_was_asked_for_with(tmp_path):
    assert asyncio.run(told_after_revocation(tmp_path / "data", with_binding_token=True)) == ([], 1008)


async def told_after_revocation(data, *, with_binding_token):
    """What came over a connection after its token was revoked, and the code that closed it."""
    settings = Settings(data=data, http="127.0.0.1:0", mllp="127.0.0.1:0", dicom="127.0.0.1:0")
    with Gateway.open(settings) as gateway:
        server = Server(settings, gateway)
        await server.start()
        try:
            owner, other = (
                operator.mint_token(settings, role="clinician", hours=1, user="u", institution="local")
                for _ in range(2)
            )
            headers, stolen = ({"authorization": f"Bearer {token}"} for token in (owner, other))
            base = f"{server.http_address}/fhir"
            first = None if with_binding_token else stolen
            async with connect(f"ws://{base}/websocket", additional_headers=first, proxy=None) as socket:
                id_ = await subscribed(base, headers)
                if not with_binding_token:
                    await socket.send(f"bind {id_}")
                    assert await socket.recv() == f"bound {id_}"
                else:
                    token = await binding_token(base, stolen, id_)
                await asyncio.to_thread(operator.revoke_token, settings, other)
                if with_binding_token:
                    await socket.send(f"bind-with-token {token}")
                await put_patient(base, headers)
                return await rest_of(socket)
        finally:
            await server.stop()


async def rest_of(socket):
    """What else comes, and the code that ends it."""
    texts = []
    try:
        while not texts:
            texts.append(await asyncio.wait_for(socket.recv(), 120))
    except ConnectionClosed:
        return texts, socket.close_code
    return texts, None


async def subscribed(base, headers):
    made = {"resourceType": "Subscription", "status": "requested", "reason": "t", "criteria": "Patient?"}
    made["channel"] = {"type": "websocket"}
    async with httpx.AsyncClient(timeout=120) as client:
        answer = await client.post(f"http://{base}/Subscription", json=made, headers=headers)
    return answer.json()["id"]


async def binding_token(base, headers, id_):
    async with httpx.AsyncClient(timeout=120) as client:
        url = f"http://{base}/Subscription/{id_}/$get-ws-binding-token"
        answer = await client.post(url, headers=headers)
    return answer.json()["parameter"][0]["valueString"]


async def put_patient(base, headers):
    made = {"resourceType": "Patient", "id": "local.p1"}
    async with httpx.AsyncClient(timeout=120) as client:
        answer = await client.put(f"http://{base}/Patient/local.p1", json=made, headers=headers)
    assert answer.status_code == 201


async def told_after(data, seconds, *, is_bound):
    settings = Settings(data=data, http="127.0.0.1:0", mllp="127.0.0.1:0", dicom="127.0.0.1:0")
    with Gateway.open(settings) as gateway:
        server = Server(settings, gateway)
        await server.start()
        try:
            token = operator.mint_token(settings, role="clinician", hours=1, user="u", institution="local")
            headers = {"authorization": f"Bearer {token}"}
            url = f"ws://{server.http_address}/fhir/websocket"
            async with connect(url, additional_headers=headers, proxy=None, ping_interval=None) as socket:
                if is_bound:
                    await bind(server.http_address, headers, socket)
                else:
                    await (await socket.ping())  # it is there
                await loop_time.pass_by(seconds)
                try:
                    for _ in range(1 if is_bound else 1_000):
                        await (await socket.ping())
                except ConnectionClosed:
                    return "closed"
                return "open"
        finally:
            await server.stop()


async def bind(address, headers, socket):
    id_ = await subscribed(f"{address}/fhir", headers)
    await socket.send(f"bind {id_}")
    assert await socket.recv() == f"bound {id_}"
