"""The fault suite: accepted = stored exactly once, the ledger verifies, nothing half-written is visible.

    python -m bench.faults [NAME …] [--rounds N]

Each fault is met by a gateway under load; afterwards the promise is looked for in the data (bench/promise.py).
Exit 1 when one broke it. The short form of all of them is tests/gateway/test_faults.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from bench import fault_crash, fault_store, fault_wire

Fault = Callable[[int], tuple[str, list[str]]]
"""Takes how many rounds; what happened and what was found wrong."""

FAULTS: dict[str, tuple[Fault, int]] = {
    "kill": (fault_crash.kill_9, 5),
    "kill-in-checkpoint": (fault_crash.kill_in_checkpoint, 6),
    "kill-in-wal-checkpoint": (fault_crash.kill_in_wal_checkpoint, 6),
    "kill-after-commit": (fault_crash.kill_after_commit, 6),
    "sigterm": (fault_crash.sigterm, 6),
    "full-disk": (fault_crash.full_disk, 2),
    "full-disk-guarded": (fault_crash.guarded_disk, 2),
    "cut-in-frame": (fault_wire.cut_in_frame, 10),
    "cut-before-ack": (fault_wire.cut_before_ack, 10),
    "connections": (fault_wire.connections, 20),
    "large-messages": (fault_wire.large_messages, 6),
    "database-restart": (fault_store.database_restart, 3),
    "database-crash": (fault_store.database_crash, 3),
    "clock": (fault_store.clock, 4),
    "queue-full": (fault_store.queue_full, 3),
    "two-on-sqlite": (fault_store.two_on_sqlite, 3),
    "two-on-postgresql": (fault_store.two_on_postgresql, 3),
    "defects": (fault_store.defects, 1),
}


def main(names: list[str], rounds: int | None) -> int:
    """Runs, prints one row a fault; how many broke the promise."""
    if unknown := [name for name in names if name not in FAULTS]:
        sys.exit(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    print("| fault | outcome | seconds | what happened |\n|---|---|---|---|", flush=True)
    broken = 0
    for name in names or FAULTS:
        fault, usual = FAULTS[name]
        started = time.monotonic()
        told, wrong = fault(rounds or usual)
        broken += bool(wrong)
        spent = time.monotonic() - started
        outcome = "BROKEN: " + "; ".join(wrong) if wrong else "holds"
        print(f"| {name} | {outcome} | {spent:.0f} | {told} |", flush=True)
    return broken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, default=None, help="instead of each fault's own number")
    given = parser.parse_args()
    sys.exit(1 if main(given.names, given.rounds) else 0)
