"""Everything that is derived from the bodies made anew while the gateway runs, after an upgrade that changed the rules.

DESIGN §6; docs/fhir-api.md. When a store of some size is opened by a gateway whose index has other rules
(meta.begin_fill), the index tables are emptied, the consent rules are made anew at once, and a mark says how far the
rest has come. From then on what is written is indexed by the new rules; what was there is filled in windows beside the
writer: index rows, compartments, scopes, hashes of ids. The mark moves in the window's own transaction, so a process
may end at any point, and the next goes on where it was. Until the end a search that needs the index is refused with
IndexIncomplete; reads by id and searches by ``_id`` and ``_lastUpdated`` are answered.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from hdg.management.consent.rules import rows_for
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.derived import Derived
from hdg.management.store.engine import Statements
from hdg.management.store.index import Indexer
from hdg.management.store.index_state import Mark, mark_of, set_mark
from hdg.management.store.meta import fill_rows, note_unledgered, save_rules, set_digest
from hdg.management.store.session import WriteSession

if TYPE_CHECKING:
    from hdg.management.store.writer import Store

__all__ = ["Refill"]

WINDOW = 200
"""Resources of one window: some tens of milliseconds of the writer's time."""
_RESOURCE = table_of(schema.Resource)
_COMPARTMENT = table_of(schema.Compartment)
_log = logging.getLogger("hdg.store")


class Refill:
    """One process's hand at it: ``step`` until it says that there is nothing to do. Several may be at it."""

    def __init__(self, store: Store, indexer: Indexer, *, window: int = WINDOW) -> None:
        self._store = store
        self._indexer = indexer
        self._window = window
        self._is_complete = False

    def step(self) -> bool:
        """Does one window; False: everything is done. Raises NotCommitted."""
        if self._is_complete:
            return False
        with self._store.engine.connect() as connection:
            mark = mark_of(connection)
            if mark is None:
                self._is_complete = True
                return False
            last = self._last(connection, mark)
            pages = self._store.reader.derived(connection, self._indexer, mark.position, last)
            found = [made for page in pages for made in page]
        self._store.submit(lambda session: self._write(session, mark, found, last)).result()
        return True

    def _last(self, connection: Connection, mark: Mark) -> int:
        behind = _RESOURCE.c.rkey > mark.position
        window = select(_RESOURCE.c.rkey).where(behind).order_by(_RESOURCE.c.rkey).limit(self._window)
        highest = connection.execute(select(func.max(window.subquery().c.rkey))).scalar()
        return mark.until if highest is None else min(int(highest), mark.until)

    def _write(self, session: WriteSession, mark: Mark, found: Sequence[Derived], last: int) -> None:
        """In the writer's transaction; nothing at all when somebody changed one of them, or went on, meanwhile."""
        connection = session.connection
        current = [made for made in found if made.is_current]
        if mark_of(connection) != mark or not _is_same(session, current):
            return
        statements = Statements(connection.dialect)
        if _has_other_patients(connection, current):
            note_unledgered(connection)  # what the writers remember of compartments is no longer so
            session.forget()
        fill_rows(connection, statements, self._indexer, found)
        for made in current:
            if made.content is not None and made.row.type == "Consent":
                save_rules(connection, made.row.rkey, rows_for(made.content, made.row.rkey))
        if last < mark.until:
            set_mark(connection, Mark(mark.digest, last, mark.until))
            return
        set_mark(connection, None)
        set_digest(connection, mark.digest)
        _log.info("the search index is complete: %d resources", last)


def _is_same(session: WriteSession, current: Sequence[Derived]) -> bool:
    """Whether all of them are as they were read, and none is in the hands of another work of this group."""
    if any((made.row.type, made.row.id) in session.batch.states for made in current):
        return False
    rkeys = [made.row.rkey for made in current]
    columns = _RESOURCE.c
    query = select(columns.rkey, columns.version).where(columns.rkey.in_(rkeys))
    now = {row[0]: row[1] for row in session.connection.execute(query)}
    return all(now.get(made.row.rkey) == made.row.version for made in current)


def _has_other_patients(connection: Connection, current: Sequence[Derived]) -> bool:
    known = [made for made in current if made.patients is not None]
    query = select(_COMPARTMENT).where(_COMPARTMENT.c.rkey.in_([made.row.rkey for made in known]))
    there = {(row.rkey, row.patient) for row in connection.execute(query)}
    return there != {(made.row.rkey, patient) for made in known for patient in made.patients or ()}
