"""Queries that an event loop asks of PostgreSQL by itself: it goes on with other work until their rows are there.

https://www.postgresql.org/docs/current/libpq-async.html, libpq-pipeline-mode.html. To hand a query to another thread
and take its rows back costs the interpreter more than to send it, and both threads wait for each other's turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine

from hdg.management.store.connections import ONCE, SETTINGS

__all__ = ["Awaited", "Query"]

Query = tuple[str, Sequence[Any]]
"""A text with ``$1`` for the first value, and the values."""
Rows = list[tuple[Any, ...]]
_PREPARED_MAX = 256
"""Texts that the database keeps prepared for the connection; others are parsed for each use."""
_BINARY = 1
_AGAIN_S = 1.0
"""After a failure no other connection is opened for so long."""


class Awaited:
    """One connection in autocommit mode, asked by one event loop at a time. None as an answer: ask in another way."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connection: Connection | None = None
        self._driver: Any = None
        self._names: dict[str, bytes] = {}
        self._lock = Lock()
        """Held while something is asked, and while the connection is opened or closed."""
        self._not_before_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether ``rows`` can be asked."""
        return self._connection is not None

    def open(self) -> None:
        """Connects, if it is time; in any thread. A failure shows in ``is_open``."""
        with self._lock:
            if self.is_open or time.monotonic() < self._not_before_s:
                return
            self._not_before_s = time.monotonic() + _AGAIN_S
            connection = None
            try:
                connection = self._engine.connect()
                for setting in SETTINGS[ONCE]:
                    connection.exec_driver_sql(f"SET {setting}")
                driver: Any = connection.connection.driver_connection
                driver.pgconn.enter_pipeline_mode()
            except Exception:
                if connection is not None:
                    _drop(connection)
                return
            self._connection, self._driver, self._names = connection, driver, {}

    def close(self) -> None:
        """Lets the connection go; another one may be opened."""
        with self._lock:
            self._give_up()

    def _give_up(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            _drop(connection)

    async def rows(self, queries: Sequence[Query]) -> list[Rows] | None:
        """The rows of each query, by one exchange; each query sees the newest committed state.

        None, whatever the reason: not open, in use, a query refused, the connection lost (then it is given up).
        """
        if not self._lock.acquire(blocking=False):
            return None
        found: list[Rows] | None = None
        try:
            if self._connection is None:
                return None
            found = await self._exchanged(queries)
        except Exception:  # shown again, and told, in the other way
            found = None
        finally:
            if found is None:
                self._give_up()
            self._lock.release()
        return found

    async def _exchanged(self, queries: Sequence[Query]) -> list[Rows] | None:
        """Sends all, waits, reads."""
        from psycopg.adapt import Transformer  # an extra: SQLite does without

        pgconn = self._driver.pgconn
        for sql, values in queries:
            self._send(Transformer(self._driver), sql, values)
        pgconn.pipeline_sync()
        while pgconn.flush():  # the socket's buffer is full
            pgconn.consume_input()
            await asyncio.sleep(0)
        found: list[Rows] = []
        for result in await self._results():
            reading = Transformer(self._driver)
            reading.set_pgresult(result)
            found.append(reading.load_rows(0, result.ntuples, tuple))
        return found if len(found) == len(queries) else None

    def _send(self, writing: Any, sql: str, values: Sequence[Any]) -> None:
        from psycopg.adapt import PyFormat

        pgconn, text = self._driver.pgconn, sql.encode()
        given = writing.dump_sequence(values, [PyFormat.AUTO] * len(values))
        name = self._names.get(sql)
        if name is None and len(self._names) < _PREPARED_MAX:
            name = self._names[sql] = b"hdg_%d" % len(self._names)
            pgconn.send_prepare(name, text, writing.types)
        if name is None:
            pgconn.send_query_params(text, given, writing.types, writing.formats, _BINARY)
        else:
            pgconn.send_query_prepared(name, given, writing.formats, _BINARY)

    async def _results(self) -> list[Any]:
        """The results that have rows, up to the pipeline's sync."""
        from psycopg.pq import ConnStatus, ExecStatus

        loop, pgconn, found = asyncio.get_running_loop(), self._driver.pgconn, list[Any]()
        is_there: asyncio.Future[None] = loop.create_future()

        def read() -> None:
            try:
                pgconn.consume_input()
                while not is_there.done() and not pgconn.is_busy():
                    result = pgconn.get_result()
                    if result is None:  # one query's end
                        if pgconn.status != ConnStatus.OK:
                            raise ConnectionError("the connection was lost")
                    elif result.status == ExecStatus.PIPELINE_SYNC:
                        is_there.set_result(None)
                    elif result.status == ExecStatus.TUPLES_OK:
                        found.append(result)
                    elif result.status != ExecStatus.COMMAND_OK:
                        is_there.set_exception(ConnectionError("a query was refused"))
            except Exception as error:
                if not is_there.done():
                    is_there.set_exception(error)

        loop.add_reader(pgconn.socket, read)
        try:
            await is_there
        finally:
            loop.remove_reader(pgconn.socket)
        return found


def _drop(connection: Connection) -> None:
    """Ends it: what state it is in is not known."""
    with suppress(Exception):
        connection.invalidate()
        connection.close()
