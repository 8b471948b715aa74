"""What a group of works wants written: buffered, revertible work by work, flushed once.

Rows go out sorted by their keys (neighbouring B-tree pages) through the driver's executemany. Resources are
kept as states: what the database holds (``base``) and what it will hold; index rows are the difference of the
two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Table
from sqlmodel import SQLModel

from hdg.management.store import schema
from hdg.management.store.custom import Rows
from hdg.management.store.engine import Statements
from hdg.management.store.envelope import parse
from hdg.management.store.index import Indexer, IndexRows
from hdg.management.store.merge import JsonObject, Parts
from hdg.management.store.ready import Ready
from hdg.management.store.stale import Heard, Said

if TYPE_CHECKING:
    from hdg.management.store.texts import Texts

__all__ = ["Batch", "Echo", "State", "table_of"]

Row = tuple[Any, ...]
Echo = tuple[str, bytes, frozenset[str], str]
"""A statement: its sender, digest (Ready.digest) and gaps, and what else decides its meaning (Fields.meaning)."""


def table_of(model: type[SQLModel]) -> Table:
    """The Core table of a SQLModel class (which hides it from type checkers)."""
    return cast(Table, model.__table__)  # type: ignore[attr-defined]


_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)
_COMPARTMENT = table_of(schema.Compartment)
_INDEXES = tuple(table_of(model) for model in schema.INDEX_TABLES)
_IN_ORDER = {table_of(schema.IdxReference): itemgetter(1, 0, 3)}
"""Keys that begin with another column than the table does."""
_UPDATE = (
    "UPDATE resource SET version = ?, updated_us = ?, institution = ?, deleted = ?, patient = ?, "
    "patients = ? WHERE rkey = ?"
)
_RESEAL = "UPDATE version SET body = ? WHERE rkey = ? AND version = ?"


@dataclass(slots=True, eq=False)
class State:
    """One resource at one version. ``before``: the state the database holds, None when it holds none (new) or
    this one (``is_stored``).

    ``content`` and ``rows`` are made from ``body`` when first needed. States are shared and never changed
    otherwise.
    """

    type: str
    id: str
    rkey: int
    version: int
    updated_us: int
    institution: str
    deleted: bool
    code: str
    salt: bytes = field(repr=False)
    body: bytes = field(repr=False)
    parts: Parts = field(repr=False)
    patients: frozenset[str] | None = field(default=None, repr=False)
    before: State | None = field(default=None, repr=False)
    is_stored: bool = False
    said: Said = field(default_factory=list, repr=False)
    echoes: dict[Echo, Heard] = field(default_factory=dict, repr=False)
    """Statements that, merged whole into this very content and these parts, change neither."""
    digest: bytes = field(default=b"", repr=False)
    """``Ready.digest`` of the one statement that it is; b"" where another one had a part in it, or it is not known."""
    _content: JsonObject | None = field(default=None, repr=False)
    _rows: IndexRows | None = field(default=None, repr=False)
    weight: int = 0
    """Bytes of memory that it takes, about, while it is not parsed; known once it is stored."""
    made: Ready | None = field(default=None, repr=False)
    """What it was made of, until it is committed."""

    @property
    def is_parsed(self) -> bool:
        """Whether it holds more than bytes."""
        return self._content is not None or self._rows is not None

    @property
    def base(self) -> State | None:
        """The state the database holds. No state refers to itself: it would outlive its last user for long,
        since garbage is collected rarely (server.tune_collector).
        """
        return self if self.is_stored else self.before

    def content(self) -> JsonObject:
        """The parsed body, shared: never to be changed."""
        if self._content is None:
            self._content = parse(self.body)
        return self._content

    def rows(self, indexer: Indexer) -> IndexRows:
        """Its index rows (none for a deletion)."""
        if self._rows is None and self.made is not None:
            self._rows = self.made.rows(self.rkey)
        if self._rows is None:
            self._rows = IndexRows() if self.deleted else indexer.rows(self.content(), self.rkey)
        return self._rows

    def with_rows(self, rows: IndexRows) -> State:
        """Notes rows that the caller has just computed."""
        self._rows = rows
        return self

    def settled(self) -> State:
        """After the commit: this is what the database holds."""
        self.before, self.is_stored = None, True
        self.made = None
        hashes = 0
        for own in self.parts.values():
            if own:
                hashes += sum(map(len, own.values()))
        self.weight = 1200 + len(self.body) + 100 * hashes + 200 * len(self.said)
        if self._content is None and self.version == 1:  # what has changed once may change again
            self._rows = None
        return self

    def resealed(self, parts: Parts, said: Said, echoes: dict[Echo, Heard]) -> State:
        """The same version with other records of who said what, and when."""
        return State(
            self.type,
            self.id,
            self.rkey,
            self.version,
            self.updated_us,
            self.institution,
            self.deleted,
            self.code,
            self.salt,
            self.body,
            parts,
            self.patients,
            self.before,
            self.is_stored,
            said,
            echoes,
            self.digest,
            self._content,
            self._rows,
            self.weight,
            self.made,
        )

    def slim(self) -> None:
        """Lets go of what can be made again from the body."""
        self._content = self._rows = None


Mark = tuple[int, ...]


class Batch:
    """The buffers of one group. ``mark``/``revert`` undo one work's part."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], State | None] = {}
        self.journal: list[tuple[tuple[str, str], State | None]] = []
        self.owners: dict[tuple[str, str], tuple[str, AESGCM]] = {}
        self.owner_rows: list[Row] = []
        self.leaves: list[bytes] = []
        self.versions: list[Row] = []
        self.reseals: list[Row] = []
        self.blobs: list[Row] = []
        self.inbox: list[Row] = []
        self.consents: list[tuple[JsonObject | None, int]] = []
        self.changes: list[tuple[str, Row]] = []
        self.later: list[tuple[Table, Sequence[dict[str, Any]]]] = []
        self.rows: list[tuple[Table, Row]] = []
        self.led: list[tuple[int, Callable[[int], Iterable[tuple[Table, list[Row]]]]]] = []
        """What makes rows of the ledger index of a leaf, by the place of that leaf in ``leaves``."""

    def _lists(self) -> tuple[list[Any], ...]:
        return (
            self.journal,
            self.owner_rows,
            self.leaves,
            self.versions,
            self.reseals,
            self.blobs,
            self.inbox,
            self.consents,
            self.changes,
            self.later,
            self.rows,
            self.led,
        )

    def mark(self) -> Mark:
        """Where the buffers stand now."""
        return tuple(map(len, self._lists()))

    def revert(self, mark: Mark) -> None:
        """Forgets everything buffered since ``mark``."""
        for key, previous in reversed(self.journal[mark[0] :]):
            self.states[key] = previous
        for row in self.owner_rows[mark[1] :]:
            self.owners.pop((row[0], row[1]), None)
        for buffer, length in zip(self._lists(), mark, strict=True):
            del buffer[length:]

    def set(self, key: tuple[str, str], state: State) -> None:
        """A new state of a resource."""
        self.journal.append((key, self.states.get(key)))
        self.states[key] = state

    def written(self) -> list[State]:
        """The states whose version the database does not hold yet (one sealed anew is the same version)."""
        return [
            state
            for state in self.states.values()
            if state is not None and (state.base is None or state.base.version != state.version)
        ]

    def flush(
        self,
        connection: Connection,
        statements: Statements,
        indexer: Indexer,
        first_leaf: int,
        custom: Rows | None = None,
    ) -> None:
        """Writes all but what ``flush_later`` does; ``first_leaf`` is the ledger index of the group's first leaf.

        ``custom``: makes the rows of search parameters beside R4's own.
        """
        cursor = connection.connection.cursor()
        written = self.written()

        def many(sql: str, rows: list[Row]) -> None:
            if len(rows) == 1:
                cursor.execute(sql, rows[0])
            elif rows:
                cursor.executemany(sql, rows)

        def insert(table: Table, rows: list[Row]) -> None:
            statements.insert_many(cursor, table, rows)

        insert(table_of(schema.OwnerKey), self.owner_rows)
        insert(
            _RESOURCE, sorted((*_resource_row(s), indexer.id_hash(s.id)) for s in written if s.base is None)
        )
        updates = (_update_row(s) for s in written if s.base is not None)
        many(statements.of(_UPDATE), sorted(updates, key=lambda row: row[-1]))
        insert(_VERSION, [(*row[:8], row[8] + first_leaf, *row[9:]) for row in self.versions])
        reseals = {row[1:]: row for row in self.reseals}  # the last one holds
        many(statements.of(_RESEAL), list(reseals.values()))
        insert(table_of(schema.Blob), self.blobs)
        insert(table_of(schema.Inbox), self.inbox)
        old, new = _compartment_rows(written)
        many(statements.delete(_COMPARTMENT), old)
        insert(_COMPARTMENT, new)
        for table, gone, fresh in zip(_INDEXES, *_differences(written, indexer), strict=True):
            many(statements.delete(table), sorted(gone))
            insert(table, sorted(fresh, key=_IN_ORDER.get(table)))
        if custom is not None:
            for table, outdated, wanted in zip(_INDEXES, *_custom(written, custom), strict=True):
                many(statements.delete(table), sorted(outdated))
                many(statements.insert_missing(table), sorted(wanted))
        changes: dict[str, list[Row]] = {}
        for sql, row in self.changes:
            changes.setdefault(sql, []).append(row)
        for sql, rows in changes.items():
            many(statements.of(sql), rows)
        whole: dict[Table, list[Row]] = {}
        for table, row in self.rows:
            whole.setdefault(table, []).append(row)
        led: dict[Table, list[Row]] = {}
        for place, made in self.led:
            for table, rows in made(first_leaf + place):
                led.setdefault(table, []).extend(rows)
        for table, rows in (*whole.items(), *((table, sorted(rows)) for table, rows in led.items())):
            insert(table, rows)
        cursor.close()

    def flush_later(self, connection: Connection, statements: Statements, texts: Texts | None = None) -> None:
        """Writes what cannot be pipelined: the index of words (``texts``), and what goes through Core."""
        if texts is not None:
            cursor = connection.connection.cursor()
            texts.write(cursor, statements, self.written())
            cursor.close()
        together: dict[tuple[Table, tuple[str, ...]], list[dict[str, Any]]] = {}
        for table, named in self.later:
            if named:
                together.setdefault((table, tuple(named[0])), []).extend(named)
        for (table, _), named in together.items():
            connection.execute(table.insert(), named)


