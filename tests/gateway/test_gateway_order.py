"""Messages of one patient are committed in the order received, also over parallel connections."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import defaultdict
from pathlib import Path

import pytest

from hdg.gateway import Gateway
from hdg.ingestion.lanes import Lanes, patient_numbers
from hdg.ingestion.received import Received
from hdg.management.store import writer
from hdg.settings import Settings
from messages import adt, oru


def merge(control: str, number: str, prior: str) -> bytes:
    return adt(control, number).rstrip(b"\r") + b"\rMRG|" + prior.encode() + b"^^^NORTHGEN&2.999.1.1&ISO^MR\r"


def test_patient_numbers_are_read_from_the_bytes() -> None:
    assert patient_numbers(adt(number="7")) == {b"7"}
    assert patient_numbers(merge("M", "7", "8")) == {b"7", b"8"}
    assert patient_numbers(adt(number="7").replace(b"7^^^", b"7^^^~9^^^")) == {b"7", b"9"}
    assert patient_numbers(adt(number="7").replace(b"\r", b"\r\n")) == {b"7"}
    assert patient_numbers(b"MSH|^~\\&|A|B\rOBX|1|TX|x||PID|1||77\r") == frozenset()
    assert patient_numbers(b"") == patient_numbers(b"MSH|") == frozenset()
    assert patient_numbers(adt().decode().encode("utf-16")) == {b""}


@pytest.mark.parametrize("seed", range(3))
def test_parallel_messages_of_a_patient_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Conversions take their time in threads, the writer's queue is short: whatever can overtake does."""
    rng = random.Random(seed)
    monkeypatch.setattr(writer, "QUEUE_MAX", 2)
    monkeypatch.setattr("hdg.gateway.OFF_LOOP_BYTES", 0)
    monkeypatch.setattr("hdg.gateway.OFF_LOOP_THREADS", 6)
    real = Gateway._work_for

    def slow(self: Gateway, received: Received):
        time.sleep(rng.random() * 0.02)
        return real(self, received)

    monkeypatch.setattr(Gateway, "_work_for", slow)
    sent: defaultdict[str, list[str]] = defaultdict(list)
    messages = []
    for number in range(60):
        patient, control = str(rng.randrange(4)), f"C{number}"
        sent[patient].append(control)
        if rng.random() < 0.2:
            other = str((int(patient) + 1) % 4)
            sent[other].append(control)
            messages.append(merge(control, patient, other))
        else:
            messages.append(oru(control, patient) if rng.random() < 0.5 else adt(control, patient))

    async def run(gateway: Gateway) -> None:
        await asyncio.gather(*(gateway.receive(raw) for raw in messages))

    with Gateway.open(Settings(data=tmp_path)) as gateway:
        asyncio.run(run(gateway))
        assert gateway._lanes.tails == {}
    database = sqlite3.connect(tmp_path / "hdg.db")
    stored = [row[0] for row in database.execute("SELECT control_id FROM inbox ORDER BY ikey")]
    database.close()
    assert len(stored) == 60
    for patient, controls in sent.items():
        assert [control for control in stored if control in controls] == controls, patient


def test_a_message_that_is_given_up_does_not_let_others_overtake() -> None:
    async def run() -> list[str]:
        lanes, order = Lanes(), []
        first = lanes.ticket(adt(number="1"))

        async def member(name: str) -> None:
            with lanes.ticket(adt(number="1")) as ticket:
                await ticket.turn()
                order.append(name)

        second = asyncio.create_task(member("second"))
        third = asyncio.create_task(member("third"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0.01)
        order.append("first")
        with first:
            pass
        await third
        assert lanes.tails == {}
        return order

    assert asyncio.run(run()) == ["first", "third"]
