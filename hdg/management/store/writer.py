"""The one writer: a thread that gives all works queued meanwhile one transaction (group commit).

DESIGN §2 (synchronous=FULL, group commit), §6. SQLite WAL https://www.sqlite.org/wal.html. A future resolves
only after COMMIT has returned. A work that raises fails alone. When the database refuses the rows of a group
(not: cannot commit), the works run again one by one, so that one bad unit cannot fail its neighbours. When it
cannot commit (disk full, locked, connection lost), every work of the group fails with NotCommitted and
nothing of the group is kept. groups.py does all that.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from sqlalchemy import Engine, select

from hdg.management import vault, vault_stream
from hdg.management.keys import KeyRing
from hdg.management.ledger.log import Log
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.engine import (
    NotCommitted,
    RowsRefused,
    Statements,
    migrate,
    open_engine,
    opening,
)
from hdg.management.store.groups import Groups, newest
from hdg.management.store.index import Indexer
from hdg.management.store.job import Job, tell
from hdg.management.store.meta import check_root, index_key, reindex_if_needed
from hdg.management.store.read import Reader
from hdg.management.store.session import WriteSession
from hdg.management.store.shared import Shared
from hdg.management.store.space import SpaceGuard
from hdg.management.store.turn import Turn
from hdg.management.store.values import hasher
from hdg.settings import Settings

__all__ = ["NotCommitted", "RowsRefused", "Store"]

T = TypeVar("T")
Clock = Callable[[], int]
log = logging.getLogger("hdg.store")

QUEUE_MAX = 1024
READ_CONNECTIONS = 8
_BLOB = table_of(schema.Blob)


class Store:
    """An open store: ``submit`` work to the writer, read through ``reader``. Also a context manager."""

    def __init__(
        self,
        engine: Engine,
        readers: Engine,
        ledger: Log,
        shared: Shared,
        reader: Reader,
        settings: Settings,
        clock: Clock,
        newest_us: int,
    ) -> None:
        self.engine = readers
        """For reads outside the hot path (ledger proofs, listings); SQLite refuses writes through it."""
        self.reader = reader
        self.log = ledger
        """The ledger; its reading methods take a connection of ``engine``."""
        self.files = shared.files
        """The vault's files."""
        self.space = SpaceGuard(settings.data, settings.min_free_bytes)
        self._writer_engine = engine
        self._shared = shared
        self._settings = settings
        self._clock = clock
        self._turn = Turn(settings.data if engine.dialect.name == "sqlite" else None)
        self._groups = Groups(engine, shared, ledger, clock, newest_us, self._turn, settings.group_commit_max)
        self._queue: queue.Queue[Job | None] = queue.Queue(QUEUE_MAX)
        self._is_closed = self._is_ending = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="hdg-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, settings: Settings, keys: KeyRing, clock: Clock) -> Store:
        """Opens (and migrates) the database of ``settings``; starts the writer.

        Raises SettingsError for a database that cannot be used, VaultError when it was made with another root
        key.
        """
        engine = open_engine(settings, is_writer=True)
        try:
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            keks = vault.KekCache(keys.root)
            hash_ = hasher(index_key(keys.root))
            indexer = Indexer(hash_)
            with opening(engine, settings.data):
                migrate(engine)
                with engine.begin() as connection:
                    check_root(connection, keks)
                reindex_if_needed(engine, keks, indexer)
            with engine.connect() as connection:
                _, newest_us, _, _ = newest(connection)
            readers = open_engine(settings, is_writer=False, pool_size=READ_CONNECTIONS)
        except BaseException:
            engine.dispose()
            raise
        files = vault.BlobFiles(settings.data / "vault")
        vault_stream.sweep(files.folder)
        shared = Shared(
            statements=Statements(engine.dialect),
            indexer=indexer,
            keks=keks,
            files=files,
            inline_blob_bytes=settings.inline_blob_bytes,
            is_postgresql=engine.dialect.name == "postgresql",
        )
        ledger = Log(settings.log_origin, keys.ledger_key)
        reader = Reader(readers, keks, hash_, files, clock)
        return cls(engine, readers, ledger, shared, reader, settings, clock, newest_us)

    # --- the callers' side ---------------------------------------------------------------------------------

    def submit(self, work: Callable[[WriteSession], T], *, wait_s: float | None = None) -> Future[T]:
        """Queues ``work``. The future resolves once its transaction's COMMIT is durable, or with the error.

        Blocks while the queue is full (back-pressure); raises NotCommitted after ``wait_s`` seconds of that,
        and when the store is closed.
        """
        future: Future[T] = Future()
        try:
            self._enqueue(Job(work, future), wait_s)
        except queue.Full:
            raise NotCommitted("the store has too much to write") from None
        return future

    def _enqueue(self, job: Job, wait_s: float | None) -> None:
        if self._is_closed:
            raise NotCommitted("the store is closed")
        self._queue.put(job, block=wait_s != 0, timeout=wait_s or None)

    async def perform(self, work: Callable[[WriteSession], T]) -> T:
        """``submit`` for coroutines: waits (also for room in the queue) without blocking the event loop."""
        return await (await self.line_up(work))

    async def line_up(self, work: Callable[[WriteSession], T]) -> asyncio.Future[T]:
        """The first half of ``perform``: ``work`` has its place behind all that were queued before it.

        Works are run in that order, in one transaction or a later one.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = Job(work, future, loop)
        pause_s = 0.001
        while True:
            try:
                self._enqueue(job, 0)
                break
            except queue.Full:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.05)
        return future

    def now_us(self) -> int:
        """The clock, but never behind what is stored: order by time outlives a clock that is set back."""
        self._groups.last_us = max(self._clock(), self._groups.last_us)
        return self._groups.last_us

    @property
    def queued(self) -> int:
        """Works that wait for the writer, about; QUEUE_MAX at most."""
        return self._queue.qsize()

    def collect_orphans(self, older_than_s: float = 86_400) -> int:
        """Removes vault files that no row names (left by a crash, or by retention); how many there were.

        The names are read by the writer, behind every commit whose file is there already.
        """
        query = select(_BLOB.c.cid).where(_BLOB.c.data.is_(None))

        def named() -> Sequence[str]:
            return self.submit(lambda session: session.connection.execute(query).scalars().all()).result()

        return self._shared.files.collect(named, older_than_s, time.time())

    def close(self) -> None:
        """Finishes what is queued, then stops the writer and closes all connections."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        self._queue.put(None)
        self._thread.join()
        self.reader.close()
        self.engine.dispose()
        self._writer_engine.dispose()
        self._turn.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the writer's thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_ending:
            first = self._queue.get()
            if first is None:
                break
            jobs = [first] if first.begins() else []
            most = self._settings.group_commit_max - len(jobs)
            jobs += self._gather(most, self._settings.group_commit_wait_ms / 1000)
            self._groups.commit(jobs, self._gather)
        left_over = self._left_over()
        for job in left_over:
            job.error = NotCommitted("the store is closed")
        tell(left_over)
        self._groups.close()

    def _left_over(self) -> list[Job]:
        """Works that slipped in behind the stop mark."""
        found: list[Job] = []
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return found
            if job is not None and job.begins():
                found.append(job)

    def _gather(self, most: int, wait_s: float = 0.0) -> list[Job]:
        """What has queued up, at most so many; nothing after the stop mark."""
        found: list[Job] = []
        deadline = time.monotonic() + wait_s
        while len(found) < most and not self._is_ending:
            try:
                left_s = deadline - time.monotonic()
                job = self._queue.get(timeout=left_s) if left_s > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._is_ending = True
            elif job.begins():
                found.append(job)
        return found
