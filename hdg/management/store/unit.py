"""What every unit of work can do besides writing resources: owners' keys, blobs, inbox rows, ledger leaves.

DESIGN §6. ``session.WriteSession`` adds the resources. It lives on the writer's thread, for one group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Table

from hdg.errors import VaultError
from hdg.fhir.times import instant
from hdg.management import vault, vault_stream
from hdg.management.ledger.leaf import Leaf
from hdg.management.store import owners
from hdg.management.store.ahead import MESSAGES, Answers
from hdg.management.store.batch import Batch
from hdg.management.store.custom import CustomSet, Rows
from hdg.management.store.envelope import SALT_BYTES, owned, unpack
from hdg.management.store.prepared import Prepared
from hdg.management.store.shared import Shared

__all__ = ["InboxRow", "Unit", "inbox_key", "newest"]

_UNOWNED = owned({})
_KEY_MAX = 200
"""Longest text that lies in an index as it is; longer sender names and control ids are kept by digest."""


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A message the inbox holds (see schema.Inbox). ``sha256`` in hex; ``blob`` the CID of its raw bytes."""

    sender: str
    control_id: str
    sha256: str
    status: str
    received_us: int
    blob: str
    ack: bytes = field(repr=False)
    reason: str = ""
    place: str = ""
    origin: str = ""


