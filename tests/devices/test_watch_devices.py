"""The watch folder takes data of devices whose patient they name, and answers beside the file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hdg.gateway import Gateway
from hdg.settings import Settings
from hdg.watch import FAILED, PROCESSED, Watch

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_an_envelope_is_taken_in_and_an_export_of_nobody_known_is_kept_in_quarantine(tmp_path):
    inbox = tmp_path / "inbox"
    with Gateway.open(Settings(data=tmp_path / "data", institution="north")) as gateway:
        watch = Watch(gateway, inbox, 0.01)
        watch.prepare()
        for name in ("blood-pressure-gateway.json", "health-connect.json"):
            (inbox / name).write_bytes((EXAMPLES / name).read_bytes())

        async def run() -> None:
            stopping = asyncio.Event()
            task = asyncio.create_task(watch.run(stopping))
            while len(list(inbox.glob("*/*.ack"))) < 2:
                await asyncio.sleep(0.01)
            stopping.set()
            await task

        asyncio.run(asyncio.wait_for(run(), 300))
        with gateway.store.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT status FROM inbox ORDER BY status").scalars().all()
    assert rows == ["accepted", "quarantined"]
    assert (inbox / PROCESSED / "blood-pressure-gateway.json.ack").read_text().count("8 resources") == 1
    assert "nothing says whose" in (inbox / FAILED / "health-connect.json.ack").read_text()
