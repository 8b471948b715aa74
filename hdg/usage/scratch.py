"""The search's own SQL on resources that are not in the database yet.

Within one group of the writer, and within one transaction Bundle, what has been written so far lies in memory.
Whether a search would find it is asked of a small SQLite database in memory that has the store's own tables, so
that there is one implementation of what a search means. For one thread at a time.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from functools import cache

from sqlalchemy import create_engine, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateIndex, CreateTable

from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.engine import Statements
from hdg.management.store.index import IndexRows
from hdg.management.store.search import SearchQuery, conditions
from hdg.management.store.together import token_searches
from hdg.management.store.values import Hash

__all__ = ["Scratch"]

_RESOURCE = table_of(schema.Resource)
_INDEXES = tuple(table_of(model) for model in schema.INDEX_TABLES)


@cache
def _ddl() -> str:
    """What makes the tables and their indexes, for SQLite."""
    tables = (_RESOURCE, *_INDEXES)
    made: list[CreateTable | CreateIndex] = [
        *(CreateTable(table) for table in tables),
        *(CreateIndex(index) for table in tables for index in table.indexes),
    ]
    return ";\n".join(str(one.compile(dialect=sqlite.dialect())) for one in made)


class Scratch:
    """Holds resources by number (``rkey``) until ``clear``."""

    def __init__(self, hash_: Hash) -> None:
        self._hash = hash_
        self._engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        self._statements = Statements(self._engine.dialect)
        self._is_empty = True
        weakref.finalize(self, self._engine.dispose)
        with closing(self._engine.raw_connection()) as connection:
            connection.cursor().executescript(_ddl())

    def add(self, rkey: int, type_: str, id_: str, updated_us: int, rows: IndexRows) -> None:
        """One more resource; ``rows`` bear that ``rkey``."""
        self.add_all([(rkey, type_, id_, updated_us, rows)])

    def add_all(self, resources: Iterable[tuple[int, str, str, int, IndexRows]]) -> None:
        """More of them: (number, type, id, µs of its change, rows that bear the number)."""
        heads: list[tuple[object, ...]] = []
        tables: list[set[tuple[object, ...]]] = [set() for _ in _INDEXES]
        for number, type_, id_, updated_us, rows in resources:
            heads.append((number, type_, id_, 1, updated_us, "", False, None, len(rows.patients), None))
            for held, found in zip(tables, rows.tables, strict=True):
                held.update(found)
        if not heads:
            return
        self._is_empty = False
        with self._engine.begin() as connection:
            cursor = connection.connection.cursor()
            self._statements.insert_many(cursor, _RESOURCE, heads)
            for table, held in zip(_INDEXES, tables, strict=True):
                self._statements.insert_many(cursor, table, list(held))
            cursor.close()

    def find(self, query: SearchQuery, now_us: int) -> Sequence[int]:
        """The numbers of those that the search finds."""
        return self.find_all([query], now_us)[query]

    def find_all(self, queries: Collection[SearchQuery], now_us: int) -> Mapping[SearchQuery, Sequence[int]]:
        """The numbers of those that each search finds."""
        if self._is_empty:
            return dict.fromkeys(queries, ())
        found: dict[SearchQuery, Sequence[int]] = {}
        with self._engine.connect() as connection:
            for group in token_searches(queries, self._hash):
                rows = group.find(connection, (_RESOURCE.c.rkey,))
                found.update({query: [row[0] for row in matches] for query, matches in rows.items()})
            for query in queries:
                if query not in found:
                    where = conditions(query, self._hash, now_us)
                    found[query] = list(connection.scalars(select(_RESOURCE.c.rkey).where(*where)))
        return found

    def clear(self) -> None:
        """Forgets everything."""
        if self._is_empty:
            return
        with self._engine.begin() as connection:
            for table in (*_INDEXES, _RESOURCE):
                connection.execute(table.delete())
        self._is_empty = True
