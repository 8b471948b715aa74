"""The limit of what is stored durably: the rows that a run has left, written again by bare statements.

Nothing is received, converted, merged, sealed or looked up: the store's own INSERT statements write the same rows,
in the groups that the ledger's checkpoints tell, into an empty database of the same kind, and each group ends with a
COMMIT that reaches the disk. A gateway that needed no time of its own would come to this rate. What the run wrote and
replaced later (rows of the index of older versions, tiles of the ledger) is not written again, so it is a little high.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, select

from hdg.management.ledger.schema import LedgerCheckpoint, LedgerLeaf
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.engine import Statements, migrate

__all__ = ["Bare", "written_again"]

MOST_S = 60.0
_OWNERS = table_of(schema.OwnerKey)
_INBOX = table_of(schema.Inbox)
_BLOB = table_of(schema.Blob)
_VERSION = table_of(schema.Version)
_LEAF = table_of(LedgerLeaf)
_CHECKPOINT = table_of(LedgerCheckpoint)
_OF_RESOURCES = (
    table_of(schema.Resource),
    table_of(schema.Compartment),
    *(table_of(model) for model in schema.INDEX_TABLES),
)

Row = tuple[Any, ...]
Rows = list[tuple[Table, list[Row]]]


@dataclass(frozen=True, slots=True)
class Bare:
    """Messages, rows and seconds in the database; to read them again is not counted."""

    messages: int
    rows: int
    seconds: float

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


class _Ahead:
    """The rows of a table in the order of one column, taken up to a bound."""

    def __init__(self, connection: Connection, table: Table, column: str) -> None:
        self._place = [each.name for each in table.columns].index(column)
        rows = connection.execution_options(stream_results=True, yield_per=5_000)
        self._rows: Iterator[Any] = iter(rows.execute(select(table).order_by(table.c[column])))
        self._next = next(self._rows, None)

    def up_to(self, bound: int) -> list[Row]:
        """The next rows whose column is at most ``bound``."""
        taken: list[Row] = []
        while self._next is not None and self._next[self._place] <= bound:
            taken.append(tuple(self._next))
            self._next = next(self._rows, None)
        return taken


def written_again(source: Engine, target: Engine) -> Bare:
    """Writes the messages that ``source`` holds into the empty database ``target``, for MOST_S at most.

    Raises ValueError when there is none.
    """
    migrate(target)
    statements = Statements(target.dialect)
    messages, rows, spent = 0, 0, 0.0
    with source.connect() as reading, target.connect() as writing:
        for count, tables in _groups(reading):
            started = time.perf_counter()
            with writing.begin():
                cursor = writing.connection.cursor()
                for table, some in tables:
                    statements.insert_many(cursor, table, some)
                cursor.close()
            spent += time.perf_counter() - started
            messages += count
            rows += sum(len(some) for _, some in tables)
            if spent > MOST_S:
                break
    if not messages:
        raise ValueError("the run has stored no message")
    return Bare(messages, rows, spent)


def _groups(connection: Connection) -> Iterator[tuple[int, Rows]]:
    """(messages, rows of each table, sorted by its key) of one checkpoint of the ledger after the other."""
    most = connection.scalar(select(func.count()).select_from(_INBOX)) or 0
    sizes = [row[0] for row in connection.execute(select(_CHECKPOINT.c.size).order_by(_CHECKPOINT.c.size))]
    versions = _Ahead(connection, _VERSION, "leaf_index")
    of_resources = [(table, _Ahead(connection, table, "rkey")) for table in _OF_RESOURCES]
    others = [
        (_LEAF, _Ahead(connection, _LEAF, "leaf_index")),
        (_CHECKPOINT, _Ahead(connection, _CHECKPOINT, "size")),
    ]
    messages = [(table, _Ahead(connection, table, key)) for table, key in ((_INBOX, "ikey"), (_BLOB, "bkey"))]
    whole: Rows = [(_OWNERS, [tuple(row) for row in connection.execute(select(_OWNERS))])]
    newest, before = 0, 0
    for size in sizes:
        fresh = versions.up_to(size - 1)
        newest = max([newest, *(row[0] for row in fresh)])
        now = most * size // sizes[-1]
        rows = [(table, sorted(ahead.up_to(newest), key=_key(table))) for table, ahead in of_resources]
        rows.insert(1, (_VERSION, fresh))
        rows += [(table, ahead.up_to(size if table is _CHECKPOINT else size - 1)) for table, ahead in others]
        rows += [(table, ahead.up_to(now)) for table, ahead in messages]
        yield now - before, whole + rows
        whole, before = [], now


def _key(table: Table) -> Any:
    names = [column.name for column in table.columns]
    places = [names.index(column.name) for column in table.primary_key.columns]
    return lambda row: [row[place] for place in places]
