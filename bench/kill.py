"""kill -9 in the middle of load, again and again: every acknowledged message is there once, and the ledger verifies.

    python -m bench.kill [ROUNDS]          (default 20)

Checked from the database after every kill (bench/promise.py): each acknowledged control id has exactly one
accepted inbox row and one stored MessageHeader; no version lacks its leaf; ``hdg verify`` finds nothing.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.measure import Running, start_gateway
from bench.mllp_load import Load, run
from bench.promise import findings
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
            found = findings(data, accepted)
            broken += bool(found)
            print(
                f"round {number}: {len(load.accepted)} acknowledged, {len(accepted)} in all: "
                f"{found or 'all there once'}"
            )
    return broken


def _until_killed(running: Running, traffic: Traffic, after_s: float) -> Load:
    timer = threading.Timer(after_s, running.kill)
    timer.start()
    try:
        return asyncio.run(run(running.mllp, iter(traffic), 16, until_cut=True))
    finally:
        timer.join()


if __name__ == "__main__":
    started = time.monotonic()
    failures = main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    print(f"{failures} rounds broke the promise ({time.monotonic() - started:.0f} s)")
    sys.exit(1 if failures else 0)
