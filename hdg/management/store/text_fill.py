"""Makes the index of words of what is stored, beside the writer; turns it on and off.

docs/fhir-api.md, "Words". In windows: what one writes is read and computed before it, and written in one transaction
in which a resource must still be at the version that was read; one that has changed since was taken in by the write
that changed it. The stand moves in that transaction, so a process may end at any point, and any goes on where it was.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, func, select

from hdg.errors import SettingsError, VaultError
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.custom import TextStand
from hdg.management.store.custom_register import BUMP
from hdg.management.store.engine import Statements
from hdg.management.store.envelope import parse
from hdg.management.store.session import WriteSession
from hdg.management.store.text_erase import Sweep, guard, is_guarded, sealed, unguard
from hdg.management.store.text_state import set_stand, stand_of
from hdg.management.store.text_words import TEXT_VERSION
from hdg.management.store.texts import TEXT_INDEX, Row, Texts, create, drop
from hdg.management.store.values import Hash
from hdg.management.store.versions import StoredVersion, current_versions
from hdg.management.store.writer import Store

__all__ = ["TextFill"]

WINDOW = 200
"""Resources of one window: some tens of milliseconds of the writer's time."""
_RESOURCE = table_of(schema.Resource)
_log = logging.getLogger("hdg.store")


class TextFill:
    """One process's hand at it. Raises SettingsError when SQLite lacks FTS5 and the index is wanted."""

    def __init__(self, store: Store, hash_: Hash, *, is_on: bool, window: int = WINDOW) -> None:
        self._store = store
        self._is_on = is_on
        self._window = window
        self._is_postgresql = store.engine.dialect.name == "postgresql"
        self._texts = Texts(hash_, is_postgresql=self._is_postgresql, is_full=False)
        self._is_turned = self._is_complete = False
        self._sweep = Sweep(store)
        if is_on and not self._is_postgresql:
            _check_fts5()

    def step(self) -> bool:
        """Does one window; False: there is nothing to do. Raises NotCommitted."""
        if self._is_complete:
            return self._sweep.step()
        with self._store.engine.connect() as connection:
            is_right = _is_right(connection, is_on=self._is_on)
        if not self._is_turned and not is_right:
            self._store.submit(partial(_turned, is_on=self._is_on)).result()
        self._is_turned = True
        with self._store.engine.connect() as connection:
            stand = stand_of(connection)
            if stand is None or stand.is_full:
                self._is_complete = True
                return self._sweep.step()
            until = stand.until if stand.until >= 0 else _last(connection)
            terms = [
                _RESOURCE.c.rkey > stand.position,
                _RESOURCE.c.rkey <= until,
                _RESOURCE.c.deleted.is_(False),
            ]
            versions = current_versions(connection, terms, self._window)
            rows = self._rows(versions)
        position = versions[-1].rkey if len(versions) == self._window else until
        after = TextStand(stand.version, position, until)
        self._store.submit(lambda session: self._write(session, stand, after, versions, rows)).result()
        return True

    def _rows(self, versions: Sequence[StoredVersion]) -> dict[int, Row]:
        """By rkey. What no key opens any more has no words."""
        found: dict[int, Row] = {}
        for version in versions:
            try:
                row = self._texts.row(version.rkey, parse(self._store.reader.body(version)))
            except VaultError:
                continue
            if row is not None:
                found[version.rkey] = row
        return found

    def _write(
        self,
        session: WriteSession,
        before: TextStand,
        after: TextStand,
        versions: Sequence[StoredVersion],
        rows: dict[int, Row],
    ) -> None:
        """In the writer's transaction, before what others of the group have buffered is written."""
        connection = session.connection
        if stand_of(connection) != before:
            return  # somebody else has gone on, or turned it off
        now = _versions(connection, [version.rkey for version in versions])
        there = _there(connection, versions)
        if versions:
            there |= sealed(connection, versions[0].rkey - 1, versions[-1].rkey)  # erased meanwhile
        new = [
            rows[one.rkey]
            for one in versions
            if one.rkey in rows and one.rkey not in there and now.get(one.rkey) == one.version
        ]
        cursor = connection.connection.cursor()
        self._texts.replace(cursor, Statements(connection.dialect), [], new)
        cursor.close()
        set_stand(connection, after)
        if after.is_full:
            connection.exec_driver_sql(BUMP)
            _log.info("the index of words is complete: %d resources", after.until)


def _turned(session: WriteSession, *, is_on: bool) -> None:
    """Begins it (anew, where the rules are others), or removes it."""
    connection = session.connection
    if _is_right(connection, is_on=is_on):
        return
    if is_on and _is_made(stand_of(connection)):  # by a release that did not heed erasures
        guard(connection, is_new=False)
        return
    if is_on:
        create(connection)
        guard(connection, is_new=True)
    else:
        drop(connection)
        unguard(connection)
        _log.info("the index of words is removed")
    set_stand(connection, TextStand(TEXT_VERSION) if is_on else None)
    connection.exec_driver_sql(BUMP)


def _is_right(connection: Connection, *, is_on: bool) -> bool:
    """Whether it is there, by the rules of this release, or is not there, as it should be."""
    stand = stand_of(connection)
    return _is_made(stand) and is_guarded(connection) if is_on else stand is None


def _is_made(stand: TextStand | None) -> bool:
    return stand is not None and stand.version == TEXT_VERSION


def _check_fts5() -> None:
    try:
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("CREATE VIRTUAL TABLE x USING fts5 (y)")
    except sqlite3.OperationalError:
        raise SettingsError("search_text: this Python's SQLite has no FTS5") from None


def _last(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(_RESOURCE.c.rkey), 0))).scalar_one())


def _versions(connection: Connection, rkeys: Sequence[int]) -> dict[int, int]:
    """rkey → its version in the database now."""
    columns = _RESOURCE.c
    query = select(columns.rkey, columns.version).where(columns.rkey.in_(rkeys))
    return {row[0]: row[1] for row in connection.execute(query)} if rkeys else {}


def _there(connection: Connection, versions: Sequence[StoredVersion]) -> set[int]:
    """Those of a window that writes have taken in already."""
    if not versions:
        return set()
    rkey = TEXT_INDEX.c.rkey
    query = select(rkey).where(rkey >= versions[0].rkey, rkey <= versions[-1].rkey)
    return set(connection.execute(query).scalars())
