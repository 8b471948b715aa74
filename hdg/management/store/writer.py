"""The one writer: a thread that gives all queued works one transaction (group commit).

DESIGN §2 (synchronous=FULL, group commit), §6. SQLite WAL https://www.sqlite.org/wal.html.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from sqlalchemy import Engine

from hdg.management.keys import KeyRing
from hdg.management.store.read import Reader
from hdg.management.store.session import WriteSession
from hdg.settings import Settings

__all__ = ["Store"]

T = TypeVar("T")
Clock = Callable[[], int]


class Store:
    """An open store: ``submit`` work to the writer, read through ``reader``. Also a context manager."""

    reader: Reader
    engine: Engine
    """For reads outside the hot path; never write through it."""

    @classmethod
    def open(cls, settings: Settings, keys: KeyRing, clock: Clock) -> Store:
        """Opens (and migrates) the database of ``settings``; starts the writer. Raises SettingsError."""
        raise NotImplementedError

    def submit(self, work: Callable[[WriteSession], T], *, wait_s: float | None = None) -> Future[T]:
        """Queues ``work``. The future resolves after the COMMIT of its transaction is durable, or with the error.

        Blocks while the queue is full (back-pressure); raises Conflict after ``wait_s`` seconds of that.
        """
        raise NotImplementedError

    async def perform(self, work: Callable[[WriteSession], T]) -> T:
        """``submit`` for coroutines: waits without blocking the event loop."""
        raise NotImplementedError

    def close(self) -> None:
        """Finishes what is queued, then stops the writer and closes all connections."""
        raise NotImplementedError

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
