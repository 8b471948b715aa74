"""Faults between sender and gateway: cut connections, too many of them, messages that take long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import time

import psutil

from bench.fault_crash import folder, stop
from bench.measure import Running, start_gateway
from bench.promise import findings
from bench.sender import Cut, Sent, deliver, numbered
from bench.traffic import Traffic
from hdg.simulate import documents
from hdg.simulate.documents import Document

MB = 1024 * 1024


def cut_in_frame(rounds: int) -> tuple[str, list[str]]:
    """The connection is cut in the middle of a frame: nothing of it is stored; sent again, it is stored once."""
    return _cut(rounds, is_before_ack=False)


def cut_before_ack(rounds: int) -> tuple[str, list[str]]:
    """Committed, but the ACK is lost: sent again, the message is answered with the same ACK; one copy."""
    return _cut(rounds, is_before_ack=True)


def _cut(rounds: int, *, is_before_ack: bool) -> tuple[str, list[str]]:
    wrong = []
    with folder() as data:
        running = start_gateway(data)
        count = 100 * rounds
        sent, cut = asyncio.run(_through(running, count, is_before_ack))
        stop(running)
        if len(sent.accepted) != count or sent.pending:
            wrong.append(f"{len(sent.accepted)} of {count} accepted")
        if set(sent.codes) != {"AA"}:
            wrong.append(f"answers: {dict(sent.codes)}")
        if other := [name for name, answer in cut.lost.items() if sent.answers[name] != {answer}]:
            wrong.append(f"{len(other)} repeats were answered otherwise than the first time")
        wrong += findings(data, sent.accepted, is_exact=True)
    return f"{count} messages, {cut.cuts} cuts", wrong


async def _through(running: Running, count: int, is_before_ack: bool) -> tuple[Sent, Cut]:
    cut = Cut(running.mllp, random.Random(3), is_before_ack)
    async with cut.running() as address:
        sent = await deliver([address], numbered(iter(Traffic(prefix="C")), count), 16, deadline_s=600)
    return sent, cut


def connections(rounds: int) -> tuple[str, list[str]]:
    """1,000 attempts a round, idle or in the middle of a frame, beside senders that go on, within bounded memory."""
    wrong = []
    with folder() as data:
        running = start_gateway(data)
        sent, opened, grown_mb = asyncio.run(_crowd(running, 1_000 * rounds))
        stop(running)
        wrong += findings(data, sent.accepted, is_exact=True)
        if sent.pending or sent.cut:
            wrong.append(f"senders that were there first: {sent.cut} cut, {len(sent.pending)} not accepted")
        if grown_mb > 300:
            wrong.append(f"the gateway grew by {grown_mb:.0f} MB")
    slowest = f"p99 of {len(sent.accepted)} others {sent.slowest_ms(0.99):.0f} ms"
    return f"{opened} connections tried, {slowest}, {grown_mb:.0f} MB more", wrong


async def _crowd(running: Running, count: int) -> tuple[Sent, int, float]:
    """Opens connections and holds as many as the machine lets us; (senders' outcome, tried, MB)."""
    process = psutil.Process(running.process.pid)
    stopping, sent = asyncio.Event(), Sent()

    def stream():  # type: ignore[no-untyped-def]
        for message in Traffic(prefix="X"):
            if stopping.is_set():
                return
            yield message

    working = asyncio.create_task(deliver([running.mllp], stream(), 4, deadline_s=300, sent=sent))
    while not sent.accepted:
        await asyncio.sleep(0.01)
    before = process.memory_info().rss
    held: list[asyncio.StreamWriter] = []
    limit = min(2_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    rng, tried = random.Random(1), 0
    while tried < count:
        batch = await asyncio.gather(*(_open(running, rng) for _ in range(min(200, count - tried))))
        tried += len(batch)
        held += [writer for writer in batch if writer is not None]
        while len(held) > limit:
            held.pop(0).transport.abort()
    grown_mb = (process.memory_info().rss - before) / 1e6
    stopping.set()
    await working
    for writer in held:
        writer.transport.abort()
    await asyncio.sleep(0.5)
    await deliver([running.mllp], numbered(iter(Traffic(seed=2, prefix="Y")), 8), 4, sent=sent)
    return sent, tried, grown_mb


async def _open(running: Running, rng: random.Random) -> asyncio.StreamWriter | None:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection(*running.mllp)
        if rng.random() < 0.5:
            writer.write(b"\x0bMSH|^~\\&|" + b"x" * rng.randrange(2_000))
        return writer
    return None


def large_messages(rounds: int) -> tuple[str, list[str]]:
    """Messages of 5 MB beside small ones: all are stored, and the small ones need not wait for long."""
    wrong = []
    with folder() as data:
        running = start_gateway(data)
        alone, small, large = asyncio.run(_mixed(running, rounds))
        stop(running)
        wrong += findings(data, {**alone.accepted, **small.accepted, **large.accepted}, is_exact=True)
        if small.pending or large.pending or {*small.codes, *large.codes} != {"AA"}:
            wrong.append(f"answers: {dict(small.codes)}, {dict(large.codes)}")
        if small.slowest_ms(0.99) > max(1_000, 3 * alone.slowest_ms(0.99)):
            wrong.append(f"small messages waited {small.slowest_ms(0.99):.0f} ms")
    told = f"small alone p99 {alone.slowest_ms(0.99):.0f} ms, beside large {small.slowest_ms(0.99):.0f} ms "
    told += f"(slowest {small.slowest_ms():.0f} ms, {len(small.accepted)}); "
    return f"{told}{len(large.accepted)} of 5 MB, slowest {large.slowest_ms():.0f} ms", wrong


async def _mixed(running: Running, rounds: int) -> tuple[Sent, Sent, Sent]:
    traffic = Traffic(seed=9, prefix="L")
    alone = await deliver([running.mllp], numbered(iter(Traffic(seed=8, prefix="A")), 400), 8)
    large = Sent()
    big = [_document(traffic, number) for number in range(2 * rounds)]
    working = asyncio.create_task(deliver([running.mllp], iter(big), 2, deadline_s=120, sent=large))
    small = Sent()
    stream = iter(traffic)
    started = time.monotonic()
    while not working.done() and time.monotonic() - started < 120:
        await deliver([running.mllp], numbered(stream, 64), 8, sent=small)
    await working
    return alone, small, large


def _document(traffic: Traffic, number: int) -> bytes:
    header = traffic._header(9_000_000 + number, "DOCS")
    document = Document(number, pdf=b"%PDF-1.4\n" + os.urandom(5 * MB * 3 // 4))
    return documents.mdm(header, traffic.person(number), document, "T02")
