"""A small MLLP load client of our own, without hdg's code: N connections, each waits for its ACK before the next."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvloop


@dataclass(slots=True)
class Load:
    """What came back. ``accepted`` holds the control ids that were acknowledged AA or CA; times in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Accepted messages per second."""
        return len(self.accepted) / self.seconds


async def run(
    address: tuple[str, int],
    messages: Iterator[bytes],
    connections: int,
    *,
    until_cut: bool = False,
    load: Load | None = None,
) -> Load:
    """Sends every message over ``connections`` connections. ``until_cut``: a lost connection ends the run quietly.

    ``load``: what is filled while it runs.
    """
    load = load or Load()
    started = time.perf_counter()
    workers = [_worker(address, messages, load, until_cut) for _ in range(connections)]
    await asyncio.gather(*workers)
    load.seconds = time.perf_counter() - started
    return load


def send_all(address: tuple[str, int], messages: Iterator[bytes], connections: int) -> Load:
    """``run`` on uvloop: what the load takes of the two cores is not the gateway's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(address, messages, connections))


async def _worker(address: tuple[str, int], messages: Iterator[bytes], load: Load, until_cut: bool) -> None:
    try:
        reader, writer = await asyncio.open_connection(*address)
    except ConnectionError:
        if until_cut:
            return
        raise
    try:
        await _exchange(reader, writer, messages, load)
    except (ConnectionError, asyncio.IncompleteReadError):
        if not until_cut:
            raise
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, messages: Iterator[bytes], load: Load
) -> None:
    for message in messages:
        control_id = message.split(b"|", 10)[9].decode()
        sent = time.perf_counter()
        writer.write(b"\x0b" + message + b"\x1c\r")
        answer = await reader.readuntil(b"\x1c\r")
        load.latencies.append(time.perf_counter() - sent)
        if any(b"\rMSA|" + code + control_id.encode() in answer for code in (b"AA|", b"CA|")):
            load.accepted.append(control_id)
        else:
            load.refused.append(answer)
