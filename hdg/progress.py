"""Progress of long work on standard error: a live line on a terminal, else a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PLAIN_EVERY_S = 5.0

Report = Callable[[str, int], None]
"""Called with what is being done and how many of it were."""


@contextmanager
def shown(title: str) -> Iterator[Report]:
    """A Report to call while the work runs; short work shows nothing."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(title) as status:
            yield lambda what, count: status.update(f"{title}: {count:,} {what}")
        return
    due = time.monotonic() + PLAIN_EVERY_S

    def report(what: str, count: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + PLAIN_EVERY_S
            print(f"{title}: {count:,} {what}", file=sys.stderr)

    yield report
