"""Holds the index of words to the bodies while the gateway runs, and puts right what differs.

DESIGN §6. A window at a time is read as one state of the database: current bodies, and the rows that they have. What
differs is written anew, in transactions in which every resource must still be at the version that was read; one that
is not has been taken in by the write that changed it. Words of what no key opens any more are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, select

from hdg.errors import VaultError
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.engine import Statements
from hdg.management.store.envelope import parse
from hdg.management.store.session import WriteSession
from hdg.management.store.text_erase import sealed
from hdg.management.store.text_state import is_complete, stand_of
from hdg.management.store.texts import TEXT_INDEX, Row, Texts
from hdg.management.store.values import Hash
from hdg.management.store.versions import StoredVersion, current_versions
from hdg.management.store.writer import Store

__all__ = ["put_right"]

WINDOW = 500
_RESOURCE = table_of(schema.Resource)
_UNLIKE = (
    "SELECT made.rkey FROM unnest(%s::bigint[], %s::text[]) AS made (rkey, words) "
    "LEFT JOIN text_index t ON t.rowid = made.rkey WHERE t.rowid IS NULL OR t.words <> CAST(made.words AS tsvector)"
)


def put_right(store: Store, hash_: Hash, *, window: int = WINDOW) -> int:
    """How many rows were not what the bodies give, and are now. 0 where the index is not on or not complete.

    Raises NotCommitted.
    """
    is_postgresql = store.engine.dialect.name == "postgresql"
    texts = Texts(hash_, is_postgresql=is_postgresql, is_full=False)
    count = position = 0
    while True:
        with store.engine.connect() as connection:
            if not is_complete(stand_of(connection)):
                return count
            terms = [_RESOURCE.c.rkey > position, _RESOURCE.c.deleted.is_(False)]
            versions = current_versions(connection, terms, window)
            is_last = len(versions) < window
            among = [TEXT_INDEX.c.rkey > position]
            if not is_last:
                among.append(TEXT_INDEX.c.rkey <= versions[-1].rkey)
            made = _made(store, texts, versions)
            wrong = _wrong(connection, made, among)
            known = {version.rkey: version.version for version in versions}
        if wrong:
            store.submit(partial(_write, texts=texts, wrong=wrong, made=made, known=known)).result()
            count += len(wrong)
        if is_last:
            return count
        position = versions[-1].rkey


def _made(store: Store, texts: Texts, versions: Sequence[StoredVersion]) -> dict[int, Row]:
    """By rkey."""
    found: dict[int, Row] = {}
    for version in versions:
        try:
            row = texts.row(version.rkey, parse(store.reader.body(version)))
        except VaultError:
            continue
        if row is not None:
            found[version.rkey] = row
    return found


def _wrong(connection: Connection, made: dict[int, Row], among: Sequence[ColumnElement[bool]]) -> list[int]:
    """The resources whose rows are missing, others, or without a reason."""
    rkey = TEXT_INDEX.c.rkey
    if connection.dialect.name == "postgresql":
        there = set(connection.execute(select(rkey).where(*among)).scalars())
        rows: Any = connection.exec_driver_sql(_UNLIKE, (list(made), [row[1] for row in made.values()]))
        return sorted({row[0] for row in rows} | there.difference(made))
    columns = TEXT_INDEX.c
    query = select(rkey, columns.narrative, columns.rest).where(*among)
    found = {row[0]: tuple(row) for row in connection.execute(query)}
    return sorted(number for number in found.keys() | made.keys() if found.get(number) != made.get(number))


def _write(
    session: WriteSession, texts: Texts, wrong: Sequence[int], made: dict[int, Row], known: dict[int, int]
) -> None:
    """In the writer's transaction, before what others of the group have buffered is written."""
    connection = session.connection
    if not is_complete(stand_of(connection)):
        return
    columns = _RESOURCE.c
    query = select(columns.rkey, columns.version, columns.deleted).where(columns.rkey.in_(wrong))
    now = {row[0]: row[1] for row in connection.execute(query) if not row[2]}
    same = [number for number in wrong if now.get(number) == known.get(number)]
    connection.execute(delete(TEXT_INDEX).where(TEXT_INDEX.c.rkey.in_(same)))
    cursor = connection.connection.cursor()
    closed = sealed(connection, min(wrong) - 1, max(wrong))  # erased meanwhile
    new = [made[number] for number in same if number in made and number not in closed]
    texts.replace(cursor, Statements(connection.dialect), [], new)
    cursor.close()
