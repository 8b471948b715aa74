"""Fills the index of search parameters that came while the database was in use, and empties that of those that went.

In batches: what a batch writes is read and computed beside the writer, then written in one transaction in which
every resource must still be at the version that was read; one that has changed since was indexed by the write that
changed it. ``search_parameter.position`` moves in that transaction, so a process may end at any point, and another
goes on where it was. A lease keeps two processes from doing the same work; should both do it, the position lets one
of them write.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Row, func, select, update

from hdg.errors import VaultError
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.custom import Definition, Parameter, Rows
from hdg.management.store.custom_register import BUMP, SearchParameterRow
from hdg.management.store.engine import Statements
from hdg.management.store.envelope import parse
from hdg.management.store.index import KINDS, IndexRows
from hdg.management.store.session import WriteSession
from hdg.management.store.values import Hash
from hdg.management.store.versions import StoredVersion, current_versions
from hdg.management.store.writer import Store

__all__ = ["BATCH", "LEASE_US", "Filler"]

BATCH = 200
"""Resources of one batch: a few milliseconds of the writer's time."""
_REMOVED_AT_ONCE = 5_000
LEASE_US = 10_000_000
_ROWS = table_of(SearchParameterRow)
_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)
_INDEXES = tuple(table_of(model) for model in schema.INDEX_TABLES)
_ADVANCE = "UPDATE search_parameter SET status = ?, position = ?, until = ?, lease = ?, lease_us = ? WHERE serial = ?"


@dataclass(frozen=True, slots=True)
class _Task:
    """Parameters that have all come to ``position``, and go on together."""

    rows: tuple[Row[Any], ...]

    @property
    def position(self) -> int:
        return int(self.rows[0].position)

    @property
    def until(self) -> int:
        return int(self.rows[0].until)


class Filler:
    """One process's hand at it: ``step`` until it says that there is nothing to do."""

    def __init__(self, store: Store, hash_: Hash, *, batch: int = BATCH, lease_us: int = LEASE_US) -> None:
        self._store = store
        self._hash = hash_
        self._batch = batch
        self._lease_us = lease_us
        self._name = secrets.token_hex(8)
        self._has_lease = False

    def step(self) -> bool:
        """Does one batch; False: there is nothing to do for this process now."""
        with self._store.engine.connect() as connection:
            waiting = connection.execute(
                select(_ROWS).where(_ROWS.c.status.in_(("building", "removing"))).order_by(_ROWS.c.serial)
            ).all()
            now_us = self._store.now_us()
            mine = [row for row in waiting if row.lease in ("", self._name) or row.lease_us < now_us]
            if not mine:
                return False
            removing = [row for row in mine if row.status == "removing"]
            building = [row for row in mine if row.status == "building"]
            if removing:
                task = removing[0]
                left = _left(connection, task)  # no writer that has seen it go adds to these
                self._store.submit(lambda session: _remove(session, task, left)).result()
                return True
            together = _Task(tuple(row for row in building if _stand(row) == _stand(building[0])))
            versions = self._read(connection, together)
            until = together.until if together.until >= 0 else _last(connection)
            found = self._computed(together, versions)
        self._has_lease = True
        self._store.submit(lambda session: self._write(session, together, versions, found, until)).result()
        return True

    def release(self) -> None:
        """Lets others go on at once."""
        if not self._has_lease:
            return
        free = update(_ROWS).where(_ROWS.c.lease == self._name).values(lease="", lease_us=0)
        self._store.submit(lambda session: session.connection.execute(free) and None).result()

    def _read(self, connection: Connection, task: _Task) -> list[StoredVersion]:
        """The next resources of the types that the parameters index, deleted ones left out."""
        types = sorted({type_ for row in task.rows for type_ in _definition(row).bases})
        terms = [
            _RESOURCE.c.rkey > task.position,
            _RESOURCE.c.type.in_(types),
            _RESOURCE.c.deleted.is_(False),
        ]
        if task.until >= 0:
            terms.append(_RESOURCE.c.rkey <= task.until)
        return current_versions(connection, terms, self._batch)

    def _computed(self, task: _Task, versions: Sequence[StoredVersion]) -> dict[int, IndexRows]:
        """By rkey. What no key opens any more has no rows."""
        rows = Rows(self._hash, [_parameter(row) for row in task.rows])
        found: dict[int, IndexRows] = {}
        for version in versions:
            try:
                body = self._store.reader.body(version)
            except VaultError:
                continue
            found[version.rkey] = rows.of(parse(body), version.rkey)
        return found

    def _write(
        self,
        session: WriteSession,
        task: _Task,
        versions: Sequence[StoredVersion],
        found: dict[int, IndexRows],
        until: int,
    ) -> None:
        """In the writer's transaction, before what others of the group have buffered is written."""
        connection = session.connection
        statements = Statements(connection.dialect)
        is_last = len(versions) < self._batch
        position = until if is_last else min(until, versions[-1].rkey)
        is_done = position >= until
        status, lease = ("ready", ("", 0)) if is_done else ("building", self._lease(session))
        if not _is_unmoved(connection, task):
            return
        cursor = connection.connection.cursor()
        current = _current(connection, [version.rkey for version in versions])
        kept = [found[v.rkey] for v in versions if v.rkey in found and current.get(v.rkey) == v.version]
        for number, table in enumerate(_INDEXES):
            rows = {row for made in kept for row in made.tables[number]}
            if rows:
                cursor.executemany(statements.insert_missing(table), sorted(rows))
        moves = [(status, position, until, *lease, row.serial) for row in task.rows]
        cursor.executemany(statements.of(_ADVANCE), moves)
        if is_done:
            cursor.execute(BUMP)
        cursor.close()

    def _lease(self, session: WriteSession) -> tuple[str, int]:
        return self._name, session.at_us + self._lease_us