def _compartment_rows(written: list[State]) -> tuple[list[Row], list[Row]]:
    """(rows to delete, rows to insert), sorted."""
    old: list[Row] = []
    new: list[Row] = []
    for state in written:
        before = (state.base.patients if state.base else None) or frozenset()
        after = state.patients or frozenset()
        old += [(state.rkey, patient) for patient in before - after]
        new += [(state.rkey, patient) for patient in after - before]
    return sorted(old), sorted(new)


def _resource_row(s: State) -> Row:
    patients = s.patients or frozenset()
    sole = next(iter(patients)) if len(patients) == 1 else None
    return (s.rkey, s.type, s.id, s.version, s.updated_us, s.institution, s.deleted, sole, len(patients))


def _update_row(s: State) -> Row:
    row = _resource_row(s)
    return (*row[3:], s.rkey)


def _differences(written: list[State], indexer: Indexer) -> tuple[list[list[Row]], list[list[Row]]]:
    """(rows to delete, rows to insert) of each index table."""
    old: list[list[Row]] = [[] for _ in _INDEXES]
    new: list[list[Row]] = [[] for _ in _INDEXES]
    for state in written:
        tables = state.rows(indexer).tables
        if state.base is None:
            for fresh, rows in zip(new, tables, strict=True):
                if rows:
                    fresh += rows
            continue
        for gone, fresh, rows, known in zip(old, new, tables, state.base.rows(indexer).tables, strict=True):
            if rows != known:
                before, after = set(known), set(rows)
                gone += before - after
                fresh += after - before
    return old, new


def _custom(written: list[State], custom: Rows) -> tuple[list[set[Row]], list[set[Row]]]:
    """(rows to delete, all rows that must be there) of each index table.

    Whether what the version before made is there already is not known: its turn may be yet to come.
    """
    old: list[set[Row]] = [set() for _ in _INDEXES]
    new: list[set[Row]] = [set() for _ in _INDEXES]
    for state in written:
        if not custom.has(state.type):
            continue
        before, after = IndexRows(), IndexRows()
        if state.base is not None and not state.base.deleted:
            before = custom.of(state.base.content(), state.rkey)
        if not state.deleted:
            after = custom.of(state.content(), state.rkey)
        for number, rows in enumerate(after.tables):
            new[number].update(rows)
            old[number].update(set(before.tables[number]).difference(rows))
    return old, new
