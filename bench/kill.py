"""kill -9 in the middle of load, again and again: every acknowledged message is there once, and the ledger verifies.

    python -m bench.kill [ROUNDS]          (default 20)

Checked from the database after every restart: each acknowledged control id has exactly one accepted inbox row and
one stored MessageHeader; no version lacks its leaf; ``hdg verify`` finds nothing.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from bench.measure import Running, start_gateway
from bench.mllp_load import Load, run
from bench.traffic import Traffic


def main(rounds: int, seed: int = 7) -> int:
    """Returns the number of rounds that broke the promise."""
    rng = random.Random(seed)
    broken = 0
    accepted: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        for number in range(1, rounds + 1):
            running = start_gateway(data)
            load = _until_killed(running, Traffic(seed=number, prefix=f"K{number}-"), rng.uniform(0.05, 2.0))
            accepted.update(load.accepted)
            findings = check(data, accepted)
            broken += bool(findings)
            print(
                f"round {number}: {len(load.accepted)} acknowledged, {len(accepted)} in all: {findings or 'all there once'}"
            )
    return broken


def _until_killed(running: Running, traffic: Traffic, after_s: float) -> Load:
    timer = threading.Timer(after_s, running.kill)
    timer.start()
    try:
        return asyncio.run(run(running.mllp, iter(traffic), 16, until_cut=True))
    finally:
        timer.join()


def check(data: Path, accepted: set[str]) -> list[str]:
    """What is wrong with the data folder after a kill; empty when nothing is."""
    findings = []
    with closing(sqlite3.connect(data / "hdg.db")) as database:
        rows = database.execute(
            "SELECT control_id, count(*) FROM inbox WHERE status='accepted' GROUP BY control_id"
        )
        counts = dict(rows.fetchall())
        missing = [c for c in accepted if c not in counts]
        doubled = [c for c, n in counts.items() if n > 1]
        headers = database.execute("SELECT count(*) FROM resource WHERE type='MessageHeader'").fetchone()[0]
        orphans = database.execute(
            "SELECT count(*) FROM version v LEFT JOIN resource r ON r.rkey=v.rkey WHERE r.rkey IS NULL"
        ).fetchone()[0]
    if missing:
        findings.append(f"{len(missing)} acknowledged messages are missing")
    if doubled:
        findings.append(f"{len(doubled)} messages are there twice")
    if headers != len(counts):
        findings.append(f"{headers} MessageHeaders for {len(counts)} accepted messages")
    if orphans:
        findings.append(f"{orphans} versions without a resource")
    verified = subprocess.run(
        [sys.executable, "-m", "hdg", "verify", "--data", str(data)],
        capture_output=True,
        text=True,
        check=False,
    )
    if verified.returncode:
        findings.append(f"the ledger does not verify: {(verified.stderr or verified.stdout)[:300]}")
    return findings


if __name__ == "__main__":
    started = time.monotonic()
    failures = main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    print(f"{failures} rounds broke the promise ({time.monotonic() - started:.0f} s)")
    sys.exit(1 if failures else 0)
