"""Queries of the hot path, run by the raw driver: compiled once for each shape, as SQLAlchemy's own cache would.

What SQLAlchemy and psycopg do around each query costs more than to find fifty rows. Here the text is the database's own
(``$1``, which psycopg takes as it is; it reads other texts anew where they are long), and rows come in binary form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from sqlalchemy import BindParameter, Connection, Dialect, Select

__all__ = ["Asker"]

_SHAPES_MAX = 1_000
"""Compiled queries that are kept; one takes about 40 KB."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A compiled query; None: of another length for other values (a list), so that it is SQLAlchemy's matter.

    ``names``: what to bind, in this order; ``processors``: what becomes of some of it before.
    """

    compiled: Any
    sql: str = ""
    names: tuple[str, ...] = ()
    processors: dict[str, Any] = field(default_factory=dict)


class Asker:
    """Runs Core queries for a dialect. Thread-safe."""

    def __init__(self, dialect: Dialect) -> None:
        self._is_postgresql = dialect.name == "postgresql"
        self.dialect = type(dialect)(paramstyle="numeric_dollar") if self._is_postgresql else dialect  # type: ignore[call-arg]  # every DefaultDialect takes it
        self._texts: dict[Any, _Text] = {}
        self._lock = Lock()

    def rows(self, connection: Connection, query: Select[Any]) -> list[Any]:
        """The rows of a query on its database: tuples as the driver gives them. Raises its errors, or SQLAlchemy's."""
        key = query._generate_cache_key()  # what SQLAlchemy's cache of compiled queries goes by
        if key is None:
            return list(connection.execute(query).all())
        text = self._texts.get(key.key) or self._made(query, key)
        if text.compiled is None:
            return list(connection.execute(query).all())
        given = text.compiled.construct_params(extracted_parameters=key.bindparams, escape_names=False)
        for name, process in text.processors.items():
            given[name] = process(given[name])
        return self.fetched(connection, text.sql, [given[name] for name in text.names])

    def bound(self, query: Select[Any]) -> tuple[str, list[BindParameter[Any]]] | None:
        """The text of a query and what it binds, in the order of its marks; None: one that ``rows`` leaves to Core,
        or where values are not bound as they are.
        """
        key = query._generate_cache_key()
        text = None if key is None else self._texts.get(key.key) or self._made(query, key)
        if key is None or text is None or text.compiled is None:
            return None
        given = dict(zip(text.compiled.cache_key.bindparams, key.bindparams, strict=True))
        by_name = {name: given.get(one, one) for one, name in text.compiled.bind_names.items()}
        if not text.processors.keys().isdisjoint(text.names):
            return None
        return text.sql, [by_name[name] for name in text.names]

    def _made(self, query: Select[Any], key: Any) -> _Text:
        compiled: Any = query.compile(dialect=self.dialect, cache_key=key)
        text = _Text(None)
        if not (compiled.post_compile_params or compiled.literal_execute_params):
            names = tuple(compiled.positiontup)
            processors = {
                name: made for name, made in compiled._bind_processors.items() if not isinstance(made, tuple)
            }
            text = _Text(compiled, str(compiled), names, processors)
        with self._lock:
            if len(self._texts) >= _SHAPES_MAX:
                self._texts.clear()
            self._texts[key.key] = text
        return text

    def fetched(self, connection: Connection, sql: str, values: Sequence[Any] | dict[str, Any]) -> list[Any]:
        """The rows of a text that was compiled for ``dialect``; ``values`` in the order of its marks."""
        driver: Any = connection.connection.driver_connection
        if not self._is_postgresql:
            return list(driver.execute(sql, values).fetchall())
        from psycopg import RawCursor  # an extra: SQLite does without

        with RawCursor(driver) as cursor:
            return list(cursor.execute(sql, values, binary=True).fetchall())
