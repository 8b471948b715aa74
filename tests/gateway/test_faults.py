"""What is accepted is stored exactly once, whatever breaks (bench/faults.py, in short)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

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

Running = dict[str, Future[tuple[str, list[str]]]]


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Every fault that was asked for, some of them at once."""
    asked = {item.callspec.params["name"] for item in request.session.items if "running" in item.fixturenames}
    with ThreadPoolExecutor(AT_ONCE, "fault") as pool:
        yield {name: pool.submit(FAULTS[name][0], 1) for name in SHORT if name in asked}


@pytest.mark.parametrize("name", SHORT)
def test_accepted_is_stored_exactly_once_and_the_ledger_verifies(running: Running, name: str) -> None:
    told, wrong = running[name].result()
    assert wrong == [], told
