"""The durable part of subscriptions: how far each has come, whose it is, which events it was told of.

R4 subscription.html; docs/subscriptions.md. The versions in the order of their ledger leaves are the queue: a
subscription keeps the leaf that it has come to, so a change needs no write of its own. ``epoch`` is the lease:
who delivers takes it by raising it, and whatever is written for an older one is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Column, Engine, Index, LargeBinary, Table, func, select
from sqlmodel import Field, SQLModel

from hdg.errors import Conflict
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.schema import _code_point_text, _int64, _text
from hdg.management.store.session import WriteSession

__all__ = [
    "Event",
    "Row",
    "SubscriptionEventRow",
    "SubscriptionRow",
    "add_event",
    "advance",
    "change_status",
    "check_epoch",
    "claim",
    "event_at",
    "event_count",
    "events",
    "forget",
    "head",
    "one",
    "retry_later",
    "rewind",
    "rows",
    "save",
    "types_between",
]

KEEP_EVENTS = 1_000
"""How many events of a subscription can be asked for again."""


class SubscriptionRow(SQLModel, table=True):
    """One row per Subscription that was written through the gate.

    ``version``: the current version of the resource, ``written``: the newest one that a client wrote.
    ``status``: requested, active, error, off. ``done_leaf``: the ledger leaf up to which all is delivered or
    was none of its business. ``failures``: attempts in a row; ``next_us``: no attempt before. ``sealed``
    (under ``owner_code``): whose it is, and a digest of what that principal asked for.
    """

    __tablename__ = "subscription"
    id: str = Field(sa_column=_text(primary=True))
    version: int
    written: int
    status: str = Field(sa_column=_text())
    channel: str = Field(sa_column=_text())
    done_leaf: int = Field(sa_column=_int64())
    failures: int
    next_us: int = Field(sa_column=_int64())
    epoch: int = Field(sa_column=_int64())
    owner_code: str = Field(sa_column=Column(_code_point_text(), nullable=False))
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class SubscriptionEventRow(SQLModel, table=True):
    """One row per event that a subscriber was told of; ``number`` counts them without a gap."""

    __tablename__ = "subscription_event"
    __table_args__ = (Index("ix_subscription_event_leaf", "subscription", "leaf_index", unique=True),)
    subscription: str = Field(sa_column=_text(primary=True))
    number: int = Field(sa_column=_int64(primary=True))
    leaf_index: int = Field(sa_column=_int64())
    at_us: int = Field(sa_column=_int64())
    type: str = Field(sa_column=_text())
    resource: str = Field(sa_column=_text())
    version: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of SubscriptionRow."""

    id: str
    version: int
    written: int
    status: str
    channel: str
    done_leaf: int
    failures: int
    next_us: int
    epoch: int
    owner_code: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """A row of SubscriptionEventRow: ``type``/``resource`` (its id) in ``version``, committed at ``at_us``."""

    subscription: str
    number: int
    leaf_index: int
    at_us: int
    type: str
    resource: str
    version: int


_ROWS: Table = table_of(SubscriptionRow)
_EVENTS: Table = table_of(SubscriptionEventRow)
_VERSION = table_of(schema.Version)

_SAVE = (
    "INSERT INTO subscription (id, version, written, status, channel, done_leaf, failures, next_us, epoch, "
    "owner_code, sealed) VALUES (?, ?, ?, ?, ?, ?, 0, 0, 1, ?, ?) ON CONFLICT (id) DO UPDATE SET "
    "version = excluded.version, written = excluded.written, status = excluded.status, "
    "channel = excluded.channel, failures = 0, next_us = 0, epoch = subscription.epoch + 1, "
    "done_leaf = CASE WHEN subscription.status = 'off' THEN excluded.done_leaf ELSE subscription.done_leaf END, "
    "owner_code = excluded.owner_code, sealed = excluded.sealed"
)
_CLAIM = "UPDATE subscription SET epoch = ?, failures = ?, next_us = ? WHERE id = ? AND epoch = ?"
_ADVANCE = (
    "UPDATE subscription SET done_leaf = ?, failures = 0, next_us = 0 "
    "WHERE id = ? AND epoch = ? AND done_leaf <= ?"
)
_REWIND = (
    "UPDATE subscription SET done_leaf = ?, failures = 0, next_us = 0, epoch = epoch + 1 "
    "WHERE id = ? AND epoch = ?"
)
_RETRY = "UPDATE subscription SET failures = ?, next_us = ? WHERE id = ? AND epoch = ?"
_STATUS = (
    "UPDATE subscription SET status = ?, version = ?, failures = 0, next_us = 0 WHERE id = ? AND epoch = ?"
)
_EVENT = (
    "INSERT INTO subscription_event (subscription, number, leaf_index, at_us, type, resource, version) "
    "SELECT id, (SELECT coalesce(max(number), 0) + 1 FROM subscription_event WHERE subscription = ?), "
    "?, ?, ?, ?, ? FROM subscription WHERE id = ? AND epoch = ? AND NOT EXISTS "
    "(SELECT 1 FROM subscription_event WHERE subscription = ? AND leaf_index = ?)"
)
_PRUNE = (
    "DELETE FROM subscription_event WHERE subscription = ? AND number <= "
    "(SELECT max(number) FROM subscription_event WHERE subscription = ?) - ?"
)


