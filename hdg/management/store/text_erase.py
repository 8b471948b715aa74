"""Takes the words of what was erased out of the index of words: with the erasure itself, and from the disk after it.

DESIGN §6 (Vault). Erasing destroys a key (``owner_key.wrapped_kek``), whoever does it, so a trigger of the database
removes the rows of what is in that patient's compartment in the same transaction: they are found no more from its
commit on. It also leaves a mark. While there is one, the thread that keeps the index (text_fill.py) looks for what
else the key had sealed, and then has the database write anew what holds traces of the rows that went: FTS5 keeps them
until segments are merged (https://www.sqlite.org/fts5.html#the_merge_command), PostgreSQL until a VACUUM. The mark goes
last, in a transaction of its own and only if no further erasure has come, so a process may end at any point.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, text

from hdg.management.store.session import WriteSession
from hdg.management.store.text_state import stand_of
from hdg.management.store.writer import Store

__all__ = ["Sweep", "guard", "is_guarded", "sealed", "unguard"]

MARK = "text_erased"
WINDOW = 5_000
"""Resources that one look goes over."""
PAGES = 500
"""Of FTS5's, that one merge writes: some tens of milliseconds."""
_log = logging.getLogger("hdg.store")

_SEALED = (
    "SELECT r.rkey FROM resource r JOIN version v ON v.rkey = r.rkey AND v.version = r.version "
    "LEFT JOIN owner_key o ON o.code = v.patient_code "
    "WHERE r.rkey > :after AND r.rkey <= :until AND o.wrapped_kek IS NULL"
)
_OWN = (
    "DELETE FROM text_index WHERE rowid IN (SELECT c.rkey FROM compartment c "
    "JOIN resource r ON r.rkey = c.rkey JOIN version v ON v.rkey = r.rkey AND v.version = r.version "
    "WHERE c.patient = OLD.owner AND v.patient_code = OLD.code)"
)
_NOTE = (
    f"INSERT INTO store_meta (name, value) VALUES ('{MARK}', '1') "  # noqa: S608  a constant
    "ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(store_meta.value AS BIGINT) + 1 AS TEXT)"
)
_WHEN = {
    "text_index_erased": ("UPDATE OF wrapped_kek", "OLD.wrapped_kek IS NOT NULL AND NEW.wrapped_kek IS NULL"),
    "text_index_forgotten": ("DELETE", "OLD.wrapped_kek IS NOT NULL"),
}
_FUNCTION = (
    "CREATE OR REPLACE FUNCTION text_index_forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    f"IF to_regclass('text_index') IS NOT NULL THEN {_OWN}; END IF; {_NOTE}; RETURN NULL; END $$"
)


def is_guarded(connection: Connection) -> bool:
    """Whether the triggers are there."""
    is_sqlite = connection.dialect.name == "sqlite"
    query = (
        "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'text_index_%'"
        if is_sqlite
        else "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'text_index_%' AND tgrelid = 'owner_key'::regclass"
    )
    return bool(connection.execute(text(query)).scalar() == len(_WHEN))


def guard(connection: Connection, *, is_new: bool) -> None:
    """Makes the triggers, in the only writing transaction.

    ``is_new``: the index is empty, else what was erased before is looked for.
    """
    unguard(connection)
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(_FUNCTION)
    for name, (event, condition) in _WHEN.items():
        head = f"CREATE TRIGGER {name} AFTER {event} ON owner_key FOR EACH ROW WHEN ({condition})"
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"{head} BEGIN {_OWN}; {_NOTE}; END")
        else:
            connection.exec_driver_sql(f"{head} EXECUTE FUNCTION text_index_forget()")
    if not is_new:
        connection.exec_driver_sql(_NOTE)


def unguard(connection: Connection) -> None:
    """Removes the triggers and the mark: there are no words any more."""
    on = "" if connection.dialect.name == "sqlite" else " ON owner_key"
    for name in _WHEN:
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{on}")
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS text_index_forget()")
    connection.execute(text("DELETE FROM store_meta WHERE name = :name"), {"name": MARK})


def sealed(connection: Connection, after: int, until: int) -> set[int]:
    """The resources with a number in (``after``, ``until``] whose current version no key opens any more."""
    return set(connection.execute(text(_SEALED), {"after": after, "until": until}).scalars())


class Sweep:
    """One process's hand at what an erasure leaves to do. ``step`` until it is False. Raises NotCommitted."""

    def __init__(self, store: Store, *, window: int = WINDOW, pages: int = PAGES) -> None:
        self._store = store
        self._window = window
        self._pages = pages
        self._is_sqlite = store.engine.dialect.name == "sqlite"
        self._mark = ""
        self._position = 0
        self._is_merging = False

    def step(self) -> bool:
        """One look at some resources, or one merge; False: nothing is to be done."""
        with self._store.engine.connect() as connection:
            mark = _mark_of(connection)
            if not mark or stand_of(connection) is None:
                return False
            if mark != self._mark:
                self._mark, self._position, self._is_merging = mark, 0, False
            last = int(connection.execute(text("SELECT coalesce(max(rkey), 0) FROM resource")).scalar_one())
            bounds = {"after": self._position, "until": self._position + self._window}
            is_found = self._position < last and connection.execute(text(_SEALED), bounds).first() is not None
        if self._position < last:
            if is_found:
                self._store.submit(lambda session: _remove(session, bounds)).result()
            self._position += self._window
        elif self._is_sqlite and self._store.submit(self._merged).result():
            self._is_merging = True
        else:
            if not self._is_sqlite:
                self._vacuum()
            self._store.submit(lambda session: _done(session, mark)).result()
            _log.info("words of what was erased are gone")
        return True

    def _merged(self, session: WriteSession) -> bool:
        """Whether there may be more to merge. The first merge, negative, takes all segments together."""
        connection = session.connection
        if stand_of(connection) is None:
            return False
        raw = connection.connection.driver_connection
        if raw is None:
            return False
        before = raw.total_changes
        pages = self._pages if self._is_merging else -self._pages
        command = "INSERT INTO text_index (text_index, rank) VALUES ('merge', :pages)"
        connection.execute(text(command), {"pages": pages})
        return bool(raw.total_changes - before >= 2)

    def _vacuum(self) -> None:
        with self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM text_index")


def _mark_of(connection: Connection) -> str:
    query = text("SELECT value FROM store_meta WHERE name = :name")
    return str(connection.execute(query, {"name": MARK}).scalar() or "")


def _remove(session: WriteSession, bounds: dict[str, int]) -> None:
    """In the writer's transaction; none of those has words by any right."""
    if stand_of(session.connection) is not None:
        session.connection.execute(text(f"DELETE FROM text_index WHERE rowid IN ({_SEALED})"), bounds)  # noqa: S608


def _done(session: WriteSession, mark: str) -> None:
    if _mark_of(session.connection) == mark:
        session.connection.execute(text("DELETE FROM store_meta WHERE name = :name"), {"name": MARK})
