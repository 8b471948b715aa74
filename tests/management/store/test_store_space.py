"""Too little free space refuses work while there is still room to refuse it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.mllp import serve_mllp
from hdg.ingestion.hl7v2.mllp_client import MllpClient
from hdg.management.store.engine import NotCommitted
from hdg.management.store.inbox import entries
from hdg.management.store.space import SpaceGuard
from hdg.settings import Settings
from messages import adt


def test_the_disk_is_looked_at_once_a_second_and_a_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    free, now, looks = [100], [0.0], []

    def look(folder: Path) -> int:
        looks.append(folder)
        return free[0]

    guard = SpaceGuard(Path("data"), 50, free=look, clock=lambda: now[0])
    guard.check()
    free[0] = 49
    guard.check()
    assert len(looks) == 1
    now[0] = 1.0
    with caplog.at_level(logging.WARNING), pytest.raises(NotCommitted, match="nearly full"):
        guard.check()
    assert "messages are refused" in caplog.text
    free[0], now[0] = 50, 2.0
    guard.check()
    assert "messages are taken" in caplog.text


def test_a_message_is_refused_with_the_reason_and_nothing_is_kept(tmp_path: Path) -> None:
    async def exchange(gateway: Gateway) -> bytes:
        async def take(raw: bytes, origin: object) -> tuple[bytes, ...]:
            return (await gateway.receive(raw),)

        server = await serve_mllp("127.0.0.1", 0, take)
        host, port = server.address.rsplit(":", 1)

        def send() -> bytes:
            with MllpClient(host, int(port), timeout_s=20) as client:
                return client.send(adt())

        answer = await asyncio.to_thread(send)
        await server.close(grace_s=1)
        return answer

    with Gateway.open(Settings(data=tmp_path, min_free_bytes=1 << 62)) as gateway:
        answer = asyncio.run(exchange(gateway))
        assert b"\rMSA|AE|A1" in answer
        assert b"nearly full" in answer
        with pytest.raises(NotCommitted):
            gateway.receive_now(adt())
        assert list(entries(gateway.store.engine, status="accepted")) == []
    with Gateway.open(Settings(data=tmp_path)) as gateway:
        assert b"\rMSA|AA|" in gateway.receive_now(adt())
