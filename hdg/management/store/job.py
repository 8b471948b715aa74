"""Works on their way through the writer, and how their callers learn what became of them.

The outcomes of a group are handed to an event loop together: one wake-up a group, not one a message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

__all__ = ["Job", "tell"]


@dataclass(slots=True)
class Job:
    """``work`` gets the session. ``loop``: whose ``future`` it is; None: a thread waits for it."""

    work: Callable[[Any], Any]
    future: Future[Any] | asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop | None = None
    result: Any = None
    error: BaseException | None = None

    def begins(self) -> bool:
        """False when the caller has given up meanwhile: then it is not run."""
        if isinstance(self.future, Future):
            return self.future.set_running_or_notify_cancel()
        return not self.future.cancelled()

    def resolve(self) -> None:
        """Tells the caller; in its event loop, if it has one."""
        if self.future.done():  # given up while it ran
            return
        if self.error is None:
            self.future.set_result(self.result)
        elif isinstance(self.error, StopIteration):  # asyncio refuses it
            self.future.set_exception(RuntimeError("a work raised StopIteration"))
        else:
            self.future.set_exception(self.error)


def tell(jobs: Iterable[Job]) -> None:
    """Tells every caller what became of its job. From the writer's thread."""
    together: defaultdict[asyncio.AbstractEventLoop, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.loop is None:
            job.resolve()
        else:
            together[job.loop].append(job)
    for loop, found in together.items():
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, found)


def _resolve(jobs: list[Job]) -> None:
    for job in jobs:
        job.resolve()
