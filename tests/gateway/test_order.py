"""Many connections, few patients: the last statement about a patient is what is stored.

The promise behind HL7 v2.9 §2.9.2 (sequence) and DESIGN §3: each patient's messages are applied as they were
stated, parallel patients notwithstanding, and a message sent twice is applied once.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.expected import Expected, Findings, check
from hdg.gateway import Gateway
from hdg.settings import Settings
from hdg.simulate import ORDERLY, Disorder, Event, Simulation

CONNECTIONS = 24
MESSAGES = 240


async def deliver(gateway: Gateway, lanes: Sequence[Sequence[Event]], expected: Expected) -> None:
    """Each lane is a connection: its next message leaves when the last one is acknowledged."""

    async def connection(lane: Sequence[Event]) -> None:
        for event in lane:
            answer = await gateway.receive(event.raw)
            assert b"\rMSA|AA|" + event.control_id.encode() in answer, event.kind
            expected.accept(event.raw)

    await asyncio.gather(*(connection(lane) for lane in lanes))


def lanes_of(events: Sequence[Event], rng: random.Random, *, by: str) -> list[list[Event]]:
    """Each patient's messages on one connection, patients shuffled over the connections."""
    lanes: list[list[Event]] = [[] for _ in range(CONNECTIONS)]
    lane_of: defaultdict[str, int] = defaultdict(lambda: rng.randrange(CONNECTIONS))
    for event in events:
        lanes[lane_of[getattr(event, by)]].append(event)
    return lanes


def run(folder: Path, lanes: Sequence[Sequence[Event]]) -> tuple[Expected, Findings]:
    expected = Expected(restless=True)
    with Gateway.open(Settings(data=folder)) as gateway:
        asyncio.run(deliver(gateway, lanes, expected))
        return expected, check(gateway, expected)


def stream(seed: int, disorder: Disorder = ORDERLY) -> list[Event]:
    """With the place of each message in the order in its address."""
    return list(Simulation(seed=seed, patients=7, disorder=disorder, restless=True).take(MESSAGES))


def test_with_a_connection_a_patient_the_last_statement_is_what_is_stored(tmp_path: Path) -> None:
    _, findings = run(tmp_path, lanes_of(stream(21), random.Random(1), by="patient"))
    assert findings.lines() == ["lost: 0", "doubled: 0", "out of order: 0"]
    assert findings.looked_at["accepted messages"] == MESSAGES
    assert findings.looked_at["results"] > MESSAGES
    assert findings.looked_at["merges"] > 0


def test_repeats_in_between_on_other_connections_change_nothing(tmp_path: Path) -> None:
    rng = random.Random(2)
    lanes = lanes_of(stream(22), rng, by="patient")
    told = [event for lane in lanes for event in lane]
    for event in rng.choices(told, k=MESSAGES // 2):
        lane = rng.choice(lanes)
        lane.insert(rng.randrange(len(lane) + 1), event)
    expected, findings = run(tmp_path, lanes)
    assert max(expected.accepted.values()) > 1
    assert findings.lines() == ["lost: 0", "doubled: 0", "out of order: 0"]
    assert findings.looked_at["accepted messages"] == MESSAGES


def test_where_messages_overtake_each_other_their_own_times_decide(tmp_path: Path) -> None:
    events = stream(23, Disorder(repeated=0.1, overtaken=0.2, late=0.1, late_by=60))
    assert {event.fate for event in events} == {"new", "late", "repeat"}
    _, findings = run(tmp_path, lanes_of(events, random.Random(3), by="control_id"))
    assert findings.lines() == ["lost: 0", "doubled: 0", "out of order: 0"]


def test_people_who_move_now_and_then_are_stored_as_they_were_told_last(tmp_path: Path) -> None:
    disorder = Disorder(repeated=0.1, overtaken=0.2, late=0.1, late_by=60)
    events = list(Simulation(seed=25, patients=7, disorder=disorder).take(MESSAGES))
    expected = Expected()
    with Gateway.open(Settings(data=tmp_path)) as gateway:
        asyncio.run(deliver(gateway, lanes_of(events, random.Random(4), by="control_id"), expected))
        findings = check(gateway, expected)
    assert findings.lines() == ["lost: 0", "doubled: 0", "out of order: 0"]
    assert max(flat for flats in expected.flats.values() for _, flat in flats.values()) > 3


@pytest.mark.parametrize("kind", ["lost", "doubled", "disordered"])
def test_the_check_sees_what_it_is_there_to_see(tmp_path: Path, kind: str) -> None:
    events = stream(24)
    expected = Expected()
    with Gateway.open(Settings(data=tmp_path)) as gateway:
        for event in events[:40]:
            gateway.receive_now(event.raw)
            expected.accept(event.raw)
        if kind == "lost":
            expected.accept(events[40].raw)
        elif kind == "doubled":
            gateway.receive_now(events[40].raw)
        else:
            mrn = next(iter(expected.flats))
            sender, (at, flat) = next(iter(expected.flats[mrn].items()))
            expected.flats[mrn][sender] = at, flat + 1
        assert getattr(check(gateway, expected), kind)
