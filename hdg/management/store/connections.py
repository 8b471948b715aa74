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

__all__ = ["BY_KEY", "BY_VALUES", "ONCE", "SETTINGS", "Connections"]

Found = TypeVar("Found")
BY_KEY, BY_VALUES, ONCE = "by key", "by values", "once"
_SNAPSHOT = "snapshot"
SETTINGS = {
    BY_KEY: ["plan_cache_mode = auto"],  # one plan is good for all, as PostgreSQL will find
    BY_VALUES: [],  # as the engine has it (engine.py)
    ONCE: [
        "plan_cache_mode = force_generic_plan",
        "enable_seqscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
    ],
}
"""Of statements that say themselves where to begin, a plan is made once. It outlives the time when tables were small:
so it is one that reads no table through.
"""
_IDLE_MAX = 4
"""Connections of each kind that are kept: all kinds together leave some of the engine's to others."""


class Connections:
    """Connections of an engine for reads. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_postgresql = engine.dialect.name == "postgresql"
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._at_rest: dict[str, LifoQueue[Connection]] = {
            kind: LifoQueue() for kind in (*SETTINGS, _SNAPSHOT)
        }

    def once(self, query: Callable[[Connection], Found], planned: str = BY_KEY) -> Found:
        """Runs ``query`` on a connection in autocommit mode: each statement sees the newest committed state.

        ``planned``: what PostgreSQL does about plans; it is BY_KEY, BY_VALUES or ONCE.
        """
        kind = planned if self._is_postgresql else BY_KEY
        return self._again(lambda: self._autocommit(kind), query)

    def snapshot(self, query: Callable[[Connection], Found]) -> Found:
        """Runs ``query`` in a transaction: all its statements see one state."""
        return self._again(self._transaction, query)

    def close(self) -> None:
        """Closes those at rest."""
        for idle in self._at_rest.values():
            while (connection := _taken(idle)) is not None:
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
    def _autocommit(self, planned: str) -> Iterator[Connection]:
        idle = self._at_rest[planned]
        connection = _taken(idle)
        if connection is None:
            connection = self._single.connect()
            if self._is_postgresql:
                for setting in SETTINGS[planned]:
                    connection.exec_driver_sql(f"SET {setting}")
        with _kept(connection, idle):
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        idle = self._at_rest[_SNAPSHOT]
        connection = _taken(idle) or self._engine.connect()
        with _kept(connection, idle), connection.begin():
            yield connection


def _taken(idle: LifoQueue[Connection]) -> Connection | None:
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
