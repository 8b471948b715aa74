"""What the works of a group are going to look up, asked of the database at once.

DESIGN §9. Each of them would wait for an answer of its own, and on PostgreSQL waiting is most of what a small work
takes. Nothing depends on it: what was not told beforehand is asked when it is needed. The answers hold for the group,
since only its own works write meanwhile and SQL sees none of that before the group is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from hdg.management.store.engine import pipelined
from hdg.management.store.prepared import Prepared

__all__ = ["MESSAGES", "Answers", "Expected", "Planned"]

T = TypeVar("T")
Work = Callable[[Any], T]
Key = tuple[str, str]

MESSAGES = (
    "SELECT ikey, sender, control_id, sha256, status, received_us, blob, ack, reason, place "
    "FROM inbox WHERE sender = ? AND control_id = ?"
)
_ALL_MESSAGES = MESSAGES.replace(
    "WHERE sender = ? AND control_id = ?",
    "JOIN unnest(%s::text[], %s::text[]) AS asked (s, c) ON sender = asked.s AND control_id = asked.c",
)


@dataclass(frozen=True, slots=True)
class Expected:
    """``keys``: resources; ``messages``: of the inbox (sender, control id), as they are stored there; ``places``:
    (query, type, id); ``owners``: (kind, owner) whose keys are used.
    """

    keys: Collection[Key] = ()
    messages: Collection[Key] = ()
    places: Collection[tuple[Prepared, str, str]] = ()
    owners: Collection[Key] = ()


@dataclass(frozen=True, slots=True)
class Planned(Generic[T]):
    """A work that tells beforehand what it will look up."""

    work: Work[T]
    expected: Expected

    def __call__(self, session: Any) -> T:
        """Runs it."""
        return self.work(session)


@dataclass(slots=True)
class Answers:
    """Answers: all rows of a message, the row of a place, of an owner's keys (None: there is none)."""

    messages: dict[Key, list[Any]] = field(default_factory=dict)
    places: dict[tuple[Prepared, str, str], Any] = field(default_factory=dict)
    owners: dict[Key, Any] = field(default_factory=dict)

    def ask(
        self,
        connection: Connection,
        some: Sequence[Expected],
        resources: Callable[[Callable[[], Any], Iterable[Key]], Callable[[], None]],
    ) -> None:
        """Asks all of it on PostgreSQL, where it is one wait. ``resources``: asks for resources; what it returns takes
        the answer in.
        """
        messages = list(dict.fromkeys(key for one in some for key in one.messages))
        places = list(dict.fromkeys(place for one in some for place in one.places))
        found: list[tuple[tuple[Prepared, str, str], Any]] = []
        raw = connection.connection
        with pipelined(connection):
            take = resources(raw.cursor, [key for one in some for key in one.keys])
            inbox = raw.cursor()
            if messages:
                inbox.execute(_ALL_MESSAGES, ([key[0] for key in messages], [key[1] for key in messages]))
            for place in places:
                prepared, type_, id_ = place
                cursor = raw.cursor()
                cursor.execute(prepared.sql, prepared.values(type_, id_))
                found.append((place, cursor))
        take()
        if messages:
            rows: defaultdict[Key, list[Any]] = defaultdict(list)
            for row in inbox.fetchall():
                rows[row[1], row[2]].append(row)
            self.messages.update({key: rows[key] for key in messages})
        for place, cursor in found:
            self.places[place] = cursor.fetchone()
