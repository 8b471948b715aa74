"""The MLLP server and client: HL7 Transport Specification: MLLP, Release 1."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

import loop_time
from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.mllp import Handler, MllpClient, MllpServer, frame, serve_mllp
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.sender import Origin
from receiver import kept_port

END = b"\x1c\r"


def adt(number: int = 1) -> bytes:
    return b"MSH|^~\\&|A|B|C|D|2024||ADT^A01|N%d|P|2.5\rPID|1\r" % number


async def accept(message: bytes) -> bytes:
    return acknowledge(message, "AA", control_id="G", at_us=0)


def answered(answer: bytes) -> tuple[str, str]:
    msa = parse(answer.strip(b"\x0b\x1c")).first("MSA")
    assert msa is not None
    return msa.field(1), msa.field(2)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> tuple[str, str]:
    writer.write(data)
    return answered(await asyncio.wait_for(reader.readuntil(END), 120))


def one(handler: Callable[[bytes], Awaitable[bytes]]) -> Handler:
    """A handler that answers each message once, wherever it came from."""

    async def handle(message: bytes, origin: Origin) -> tuple[bytes, ...]:
        return (await handler(message),)

    return handle


def run(
    scenario: Callable[[MllpServer], Awaitable[None]],
    handler: Callable[[bytes], Awaitable[bytes]] = accept,
    **options: float,
) -> None:
    """A scenario against a server of its own."""

    async def main() -> None:
        server = await serve_mllp("127.0.0.1", 0, one(handler), clock=lambda: 0, **options)  # type: ignore[arg-type]  # test options
        try:
            await asyncio.wait_for(scenario(server), 600)
        finally:
            await server.close(grace_s=1)

    loop_time.run(main())


def test_a_message_is_answered() -> None:
    async def scenario(server: MllpServer) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        assert await ask(reader, writer, frame(adt())) == ("AA", "N1")
        writer.close()

    run(scenario)


def test_fragments_and_junk_are_tolerated() -> None:
    async def scenario(server: MllpServer) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        for byte in b"junk\r\n" + frame(adt())[:-1]:
            writer.write(bytes((byte,)))
            await writer.drain()
        await asyncio.sleep(0)
        assert await ask(reader, writer, b"\r") == ("AA", "N1")
        writer.close()

    run(scenario)


def test_pipelined_messages_are_answered_in_order_and_one_at_a_time() -> None:
    running = 0

    async def slow(message: bytes) -> bytes:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.001)
        running -= 1
        return await accept(message)

    async def scenario(server: MllpServer) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"".join(frame(adt(number)) for number in range(100)))
        for number in range(100):
            assert answered(await reader.readuntil(END)) == ("AA", f"N{number}")
        writer.close()

    run(scenario, slow)


def test_connections_do_not_wait_for_each_other() -> None:
    release = asyncio.Event()

    async def held(message: bytes) -> bytes:
        if b"N0" in message:
            await release.wait()
        return await accept(message)

    async def scenario(server: MllpServer) -> None:
        one, two = [await asyncio.open_connection(server.host, server.port) for _ in range(2)]
        one[1].write(frame(adt(0)))
        assert await ask(*two, frame(adt(1))) == ("AA", "N1")
        release.set()
        assert answered(await one[0].readuntil(END)) == ("AA", "N0")
        one[1].close()
        two[1].close()

    run(scenario, held)


def test_a_failing_handler_answers_ae_and_the_connection_stays() -> None:
    async def failing(message: bytes) -> bytes:
        if b"N1|" in message:
            raise RuntimeError("a patient's name")
        return await accept(message)

    async def scenario(server: MllpServer) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(adt(1)))
        answer = await reader.readuntil(END)
        assert answered(answer) == ("AE", "N1")
        assert b"patient" not in answer
        assert await ask(reader, writer, frame(adt(2))) == ("AA", "N2")
        writer.close()

    run(scenario, failing)


@pytest.mark.parametrize("garbage", [b"", b"\x00" * 50, bytes(range(32, 256)), b"|" * 5000, b"MSH|^^"])
def test_garbage_reaches_the_handler_and_the_connection_stays(garbage: bytes) -> None:
    async def parsing(message: bytes) -> bytes:
        parse(message)
        return await accept(message)

    async def scenario(server: MllpServer) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        assert (await ask(reader, writer, frame(garbage)))[0] == "AE"
        assert await ask(reader, writer, frame(adt(2))) == ("AA", "N2")
        writer.close()

    run(scenario, parsing)


def test_a_frame_over_the_cap_is_rejected_by_name_and_the_connection_stays() -> None:
    async def scenario(server: MllpServer) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(adt(1) + b"x" * 5000))
        answer = await reader.readuntil(END)
        assert answered(answer) == ("AR", "N1")
        assert b"the limit is 1000" in answer
        assert await ask(reader, writer, frame(adt(2))) == ("AA", "N2")
        writer.close()

    run(scenario, max_bytes=1000)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    is_busy, is_over = asyncio.Event(), asyncio.Event()

    async def slow(message: bytes) -> bytes:
        is_busy.set()
        await is_over.wait()
        return await accept(message)

    async def scenario(server: MllpServer) -> None:
        idle_reader, idle_writer = await asyncio.open_connection(server.host, server.port)
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(adt()))
        await is_busy.wait()
        await loop_time.pass_by(61)
        assert await idle_reader.read() == b""
        is_over.set()
        assert answered(await reader.readuntil(END)) == ("AA", "N1")
        assert await ask(reader, writer, frame(adt(2))) == ("AA", "N2")
        await loop_time.pass_by(61)
        assert await reader.read() == b""
        idle_writer.close()
        writer.close()

    run(scenario, slow, idle_s=60)


def test_closing_finishes_and_acknowledges_what_was_received() -> None:
    is_busy, is_closing = asyncio.Event(), asyncio.Event()

    async def slow(message: bytes) -> bytes:
        is_busy.set()
        await is_closing.wait()
        return await accept(message)

    async def scenario(server: MllpServer) -> None:
        idle_reader, idle_writer = await asyncio.open_connection(server.host, server.port)
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(adt(1)) + frame(adt(2)) + b"\x0bMSH|cut")
        await is_busy.wait()
        closing = asyncio.create_task(server.close(grace_s=300))
        assert await idle_reader.read() == b""
        is_closing.set()
        answers = await reader.read()
        assert answers.count(b"MSA|AA|N") == 2
        await closing
        with pytest.raises(OSError):
            await asyncio.open_connection(server.host, server.port)
        writer.close()
        idle_writer.close()

    run(scenario, slow)


def test_closing_gives_up_after_its_grace() -> None:
    is_busy = asyncio.Event()

    async def stuck(message: bytes) -> bytes:
        is_busy.set()
        await asyncio.sleep(10_000)
        return b""

    async def scenario(server: MllpServer) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(adt()))
        await is_busy.wait()
        await server.close(grace_s=0.1)
        writer.close()
        assert b"MSA" not in await _rest(reader)

    run(scenario, stuck)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_a_sender_that_half_closes_still_gets_its_answer() -> None:
    async def slow(message: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return await accept(message)

    async def scenario(server: MllpServer) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(adt()))
        writer.write_eof()
        assert answered(await reader.read()) == ("AA", "N1")
        writer.close()

    run(scenario, slow)


def test_a_sender_that_vanishes_does_not_stop_the_message_being_handled() -> None:
    is_busy, is_gone, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(message: bytes) -> bytes:
        is_busy.set()
        await is_gone.wait()
        done.set()
        return await accept(message)

    async def scenario(server: MllpServer) -> None:
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(frame(adt()))
        await is_busy.wait()
        writer.transport.abort()
        while [one for one in server._service.connections if not one._is_closing]:
            await asyncio.sleep(0.01)
        is_gone.set()
        await done.wait()

    run(scenario, slow)


def test_a_sender_that_never_reads_is_not_read_from_for_ever() -> None:
    handled = 0

    async def big(message: bytes) -> bytes:
        nonlocal handled
        handled += 1
        return b"x" * 100_000

    async def scenario(server: MllpServer) -> None:
        _, writer = await asyncio.open_connection(server.host, server.port, limit=1000)
        writer.write(frame(adt()) * 20_000)
        while not [one for one in server._service.connections if one._writable is not None]:
            await asyncio.sleep(0.01)
        known = handled
        await asyncio.sleep(0.1)
        assert handled == known < 500
        writer.transport.abort()

    run(scenario, big)


def test_connections_over_the_cap_are_refused() -> None:
    async def scenario(server: MllpServer) -> None:
        first = await asyncio.open_connection(server.host, server.port)
        assert await ask(*first, frame(adt())) == ("AA", "N1")
        second = await asyncio.open_connection(server.host, server.port)
        assert await _rest(second[0]) == b""
        assert await ask(*first, frame(adt(2))) == ("AA", "N2")
        first[1].close()
        second[1].close()

    run(scenario, max_connections=1)


def test_nagle_is_off_on_both_sides() -> None:
    async def scenario(server: MllpServer) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        assert await ask(reader, writer, frame(adt())) == ("AA", "N1")
        (connection,) = server._service.connections
        assert connection._transport is not None
        peer = connection._transport.get_extra_info("socket")
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()

    run(scenario)


@contextmanager
def in_thread(handler: Callable[[bytes], Awaitable[bytes]]) -> Iterator[tuple[str, int]]:
    """A server in a thread of its own, for the blocking client."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(serve_mllp("127.0.0.1", 0, one(handler)))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.host, server.port
    finally:
        # asyncio leaks a connection that is being accepted while its server closes: let it be accepted.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.02), loop).result(120)
        asyncio.run_coroutine_threadsafe(server.close(grace_s=1), loop).result(120)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0.01))  # transports that were told to close do it now
        loop.close()