def _left(connection: Connection, row: Row[Any]) -> list[tuple[Any, ...]]:
    """Some rows of what is used no more. To find them may take a look at the whole table: not while others wait."""
    parameter = _parameter(row)
    table = _INDEXES[KINDS[parameter.definition.kind]]
    is_its = table.c.param.in_(parameter.numbers())
    return [tuple(one) for one in connection.execute(select(table).where(is_its).limit(_REMOVED_AT_ONCE))]


def _remove(session: WriteSession, row: Row[Any], left: Sequence[tuple[Any, ...]]) -> None:
    """Those rows, and with the last of them the parameter itself."""
    connection = session.connection
    if left:
        table = _INDEXES[KINDS[_parameter(row).definition.kind]]
        cursor = connection.connection.cursor()
        cursor.executemany(Statements(connection.dialect).delete(table), left)
        cursor.close()
    if len(left) == _REMOVED_AT_ONCE:
        return
    connection.execute(_ROWS.delete().where(_ROWS.c.serial == row.serial, _ROWS.c.status == "removing"))


def _is_unmoved(connection: Connection, task: _Task) -> bool:
    """Whether nobody has gone on with them, or changed them, meanwhile."""
    query = select(_ROWS.c.serial, _ROWS.c.position, _ROWS.c.status)
    known = {row[0]: (row[1], row[2]) for row in connection.execute(query)}
    return all(known.get(row.serial) == (row.position, "building") for row in task.rows)


def _stand(row: Row[Any]) -> tuple[int, int]:
    return row.position, row.until


def _definition(row: Row[Any]) -> Definition:
    return Definition.of_json(orjson.loads(row.definition))


def _parameter(row: Row[Any]) -> Parameter:
    return Parameter(row.serial, row.status, 0, _definition(row))


def _last(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(_RESOURCE.c.rkey), 0))).scalar() or 0)


def _current(connection: Connection, rkeys: Sequence[int]) -> dict[int, int]:
    """rkey → its version in the database now."""
    columns = _RESOURCE.c
    query = select(columns.rkey, columns.version).where(columns.rkey.in_(rkeys))
    return {row[0]: row[1] for row in connection.execute(query)} if rkeys else {}
