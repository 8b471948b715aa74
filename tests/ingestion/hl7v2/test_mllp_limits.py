"""What senders can make an MLLP listener hold, and for how long: HL7 Transport Specification: MLLP, Release 1."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

import loop_time
from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.mllp import Budget, MllpServer, frame, serve_mllp
from hdg.ingestion.hl7v2.mllp_budget import READ_BYTES, SMALL_BYTES
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.sender import Origin

END = b"\x1c\r"
LIMIT = 2_000_000
LARGE = 1_000_000


def adt(number: int, size: int = 0) -> bytes:
    return b"MSH|^~\\&|A|B|C|D|2024||ADT^A01|N%d|P|2.5\rPID|1\rNTE|1||%s\r" % (number, b"x" * size)


def answered(answer: bytes) -> tuple[str, str]:
    msa = parse(answer.strip(b"\x0b\x1c")).first("MSA")
    assert msa is not None
    return msa.field(1), msa.field(2)


async def accept(message: bytes, origin: Origin) -> tuple[bytes, ...]:
    return (acknowledge(message, "AA", control_id="G", at_us=0),)


def run(scenario: Callable[[MllpServer, Budget], Awaitable[None]], **options: float) -> None:
    """A scenario against a server of its own, which holds nothing afterwards."""
    budget = Budget(LIMIT)

    async def main() -> None:
        server = await serve_mllp("127.0.0.1", 0, accept, clock=lambda: 0, budget=budget, **options)  # type: ignore[arg-type]  # test options
        try:
            await asyncio.wait_for(scenario(server, budget), 600)
        finally:
            await server.close(grace_s=1)

    loop_time.run(main())
    assert budget.held_bytes == 0


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> tuple[str, str]:
    writer.write(data)
    return answered(await reader.readuntil(END))


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.005)


def test_unfinished_messages_of_many_connections_stay_within_a_common_limit_and_small_ones_pass() -> None:
    async def scenario(server: MllpServer, budget: Budget) -> None:
        connections = [await asyncio.open_connection(server.host, server.port) for _ in range(8)]
        frames = [frame(adt(number, LARGE)) for number in range(8)]
        for (_, writer), data in zip(connections, frames, strict=True):
            writer.write(data[:-2])
        await until(lambda: budget.held_bytes > LIMIT)
        for number in range(20):
            small = await asyncio.open_connection(server.host, server.port)
            assert await ask(*small, frame(adt(100 + number))) == ("AA", f"N{100 + number}")
            small[1].close()
        assert budget.held_bytes <= LIMIT + LARGE + 8 * READ_BYTES
        for _, writer in connections:
            writer.write(END)
        answers = await asyncio.gather(*(reader.readuntil(END) for reader, _ in connections))
        assert [answered(answer) for answer in answers] == [("AA", f"N{number}") for number in range(8)]
        for _, writer in connections:
            writer.close()

    run(scenario)


def test_a_sender_that_vanishes_gives_back_what_it_held() -> None:
    async def scenario(server: MllpServer, budget: Budget) -> None:
        connections = [await asyncio.open_connection(server.host, server.port) for _ in range(4)]
        for _, writer in connections:
            writer.write(frame(adt(1, LARGE))[:-2])
        await until(lambda: budget.held_bytes > LIMIT)
        for _, writer in connections:
            writer.transport.abort()
        await until(lambda: budget.held_bytes == 0)
        reader, writer = await asyncio.open_connection(server.host, server.port)
        assert await ask(reader, writer, frame(adt(2, LARGE))) == ("AA", "N2")
        writer.close()

    run(scenario)


@pytest.mark.parametrize("size", [0, SMALL_BYTES])
def test_a_message_that_comes_byte_by_byte_is_answered_ae_and_its_connection_closed(size: int) -> None:
    async def scenario(server: MllpServer, budget: Budget) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)

        async def drip() -> None:
            writer.write(b"\x0b" + adt(1, size))
            with contextlib.suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"x")
                    await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert answered(await reader.readuntil(END)) == ("AE", "N1")
        with contextlib.suppress(ConnectionError):  # a byte crossed the end
            assert await reader.read() == b""
        await dripping
        writer.close()

    run(scenario, idle_s=600, frame_s=0.2)


def test_messages_before_one_that_never_ends_are_answered_as_ever() -> None:
    async def scenario(server: MllpServer, budget: Budget) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(adt(1)) + frame(adt(2)) + frame(adt(3))[:-2])
        answers = [answered(await reader.readuntil(END)) for _ in range(3)]
        assert answers == [("AA", "N1"), ("AA", "N2"), ("AE", "N3")]
        assert await reader.read() == b""
        writer.close()

    run(scenario, frame_s=0.1)


def test_a_large_message_has_more_time_than_a_small_one() -> None:
    async def scenario(server: MllpServer, budget: Budget) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        data = frame(adt(1, 1_000_000))
        writer.write(data[:-1])
        await until(lambda: budget.held_bytes > LARGE)
        await asyncio.sleep(0.3)
        assert await ask(reader, writer, data[-1:]) == ("AA", "N1")
        writer.close()

    run(scenario, frame_s=0.05)


def test_messages_one_after_the_other_never_run_out_of_time() -> None:
    async def scenario(server: MllpServer, budget: Budget) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(adt(0))[:-1])
        for number in range(1, 6):
            await loop_time.pass_by(40)
            writer.write(END[-1:] + frame(adt(number))[:-1])  # there is always one that has not ended
            assert answered(await reader.readuntil(END)) == ("AA", f"N{number - 1}")
        writer.close()

    run(scenario, frame_s=60)


def test_a_sender_that_reads_no_answers_is_disconnected() -> None:
    async def scenario(server: MllpServer, budget: Budget) -> None:
        _, writer = await asyncio.open_connection(server.host, server.port, limit=1000)
        pumping = asyncio.create_task(_pump(writer))
        await pumping
        await until(lambda: not server._service.connections)

    run(scenario, idle_s=0.2)


async def _pump(writer: asyncio.StreamWriter) -> None:
    """Sends until the other side hangs up."""
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(frame(adt(1)) * 500)
            await writer.drain()


class Fake:
    """A connection that only keeps what it is told."""

    def __init__(self) -> None:
        self.is_waiting = False

    def wait_for_room(self) -> None:
        self.is_waiting = True

    def go_on(self) -> None:
        self.is_waiting = False


def test_of_the_large_ones_the_longest_goes_on_and_the_others_follow_as_room_comes() -> None:
    budget = Budget(3 * READ_BYTES)
    first, second, third = Fake(), Fake(), Fake()
    for fake in (first, second, third):
        budget.hold(fake, 2 * READ_BYTES)
    assert [first.is_waiting, second.is_waiting, third.is_waiting] == [False, True, True]
    budget.hold(first, 9 * READ_BYTES)
    assert not first.is_waiting
    budget.hold(first, 0)
    assert [second.is_waiting, third.is_waiting] == [False, True]
    budget.hold(second, SMALL_BYTES)
    assert not third.is_waiting
    budget.hold(third, 0)
    assert budget.held_bytes == 0
