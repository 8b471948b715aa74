"""A sender as interface engines are: keeps a message until it is answered AA, connects again, sends again.

Without hdg's code. ``Cut`` stands between sender and gateway and breaks connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_END = b"\x1c\r"
_LOST = (ConnectionError, asyncio.IncompleteReadError, TimeoutError, OSError)


@dataclass(slots=True)
class Sent:
    """What came of it. ``answers``: every different AA of each control id (there may be only one)."""

    accepted: dict[str, float] = field(default_factory=dict)
    """Control id to seconds from the first attempt to its AA."""
    answers: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    codes: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    pending: list[str] = field(default_factory=list)
    """Not accepted by the deadline."""

    @property
    def changed_answers(self) -> int:
        """Messages that were answered AA in more than one way."""
        return sum(len(each) > 1 for each in self.answers.values())

    def slowest_ms(self, share: float = 1.0) -> float:
        """The time that ``share`` of the messages kept to."""
        ordered = sorted(self.accepted.values())
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


def control_id(message: bytes) -> str:
    """MSH-10."""
    return message.split(b"|", 10)[9].decode()


def code_of(answer: bytes) -> str:
    """MSA-1."""
    return answer.split(b"\rMSA|", 1)[-1][:2].decode("ascii", "replace")


async def deliver(
    addresses: list[tuple[str, int]],
    messages: Iterator[bytes],
    connections: int,
    *,
    deadline_s: float = 60.0,
    is_patient: bool = True,
    sent: Sent | None = None,
) -> Sent:
    """Sends every message until it is accepted. Not ``is_patient``: a lost connection ends that worker."""
    sent = sent or Sent()
    until = time.monotonic() + deadline_s
    works = [
        _work(addresses[number % len(addresses)], messages, sent, until, is_patient)
        for number in range(connections)
    ]
    await asyncio.gather(*works)
    return sent


async def _work(
    address: tuple[str, int], messages: Iterator[bytes], sent: Sent, until: float, is_patient: bool
) -> None:
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for message in messages:
        name, started = control_id(message), time.monotonic()
        while time.monotonic() < until:
            try:
                streams = streams or await asyncio.wait_for(asyncio.open_connection(*address), 60)
                answer = await asyncio.wait_for(
                    _exchange(*streams, message), max(until - time.monotonic(), 1)
                )
            except _LOST:
                sent.cut += 1
                streams = _close(streams)
                if not is_patient:
                    return
                await asyncio.sleep(0.05)
                continue
            code = code_of(answer)
            sent.codes[code] += 1
            if code in ("AA", "CA"):
                sent.accepted[name] = time.monotonic() - started
                sent.answers[name].add(answer)
                break
            await asyncio.sleep(0.05)
        else:
            sent.pending.append(name)
            break
    _close(streams)


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> bytes:
    writer.write(b"\x0b" + message + _END)
    return await reader.readuntil(_END)


def _close(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    if streams is not None:
        streams[1].close()


@dataclass(slots=True)
class Cut:
    """A proxy that cuts connections: in the middle of a frame, or when the answer comes (which it keeps).

    ``share``: how many of the frames.
    """

    target: tuple[str, int]
    rng: random.Random
    is_before_ack: bool
    share: float = 0.3
    lost: dict[str, bytes] = field(default_factory=dict)
    """The answers that no sender saw."""
    cuts: int = 0

    @contextlib.asynccontextmanager
    async def running(self) -> Iterator[tuple[str, int]]:  # type: ignore[misc]
        """Listens; the address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 24)
        try:
            yield server.sockets[0].getsockname()[:2]
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*self.target, limit=1 << 24)
        with contextlib.suppress(*_LOST):
            while await self._pass(reader, inner_writer, inner_reader, writer):
                pass
        for each in (writer, inner_writer):
            (each.transport.abort if self.rng.random() < 0.5 else each.close)()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        inner_writer: asyncio.StreamWriter,
        inner_reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        frame = await reader.readuntil(_END)
        is_cut = self.rng.random() < self.share
        if is_cut and not self.is_before_ack:
            self.cuts += 1
            inner_writer.write(frame[: self.rng.randrange(1, len(frame))])
            await inner_writer.drain()
            return False
        inner_writer.write(frame)
        answer = await inner_reader.readuntil(_END)
        if is_cut:
            self.cuts += 1
            self.lost[control_id(frame)] = answer
            return False
        writer.write(answer)
        return True


def numbered(messages: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The first ``count``."""
    for _, message in zip(range(count), messages, strict=False):
        yield message


Progress = Callable[[str], None]
