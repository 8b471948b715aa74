"""What is accepted is stored exactly once, whatever breaks (bench/faults.py, in short)."""

from __future__ import annotations

import pytest

from bench.faults import FAULTS

SHORT = [
    "kill-in-checkpoint",
    "kill-in-wal-checkpoint",
    "kill-after-commit",
    "sigterm",
    "full-disk",
    "cut-in-frame",
    "cut-before-ack",
    "clock",
    "queue-full",
    "two-on-sqlite",
    "database-crash",
    "defects",
]


@pytest.mark.parametrize("name", SHORT)
def test_accepted_is_stored_exactly_once_and_the_ledger_verifies(name: str) -> None:
    fault, _ = FAULTS[name]
    told, wrong = fault(1)
    assert wrong == [], told
