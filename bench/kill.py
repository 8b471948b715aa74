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

FIRST_S = 30.0
"""How long the first acknowledgement is waited for."""


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
    """``after_s``: from the first acknowledgement on, so that a round without any proves nothing by itself."""
    load = Load()

    def kill() -> None:
        end = time.monotonic() + FIRST_S
        while not load.accepted and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(after_s)
        running.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        return asyncio.run(run(running.mllp, iter(traffic), 16, until_cut=True, load=load))
    finally:
        killer.join()


if __name__ == "__main__":
    started = time.monotonic()
    failures = main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    print(f"{failures} rounds broke the promise ({time.monotonic() - started:.0f} s)")
    sys.exit(1 if failures else 0)
