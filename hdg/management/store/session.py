"""One unit of work's view of the store: reads see what the group has written so far; writes are buffered.

DESIGN §3 (partial statements), §6. A session lives on the writer's thread only, for the time of one work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table

from hdg.management.ledger.leaf import Leaf

__all__ = ["InboxRow", "Put", "WriteSession"]

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Put:
    """What a write came to. ``is_changed`` False: the content was there already and no version was made."""

    type: str
    id: str
    version: int
    is_created: bool
    is_changed: bool


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A message the inbox holds (see schema.Inbox)."""

    sender: str
    control_id: str
    sha256: str
    status: str
    received_us: int
    blob: str
    ack: bytes
    reason: str
    place: str


class WriteSession:
    """Handed to every work. A work may be run a second time if the database refuses its group: no outside effects."""

    at_us: int
    """The group's time: ``meta.lastUpdated`` of everything it writes."""

    @property
    def connection(self) -> Connection:
        """The transaction's connection, for reads; rows that are still buffered do not show there."""
        raise NotImplementedError

    def prefetch(self, keys: Iterable[tuple[str, str]]) -> None:
        """Looks up (type, id) pairs at once, so that ``current`` and writes need no query each."""
        raise NotImplementedError

    def current(self, type_: str, id_: str) -> JsonObject | None:
        """The current content, meta included; None when absent or deleted. A fresh dict: callers may change it."""
        raise NotImplementedError

    def version(self, type_: str, id_: str) -> int | None:
        """The current version number, also of a deletion; None when it never existed."""
        raise NotImplementedError

    def put(
        self, resource: JsonObject, *, institution: str, patient: str | None = None, sender: str = ""
    ) -> Put:
        """Stores ``resource`` (with ``id``) as a whole. ``patient``: id of the patient it is about."""
        raise NotImplementedError

    def statement(
        self,
        resource: JsonObject,
        deletions: Iterable[str] = (),
        *,
        sender: str,
        institution: str,
        patient: str | None = None,
    ) -> Put:
        """Merges a partial statement (merge.py) into the current version. ``deletions``: top-level element names."""
        raise NotImplementedError

    def delete(self, type_: str, id_: str, *, institution: str) -> Put:
        """A deletion version. Raises NotFound when there is nothing to delete."""
        raise NotImplementedError

    def patient_code(self, patient: str) -> str:
        """The random code that the ledger knows this patient by; makes the patient's keys when new."""
        raise NotImplementedError

    def institution_code(self, institution: str) -> str:
        """The same for what an institution stores that belongs to no patient."""
        raise NotImplementedError

    def leaf(self, leaf: Leaf) -> None:
        """One more ledger leaf (access, consent, …); resource versions get theirs by themselves."""
        raise NotImplementedError

    def blob_put(self, data: bytes, *, patient: str | None, institution: str) -> str:
        """Seals ``data`` under the owner's key and keeps it; the CID of the ciphertext."""
        raise NotImplementedError

    def inbox_find(self, sender: str, control_id: str, sha256: str | None = None) -> InboxRow | None:
        """The message with that MSH-10 (and digest, when given): the accepted one if any, else the newest."""
        raise NotImplementedError

    def inbox_add(self, row: InboxRow) -> None:
        """Records a message."""
        raise NotImplementedError

    def seal(
        self, data: bytes, *, patient: str | None, institution: str, binding: str
    ) -> tuple[str, bytes, bytes]:
        """(owner code, salt, sealed bytes) for rows that other modules keep (audit). ``binding``: authenticated data."""
        raise NotImplementedError

    def execute_later(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Inserts ``rows`` (all with the same columns) at the end of the group, in this transaction."""
        raise NotImplementedError
