"""The index of words: its table on either database, what is asked of it in SQL, and how it is written.

R4 search.html#_text. SQLite: an FTS5 table (https://www.sqlite.org/fts5.html), PostgreSQL: a tsvector with a GIN index
(https://www.postgresql.org/docs/current/datatype-textsearch.html); both hold symbols in place of words (text_words.py)
and are made when they are first wanted (text_fill.py). There is no rank: it would tell how often words occur in what
is hidden. PostgreSQL knows the places of the first 8,000 words of a narrative and of the rest, for phrases; a word
behind them is found by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, MetaData, Table, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

from hdg.management.store.engine import Statements
from hdg.management.store.envelope import parse
from hdg.management.store.text_query import as_fts5, as_tsquery, parsed
from hdg.management.store.text_words import BREAK, Words, symbols_of, words_of
from hdg.management.store.values import Hash
from hdg.throttle import Throttle

if TYPE_CHECKING:
    from hdg.management.store.batch import State

__all__ = ["TEXT_INDEX", "Row", "Texts", "create", "drop", "words_match"]

JsonObject = dict[str, Any]
Row = tuple[Any, ...]

_FAILURES = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
_tell = Throttle(logging.getLogger("hdg.store"))

_OWN_NARRATIVE: Final = "_text"
_PLACES_MAX = 8_000
"""Of two parts, below PostgreSQL's 16,383."""
_BYTES_MAX = 450_000
"""Of each of them; PostgreSQL takes a mebibyte."""
_REST, _NARRATIVE = "", "A"
"""Weights, by which PostgreSQL tells the parts apart."""

TEXT_INDEX = Table(
    "text_index",
    MetaData(),
    Column("rowid", BigInteger, key="rkey", primary_key=True),
    Column("text_index", Text, key="all"),
    Column("narrative", Text),
    Column("rest", Text),
    Column("words", Text),
)
"""FTS5 has ``narrative`` and ``rest``, and ``all`` for its whole row; PostgreSQL has ``words``, a tsvector."""
_SQLITE = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS text_index USING fts5 (narrative, rest, tokenize = 'ascii', columnsize = 0)",
)
_POSTGRESQL = (
    "CREATE TABLE IF NOT EXISTS text_index (rowid BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
    "CREATE INDEX IF NOT EXISTS ix_text_index_words ON text_index USING gin (words)",
)


class _Matches(FunctionElement[Any]):
    """Of (FTS5's row, FTS5's query, tsvector, tsquery)."""

    name = "text_matches"
    type = NullType()  # as a Boolean it would be written "… = 1", which FTS5 does not take
    inherit_cache = True


@compiles(_Matches)
def _in_postgresql(element: _Matches, compiler: Any, **rest: Any) -> str:
    words, asked = list(element.clauses)[2:]
    return f"{compiler.process(words, **rest)} @@ CAST({compiler.process(asked, **rest)} AS tsquery)"


@compiles(_Matches, "sqlite")
def _in_sqlite(element: _Matches, compiler: Any, **rest: Any) -> str:
    row, asked = list(element.clauses)[:2]
    return f"{compiler.process(row, **rest)} MATCH {compiler.process(asked, **rest)}"


def words_match(param: str, values: Sequence[str], hash_: Hash) -> ColumnElement[bool]:
    """The rows of TEXT_INDEX that hold any of the values of ``_text`` or ``_content``. Raises ValueError."""
    node = parsed(values, symbols_of(hash_))
    is_own = param == _OWN_NARRATIVE
    fts5 = as_fts5(node, "narrative" if is_own else "")
    tsquery = as_tsquery(node, _NARRATIVE if is_own else "")
    columns = TEXT_INDEX.c
    return _Matches(columns.all, literal(fts5, Text), columns.words, literal(tsquery, Text))


def create(connection: Connection) -> None:
    """Makes the table, empty, in the only writing transaction."""
    drop(connection)
    for sql in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL:
        connection.exec_driver_sql(sql)


def drop(connection: Connection) -> None:
    """Removes it with all words."""
    connection.exec_driver_sql("DROP TABLE IF EXISTS text_index")


class Texts:
    """Writes the index. ``is_full``: all that is stored is in it already."""

    def __init__(self, hash_: Hash, *, is_postgresql: bool, is_full: bool) -> None:
        self._symbol = symbols_of(hash_)
        self._is_postgresql = is_postgresql
        self._is_full = is_full

    def row(self, rkey: int, content: JsonObject) -> Row | None:
        """A resource's row; None: it has no words, or they cannot be read: that keeps nothing from being stored."""
        try:
            found = words_of(content, self._symbol)
        except _FAILURES as error:
            _tell(logging.WARNING, "the words of a resource cannot be read: %s", type(error).__name__)
            return None
        if not any(word != BREAK for part in found for word in part):
            return None
        return (rkey, _vector(found)) if self._is_postgresql else (rkey, *map(" ".join, found))

    def _of(self, state: State) -> Row | None:
        if state.deleted:
            return None
        # Parsed apart where it is not yet: what is written is rarely read again, and its content is heavy.
        return self.row(state.rkey, state.content() if state.is_parsed else parse(state.body))

    def write(self, cursor: Any, statements: Statements, written: Iterable[State]) -> None:
        """The rows of resources as they are now; those of what is deleted go."""
        gone: list[Row] = []
        new: list[Row] = []
        for state in written:
            row = self._of(state)
            base = state.base
            if base is not None:
                if self._is_full and row == self._of(base):
                    continue
                gone.append((state.rkey,))
            if row is not None:
                new.append(row)
        self.replace(cursor, statements, gone, new)

    def replace(self, cursor: Any, statements: Statements, gone: list[Row], new: list[Row]) -> None:
        """Removes the rows of some resources (which need not have any), and adds rows."""
        if gone:
            cursor.executemany(statements.of("DELETE FROM text_index WHERE rowid = ?"), sorted(gone))
        if not new:
            return
        if self._is_postgresql:
            with cursor.copy("COPY text_index (rowid, words) FROM STDIN") as copy:
                for row in sorted(new):
                    copy.write_row(row)
        else:
            cursor.executemany(
                "INSERT INTO text_index (rowid, narrative, rest) VALUES (?, ?, ?)", sorted(new)
            )


def _vector(words: Words) -> str:
    """A tsvector as PostgreSQL reads it: ``'symbol':1,2A``. Symbols hold nothing that means anything there."""
    places: dict[str, list[str]] = {}
    for first, weight, part in ((1, _REST, words.rest), (_PLACES_MAX + 4, _NARRATIVE, words.narrative)):
        size, last = 0, first + _PLACES_MAX - 1
        for place, word in enumerate(part, first):
            if word == BREAK:
                continue
            known = places.get(word)
            if known is None:
                size += 2 * len(word) + 8
                if size > _BYTES_MAX:
                    break
                known = places[word] = []
            if place < last:
                known.append(f"{place}{weight}")
            elif not known or known[-1] != f"{last + 1}{weight}":
                known.append(f"{last + 1}{weight}")
    return " ".join(f"'{word}':{','.join(known)}" for word, known in places.items())
