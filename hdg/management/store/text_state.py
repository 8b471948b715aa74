"""Whether there is an index of words, and how much of it: a fact in the database, which every process goes by.

docs/fhir-api.md, "Words". It travels with the search parameters beside R4's own (custom_register.py), whose version
every writing transaction looks at: so from the commit on that turns it on, whatever is written is in it.
"""

from __future__ import annotations

import orjson
from sqlalchemy import Connection, Table, delete, insert, select
from sqlalchemy.exc import ProgrammingError

from hdg.errors import BadRequest
from hdg.management.store import schema
from hdg.management.store.custom import TextStand
from hdg.management.store.text_words import TEXT_VERSION

__all__ = ["hold", "is_complete", "set_stand", "stand_of"]

_META: Table = schema.StoreMeta.__table__  # type: ignore[attr-defined]  # SQLModel hides it; batch.table_of would be a circle
_NAME = "text_index"
_TOLD = select(_META.c.value).where(_META.c.name == _NAME)


def stand_of(connection: Connection) -> TextStand | None:
    """How far it has come; None: there is none."""
    told = connection.execute(_TOLD).scalar()
    return TextStand(**orjson.loads(told)) if told else None


def set_stand(connection: Connection, stand: TextStand | None) -> None:
    """Says so, in the only writing transaction. The caller raises the version of custom_register where it matters."""
    connection.execute(delete(_META).where(_META.c.name == _NAME))
    if stand is not None:
        connection.execute(insert(_META).values(name=_NAME, value=orjson.dumps(stand).decode()))


def is_complete(stand: TextStand | None) -> bool:
    """Whether it can be searched: everything is in it, by the rules of this release."""
    return stand is not None and stand.is_full and stand.version == TEXT_VERSION


def hold(connection: Connection) -> None:
    """Keeps the index until the transaction ends, before anything else is read. Raises BadRequest: it is not complete.

    SQLite's snapshot keeps it anyway. PostgreSQL's snapshots do not keep a table that goes, so the table is locked
    before the snapshot is taken (https://www.postgresql.org/docs/current/sql-lock.html).
    """
    changed = BadRequest("the index of words has changed just now; ask again", code="not-supported")
    try:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("LOCK TABLE text_index IN ACCESS SHARE MODE")
    except ProgrammingError:
        raise changed from None
    if not is_complete(stand_of(connection)):
        raise changed
