"""Connections of several senders: each patient's messages of one sender stay on one connection, in order.

Who sends more has more of them (``shared_out``): with as many for each, all would wait for the laboratory's.

A repeat takes any connection of its sender, so that it may overtake the message that it repeats. Closed loop:
a connection sends its next message when the last one is acknowledged.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hdg.simulate import Event

BACKLOG = 40
"""Messages that wait for one connection at most: while one lane is full, the others still have work."""


@dataclass(slots=True)
class Outcome:
    """What came back. Latencies in seconds, in the order of acknowledgement; at ``times`` since the start."""

    seconds: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("f"))
    times: array[float] = field(default_factory=lambda: array("f"))
    bytes_sent: int = 0
    accepted: int = 0
    repeats: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Acknowledged messages per second, repeats included."""
        return self.accepted / self.seconds

    def quantile_ms(self, share: float) -> float:
        """The latency that ``share`` of the acknowledgements kept to."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def shared_out(connections: int, events: Iterable[Event]) -> dict[str, int]:
    """How many of the connections each sender has, by how often it speaks in a sample; at least one each."""
    spoken = Counter(event.sender for event in events)
    found = dict.fromkeys(spoken, 1)
    for _ in range(connections - len(spoken)):
        found[max(spoken, key=lambda sender: spoken[sender] / found[sender])] += 1
    return found


async def drive(
    address: tuple[str, int],
    events: Iterator[Event],
    *,
    connections: Mapping[str, int],
    seconds: float,
    rate: float | None,
    on_accepted: Callable[[bytes], None],
) -> Outcome:
    """Sends for ``seconds`` (at most ``rate`` a second), then waits for the acknowledgements under way.

    ``connections``: how many each sender has.
    """
    outcome = Outcome()
    lanes_of = {
        sender: [asyncio.Queue[Event | None](BACKLOG) for _ in range(count)]
        for sender, count in connections.items()
    }
    lanes = [lane for own in lanes_of.values() for lane in own]
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for lane in lanes:
            group.create_task(_connection(address, lane, outcome, started, on_accepted))
        await _feed(events, lanes_of, started + seconds, rate)
        for lane in lanes:
            while not lane.empty():
                lane.get_nowait()  # not sent: the time is up
            lane.put_nowait(None)
    outcome.seconds = time.perf_counter() - started
    return outcome


async def _feed(
    events: Iterator[Event],
    lanes: Mapping[str, list[asyncio.Queue[Event | None]]],
    until: float,
    rate: float | None,
) -> None:
    started = time.perf_counter()
    for number, event in enumerate(events):
        now = time.perf_counter()
        if now >= until:
            return
        if rate is not None and (wait_s := started + number / rate - now) > 0:
            await asyncio.sleep(wait_s)
        key = event.control_id if event.fate == "repeat" else event.patient
        own = lanes[event.sender]
        lane = own[zlib.crc32(key.encode()) % len(own)]
        if lane.full() and not await _has_room(lane, until):
            return

        await lane.put(event)
        if number % 32 == 0:
            await asyncio.sleep(0)


async def _has_room(lane: asyncio.Queue[Event | None], until: float) -> bool:
    while lane.full():
        if time.perf_counter() >= until:
            return False
        await asyncio.sleep(0.002)
    return True


async def _connection(
    address: tuple[str, int],
    lane: asyncio.Queue[Event | None],
    outcome: Outcome,
    started: float,
    on_accepted: Callable[[bytes], None],
) -> None:
    reader, writer = await asyncio.open_connection(*address)
    try:
        while (event := await lane.get()) is not None:
            sent_at = time.perf_counter()
            writer.write(b"\x0b" + event.raw + b"\x1c\r")
            answer = await reader.readuntil(b"\x1c\r")
            answered_at = time.perf_counter()
            outcome.latencies.append(answered_at - sent_at)
            outcome.times.append(answered_at - started)
            outcome.bytes_sent += len(event.raw)
            outcome.kinds[event.kind] += 1
            outcome.repeats += event.fate == "repeat"
            if b"\rMSA|AA|" + event.control_id.encode() in answer:
                outcome.accepted += 1
                on_accepted(event.raw)
            else:
                outcome.refused.append(f"{event.control_id} {event.kind} {answer[-120:]!r}")
    finally:
        writer.close()
        await writer.wait_closed()
