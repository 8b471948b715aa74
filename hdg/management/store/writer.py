"""The one writer: a thread that gives all works queued meanwhile one transaction (group commit).

DESIGN §2 (synchronous=FULL, group commit), §6. SQLite WAL https://www.sqlite.org/wal.html. A future resolves
only after COMMIT has returned. A work that raises fails alone. When the database refuses the rows of a group
(not: cannot commit), the works run again one by one, so that one bad unit cannot fail its neighbours. When it
cannot commit (disk full, locked, connection lost), every work of the group fails with NotCommitted and
nothing of the group is kept.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from types import TracebackType
from typing import TypeVar

from sqlalchemy import Connection, Engine, select

from hdg.errors import HdgError
from hdg.management import vault, vault_stream
from hdg.management.consent.rules import rows_for
from hdg.management.consent.schema import ConsentRuleRow
from hdg.management.keys import KeyRing
from hdg.management.ledger.log import Log
from hdg.management.ledger.schema import LedgerCheckpoint
from hdg.management.store import schema
from hdg.management.store.ahead import Planned
from hdg.management.store.batch import Batch, table_of
from hdg.management.store.custom_register import current_set, stand
from hdg.management.store.engine import (
    NotCommitted,
    RowsRefused,
    Statements,
    is_database_lost,
    lock_writer,
    migrate,
    open_engine,
    opening,
    pipelined,
)
from hdg.management.store.index import Indexer
from hdg.management.store.job import Job, tell
from hdg.management.store.meta import (
    UNLEDGERED,
    check_root,
    index_key,
    note_unledgered,
    reindex_if_needed,
)
from hdg.management.store.read import Reader
from hdg.management.store.session import WriteSession
from hdg.management.store.shared import Shared
from hdg.management.store.space import SpaceGuard
from hdg.management.store.turn import Turn
from hdg.management.store.values import hasher
from hdg.settings import Settings
from hdg.throttle import Throttle

__all__ = ["NotCommitted", "RowsRefused", "Store"]

T = TypeVar("T")
Clock = Callable[[], int]
log = logging.getLogger("hdg.store")

QUEUE_MAX = 1024
READ_CONNECTIONS = 8
_PIPELINED_MAX = 1024
"""Rows (versions, events) of a group that is sent to PostgreSQL without waiting; for more COPY is better."""
_RULES = table_of(ConsentRuleRow)
_BLOB = table_of(schema.Blob)
_HEAD = table_of(LedgerCheckpoint)
_META = table_of(schema.StoreMeta)
_COUNTED = select(_META.c.value).where(_META.c.name == UNLEDGERED).scalar_subquery()
_STAND = stand.scalar_subquery()
_NEWEST = select(_HEAD.c.size, _HEAD.c.at_us, _COUNTED, _STAND).order_by(_HEAD.c.size.desc()).limit(1)
_Newest = tuple[int, int, str | None, str]


class _Refused(Exception):
    """The database refused a row of the group: run its works one by one."""


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
        self._last_us = newest_us
        self._seen: tuple[int, str | None] = (-1, None)
        """What ``_newest`` was after this process's last commit; if it is not, another process has written."""
        self._floor_us = 0
        """Messages stored from now on count as received after this (WriteSession.in_order)."""
        self._tell = Throttle(log)
        self._connection: Connection | None = None
        self._unsettled: Batch | None = None
        compiled = _NEWEST.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
        self._newest_sql = str(compiled)
        self._turn = Turn(settings.data if engine.dialect.name == "sqlite" else None)
        self._queue: queue.Queue[Job | None] = queue.Queue(QUEUE_MAX)
        self._is_closed = False
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
                _, newest_us, _, _ = _newest(connection)
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
        self._last_us = max(self._clock(), self._last_us)
        return self._last_us

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
        is_open = True
        while is_open:
            first = self._queue.get()
            jobs = [] if first is None else [first]
            is_open = first is not None and self._gather(jobs)
            self._commit(jobs)
        left_over = self._left_over()
        for job in left_over:
            job.error = NotCommitted("the store is closed")
        tell(left_over)
        if self._connection is not None:
            self._connection.close()

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

    def _gather(self, jobs: list[Job]) -> bool:
        """Adds what has queued up, at most to a full group; False when the stop mark was among it."""
        deadline = time.monotonic() + self._settings.group_commit_wait_ms / 1000
        while len(jobs) < self._settings.group_commit_max:
            try:
                wait_s = deadline - time.monotonic()
                job = self._queue.get(timeout=wait_s) if wait_s > 0 else self._queue.get_nowait()
            except queue.Empty:
                return True
            if job is None:
                return False
            jobs.append(job)
        return True

    def _commit(self, jobs: list[Job]) -> None:
        """Runs the works in one transaction, or alone where the database refuses that; tells the callers."""
        jobs = [job for job in jobs if job.begins()]
        if not jobs:
            return
        try:
            self._transact(jobs)
        except _Refused as refusal:
            self._commit_alone(jobs, refusal)
        except BaseException as error:
            self._fail(jobs, error)
        tell(jobs)
        self._settle()

    def _settle(self) -> None:
        """Remembers what was committed: once its callers know."""
        batch, self._unsettled = self._unsettled, None
        if batch is not None:
            try:
                self._shared.settle(batch)
            except Exception as error:
                self._shared.forget()
                self._tell(logging.ERROR, "what was committed is not remembered: %s", type(error).__name__)

    def _commit_alone(self, jobs: list[Job], refusal: _Refused) -> None:
        if len(jobs) == 1:
            (job,) = jobs
            cause = type(refusal.__cause__).__name__
            job.error = job.error or RowsRefused(f"the database refused it: {cause}")
            return
        for job in jobs:
            try:
                self._transact([job])
            except _Refused as alone:
                self._commit_alone([job], alone)
            except BaseException as error:
                self._fail([job], error)

    def _fail(self, jobs: list[Job], error: BaseException) -> None:
        """Every work of the group fails; the connection is given up, since its state is unknown."""
        name = type(getattr(error, "orig", None) or error).__name__
        self._tell(logging.ERROR, "a group of %d works was not committed: %s", len(jobs), name)
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.invalidate()
                connection.close()
            except Exception:
                log.warning("the writer's connection could not be closed")
        for job in jobs:
            if job.error is None:
                is_ours = isinstance(error, HdgError)
                job.error = error if is_ours else NotCommitted(f"the store could not commit: {name}")

    def _transact(self, jobs: list[Job]) -> None:
        """Runs the works that have not failed yet and commits those that do not fail now."""
        self._settle()
        if self._connection is None:
            self._connection = self._writer_engine.connect()
        connection = self._connection
        with self._turn, connection.begin() as transaction:
            size, newest_us, unledgered, version = self._begin(connection)
            if version != self._shared.custom.version:
                self._shared.learn(current_set(connection))
            if (size, unledgered) != self._seen:
                self._shared.forget()
                self._floor_us = max(self._floor_us, newest_us)
            floor_us = self._floor_us + len(jobs)  # each may be moved behind it by one
            self._last_us = max(self._clock(), self._last_us + 1, newest_us + 1, floor_us)
            session = WriteSession(self._shared, connection, self._last_us, self._floor_us)
            self._look_ahead(session, jobs)
            done = [job for job in jobs if job.error is None and self._run_one(session, job)]
            if not done:
                transaction.rollback()
                return
            self._flush(session, connection)
            if session.batch.reseals and not session.batch.leaves:
                unledgered = note_unledgered(connection)
        self._seen = (size + len(session.batch.leaves), unledgered)
        self._floor_us = session.floor_us
        self._last_us = session.at_us
        self._unsettled = session.batch

    def _begin(self, connection: Connection) -> _Newest:
        """Makes this transaction the only writing one; what it finds."""
        cursor = connection.connection.cursor()
        with pipelined(connection):
            lock_writer(connection)
            cursor.execute(self._newest_sql)
        row = cursor.fetchone()
        cursor.close()
        return _newest(connection) if row is None else (row[0], row[1], row[2], row[3] or "")

    def _look_ahead(self, session: WriteSession, jobs: list[Job]) -> None:
        expected = [job.work.expected for job in jobs if isinstance(job.work, Planned) and job.error is None]
        try:
            session.look_ahead(expected)
        except Exception as error:
            if _is_lost(error):
                raise
            raise _Refused from error

    def _run_one(self, session: WriteSession, job: Job) -> bool:
        if session.batch.leaves:
            session.next_work()
        mark = session.batch.mark()
        try:
            job.result = job.work(session)
        except Exception as error:
            if _is_lost(error):
                raise
            session.batch.revert(mark)
            job.error = error
            return False
        return True

    def _flush(self, session: WriteSession, connection: Connection) -> None:
        batch, shared = session.batch, self._shared
        is_small = len(batch.versions) + len(batch.rows) <= _PIPELINED_MAX
        is_in_ledger = False
        try:
            with pipelined(connection) if is_small else nullcontext():
                first_leaf = 0
                if batch.leaves:
                    checkpoint = self.log.append(connection, batch.leaves, session.at_us)
                    first_leaf = checkpoint.first_index(len(batch.leaves))
                is_in_ledger = True
                batch.flush(connection, shared.statements, shared.indexer, first_leaf, shared.custom_rows)
            batch.flush_later(connection, shared.statements, shared.texts)
            for consent, rkey in batch.consents:
                connection.execute(_RULES.delete().where(_RULES.c.rkey == rkey))
                rows = rows_for(consent, rkey) if consent is not None else []
                if rows:
                    connection.execute(_RULES.insert(), rows)
        except Exception as error:
            if not is_in_ledger or _is_lost(error):
                raise
            raise _Refused from error


def _newest(connection: Connection) -> _Newest:
    """Size and time (µs) of the ledger's newest checkpoint, zeros when there is none; UNLEDGERED; the version
    of custom_register.
    """
    row = connection.execute(_NEWEST).first()
    if row is None:
        return 0, 0, None, str(connection.execute(stand).scalar() or "")
    return row[0], row[1], row[2], row[3] or ""


def _is_lost(error: BaseException) -> bool:
    """Whether the connection or the disk failed (not: one row or one work was wrong)."""
    original = getattr(error, "orig", None) or error
    return isinstance(original, OSError | MemoryError) or is_database_lost(error)
