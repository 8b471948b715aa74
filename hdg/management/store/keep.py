"""What is kept no longer: raw bytes of handled messages, finished outbox rows, closed work items.

Each call is one page of a transaction. A removal leaves a ledger leaf of kind ``policy`` in the same
transaction (``Retention/…``: what, how many, from before when). Never touched: what is in quarantine, the rows
by which a repeat is known (sender, MSH-10, digest, acknowledgement), versions of resources.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import Connection, Select, and_, func, literal_column, or_, select

from hdg.management.ledger.leaf import Leaf
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.session import WriteSession

__all__ = [
    "PAGE",
    "count_messages",
    "count_sent",
    "count_work",
    "drop_messages",
    "drop_sent",
    "drop_work",
    "last_run_us",
    "note_run",
]

PAGE = 500
"""Rows of one transaction: messages that come meanwhile wait no longer than for one group."""
_LAST = "retention_us"

_META = table_of(schema.StoreMeta)
_INBOX = table_of(schema.Inbox)
_BLOB = table_of(schema.Blob)
_OUTBOX = table_of(schema.Outbox)
_WORK = table_of(schema.WorkItem)
_NOTE = (
    "INSERT INTO store_meta (name, value) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_HANDLED = ("accepted", "replayed", "edited")
"""Every status but ``quarantined``."""


def last_run_us(connection: Connection) -> int | None:
    """When rows were looked for last, µs since the epoch."""
    value = connection.execute(select(_META.c.value).where(_META.c.name == _LAST)).scalar()
    return None if value is None else int(value)


def note_run(session: WriteSession, at_us: int) -> None:
    """Notes that rows were looked for."""
    session.change_later(_NOTE, (_LAST, str(at_us)))


def _messages(before_us: int) -> Select[tuple[int, str]]:
    """Messages whose bytes may go: old, handled, and waiting in no outbox. ``blob`` is '' once they have gone."""
    waits = select(_OUTBOX.c.message).where(_OUTBOX.c.status != "done", _OUTBOX.c.message > 0)
    return select(_INBOX.c.ikey, _INBOX.c.blob).where(
        _INBOX.c.received_us < before_us,
        _INBOX.c.blob != literal_column("''"),  # as ix_inbox_kept says it
        _INBOX.c.status.in_(_HANDLED),
        # One that was accepted from quarantine just now was received long ago.
        _INBOX.c.blob.in_(
            select(_BLOB.c.cid).where(_BLOB.c.cid == _INBOX.c.blob, _BLOB.c.created_us < before_us)
        ),
        _INBOX.c.ikey.not_in(waits),
    )


def _sent(before_us: int, declared: Collection[str]) -> Select[tuple[int, str, int]]:
    """Outbox rows that are finished. What a declared destination delivered is its own ``keep_days``' matter."""
    return select(_OUTBOX.c.okey, _OUTBOX.c.blob, _OUTBOX.c.message).where(
        _OUTBOX.c.status.in_(("done", "dropped")),
        _OUTBOX.c.created_us < before_us,
        _OUTBOX.c.changed_us < before_us,
        or_(
            _OUTBOX.c.status == "dropped",
            _OUTBOX.c.message == 0,
            _OUTBOX.c.destination.not_in(sorted(declared)),
        ),
    )


def _work(before_us: int) -> Select[tuple[str]]:
    return select(_WORK.c.id).where(and_(_WORK.c.status == "closed", _WORK.c.last_us < before_us))


def count_messages(connection: Connection, before_us: int) -> int:
    """How many messages' bytes ``drop_messages`` would remove in all."""
    return _count(connection, _messages(before_us))


def count_sent(connection: Connection, before_us: int, declared: Collection[str]) -> int:
    """The same for ``drop_sent``."""
    return _count(connection, _sent(before_us, declared))


def count_work(connection: Connection, before_us: int) -> int:
    """The same for ``drop_work``."""
    return _count(connection, _work(before_us))


def _count(
    connection: Connection, query: Select[tuple[int, str]] | Select[tuple[int, str, int]] | Select[tuple[str]]
) -> int:
    return connection.execute(select(func.count()).select_from(query.subquery())).scalar() or 0


def drop_messages(session: WriteSession, before_us: int, institution: str) -> int:
    """Removes the raw bytes of a page of messages received before then; how many. Files go with the orphans."""
    query = _messages(before_us).order_by(_INBOX.c.received_us, _INBOX.c.ikey).limit(PAGE)
    rows = session.connection.execute(query).all()
    for row in rows:
        session.change_later("UPDATE inbox SET blob = '' WHERE ikey = ?", (row.ikey,))
        session.change_later("DELETE FROM blob WHERE cid = ?", (row.blob,))
    _leaf(session, "messages", len(rows), before_us, institution)
    return len(rows)


def drop_sent(session: WriteSession, before_us: int, declared: Collection[str], institution: str) -> int:
    """Removes a page of finished outbox rows, with the bytes of those that were no received messages."""
    query = _sent(before_us, declared).order_by(_OUTBOX.c.okey).limit(PAGE)
    rows = session.connection.execute(query).all()
    for row in rows:
        session.change_later("DELETE FROM outbox WHERE okey = ?", (row.okey,))
        if not row.message:
            session.change_later("DELETE FROM blob WHERE cid = ?", (row.blob,))
    _leaf(session, "outbox", len(rows), before_us, institution)
    return len(rows)


def drop_work(session: WriteSession, before_us: int, institution: str) -> int:
    """Removes a page of closed work items that nothing was counted for since then; how many."""
    rows = session.connection.execute(_work(before_us).limit(PAGE)).all()
    for row in rows:
        session.change_later("DELETE FROM work_item WHERE id = ?", (row.id,))
    _leaf(session, "work", len(rows), before_us, institution)
    return len(rows)


def _leaf(session: WriteSession, what: str, count: int, before_us: int, institution: str) -> None:
    if count:
        before = f"{datetime.fromtimestamp(before_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        key = f"Retention/{what}={count};before={before}"
        session.leaf(Leaf("policy", "", key, 0, institution, session.at_us, b""))
