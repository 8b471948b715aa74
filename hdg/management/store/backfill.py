"""SQLite's write-ahead log is copied into the database beside the writer. https://www.sqlite.org/wal.html#ckpt

A checkpoint writes thousands of pages all over the database and waits for the disk: a tenth of the writer's time,
and the longest wait that a sender meets. It needs no lock that a writer needs. But the log only begins anew when a
checkpoint has come to its end while nobody appends: so the bulk is copied by a thread of its own, and what the
writer has appended meanwhile is copied by the writer itself, between two transactions. Nothing rests on this:
SQLite's own checkpoint (engine.py) comes in when the log is longer than this lets it become.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from sqlalchemy import Engine

__all__ = ["Backfill"]

LEAVES = 1_000
"""Ledger leaves from one bulk copy to the next; each brings about eleven pages into the log."""
_COPY = "PRAGMA wal_checkpoint(PASSIVE)"
log = logging.getLogger("hdg.store")


class Backfill:
    """``committed`` is called by the writer's thread after each commit; ``close`` after the last one.

    ``engine``: gives the thread's connection; its connections begin no transaction in AUTOCOMMIT.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limit = LEAVES
        self._leaves = 0
        self._is_busy = False
        """From when a copy is asked for until the writer has done the rest."""
        self._wanted = threading.Semaphore(0)
        self._is_copied = self._is_closed = False
        self._thread: threading.Thread | None = None

    def committed(self, leaves: int, connection: Any) -> None:
        """``leaves`` were committed; ``connection``: the writer's (DB-API), with no transaction open."""
        self._leaves += leaves
        if self._is_copied:
            self._is_copied = self._is_busy = False
            self._leaves = 0
            _copy(connection)
        elif self._leaves >= self._limit and not self._is_busy:
            self._is_busy = True
            self._wanted.release()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hdg-backfill", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._is_closed = True
        self._wanted.release()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                driver = connection.connection.driver_connection
                while self._wanted.acquire() and not self._is_closed:
                    _copy(driver)
                    self._is_copied = True
        except Exception as error:  # then SQLite's own checkpoints do
            log.warning("the write-ahead log is not copied beside the writer: %s", type(error).__name__)


def _copy(connection: Any) -> None:
    """Copies what is in the log now. What fails here fails again where it matters: at the next commit."""
    try:
        connection.execute(_COPY).fetchall()
    except Exception as error:
        log.warning("the write-ahead log could not be copied: %s", type(error).__name__)
