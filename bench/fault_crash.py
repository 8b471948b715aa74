"""Faults that end the gateway's process, or take its disk away."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import kill
from bench.measure import Running, start_gateway
from bench.promise import findings
from bench.sender import Sent, code_of, deliver
from bench.traffic import Traffic

CHILD = "bench.fault_child"
MB = 1024 * 1024


@contextmanager
def folder() -> Iterator[Path]:
    """A new data folder (not made yet)."""
    with tempfile.TemporaryDirectory(prefix="hdgfault") as scratch:
        yield Path(scratch) / "data"


def plain(rounds: int) -> dict[str, str]:
    """One round is for the suite: without the process that converts, of what is no matter of its, the start is half."""
    return {"HDG_CONVERTER_PROCESS": "false"} if rounds == 1 else {}


def stop(running: Running) -> None:
    """SIGTERM, and waits."""
    running.process.terminate()
    running.close()


def kill_9(rounds: int) -> tuple[str, list[str]]:
    """kill -9 at random moments of load."""
    broken = kill.main(rounds, seed=11)
    return f"{rounds} kills", [f"{broken} rounds broke the promise"] if broken else []


def kill_in_checkpoint(rounds: int) -> tuple[str, list[str]]:
    """kill -9 between two rows of a ledger checkpoint: nothing of that group is there."""
    return _killed(rounds, lambda rng: f"ledger:{rng.randint(1, 8 * rounds)}", is_committed=False)


def kill_after_commit(rounds: int) -> tuple[str, list[str]]:
    """kill -9 behind a commit, before its senders are told: they send again and get an AA, one copy."""
    return _killed(rounds, lambda rng: f"commit:{rng.randint(1, 8 * rounds)}", is_committed=True)


def _killed(
    rounds: int, fault: Callable[[random.Random], str], *, is_committed: bool
) -> tuple[str, list[str]]:
    rng, wrong, acknowledged, beyond = random.Random(5), [], set[str](), 0
    with folder() as data:
        for number in range(1, rounds + 1):
            told = Traffic(seed=number, prefix="F").take(2_000)
            running = start_gateway(data, module=CHILD, BENCH_FAULT=fault(rng))
            sent = asyncio.run(deliver([running.mllp], iter(told), 8, deadline_s=600, is_patient=False))
            running.close()
            acknowledged |= sent.accepted.keys()
            found = findings(data, acknowledged, is_verified=number == rounds > 1)
            again = start_gateway(data)
            under_way = told[: len(sent.accepted) + 8]
            more = asyncio.run(deliver([again.mllp], iter(under_way), 8, deadline_s=300))
            stop(again)
            acknowledged |= more.accepted.keys()
            found += findings(data, acknowledged, is_exact=True, is_verified=number == rounds)
            beyond += len(more.accepted) - len(sent.accepted)
            wrong += [f"round {number}: {each}" for each in found]
            if more.pending or set(more.codes) != {"AA"}:
                wrong.append(f"round {number}: sent again, {dict(more.codes)}, {len(more.pending)} pending")
    what = "committed and not told" if is_committed else "under way"
    return f"{rounds} kills, {len(acknowledged)} messages, {beyond} of them {what} and sent again", wrong


def _under_load(end: Callable[[], object], sent: Sent, after_s: float) -> threading.Thread:
    """Ends it so long after the first message was accepted, in a thread that has begun."""

    def run() -> None:
        until = time.monotonic() + 120
        while not sent.accepted and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(after_s)
        end()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def kill_in_wal_checkpoint(rounds: int) -> tuple[str, list[str]]:
    """kill -9 while SQLite moves its log into the database (here at every commit)."""
    rng, wrong, acknowledged = random.Random(6), [], set[str]()
    with folder() as data:
        for number in range(1, rounds + 1):
            running = start_gateway(data, module=CHILD, BENCH_FAULT="wal", **plain(rounds))
            sent, stream = Sent(), iter(Traffic(seed=number, prefix="W"))
            killing = _under_load(running.kill, sent, rng.uniform(0.1, 1.0))
            asyncio.run(deliver([running.mllp], stream, 16, deadline_s=600, is_patient=False, sent=sent))
            killing.join()
            acknowledged |= sent.accepted.keys()
            found = findings(data, acknowledged, is_verified=number == rounds)
            wrong += [f"round {number}: {each}" for each in found]
    return f"{rounds} kills, {len(acknowledged)} messages", wrong


def sigterm(rounds: int) -> tuple[str, list[str]]:
    """SIGTERM under load: what is stored is exactly what was acknowledged, and the process ends by itself."""
    rng, wrong, acknowledged, slowest = random.Random(8), [], set[str](), 0.0
    with folder() as data:
        for number in range(1, rounds + 1):
            running = start_gateway(data, module=CHILD, BENCH_FAULT="slow:20", **plain(rounds))
            sent, stream = Sent(), iter(Traffic(seed=number, prefix="S"))
            ending = _under_load(running.process.terminate, sent, rng.uniform(0.2, 1.0))
            asyncio.run(deliver([running.mllp], stream, 64, deadline_s=600, is_patient=False, sent=sent))
            ending.join()
            started = time.monotonic()
            running.close()
            slowest = max(slowest, time.monotonic() - started)
            acknowledged |= sent.accepted.keys()
            if running.process.returncode:
                wrong.append(f"round {number}: exit {running.process.returncode}")
            found = findings(data, acknowledged, is_exact=True, is_verified=number == rounds)
            wrong += [f"round {number}: {each}" for each in found]
    return f"{rounds} stops, {len(acknowledged)} messages, at most {slowest:.1f} s to end", wrong


@contextmanager
def _small_disk(size_mb: int) -> Iterator[Path | None]:
    """A mounted tmpfs of that size, or None where none may be mounted."""
    with tempfile.TemporaryDirectory(prefix="hdgdisk") as place:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", place]
        is_mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
        try:
            yield Path(place) if is_mounted else None
        finally:
            if is_mounted:
                subprocess.run(["umount", place], check=True)


def full_disk(rounds: int) -> tuple[str, list[str]]:
    """The disk runs full under load, guard off: AE, nothing half; with room again all is taken, no restart."""
    wrong: list[str] = []
    with _small_disk(24 + 8 * rounds) as disk, folder() as elsewhere:
        data = (disk / "data") if disk else elsewhere
        fault = "slow:0" if disk else f"file:{8 * MB}"
        ballast = data.parent / "ballast"
        if disk:
            ballast.write_bytes(bytes(8 * MB))
        running = start_gateway(
            data, module=CHILD, BENCH_FAULT=fault, HDG_MIN_FREE_BYTES="0", **plain(rounds)
        )
        messages = Traffic(seed=1, prefix="D").take(20_000)
        sent = asyncio.run(_until_refused(running, iter(messages)))
        refused = dict(sent.codes)
        if set(refused) - {"AA", "AE"} or "AE" not in refused:
            wrong.append(f"answers: {refused}")
        wrong += findings(data, sent.accepted, is_exact=True, is_verified=False)
        if disk:
            ballast.unlink()
            left = messages[: len(sent.accepted) + 8]
            more = asyncio.run(deliver([running.mllp], iter(left), 8, deadline_s=300))
            if more.pending:
                wrong.append(f"{len(more.pending)} messages are refused although there is room again")
            sent.accepted.update(more.accepted)
        stop(running)
        wrong += findings(data, sent.accepted, is_exact=True, is_verified=disk is not None)
    return f"{'tmpfs' if disk else 'RLIMIT_FSIZE'}, {refused}", wrong


def guarded_disk(rounds: int) -> tuple[str, list[str]]:
    """The same with min_free_bytes on: refused before anything fails to be written.

    The guard looks once a second, so it must leave room for what a second writes (as shipped: 512 MiB).
    """
    wrong: list[str] = []
    with _small_disk(192 + 16 * rounds) as disk, folder() as elsewhere:
        data = (disk / "data") if disk else elsewhere
        free = os.statvfs(data.parent)
        limit = 128 * MB if disk else free.f_bavail * free.f_frsize + 1024 * MB
        running = start_gateway(data, HDG_MIN_FREE_BYTES=str(limit))
        messages = Traffic(seed=1, prefix="G").take(20_000)
        sent = asyncio.run(_until_refused(running, iter(messages)))
        if set(sent.codes) - {"AA", "AE"} or "AE" not in sent.codes:
            wrong.append(f"answers: {dict(sent.codes)}")
        stop(running)
        now = os.statvfs(data.parent)
        if disk and now.f_bavail * now.f_frsize < MB:
            wrong.append("the guard let the disk run full")
        wrong += findings(data, sent.accepted, is_exact=True) if (data / "hdg.db").exists() else []
    return f"{'tmpfs' if disk else 'limit above what is free'}, {dict(sent.codes)}", wrong


async def _until_refused(running: Running, messages: Iterator[bytes]) -> Sent:
    """Eight senders, each until its first refusal."""
    sent = Sent()

    async def work() -> None:
        reader, writer = await asyncio.open_connection(*running.mllp)
        for message in messages:
            writer.write(b"\x0b" + message + b"\x1c\r")
            answer = await reader.readuntil(b"\x1c\r")
            code = code_of(answer)
            sent.codes[code] += 1
            if code != "AA":
                break
            sent.accepted[message.split(b"|", 10)[9].decode()] = 0.0
        writer.close()

    await asyncio.gather(*(work() for _ in range(8)))
    return sent
