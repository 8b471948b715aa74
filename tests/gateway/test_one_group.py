"""Messages that share a transaction come to the same as one by one, also those about one patient."""

from __future__ import annotations

import asyncio
import shutil
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from hdg.gateway import Gateway
from hdg.management.store.inbox import work_items
from hdg.settings import Settings
from hdg.simulate import Simulation
from messages import adt, oru

NOW_US = 1_790_000_000_000_000


def open_gateway(data: Path, size: int) -> Gateway:
    return Gateway.open(Settings(data=data, group_commit_max=size), clock=lambda: NOW_US)


async def together(gateway: Gateway, messages: list[bytes]) -> list[bytes]:
    """All of them received while the writer is held: as few groups as the settings let."""
    free, is_held = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        is_held.set()
        free.wait(120)

    gateway.store.submit(hold)
    await asyncio.to_thread(is_held.wait, 120)
    works = [asyncio.ensure_future(gateway.receive(raw)) for raw in messages]
    while gateway.store.queued < len(messages):
        await asyncio.sleep(0.01)
    free.set()
    return list(await asyncio.gather(*works))


def plain(value: Any) -> Any:
    """Without what tells when something was stored and in which version."""
    if isinstance(value, dict):
        told = ("lastUpdated", "versionId", "recorded", "timestamp")
        return {key: plain(each) for key, each in value.items() if key not in told}
    return [plain(each) for each in value] if isinstance(value, list) else value


def state(gateway: Gateway) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """Every resource as it is now with its version and compartments, the inbox, and the work items."""
    found: dict[str, Any] = {}
    with gateway.store.engine.connect() as connection:
        sql = "SELECT type, id, version, deleted, patients, patient FROM resource ORDER BY type, id"
        rows = connection.exec_driver_sql(sql).fetchall()
        inbox = connection.exec_driver_sql(
            "SELECT sender, control_id, status FROM inbox ORDER BY sender, control_id"
        ).fetchall()

    def read(session: Any) -> None:
        for row in rows:
            found["/".join(row[:2])] = (*row[2:], plain(session.current(*row[:2])))

    gateway.store.submit(read).result()
    items = sorted(
        (item.kind, item.place, item.text, item.count) for item in work_items(gateway.store.engine)
    )
    return found, inbox, items


def about_one_patient() -> list[bytes]:
    """Results, a correction, a move, a repeat and a deletion, all of patient 77."""
    gone = adt("G1").replace(b"ADT^A01^ADT_A01", b"ADT^A29^ADT_A21").replace(b"A01|", b"A29|")
    return [oru("R1"), adt("A1"), oru("R2"), oru("R1"), adt("A2"), oru("R3"), gone, adt("A3")]


def simulated() -> list[bytes]:
    return [event.raw for event in islice(iter(Simulation(seed=11, patients=8, senders=4)), 150)]


@pytest.mark.parametrize("make", [about_one_patient, simulated])
def test_messages_in_one_transaction_come_to_the_same_as_one_by_one(tmp_path: Path, make: Any) -> None:
    messages = make()
    with open_gateway(tmp_path / "one", 1) as gateway:
        answers = [gateway.receive_now(raw) for raw in messages]
        single = state(gateway)
    (tmp_path / "all").mkdir()
    shutil.copytree(tmp_path / "one" / "keys", tmp_path / "all" / "keys")
    with open_gateway(tmp_path / "all", 1024) as gateway:
        groups = asyncio.run(together(gateway, messages))
        assert state(gateway) == single
        with gateway.store.engine.connect() as connection:
            sql = "SELECT count(*) FROM ledger_checkpoint"
            assert connection.exec_driver_sql(sql).scalar_one() == 1  # they did share a transaction
            sql = (
                "SELECT count(*) FROM version v JOIN version w ON w.rkey = v.rkey AND w.version = v.version + 1 "
                "WHERE w.updated_us <= v.updated_us"
            )
            assert connection.exec_driver_sql(sql).scalar_one() == 0
    assert [answer.split(b"\rMSA|")[1] for answer in groups] == [
        answer.split(b"\rMSA|")[1] for answer in answers
    ]