def save(
    session: WriteSession,
    id_: str,
    *,
    version: int,
    status: str,
    channel: str,
    owner_code: str,
    sealed: bytes,
) -> None:
    """What a client has written, in the transaction that stores it.

    A new one hears of what is committed from now on; one that was not off goes on where it was.
    """
    newest = session.connection.execute(select(func.max(_VERSION.c.leaf_index))).scalar()
    start = -1 if newest is None else newest
    session.change_later(_SAVE, (id_, version, version, status, channel, start, owner_code, sealed))


def forget(session: WriteSession, id_: str) -> None:
    """The Subscription is deleted."""
    session.change_later("DELETE FROM subscription WHERE id = ?", (id_,))
    session.change_later("DELETE FROM subscription_event WHERE subscription = ?", (id_,))


def rows(engine: Engine) -> list[Row]:
    """All of them."""
    with engine.connect() as connection:
        return [Row(**row._mapping) for row in connection.execute(select(_ROWS).order_by(_ROWS.c.id))]


def one(engine: Engine, id_: str) -> Row | None:
    """One, None when there is none of that id."""
    with engine.connect() as connection:
        found = connection.execute(select(_ROWS).where(_ROWS.c.id == id_)).first()
    return None if found is None else Row(**found._mapping)


def head(engine: Engine) -> int:
    """The leaf of the newest version, -1 when there is none."""
    with engine.connect() as connection:
        newest = connection.execute(select(func.max(_VERSION.c.leaf_index))).scalar()
    return -1 if newest is None else int(newest)


def types_between(engine: Engine, after: int, until: int) -> set[str]:
    """The types of the versions with a leaf in (``after``, ``until``]."""
    among = (_VERSION.c.leaf_index > after) & (_VERSION.c.leaf_index <= until)
    with engine.connect() as connection:
        return set(connection.scalars(select(_VERSION.c.type).where(among).distinct()))


def check_epoch(session: WriteSession, row: Row) -> None:
    """Raises Conflict unless the lease is still the row's: another has taken over, or a client has written."""
    query = select(_ROWS.c.epoch).where(_ROWS.c.id == row.id)
    if session.connection.execute(query).scalar() != row.epoch:
        raise Conflict("the subscription has changed meanwhile")


def claim(session: WriteSession, row: Row, *, is_fresh: bool = False) -> None:
    """Takes the lease: whoever holds ``row`` may deliver no more. Raises Conflict.

    ``is_fresh``: there is a new way to the subscriber, so earlier failures count no more.
    """
    check_epoch(session, row)
    failures, next_us = (0, 0) if is_fresh else (row.failures, row.next_us)
    session.change_later(_CLAIM, (row.epoch + 1, failures, next_us, row.id, row.epoch))


def advance(session: WriteSession, row: Row, leaf: int) -> None:
    """Everything up to ``leaf`` is done."""
    session.change_later(_ADVANCE, (leaf, row.id, row.epoch, leaf))


def rewind(session: WriteSession, row: Row, leaf: int) -> None:
    """Everything behind ``leaf`` is to be told again, under the numbers that it has. Raises Conflict.

    The lease is taken from whoever delivers just now: what it had found is not what comes next.
    """
    check_epoch(session, row)
    session.change_later(_REWIND, (leaf, row.id, row.epoch))


def retry_later(session: WriteSession, row: Row, failures: int, next_us: int) -> None:
    """An attempt has failed."""
    session.change_later(_RETRY, (failures, next_us, row.id, row.epoch))


def change_status(session: WriteSession, row: Row, status: str, error: str = "") -> None:
    """The server's own word: a version of the resource with that status, and the row. Raises Conflict."""
    check_epoch(session, row)
    content = session.current("Subscription", row.id)
    if content is None or session.version("Subscription", row.id) != row.version:
        raise Conflict("the subscription has changed meanwhile")
    content["status"] = status
    content.pop("error", None)
    content.pop("_error", None)
    if error:
        content["error"] = error
    put = session.amend(content)
    session.change_later(_STATUS, (status, put.version, row.id, row.epoch))


def add_event(
    session: WriteSession, row: Row, *, leaf: int, at_us: int, type_: str, resource: str, version: int
) -> None:
    """An event that the subscriber is about to be told of: numbered, unless it was numbered before."""
    values = (row.id, leaf, at_us, type_, resource, version, row.id, row.epoch, row.id, leaf)
    session.change_later(_EVENT, values)
    session.change_later(_PRUNE, (row.id, row.id, KEEP_EVENTS))


def events(
    engine: Engine, id_: str, *, since: int = 1, until: int | None = None, most: int = 100
) -> list[Event]:
    """Events by their numbers, both inclusive, the oldest first."""
    query = select(_EVENTS).where(_EVENTS.c.subscription == id_, _EVENTS.c.number >= since)
    if until is not None:
        query = query.where(_EVENTS.c.number <= until)
    with engine.connect() as connection:
        found: Sequence[object] = connection.execute(query.order_by(_EVENTS.c.number).limit(most)).all()
    return [Event(*row) for row in found]  # type: ignore[misc]  # a row's columns are the fields in order


def event_at(engine: Engine, id_: str, leaf: int) -> Event | None:
    """The event of that version, None when it has no number."""
    query = select(_EVENTS).where(_EVENTS.c.subscription == id_, _EVENTS.c.leaf_index == leaf)
    with engine.connect() as connection:
        found = connection.execute(query).first()
    return None if found is None else Event(*found)


def event_count(engine: Engine, id_: str) -> int:
    """How many events the subscriber was told of."""
    query = select(func.max(_EVENTS.c.number)).where(_EVENTS.c.subscription == id_)
    with engine.connect() as connection:
        return int(connection.execute(query).scalar() or 0)
