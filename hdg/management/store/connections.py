"""Connections that reads keep: at rest they cost nothing, and what the database has prepared for them stays.

PostgreSQL https://www.postgresql.org/docs/current/sql-prepare.html. A pool gives a connection back with ROLLBACK, and
after that its driver forgets all that it had the database prepare: every search would be parsed anew. It also asks
before each use whether the connection is still there; here that shows at its use, which is then tried once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from queue import Empty, LifoQueue
from typing import TypeVar

from sqlalchemy import Connection, Engine

from hdg.errors import HdgError
from hdg.management.store.engine import is_database_lost

__all__ = ["Connections"]

Found = TypeVar("Found")
_IDLE_MAX = 8
"""Connections of each kind that are kept."""


class Connections:
    """Connections of an engine for reads. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._of_one: LifoQueue[Connection] = LifoQueue()
        self._of_many: LifoQueue[Connection] = LifoQueue()

    def once(self, query: Callable[[Connection], Found]) -> Found:
        """Runs ``query`` on a connection in autocommit mode: each statement sees the newest committed state."""
        return self._again(self._autocommit, query)

    def snapshot(self, query: Callable[[Connection], Found]) -> Found:
        """Runs ``query`` in a transaction: all its statements see one state."""
        return self._again(self._transaction, query)

    def close(self) -> None:
        """Closes those at rest."""
        for idle in (self._of_one, self._of_many):
            while (connection := _at_rest(idle)) is not None:
                connection.close()

    def _again(
        self,
        connected: Callable[[], AbstractContextManager[Connection]],
        query: Callable[[Connection], Found],
    ) -> Found:
        """Runs ``query``; a second time, anew, when the idle connection turns out to be lost.

        After a restart of the database all idle ones are, so all are given up.
        """
        try:
            with connected() as connection:
                return query(connection)
        except Exception as error:
            if not is_database_lost(error):
                raise
        self.close()
        with connected() as connection:
            return query(connection)

    @contextmanager
    def _autocommit(self) -> Iterator[Connection]:
        connection = _at_rest(self._of_one)
        if connection is None:
            connection = self._single.connect()
            if connection.dialect.name == "postgresql":  # by key: one plan is good for all (engine.py)
                connection.exec_driver_sql("SET plan_cache_mode = auto")
        with _kept(connection, self._of_one):
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        connection = _at_rest(self._of_many) or self._engine.connect()
        with _kept(connection, self._of_many), connection.begin():
            yield connection


def _at_rest(idle: LifoQueue[Connection]) -> Connection | None:
    try:
        return idle.get_nowait()
    except Empty:
        return None


@contextmanager
def _kept(connection: Connection, idle: LifoQueue[Connection]) -> Iterator[None]:
    """Puts a connection to rest after its use, or ends it when that failed.

    An error of the gateway's own (a search that it refuses) says nothing against the connection.
    """
    is_usable = False
    try:
        yield
        is_usable = True
    except HdgError:
        is_usable = True
        raise
    finally:
        if not is_usable:
            connection.invalidate()
        if is_usable and idle.qsize() < _IDLE_MAX:
            idle.put(connection)
        else:
            connection.close()
