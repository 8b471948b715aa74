"""The clock was ahead and is set right: stored times stay ahead until it catches up, and nothing else is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, true

from bench.promise import findings
from hdg import retention
from hdg.fhir.json import loads
from hdg.gateway import Gateway
from hdg.management.store.search import SearchQuery
from hdg.operator import verify_store
from hdg.settings import Settings
from messages import adt

NOW_US = 1_795_000_000_000_000
HOUR_US = 3_600_000_000
STATED = b"20260314113000-0500"
MSH_7, EVN_2 = b"|REGION|" + STATED, b"EVN|A01|" + STATED


class Clock:
    """Set by hand."""

    def __init__(self) -> None:
        self.at_us = NOW_US

    def __call__(self) -> int:
        self.at_us += 1_000
        return self.at_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(tmp_path: Path, clock: Clock) -> Iterator[Gateway]:
    with Gateway.open(Settings(data=tmp_path / "data", keep_messages_days=3), clock=clock) as opened:
        yield opened


def timeless(control: str, family: str) -> bytes:
    """A message that does not say when it was made."""
    raw = adt(control, family=family)
    return raw.replace(MSH_7, b"|REGION|").replace(EVN_2, b"EVN|A01|")


def stated(control: str, family: str, at: bytes) -> bytes:
    raw = adt(control, family=family)
    return raw.replace(MSH_7, b"|REGION|" + at).replace(EVN_2, b"EVN|A01|" + at)


def family(gateway: Gateway) -> str:
    [found] = gateway.store.reader.search(SearchQuery("Patient", (), 10), true()).versions
    return str(loads(gateway.store.reader.body(found))["name"][0]["family"])


def column(gateway: Gateway, query: str) -> list[Any]:
    with gateway.store.engine.connect() as connection:
        return [row[0] for row in connection.execute(text(query))]


def take(gateway: Gateway, raw: bytes) -> None:
    assert b"\rMSA|AA|" in gateway.receive_now(raw)


def test_order_and_the_stale_rule_hold_while_stored_times_are_ahead(gateway: Gateway, clock: Clock) -> None:
    take(gateway, timeless("C1", "First"))
    clock.at_us += 5 * HOUR_US
    take(gateway, timeless("C2", "Ahead"))
    ahead_us = clock.at_us
    clock.at_us -= 5 * HOUR_US
    for number in range(3, 7):
        take(gateway, timeless(f"C{number}", f"Turn {number}"))
        assert family(gateway) == f"Turn {number}"
    times = column(gateway, "SELECT updated_us FROM version WHERE type = 'Patient' ORDER BY version")
    assert times == sorted(set(times))
    assert ahead_us - 10_000 < times[-1] < ahead_us + 10_000
    received = column(gateway, "SELECT received_us FROM inbox ORDER BY ikey")
    assert received == sorted(received)
    clock.at_us += 6 * HOUR_US  # real time has caught up
    take(gateway, timeless("C7", "Later"))
    assert family(gateway) == "Later"
    assert column(gateway, "SELECT updated_us FROM version ORDER BY version.rkey DESC LIMIT 1")[0] > ahead_us
    assert findings(gateway.settings.data, {f"C{n}" for n in range(1, 8)}, is_exact=True) == []


def test_what_senders_say_decides_as_always(gateway: Gateway, clock: Clock) -> None:
    clock.at_us += 5 * HOUR_US
    take(gateway, stated("S1", "Stated first", b"20261118110000+0000"))
    clock.at_us -= 5 * HOUR_US
    take(gateway, stated("S2", "Stated second", b"20261118110001+0000"))
    assert family(gateway) == "Stated second"
    take(gateway, stated("S3", "Stated before", b"20261118105959+0000"))
    assert family(gateway) == "Stated second"


def test_retention_removes_nothing_early_and_what_was_received_ahead_later(
    gateway: Gateway, clock: Clock
) -> None:
    retention.prune(gateway)
    take(gateway, timeless("C1", "First"))
    clock.at_us += 48 * HOUR_US
    take(gateway, timeless("C2", "Ahead"))
    clock.at_us -= 48 * HOUR_US
    kept = "SELECT control_id FROM inbox WHERE blob <> '' ORDER BY ikey"
    seen = []
    for _ in range(6):
        retention.prune(gateway)
        seen.append(column(gateway, kept))
        clock.at_us += 24 * HOUR_US
    assert seen == [["C1", "C2"]] * 3 + [["C2"]] * 2 + [[]]
    assert verify_store(gateway.settings, "").findings == ()
