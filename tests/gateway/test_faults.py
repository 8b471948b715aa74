"""What is accepted is stored exactly once, whatever breaks (bench/faults.py, in short)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bench.faults import FAULTS

SHORT = [
    "database-crash",
    "two-on-sqlite",
    "kill-in-checkpoint",
    "kill-after-commit",
    "kill-in-wal-checkpoint",
    "queue-full",
    "sigterm",
    "full-disk",
    "cut-in-frame",
    "cut-before-ack",
    "clock",
    "defects",
]
"""Those that take longest first."""
AT_ONCE = 4
"""A fault is mostly waiting: for a process to start, for a database to come back."""


def test_accepted_is_stored_exactly_once_and_the_ledger_verifies() -> None:
    with ThreadPoolExecutor(AT_ONCE, "fault") as pool:
        running = {name: pool.submit(FAULTS[name][0], 1) for name in SHORT}
        broken = {
            name: (told, wrong) for name, run in running.items() for told, wrong in [run.result()] if wrong
        }
    assert broken == {}