def test_client_sends_and_gets_answers_in_turn() -> None:
    with in_thread(accept) as address, MllpClient(*address) as client:
        assert [answered(client.send(adt(number))) for number in range(5)] == [
            ("AA", f"N{n}") for n in range(5)
        ]


def test_client_gives_up_in_time_and_does_not_take_the_late_answer_for_the_next() -> None:
    is_late = threading.Event()

    async def slow(message: bytes) -> bytes:
        if b"N1|" in message:
            await asyncio.to_thread(is_late.wait, 120)
        return await accept(message)

    with in_thread(slow) as address, MllpClient(*address, timeout_s=0.1) as client:
        with pytest.raises(TimeoutError):
            client.send(adt(1))
        is_late.set()
        client._timeout_s = 120
        assert answered(client.send(adt(2))) == ("AA", "N2")


def test_client_refuses_framing_bytes() -> None:
    with (
        in_thread(accept) as address,
        MllpClient(*address) as client,
        pytest.raises(ValueError, match="framing"),
    ):
        client.send(b"MSH\x1c\r")


def test_client_names_an_absent_server() -> None:
    with kept_port() as port, pytest.raises(ConnectionError):
        MllpClient("127.0.0.1", port, timeout_s=120).send(adt())


def test_client_names_a_server_that_hangs_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        with pytest.raises(ConnectionError):
            MllpClient(*listener.getsockname(), timeout_s=120).send(adt())
        thread.join()
