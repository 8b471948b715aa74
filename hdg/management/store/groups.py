"""Groups of works in transactions, one behind the other; while one commits, the works of the next run already.

DESIGN §2 (group commit), §6. A commit is waiting for the disk, and works are Python: together they take little more
than one of them. So on SQLite, when a group's rows are written and only COMMIT is left, what has queued up meanwhile
is looked up beforehand (ahead.py; the connection sees the rows), COMMIT goes to another thread, and the works behind
it run on what is known. Their transaction begins when they are through, or when one of them asks for more.

Nothing of the second group is written, acknowledged or remembered before the first one is durable. It runs again
from the beginning if the first one could not be committed, and if anybody else has written between the two
(https://www.sqlite.org/pragma.html#pragma_data_version).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, select

from hdg.errors import HdgError
from hdg.management.consent.rules import rows_for
from hdg.management.consent.schema import ConsentRuleRow
from hdg.management.ledger.log import HEAD_COLUMNS, Log
from hdg.management.ledger.schema import LedgerCheckpoint
from hdg.management.store import schema
from hdg.management.store.ahead import Expected, Planned
from hdg.management.store.batch import Batch, table_of
from hdg.management.store.custom_register import current_set, stand
from hdg.management.store.engine import (
    NotCommitted,
    RowsRefused,
    commit_behind,
    is_database_lost,
    lock_writer,
    pipelined,
)
from hdg.management.store.job import Job, tell
from hdg.management.store.meta import UNLEDGERED, note_unledgered
from hdg.management.store.session import WriteSession
from hdg.management.store.shared import Shared
from hdg.management.store.turn import Turn
from hdg.throttle import Throttle

__all__ = ["Groups", "newest"]

Clock = Callable[[], int]
Gather = Callable[[int], list[Job]]
"""What has queued up, at most so many works, without waiting for more."""
log = logging.getLogger("hdg.store")

_PIPELINED_MAX = 1024
"""Rows (versions, events) of a group that is sent to PostgreSQL without waiting; for more COPY is better."""
_RULES = table_of(ConsentRuleRow)
_HEAD = table_of(LedgerCheckpoint)
_META = table_of(schema.StoreMeta)
_COUNTED = select(_META.c.value).where(_META.c.name == UNLEDGERED).scalar_subquery()
_STAND = stand.scalar_subquery()
_NEWEST = select(_HEAD.c.size, _HEAD.c.at_us, _COUNTED, _STAND, *HEAD_COLUMNS)
_NEWEST = _NEWEST.order_by(_HEAD.c.size.desc()).limit(1)
Newest = tuple[int, int, str | None, str]
_Row = Sequence[Any] | None
_Seen = tuple[int, str | None]


class _Refused(Exception):
    """The database refused a row of the group: run its works one by one."""


class _Overtaken(BaseException):
    """What the works of a group have run on is not so: they run again. Not for works to catch."""


class _Transaction:
    """The writer's connection in a transaction, while it is this process's turn."""

    def __init__(self, turn: Turn, connection: Connection) -> None:
        self.connection = connection
        self._ending = ExitStack()
        with ExitStack() as begun:
            begun.enter_context(turn)
            self._transaction = connection.begin()
            self._ending = begun.pop_all()

    def commit(self) -> None:
        """Returns once it is durable. In any thread, as long as no other one uses the connection."""
        with self._ending:
            driver: Any = self.connection.connection.driver_connection
            try:
                if not getattr(driver, "in_transaction", True):  # the driver's commit would do nothing
                    raise NotCommitted("the store could not commit: its transaction has ended")
                self._transaction.commit()
            except BaseException:
                with suppress(Exception):
                    self._transaction.rollback()
                raise

    def rollback(self) -> None:
        """Gives it up."""
        with self._ending:
            self._transaction.rollback()


@dataclass(slots=True, eq=False)
class _Group:
    """Works that have run in a transaction. ``size`` of the ledger before; ``unledgered``: meta.UNLEDGERED;
    ``head``: the row of the ledger's newest checkpoint.
    """

    jobs: list[Job]
    session: WriteSession
    transaction: _Transaction
    size: int
    unledgered: str | None
    head: _Row = None
    before: tuple[_Seen, int] | None = None
    """What is to be remembered again if the group is not committed; None: it is not remembered yet."""


@dataclass(slots=True, eq=False)
class _Behind:
    """Works that run while the group before them is ``committing``; ``group``: once their transaction has begun.

    ``version``: SQLite's data_version in the transaction before.
    """

    jobs: list[Job]
    session: WriteSession
    committing: Future[None]
    version: int
    group: _Group | None = None


class Groups:
    """The writing side of a store, for one thread."""

    def __init__(
        self,
        engine: Engine,
        shared: Shared,
        ledger: Log,
        clock: Clock,
        newest_us: int,
        turn: Turn,
        most: int,
    ) -> None:
        self.last_us = newest_us
        """Works to come are later than this."""
        self._engine = engine
        self._shared = shared
        self._ledger = ledger
        self._clock = clock
        self._turn = turn
        self._most = most
        """Works of a group."""
        self._seen: _Seen = (-1, None)
        """What ``_NEWEST`` was after this process's last commit; if it is not, another process has written."""
        self._floor_us = 0
        """Messages stored from now on count as received after this (WriteSession.in_order)."""
        self._connection: Connection | None = None
        self._tell = Throttle(log)
        self._newest_sql = str(
            _NEWEST.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
        )
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="hdg-commit")

    def close(self) -> None:
        """Lets the connection go."""
        self._beside.shutdown()
        if self._connection is not None:
            self._connection.close()

    def commit(self, jobs: list[Job], gather: Gather) -> None:
        """Commits works that have begun, then those that ``gather`` finds meanwhile; tells the callers."""
        group = self._started(jobs)
        while group is not None:
            group = self._finished(group, gather)

    # --- a group by itself ---------------------------------------------------------------------------------

    def _started(self, jobs: list[Job]) -> _Group | None:
        """Runs the works in a new transaction. None: nothing of them is to be committed, and all is told."""
        if not jobs:
            return None
        group = None
        try:
            group = self._run(jobs)
        except _Refused as refusal:
            self._one_by_one(jobs, refusal)
        except BaseException as error:
            self._fail(jobs, error)
        if group is None:
            tell(jobs)
        return group

    def _finished(self, group: _Group, gather: Gather) -> _Group | None:
        """Writes and commits the group. Those that queue up until then: their group, None when there are none."""
        jobs: list[Job] = []
        behind = None
        try:
            self._write(group)
            jobs = [] if self._shared.is_postgresql else gather(self._most)
            behind = self._behind(group, jobs) if jobs else None
            if behind is None:
                group.transaction.commit()
        except _Refused as refusal:
            _give_up(group.transaction)
            self._one_by_one(group.jobs, refusal)
        except BaseException as error:
            _give_up(group.transaction)
            self._lose(group, error)
        else:
            if behind is not None:
                return self._joined(group, behind, gather)
            self._advance(group)
            tell(group.jobs)
            self._settle(group)
            return self._started(jobs)
        tell(group.jobs)
        return self._started(jobs)

    def _one_by_one(self, jobs: list[Job], refusal: _Refused) -> None:
        if len(jobs) == 1:
            (job,) = jobs
            cause = type(refusal.__cause__).__name__
            job.error = job.error or RowsRefused(f"the database refused it: {cause}")
            return
        for job in jobs:
            try:
                self._alone(job)
            except _Refused as alone:
                self._one_by_one([job], alone)
            except BaseException as error:
                self._fail([job], error)

    def _alone(self, job: Job) -> None:
        group = self._run([job])
        if group is None:
            return
        try:
            self._write(group)
            group.transaction.commit()
        except BaseException:
            _give_up(group.transaction)
            raise
        self._advance(group)
        self._settle(group)

    def _run(self, jobs: list[Job]) -> _Group | None:
        """Begins a transaction and runs the works that have not failed yet. None, and none is open: all have."""
        transaction = self._open()
        connection = transaction.connection
        try:
            (size, newest_us, unledgered, version), head = self._newest(connection)
            if version != self._shared.custom.version:
                self._shared.learn(current_set(connection))
            if (size, unledgered) != self._seen:
                self._shared.forget()
                self._floor_us = max(self._floor_us, newest_us)
            session = self._session(connection, newest_us)
            self._look_ahead(session, jobs)
            done = [job for job in jobs if job.error is None and self._run_one(session, job)]
        except BaseException:
            _give_up(transaction)
            raise
        if not done:
            transaction.rollback()
            return None
        return _Group(jobs, session, transaction, size, unledgered, head)

    def _open(self) -> _Transaction:
        if self._connection is None:
            self._connection = self._engine.connect()
        return _Transaction(self._turn, self._connection)

    def _newest(self, connection: Connection) -> tuple[Newest, _Row]:
        """Makes this transaction the only writing one; what it finds, and the newest checkpoint (HEAD_COLUMNS)."""
        cursor = connection.connection.cursor()
        with pipelined(connection):
            lock_writer(connection)
            cursor.execute(self._newest_sql)
        row = cursor.fetchone()
        cursor.close()
        return (newest(connection), None) if row is None else ((*row[:3], row[3] or ""), row[4:])

    def _session(self, connection: Connection, newest_us: int) -> WriteSession:
        floor_us = self._floor_us + self._most  # each work may be moved behind it by one
        self.last_us = max(self._clock(), self.last_us + 1, newest_us + 1, floor_us)
        return WriteSession(self._shared, connection, self.last_us, self._floor_us)

    def _look_ahead(self, session: WriteSession, jobs: list[Job]) -> None:
        try:
            session.look_ahead(_expected(jobs))
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

    def _write(self, group: _Group) -> None:
        """Writes its rows. Raises _Refused."""
        batch, shared, connection = group.session.batch, self._shared, group.transaction.connection
        is_small = len(batch.versions) + len(batch.rows) <= _PIPELINED_MAX
        is_in_ledger = False
        try:
            with pipelined(connection) if is_small else nullcontext():
                first_leaf = 0
                if batch.leaves:
                    at_us, head = group.session.at_us, group.head
                    checkpoint = self._ledger.append(connection, batch.leaves, at_us, head)
                    first_leaf = checkpoint.first_index(len(batch.leaves))
                is_in_ledger = True
                batch.flush(connection, shared.statements, shared.indexer, first_leaf, shared.custom_rows)
                if shared.is_postgresql and is_small and _is_all(batch, shared):
                    commit_behind(connection)
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
        if batch.reseals and not batch.leaves:
            group.unledgered = note_unledgered(connection)

    def _advance(self, group: _Group) -> None:
        """What holds with the group."""
        self._seen = (group.size + len(group.session.batch.leaves), group.unledgered)
        self._floor_us = group.session.floor_us
        self.last_us = group.session.at_us

    def _settle(self, group: _Group) -> None:
        """Remembers what the group has written."""
        try:
            self._shared.settle(group.session.batch)
        except Exception as error:
            self._shared.forget()
            self._tell(logging.ERROR, "what was committed is not remembered: %s", type(error).__name__)

    def _lose(self, group: _Group, error: BaseException) -> None:
        """The group could not be committed: its works fail, and nothing of it is remembered."""
        self._fail(group.jobs, error)
        if group.before is not None:
            self._seen, self._floor_us = group.before
            self._shared.forget_all()

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

    # --- a group behind another one ------------------------------------------------------------------------

    def _behind(self, group: _Group, jobs: list[Job]) -> _Behind | None:
        """Hands over the COMMIT of a group that is written, so that ``jobs`` can run. None: it is still to be done."""
        connection = group.transaction.connection
        group.before = (self._seen, self._floor_us)
        self._advance(group)
        self._settle(group)
        session = self._session(connection, group.session.at_us)
        try:
            session.know(_expected(jobs), group.session)
            version = _data_version(connection)
        except Exception as error:
            if _is_lost(error):
                raise
            return None
        committing = self._beside.submit(_commit, group)
        behind = _Behind(jobs, session, committing, version)
        session.enter = lambda: self._enter(behind)
        return behind

    def _enter(self, behind: _Behind) -> None:
        """The commit before is over, and the works' transaction begins. Raises _Overtaken."""
        if behind.committing.exception() is not None:
            raise _Overtaken
        try:
            transaction = self._open()
        except Exception as error:
            raise _Overtaken from error
        connection = transaction.connection
        try:
            (size, _, unledgered, custom), head = self._newest(connection)
            found = (size, unledgered), custom, _data_version(connection)
            is_as_known = found == (self._seen, self._shared.custom.version, behind.version)
        except Exception as error:
            _give_up(transaction)
            raise _Overtaken from error
        if not is_as_known:
            _give_up(transaction)
            raise _Overtaken
        behind.session.enter = None
        behind.group = _Group(behind.jobs, behind.session, transaction, size, unledgered, head)

    def _joined(self, group: _Group, behind: _Behind, gather: Gather) -> _Group | None:
        """Runs the works behind the group that commits, then those that came too late to be looked up beforehand.

        Their group; None when there is nothing to commit.
        """
        failure: BaseException | None = None
        done: list[Job] = []
        try:
            done = [job for job in behind.jobs if self._run_one(behind.session, job)]
            if behind.group is None:
                self._enter(behind)
                late = gather(self._most - len(behind.jobs))
                behind.jobs += late
                done += [job for job in late if self._run_one(behind.session, job)]
        except BaseException as error:
            failure = error
        not_committed = behind.committing.exception()
        if not_committed is not None:
            self._lose(group, not_committed)
            tell(group.jobs)
        if isinstance(failure, _Overtaken):
            for job in behind.jobs:
                job.result = job.error = None
            return self._started(behind.jobs)
        if failure is None and done:
            return behind.group
        if behind.group is not None:
            _give_up(behind.group.transaction)
        if failure is not None:
            self._fail(behind.jobs, failure)
        tell(behind.jobs)
        return None