class Unit:
    """Rows that are buffered until the group is written. Made by the writer only."""

    def __init__(self, shared: Shared, connection: Connection, at_us: int, floor_us: int = 0) -> None:
        self.at_us = at_us
        """The work's time: ``meta.lastUpdated`` of everything it writes; each of a group has its own."""
        self.floor_us = floor_us
        """See ``in_order``."""
        self.batch = Batch()
        self.ahead = Answers()
        """What was looked up for the whole group."""
        self.enter: Callable[[], None] | None = None
        """Begins the transaction (groups.py); None: it has begun."""
        self._shared = shared
        self._connection = connection
        self._own_cursor = connection.connection.cursor()
        self._sql = shared.statements.of
        self._next: dict[str, int] = {}
        self._instant = instant(at_us)

    def next_work(self) -> None:
        """The next work of the group begins, a microsecond later: what it writes is newer."""
        self.at_us += 1
        self._instant = instant(self.at_us)

    @property
    def connection(self) -> Connection:
        """The transaction's connection, for reads; rows that are still buffered do not show there."""
        if self.enter is not None:
            self.enter()
        return self._connection

    @property
    def _cursor(self) -> Any:
        if self.enter is not None:
            self.enter()
        return self._own_cursor

    @property
    def custom(self) -> CustomSet:
        """Search parameters that are not R4's own, as they are in use in this transaction."""
        return self._shared.custom

    @property
    def custom_rows(self) -> Rows | None:
        """Makes the rows of those; None: there are none."""
        return self._shared.custom_rows

    def in_order(self, received_us: int) -> int:
        """When a message counts as received: then, but after all that other processes stored before it.

        Their clock may be ahead. A sender that had their acknowledgement before it sent this one must not
        find that this one is taken for the older of the two (stale.py).
        """
        if received_us > self.floor_us:
            return received_us
        self.floor_us += 1
        return self.floor_us

    def forget(self) -> None:
        """What is remembered of compartments and contents is read anew from now on."""
        self._shared.forget()

    def _row(self) -> Any:
        return self._cursor.fetchone()

    def _take(self, table: str, column: str) -> int:
        """The next surrogate key; the group holds the only writing transaction, so the maximum is final."""
        if table not in self._next:
            self._cursor.execute(newest(table, column))
            self._next[table] = self._row()[0]
        self._next[table] += 1
        return self._next[table]

    def fetch(self, sql: str, row: tuple[Any, ...]) -> Any:
        """The first row of a query (our own, with ``?``), None when there is none; what is buffered is not in it."""
        self._cursor.execute(self._sql(sql), row)
        return self._row()

    def fetch_all(self, sql: str, row: tuple[Any, ...]) -> list[Any]:
        """All rows of a query (our own, with ``?``); what is buffered is not in them."""
        self._cursor.execute(self._sql(sql), row)
        return list(self._cursor.fetchall())

    def place(self, prepared: Prepared, type_: str, id_: str) -> Any:
        """The row of a place, as it was looked up for the whole group; asks for it if nobody has."""
        asked = (prepared, type_, id_)
        if asked in self.ahead.places:
            return self.ahead.places[asked]
        self._cursor.execute(prepared.sql, prepared.values(type_, id_))
        return self._row()

    def next_key(self, table: str, column: str) -> int:
        """The next surrogate key of another module's table; both names are the caller's own."""
        return self._take(table, column)

    # --- owners --------------------------------------------------------------------------------------------

    def patient_code(self, patient: str) -> str:
        """The random code that the ledger knows this patient by; makes the patient's keys when new."""
        return self._owner("patient", patient)[0]

    def institution_code(self, institution: str) -> str:
        """The same for what an institution stores that belongs to no patient."""
        return self._owner("institution", institution)[0]

    def _owner(self, kind: str, owner: str) -> tuple[str, AESGCM]:
        key = (kind, owner)
        if key in self.batch.owners:
            return self.batch.owners[key]
        code = self._shared.owners.get(key)
        kek = None if code is None else self._shared.keks.get(code)
        if code is None or kek is None:
            row = self.ahead.owners[key] if key in self.ahead.owners else self._owner_row(key)
            if row is None:
                code, kek = self._new_owner(kind, owner)
            else:
                code, kek = row[0], self._shared.keks.unwrap(*row)
        self.batch.owners[key] = (code, kek)
        return code, kek

    def know_patients(self, patients: Iterable[str]) -> None:
        """Looks up the keys of several patients at once, where nothing is known of them."""
        shared, missing = self._shared, []
        for key in dict.fromkeys([("patient", patient) for patient in patients]):
            if key not in self.batch.owners and key not in self.ahead.owners:
                code = shared.owners.get(key)
                kek = None if code is None else shared.keks.get(code)
                if code is None or kek is None:
                    missing.append(key)
                else:
                    self.batch.owners[key] = (code, kek)
        if len(missing) < 2:
            return
        found = owners.find(self._cursor, missing, is_postgresql=shared.is_postgresql)
        self.ahead.owners.update({key: found.get(key) for key in missing})

    def _owner_row(self, key: tuple[str, str]) -> Any:
        return self.fetch("SELECT code, wrapped_kek FROM owner_key WHERE kind = ? AND owner = ?", key)

    def _new_owner(self, kind: str, owner: str) -> tuple[str, AESGCM]:
        keys = vault.make_owner_keys(self._shared.keks.root, kind, owner)
        self.batch.owner_rows.append(
            (
                kind,
                owner,
                keys.code,
                keys.wrapped_kek,
                keys.public_key,
                keys.wrapped_private_key,
                self.at_us,
                None,
            )
        )
        return keys.code, keys.kek

    def _kek(self, code: str) -> AESGCM:
        kek = self._shared.keks.get(code)
        if kek is not None:
            return kek
        for pending in self.batch.owners.values():
            if pending[0] == code:
                return pending[1]
        self._cursor.execute(self._sql("SELECT wrapped_kek FROM owner_key WHERE code = ?"), (code,))
        row = self._row()
        return self._shared.keks.unwrap(code, None if row is None else row[0])

    def seal(
        self, data: bytes, key: str, *, patient: str | None, institution: str
    ) -> tuple[str, bytes, bytes]:
        """(owner code, salt, sealed bytes) for other modules' rows. ``key`` is bound to the ciphertext.

        The sealed plaintext is an envelope (envelope.py): its salt is what a ledger leaf commits with.
        """
        code, kek = self._owner("patient", patient) if patient else self._owner("institution", institution)
        random = self._shared.random.take
        salt = random(SALT_BYTES)
        return code, salt, vault.seal(kek, salt + _UNOWNED + data, b"row/" + key.encode(), random)

    def seal_together(
        self, data: bytes, key: str, patients: Iterable[str]
    ) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        """(salt, what is shared, (owner code, wrapped key) of each): ``seal`` for several different patients.

        ``vault.joined`` makes of the shared part and a key what ``seal`` would have made.
        """
        found = [self._owner("patient", patient) for patient in patients]
        random = self._shared.random.take
        salt = random(SALT_BYTES)
        plain = salt + _UNOWNED + data
        shared, keys = vault.seal_together([kek for _, kek in found], plain, b"row/" + key.encode(), random)
        return salt, shared, [(code, wrapped) for (code, _), wrapped in zip(found, keys, strict=True)]

    def open_row(self, owner_code: str, sealed: bytes, key: str) -> bytes:
        """The data that ``seal`` sealed. Raises VaultError."""
        return unpack(vault.open_sealed(self._kek(owner_code), sealed, b"row/" + key.encode())).body

    # --- everything else -----------------------------------------------------------------------------------

    def leaf(self, leaf: Leaf | bytes) -> None:
        """One more ledger leaf (access, key, …); resource versions get theirs by themselves.

        As bytes: as ``Leaf.encode`` makes them.
        """
        self.batch.leaves.append(leaf if isinstance(leaf, bytes) else leaf.encode())

    def insert_later(self, table: Table, row: tuple[Any, ...]) -> None:
        """Inserts a row (every column, in the table's order, as the driver takes it) at the end of the group.

        For rows that come in numbers: a tenth of what ``execute_later`` costs.
        """
        self.batch.rows.append((table, row))

    def insert_led(self, rows: Callable[[int], Iterable[tuple[Table, list[tuple[Any, ...]]]]]) -> None:
        """``insert_later`` of rows that name the ledger index of the last leaf so far: made once it is known."""
        self.batch.led.append((len(self.batch.leaves) - 1, rows))

    def execute_later(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Inserts ``rows`` (all with the same columns) at the end of the group, in this transaction."""
        self.batch.later.append((table, rows))

    def blob_put(self, data: bytes, *, patient: str | None, institution: str) -> str:
        """Seals ``data`` under the owner's key and keeps it.

        The CID of the ciphertext (vault.py says why).
        """
        code, kek = self._owner("patient", patient) if patient else self._owner("institution", institution)
        sealed = vault.seal(kek, data, b"blob/" + code.encode(), self._shared.random.take)
        cid = vault.cid_of(sealed)
        is_inline = len(sealed) <= self._shared.inline_blob_bytes
        if not is_inline:
            self._shared.files.put(cid, sealed)
        data_ = sealed if is_inline else None
        self.batch.blobs.append((self._take("blob", "bkey"), cid, code, len(sealed), self.at_us, data_, None))
        return cid

    def blob_adopt(self, stored: vault_stream.Stored, *, patient: str | None, institution: str) -> str:
        """Takes over an object that lies in the vault already, sealed in a stream: its key is wrapped by the owner's.

        Its CID.
        """
        code, kek = self._owner("patient", patient) if patient else self._owner("institution", institution)
        dek = vault_stream.wrap(kek, code, stored)
        self.batch.blobs.append(
            (self._take("blob", "bkey"), stored.cid, code, stored.size, self.at_us, None, dek)
        )
        return stored.cid

    def blob(self, cid: str) -> bytes:
        """What ``blob_put`` kept, also in this group. Raises VaultError when it is missing or cannot be opened."""
        kept = next(((row[2], row[5], row[6]) for row in self.batch.blobs if row[1] == cid), None)
        row = kept or self.fetch("SELECT key_code, data, dek FROM blob WHERE cid = ?", (cid,))
        if row is None or row[2] is not None:
            raise VaultError(f"there is no such vault object of one piece: {cid}")
        code, data, _ = row
        sealed = self._shared.files.get(cid) if data is None else bytes(data)
        return vault.open_sealed(self._kek(code), sealed, b"blob/" + code.encode())

    def inbox_find(self, sender: str, control_id: str, sha256: str | None = None) -> InboxRow | None:
        """The message with that MSH-10 (and digest, when given): the accepted one if any, else the newest."""
        key = inbox_key(sender, control_id)
        stored: Sequence[Any] | None = self.ahead.messages.get(key)
        if stored is None:
            self._cursor.execute(self._sql(MESSAGES), key)
            stored = self._cursor.fetchall()
        rows: list[Any] = [*stored, *(row for row in self.batch.inbox if (row[1], row[2]) == key)]
        rows = [row for row in rows if sha256 is None or row[3] == sha256]
        if not rows:
            return None
        best = max(rows, key=lambda row: (row[4] == "accepted", row[0]))
        digest, status, received_us, blob, ack, reason, place = best[3:10]
        return InboxRow(sender, control_id, digest, status, received_us, blob, bytes(ack), reason, place)

    def inbox_add(self, row: InboxRow) -> int:
        """Records a message; its number (ikey)."""
        ikey = self._take("inbox", "ikey")
        self.batch.inbox.append(
            (
                ikey,
                _key(row.sender),
                _key(row.control_id),
                row.sha256,
                row.status,
                row.received_us,
                row.blob,
                row.ack,
                row.reason,
                row.place,
                row.origin,
            )
        )
        return ikey

    def change_later(self, sql: str, row: tuple[Any, ...]) -> None:
        """Runs ``sql`` (our own, with ``?``) at the end of the group, in this transaction."""
        self.batch.changes.append((sql, row))


def newest(table: str, column: str) -> str:
    """The query for the surrogate key that was given last."""
    return f"SELECT coalesce(max({column}), 0) FROM {table}"  # noqa: S608  # our own names


def inbox_key(sender: str, control_id: str) -> tuple[str, str]:
    """What a message is found by in the inbox."""
    return _key(sender), _key(control_id)


def _key(text: str) -> str:
    """A text as a database key.

    As it is, or its digest when it is too long or holds what a database refuses.
    """
    if len(text) <= _KEY_MAX and text.isprintable():
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
