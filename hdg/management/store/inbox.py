"""The inbox seen from behind: what was received, what is in quarantine, and what messages keep losing.

Reading for operators and replays, through the read engine; the two writes go through a WriteSession.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, select

from hdg.errors import NotFound
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.session import WriteSession

__all__ = ["Entry", "WorkItem", "close_item", "entries", "entry", "mark", "note_loss", "work_items"]

_INBOX = table_of(schema.Inbox)
_WORK = table_of(schema.WorkItem)
_PAGE = 500
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_TEXT_MAX = 300
_MARK = "UPDATE inbox SET status = ? WHERE ikey = ?"
_CLOSE = "UPDATE work_item SET status = ? WHERE id = ?"
_NOTE = (
    "INSERT INTO work_item (id, status, kind, sender, message_type, place, text, count, first_us, last_us, "
    "message) VALUES (?, 'open', ?, ?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
    "count = work_item.count + 1, last_us = excluded.last_us, message = excluded.message, "
    "status = CASE WHEN work_item.status = 'ignored' THEN 'ignored' ELSE 'open' END"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the inbox (schema.Inbox)."""

    ikey: int
    sender: str
    control_id: str
    sha256: str
    status: str
    received_us: int
    blob: str
    ack: bytes = field(repr=False)
    reason: str
    place: str
    origin: str


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A row of work_item (schema.WorkItem)."""

    id: str
    status: str
    kind: str
    sender: str
    message_type: str
    place: str
    text: str
    count: int
    first_us: int
    last_us: int
    message: int


def entries(
    engine: Engine, *, status: str, since_us: int = 0, until_us: int | None = None, sender: str = ""
) -> Iterator[Entry]:
    """Messages of a status in the order received, read page by page."""
    after = 0
    while True:
        query = select(_INBOX).where(_INBOX.c.status == status, _INBOX.c.ikey > after)
        query = query.where(_INBOX.c.received_us >= since_us)
        if until_us is not None:
            query = query.where(_INBOX.c.received_us < until_us)
        if sender:
            query = query.where(_INBOX.c.sender == sender)
        with engine.connect() as connection:
            rows = connection.execute(query.order_by(_INBOX.c.ikey).limit(_PAGE)).all()
        for row in rows:
            yield _entry(row)
        if len(rows) < _PAGE:
            return
        after = rows[-1].ikey


def entry(engine: Engine, ikey: int) -> Entry:
    """One message. Raises NotFound."""
    if not 0 < ikey < schema.KEY_END:
        raise NotFound(f"there is no message {ikey}")
    with engine.connect() as connection:
        row = connection.execute(select(_INBOX).where(_INBOX.c.ikey == ikey)).first()
    if row is None:
        raise NotFound(f"there is no message {ikey}")
    return _entry(row)


def mark(session: WriteSession, ikey: int, status: str) -> None:
    """A message's new status."""
    session.change_later(_MARK, (status, ikey))


def note_loss(
    session: WriteSession, kind: str, sender: str, message_type: str, place: str, text: str, *, ikey: int
) -> None:
    """Opens a work item, or counts one more message for it. ``ikey``: the message."""
    given = (kind, sender, message_type, place, text[:_TEXT_MAX])
    facts = [
        each if each.isprintable() else _UNPRINTABLE.sub("?", each) for each in given
    ]  # shown at terminals
    key = hashlib.sha256("\0".join(facts).encode("utf-8", "replace")).hexdigest()[:12]
    session.change_later(_NOTE, (key, *facts, session.at_us, session.at_us, ikey))


def work_items(engine: Engine, *, status: str | None = "open") -> list[WorkItem]:
    """Work items, those that concern most messages first; ``status`` None: all."""
    query = select(_WORK).order_by(_WORK.c.count.desc(), _WORK.c.id)
    if status is not None:
        query = query.where(_WORK.c.status == status)
    with engine.connect() as connection:
        return [WorkItem(**row._mapping) for row in connection.execute(query)]


def close_item(session: WriteSession, item: str, *, is_ignored: bool) -> None:
    """Closes a work item until the next such loss, or for good."""
    session.change_later(_CLOSE, ("ignored" if is_ignored else "closed", item))


def _entry(row: Any) -> Entry:
    values = dict(row._mapping)
    values["ack"] = bytes(values["ack"])
    return Entry(**values)
