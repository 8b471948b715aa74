"""Opens the database: engines, durability pragmas, migrations, the few differences of the two databases.

SQLite https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous (FULL: a commit
in WAL mode is durable when it returns); PostgreSQL by URL with the same tables and statements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, text
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import SQLAlchemyError

from hdg.errors import HdgError, SettingsError
from hdg.management.ledger.log import SEQUENCER_LOCK
from hdg.management.locks import exclusive
from hdg.management.store.arrays import Encode, arrays_of, insertion
from hdg.settings import Settings

__all__ = [
    "NotCommitted",
    "RowsRefused",
    "Statements",
    "commit_behind",
    "database_url",
    "is_database_lost",
    "migrate",
    "open_engine",
    "opening",
    "pipelined",
]

_WRITER_LOCK = 0x68646773746F7265
"""PostgreSQL advisory lock: one writer at a time across processes, held to the end of each group."""
_LOCK_SQL = (
    "SELECT set_config('synchronous_commit', 'on', true), "
    f"pg_advisory_xact_lock({_WRITER_LOCK}), pg_advisory_xact_lock({SEQUENCER_LOCK})"
)
_BUSY_MS = 10_000
_COPY_FROM = 4096
"""Rows of one table from which on COPY is cheaper than to wait for its answers."""
_CHUNK_ROWS = (64, 8)
"""Rows of one SQLite statement, and for what is left (then the rest in one); with the widest table well below its
32,766 parameters.
"""
_OR_FAIL = ("INSERT INTO ", "INSERT OR FAIL INTO ")
"""With ABORT, the default, SQLite is ready to undo a statement alone, which costs a third of an insertion of many
rows; here a statement that fails ends its transaction. https://www.sqlite.org/lang_conflict.html"""
_HEAD_TABLE = "alembic_version"


class NotCommitted(HdgError):
    """The store could not take or commit a unit of work. It may be tried again.

    Nothing of it was kept, but for one case: a connection that broke during COMMIT leaves it unknown.
    Messages are safe to send again either way (the inbox knows them).
    """

    issue_code: ClassVar[str] = "transient"


class RowsRefused(NotCommitted):
    """The database refuses what this unit of work wants written, and will again. Nothing of it was kept."""

    issue_code: ClassVar[str] = "exception"


def database_url(settings: Settings) -> str:
    """The SQLAlchemy URL: the setting, or ``hdg.db`` in the data folder."""
    return settings.database_url or f"sqlite:///{settings.data / 'hdg.db'}"


def open_engine(settings: Settings, *, is_writer: bool, pool_size: int = 1) -> Engine:
    """An engine with the pragmas set on every connection.

    Raises SettingsError for a database it does not know.
    """
    url = database_url(settings)
    if url.startswith("sqlite"):
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (
            settings.database_url is None
        ):  # its names and dates lie in the clear; SQLite's side files follow it
            (settings.data / "hdg.db").touch(mode=0o600)
        arguments = {"check_same_thread": False, "timeout": _BUSY_MS / 1000, "cached_statements": 512}
        engine = create_engine(
            url, connect_args=arguments, pool_size=pool_size, max_overflow=0 if is_writer else 16
        )
        _prepare_sqlite(engine, is_writer=is_writer)
    elif url.startswith("postgresql"):
        level = "READ COMMITTED" if is_writer else "REPEATABLE READ"
        try:
            engine = create_engine(
                url, isolation_level=level, pool_size=pool_size, max_overflow=16, pool_pre_ping=True
            )
        except ModuleNotFoundError:
            raise SettingsError("database_url: PostgreSQL needs the extra 'postgres'") from None
        _prepare_postgresql(engine, is_writer=is_writer)
    else:
        raise SettingsError("database_url: only sqlite and postgresql are supported")
    return engine


def _prepare_postgresql(engine: Engine, *, is_writer: bool) -> None:
    """No JIT: to compile a search takes ten times as long as to run it (15 ms for a chain of 1.4). And a plan for
    the values at hand, since one code is that of a few resources, another that of a million.
    """

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET jit = off")
            if not is_writer:
                cursor.execute("SET plan_cache_mode = force_custom_plan")
        connection.commit()


def _prepare_sqlite(engine: Engine, *, is_writer: bool) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "temp_store = MEMORY",
            "cache_size = -65536" if is_writer else "cache_size = -16384",
            "wal_autocheckpoint = 16000",
            "journal_size_limit = 134217728",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        if not is_writer:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return  # a kept connection that began here would see the state of its first query for ever
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def is_database_lost(error: BaseException) -> bool:
    """Whether the database was not there (not: it refused a statement): SQLAlchemy's or the driver's error.

    Told by the names of DB-API's classes (PEP 249), which drivers derive their own from.
    """
    original = getattr(error, "orig", None) or error
    return any(each.__name__ in {"OperationalError", "InterfaceError"} for each in type(original).__mro__)


