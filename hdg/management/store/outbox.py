"""Messages on their way to other systems: one row per message and destination (docs/outbox.md).

A row is made in the transaction that stores its message and changes in one of its own after each attempt. The
rows of a destination go out by ``okey``, which is the order in which their messages were committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from hdg.errors import NotFound
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.session import WriteSession

__all__ = ["STATUSES", "Depth", "Row", "add", "change", "depth", "head", "noted", "one", "prune", "rows"]

STATUSES = ("queued", "refused", "dropped", "done")

_OUTBOX = table_of(schema.Outbox)
_PAGE = 500
_NOTED = (
    "UPDATE outbox SET status = ?, tries = tries + 1, refusals = refusals + ?, changed_us = ?, reason = ? "
    "WHERE okey = ? AND (status = 'queued' OR ? = 'done')"
)
"""What the operator dropped meanwhile stays dropped, unless it was delivered."""
_CHANGE = "UPDATE outbox SET status = ?, refusals = 0, changed_us = ?, reason = ? WHERE okey = ? AND status <> 'done'"
"""What was delivered while the operator looked at it stays delivered."""
_PRUNE = "DELETE FROM outbox WHERE destination = ? AND status = 'done' AND message > 0 AND changed_us < ?"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the outbox (schema.Outbox)."""

    okey: int
    destination: str
    status: str
    blob: str
    message: int
    sender: str
    message_type: str
    control_id: str
    size: int
    created_us: int
    tries: int
    refusals: int
    changed_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages wait or are parked, over all destinations; ``oldest_us``: the oldest waiting one."""

    queued: int
    refused: int
    oldest_us: int | None


def add(
    session: WriteSession,
    destinations: Sequence[str],
    *,
    blob: str,
    size: int,
    sender: str,
    message_type: str,
    control_id: str,
    message: int = 0,
) -> None:
    """Queues a message whose bytes are in the vault for each destination, in this transaction."""
    given = {"sender": sender, "message_type": message_type, "control_id": control_id}
    shown = {name: text if text.isprintable() else "?" for name, text in given.items()}
    counts = {"tries": 0, "refusals": 0, "size": size, "message": message}
    times = {"created_us": session.at_us, "changed_us": session.at_us}
    queued = [
        {"destination": name, "status": "queued", "blob": blob, "reason": "", **shown, **counts, **times}
        for name in destinations
    ]
    session.execute_later(_OUTBOX, queued)


def head(engine: Engine, destination: str) -> Row | None:
    """The message that is next for a destination."""
    lane = (_OUTBOX.c.destination == destination) & (_OUTBOX.c.status == "queued")
    with engine.connect() as connection:
        found = connection.execute(select(_OUTBOX).where(lane).order_by(_OUTBOX.c.okey).limit(1)).first()
    return None if found is None else Row(**found._mapping)


def one(engine: Engine, okey: int) -> Row:
    """One row. Raises NotFound."""
    if not 0 < okey < schema.KEY_END:
        raise NotFound(f"there is no message {okey} in the outbox")
    with engine.connect() as connection:
        found = connection.execute(select(_OUTBOX).where(_OUTBOX.c.okey == okey)).first()
    if found is None:
        raise NotFound(f"there is no message {okey} in the outbox")
    return Row(**found._mapping)


def rows(engine: Engine, statuses: Sequence[str], destination: str = "") -> Iterator[Row]:
    """Rows in their order, read page by page."""
    after = 0
    while True:
        query = select(_OUTBOX).where(_OUTBOX.c.status.in_(statuses), _OUTBOX.c.okey > after)
        if destination:
            query = query.where(_OUTBOX.c.destination == destination)
        with engine.connect() as connection:
            found = connection.execute(query.order_by(_OUTBOX.c.okey).limit(_PAGE)).all()
        yield from (Row(**row._mapping) for row in found)
        if len(found) < _PAGE:
            return
        after = found[-1].okey


def noted(session: WriteSession, okey: int, status: str, reason: str, *, is_refusal: bool = False) -> None:
    """What an attempt came to."""
    session.change_later(_NOTED, (status, int(is_refusal), session.at_us, reason, okey, status))


def change(session: WriteSession, okey: int, status: str, reason: str) -> None:
    """The operator's word: queued again, or dropped."""
    session.change_later(_CHANGE, (status, session.at_us, reason, okey))


def prune(session: WriteSession, destination: str, before_us: int) -> None:
    """Forgets what was delivered before then; the messages themselves stay.

    What was no received message takes its bytes along when it goes: that is keep.py's work.
    """
    session.change_later(_PRUNE, (destination, before_us))


def depth(engine: Engine) -> Depth:
    """Counts and age over all destinations."""
    counted = select(_OUTBOX.c.status, func.count(), func.min(_OUTBOX.c.created_us))
    waiting = counted.where(_OUTBOX.c.status.in_(("queued", "refused"))).group_by(_OUTBOX.c.status)
    with engine.connect() as connection:
        found = {row[0]: (row[1], row[2]) for row in connection.execute(waiting)}
    queued, oldest_us = found.get("queued", (0, None))
    return Depth(queued, found.get("refused", (0, None))[0], oldest_us)