def newest(connection: Connection) -> Newest:
    """Size and time (µs) of the ledger's newest checkpoint, zeros when there is none; UNLEDGERED; the version
    of custom_register.
    """
    row = connection.execute(_NEWEST).first()
    if row is None:
        return 0, 0, None, str(connection.execute(stand).scalar() or "")
    return row[0], row[1], row[2], row[3] or ""


def _is_all(batch: Batch, shared: Shared) -> bool:
    """Whether a group is written when its pipeline is."""
    is_later = batch.later or batch.consents or (batch.reseals and not batch.leaves)
    return not is_later and shared.texts is None


def _commit(group: _Group) -> None:
    """In the other thread."""
    group.transaction.commit()
    tell(group.jobs)


def _give_up(transaction: _Transaction) -> None:
    with suppress(Exception):
        transaction.rollback()


def _data_version(connection: Connection) -> int:
    """Another one than before when anybody but this connection has written."""
    cursor = connection.connection.cursor()
    row: Any = cursor.execute("PRAGMA data_version").fetchone()
    cursor.close()
    return int(row[0])


def _expected(jobs: list[Job]) -> list[Expected]:
    return [job.work.expected for job in jobs if isinstance(job.work, Planned) and job.error is None]


def _is_lost(error: BaseException) -> bool:
    """Whether the connection or the disk failed (not: one row or one work was wrong)."""
    original = getattr(error, "orig", None) or error
    return isinstance(original, OSError | MemoryError) or is_database_lost(error)