@contextmanager
def pipelined(connection: Connection) -> Iterator[None]:
    """In here the raw driver's statements wait for no answer on PostgreSQL, until one is fetched or the block ends.

    Then the first error is raised. https://www.postgresql.org/docs/current/libpq-pipeline-mode.html. Not for Core,
    which looks at each answer.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    driver: Any = connection.connection.driver_connection
    with driver.pipeline():
        yield


def lock_writer(connection: Connection) -> None:
    """Makes this transaction the only writing one (SQLite: BEGIN IMMEDIATE has done so already)."""
    if connection.dialect.name == "postgresql":
        cursor = connection.connection.cursor()
        cursor.execute(_LOCK_SQL)
        cursor.close()


def commit_behind(connection: Connection) -> None:
    """Sends COMMIT with the statements of a pipeline on PostgreSQL: it is done at its end if all of them are.

    The connection's own commit, due all the same, finds nothing left to do.
    """
    cursor: Any = connection.connection.cursor()
    cursor.execute("COMMIT", prepare=False)
    cursor.close()


@contextmanager
def opening(engine: Engine, folder: Path) -> Iterator[None]:
    """One process at a time makes or changes the database's tables; writers on PostgreSQL wait meanwhile."""
    with exclusive(folder):
        if engine.dialect.name != "postgresql":
            yield
            return
        with engine.connect() as connection, connection.begin():
            lock_writer(connection)
            yield


def migrate(engine: Engine) -> None:
    """Brings the tables to the newest revision. Alembic is imported only when there is something to do."""
    from hdg.management.store.migrations import HEAD

    with engine.connect() as connection:
        current = None
        if inspect(connection).has_table(_HEAD_TABLE):
            current = connection.execute(text(f"SELECT version_num FROM {_HEAD_TABLE}")).scalar()  # noqa: S608
    if current != HEAD:
        from hdg.management.store.migrations.run import upgrade

        try:
            upgrade(engine)
        except SQLAlchemyError as error:
            raise SettingsError(f"the database could not be migrated: {type(error).__name__}") from error


class Statements:
    """Compiled SQL strings for the raw driver, which runs them several times faster than Core does.

    SQL is made by SQLAlchemy for the dialect once; parameters are positional.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._is_sqlite = dialect.name == "sqlite"
        self._mark = "?" if self._is_sqlite else "%s"
        self._quote = dialect.identifier_preparer.format_table
        self._column = dialect.identifier_preparer.quote
        self._inserts: dict[tuple[str, tuple[str, ...]], str] = {}
        self._chunks: dict[tuple[str, int], str] = {}
        self._deletes: dict[str, str] = {}
        self._arrays: dict[str, tuple[str, tuple[Encode, ...]]] = {}

    def of(self, sql: str) -> str:
        """``sql`` written with ``?``, in the driver's own parameter style."""
        return sql if self._is_sqlite else sql.replace("?", "%s")

    def insert(self, table: Table, columns: Sequence[str] | None = None) -> str:
        """INSERT of all columns (or the named ones) in their order."""
        names = tuple(columns or (column.name for column in table.columns))
        key = (table.name, names)
        if key not in self._inserts:
            listed = ", ".join(map(self._column, names))
            marks = ", ".join([self._mark] * len(names))
            self._inserts[key] = f"INSERT INTO {self._quote(table)} ({listed}) VALUES ({marks})"  # noqa: S608
        return self._inserts[key]

    def insert_missing(self, table: Table) -> str:
        """INSERT of all columns; a row that is there already stays."""
        return f"{self.insert(table)} ON CONFLICT DO NOTHING"

    def insert_many(self, cursor: Any, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Inserts whole rows: many to a statement on SQLite, as arrays or by COPY on PostgreSQL.

        SQLite runs a statement without the GIL: a few long ones let the other threads work, many short ones
        would wait for the GIL after each row.
        """
        if not rows:
            return
        if self._is_sqlite:
            rows = self._insert_chunks(cursor, table, rows)
            if rows:
                cursor.executemany(self.insert(table), rows)
        elif len(rows) < _COPY_FROM or cursor.connection.info.pipeline_status:
            self._insert_arrays(cursor, table, rows)
        else:
            listed = ", ".join(self._column(column.name) for column in table.columns)
            with cursor.copy(f"COPY {self._quote(table)} ({listed}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

    def _insert_arrays(self, cursor: Any, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        found = self._arrays.get(table.name)
        if found is None:
            head = self.insert(table).partition(" VALUES ")[0]
            found = self._arrays[table.name] = insertion(table, head)
        sql, encoders = found
        cursor.execute(sql, arrays_of(encoders, rows))

    def _insert_chunks(
        self, cursor: Any, table: Table, rows: Sequence[tuple[Any, ...]]
    ) -> Sequence[tuple[Any, ...]]:
        """Inserts as many whole chunks as ``rows`` hold; what is left over."""
        for size in (*_CHUNK_ROWS, len(rows) % _CHUNK_ROWS[-1]):
            whole = len(rows) - len(rows) % size if size > 1 else 0
            if whole:
                sql = self._chunk(table, size)
                for start in range(0, whole, size):
                    cursor.execute(sql, list(chain.from_iterable(rows[start : start + size])))
                rows = rows[whole:]
        return rows

    def _chunk(self, table: Table, size: int) -> str:
        sql = self._chunks.get((table.name, size))
        if sql is None:
            head, _, marks = self.insert(table).replace(*_OR_FAIL, 1).rpartition(" VALUES ")
            sql = self._chunks[table.name, size] = f"{head} VALUES {', '.join([marks] * size)}"
        return sql

    def delete(self, table: Table) -> str:
        """DELETE by all columns in their order, for tables whose rows are nothing but key."""
        sql = self._deletes.get(table.name)
        if sql is None:
            wheres = " AND ".join(f"{self._column(c.name)} = {self._mark}" for c in table.columns)
            sql = self._deletes[table.name] = f"DELETE FROM {self._quote(table)} WHERE {wheres}"  # noqa: S608
        return sql
