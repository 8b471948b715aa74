"""One unit of work's view of the store: reads see what the group has written so far; writes are buffered.

DESIGN §3 (partial statements), §6. A session lives on the writer's thread only, for the time of one group.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Table

from hdg.errors import NotFound
from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.json import dumps
from hdg.management import vault
from hdg.management.ledger.leaf import Leaf, commit, encode
from hdg.management.store.batch import Batch, Echo, State
from hdg.management.store.engine import Statements
from hdg.management.store.envelope import SALT_BYTES, binding, owned, pack, unpack
from hdg.management.store.index import Indexer, IndexRows
from hdg.management.store.merge import JsonObject, Parts, merge, without_server_meta
from hdg.management.store.ready import Ready, digest_of
from hdg.management.store.stale import (
    Heard,
    Said,
    Stamp,
    admit,
    is_outdated,
    is_worth_noting,
    said_again,
    said_by,
)

__all__ = ["InboxRow", "Put", "Shared", "WriteSession"]

_KEY_MAX = 200
"""Longest text that lies in an index as it is; longer sender names and control ids are kept by digest."""
_SAID_ONCE = frozenset({"AuditEvent", "MessageHeader", "Provenance"})
"""Types of which every message has new ones: not worth remembering."""
_ECHOES_MAX = 16
_LOOKED_UP = 24
"""Resources that one query looks up."""


_FOUND = (
    "SELECT r.type, r.id, r.rkey, r.version, r.deleted, v.updated_us, v.institution, v.patient_code, v.body "
)
_CURRENT = "JOIN version v ON v.rkey = r.rkey AND v.version = r.version"
_FIND_ANY = (
    f"{_FOUND} FROM unnest(%s::text[], %s::text[]) AS asked (t, i) "
    f"JOIN resource r ON r.type = asked.t AND r.id = asked.i {_CURRENT}"
)
_FIND_EACH = (
    f"WITH asked (t, i) AS (VALUES {', '.join(['(?, ?)'] * _LOOKED_UP)}) "
    f"{_FOUND} FROM asked CROSS JOIN resource r ON r.type = asked.t AND r.id = asked.i {_CURRENT}"
)
_FIND_ONE = f"{_FOUND} FROM resource r {_CURRENT} WHERE r.type = ? AND r.id = ?"


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


@dataclass(slots=True)
class Shared:
    """What outlives a group; owned by the writer's thread (``keks`` is shared with readers)."""

    statements: Statements
    indexer: Indexer
    keks: vault.KekCache
    files: vault.BlobFiles
    inline_blob_bytes: int
    is_postgresql: bool
    states: OrderedDict[tuple[str, str], State] = field(default_factory=OrderedDict)
    owners: OrderedDict[tuple[str, str], str] = field(default_factory=OrderedDict)
    random: vault.Randomness = field(default_factory=vault.Randomness)
    parsed: OrderedDict[tuple[str, str], State] = field(default_factory=OrderedDict)
    """Those of ``states`` that hold more than bytes."""
    held_bytes: int = 0
    """What ``states`` hold, about, without what ``parsed`` counts."""
    state_bytes: int = 32 << 20
    parsed_limit: int = 512
    owner_limit: int = 16_384

    def settle(self, batch: Batch) -> None:
        """Remembers what a group committed; forgets the least recently used."""
        states = self.states
        for key, state in batch.states.items():
            if state is None or state.type in _SAID_ONCE:
                continue
            known = states.get(key)
            if known is not state:
                self.held_bytes += state.settled().weight - (known.weight if known is not None else 0)
                states[key] = state
            states.move_to_end(key)
            if state.is_parsed:
                self._keep_parsed(key, state)
        for key, (code, kek) in batch.owners.items():
            self.owners[key] = code
            self.owners.move_to_end(key)
            self.keks.add(code, kek)
        while self.held_bytes > self.state_bytes and states:
            key, state = states.popitem(last=False)
            self.held_bytes -= state.weight
            self.parsed.pop(key, None)
        while len(self.owners) > self.owner_limit:
            self.owners.popitem(last=False)

    def _keep_parsed(self, key: tuple[str, str], state: State) -> None:
        self.parsed[key] = state
        self.parsed.move_to_end(key)
        if len(self.parsed) > self.parsed_limit:
            self.parsed.popitem(last=False)[1].slim()

    def forget(self) -> None:
        """Another process may have changed what the states say."""
        self.states.clear()
        self.parsed.clear()
        self.held_bytes = 0


class WriteSession:
    """Handed to every work.

    A work may be run a second time if the database refuses its group: no outside effects.
    """

    def __init__(self, shared: Shared, connection: Connection, at_us: int, floor_us: int = 0) -> None:
        self.at_us = at_us
        """The group's time: ``meta.lastUpdated`` of everything it writes."""
        self.floor_us = floor_us
        """See ``in_order``."""
        self.batch = Batch()
        self._shared = shared
        self._connection = connection
        self._cursor = connection.connection.cursor()
        self._sql = shared.statements.of
        self._next: dict[str, int] = {}
        self._whole: tuple[tuple[str, Stamp], Parts, Said, bytes] | None = None
        seconds, micros = divmod(at_us, 1_000_000)
        self._instant = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"

    @property
    def connection(self) -> Connection:
        """The transaction's connection, for reads; rows that are still buffered do not show there."""
        return self._connection

    def in_order(self, received_us: int) -> int:
        """When a message counts as received: then, but after all that other processes stored before it.

        Their clock may be ahead. A sender that had their acknowledgement before it sent this one must not
        find that this one is taken for the older of the two (stale.py).
        """
        if received_us > self.floor_us:
            return received_us
        self.floor_us += 1
        return self.floor_us

    # --- resources -----------------------------------------------------------------------------------------

    def prefetch(self, keys: Iterable[tuple[str, str]]) -> None:
        """Looks up (type, id) pairs at once, so that ``current`` and writes need no query each."""
        states, known = self.batch.states, self._shared.states
        missing: list[tuple[str, str]] = []
        for key in dict.fromkeys(keys):
            if key not in states:
                state = known.get(key)
                if state is None:
                    missing.append(key)
                else:
                    states[key] = state
        if not missing:
            return
        rows: list[Any] = []
        if self._shared.is_postgresql:
            self._cursor.execute(_FIND_ANY, ([key[0] for key in missing], [key[1] for key in missing]))
            rows += self._cursor.fetchall()
        else:
            for at in range(0, len(missing), _LOOKED_UP):
                asked: list[str | None] = [text for key in missing[at : at + _LOOKED_UP] for text in key]
                asked += [None] * (2 * _LOOKED_UP - len(asked))
                self._cursor.execute(_FIND_EACH, asked)
                rows += self._cursor.fetchall()
        states.update(dict.fromkeys(missing))
        for row in rows:
            states[row[0], row[1]] = self._load(*row)

    def current(self, type_: str, id_: str) -> JsonObject | None:
        """The current content, meta included; None when absent or deleted.

        A fresh dict: callers may change it.
        """
        state = self._state((type_, id_))
        return None if state is None or state.deleted else copy.deepcopy(state.content())

    def version(self, type_: str, id_: str) -> int | None:
        """The current version number, also of a deletion; None when it never existed."""
        state = self._state((type_, id_))
        return None if state is None else state.version

    def put(
        self, resource: JsonObject, *, institution: str, patient: str | None = None, sender: str = ""
    ) -> Put:
        """Stores ``resource`` (with ``id``) as a whole. ``patient``: id of the patient it is about.

        ``patient`` puts the resource into that patient's compartment and under that patient's key, beside
        what its own references say; leave it None for what several patients share (Practitioner,
        Organization, Location).
        """
        state = self._state((resource["resourceType"], resource["id"]))
        content = without_server_meta(resource)
        if state is not None and not state.deleted and _is_same(content, state.content()):
            return Put(state.type, state.id, state.version, is_created=False, is_changed=False)
        said = said_by(sender, Stamp(self.at_us, self.at_us))
        return self._put(content, {sender: None}, said, state, institution, patient)

    def statement(
        self,
        resource: JsonObject | Ready,
        deletions: Collection[str] = (),
        *,
        sender: str,
        institution: str,
        patient: str | None = None,
        stamp: Stamp | None = None,
        gaps: Collection[str] = (),
        is_move: bool = False,
    ) -> Put:
        """Merges a partial statement (merge.py) into the current version, as far as it is news (stale.py).

        ``deletions``: top-level element names. ``stamp``: when it was made; None: now. ``gaps``: elements
        whose value only fills a gap. What is stored about another patient takes no part: a result that
        moves to the right patient leaves everything of the wrong one behind, unless the statement says that
        it moves (``is_move``).
        """
        stamp = Stamp(self.at_us, self.at_us) if stamp is None else stamp
        echo: Echo | None = None
        if isinstance(resource, Ready):
            state = self._state((resource.type, resource.id))
            if not deletions:
                if state is None and not gaps:
                    return self._create(resource, sender, stamp, institution, patient)
                echo = (sender, resource.digest, frozenset(gaps))
                if state is not None and self._is_heard(state, echo, stamp, patient):
                    return Put(state.type, state.id, state.version, is_created=False, is_changed=False)
            resource = resource.resource()
        else:
            state = self._state((resource["resourceType"], resource["id"]))
        is_live = state is not None and not state.deleted
        is_other = state is not None and is_live and patient and self.patient_code(patient) != state.code
        is_start = not is_live or (is_other and not is_move)
        if state is not None and is_start and is_outdated(state.said, stamp):
            return Put(state.type, state.id, state.version, is_created=False, is_changed=False)
        if state is None or is_start:
            stored, parts, said = {"resourceType": resource["resourceType"]}, None, []
        else:
            stored, parts, said = state.content(), state.parts, state.said
        news = admit(said, stored, resource, tuple(deletions), sender=sender, stamp=stamp, gaps=gaps)
        if state is None or parts is None:
            merged, parts = merge(None, {}, news.statement, news.deletions, sender=sender)
            return self._put(merged, parts, news.said(merged), state, institution, patient)
        if is_move and is_other and "subject" not in news.statement:
            patient = None  # something newer has said whose it is
        merged, parts = merge(stored, parts, news.statement, news.deletions, sender=sender)
        put = self._put(merged, parts, news.said(merged), state, institution, patient)
        after = self.batch.states[state.type, state.id]
        is_echo = not put.is_changed and after is not None and parts == state.parts
        if is_echo and after is not None and news.statement is resource and not deletions:
            if len(after.echoes) >= _ECHOES_MAX:
                after.echoes.clear()
            echo = echo or (sender, digest_of(resource), frozenset(gaps))
            after.echoes[echo] = Heard.of(resource, stored, gaps)
        return put

    def _is_heard(self, state: State, echo: Echo, stamp: Stamp, patient: str | None) -> bool:
        """Whether the statement changes nothing but, perhaps, when it was made: then that is noted."""
        heard = state.echoes.get(echo)
        if heard is None or state.deleted or (patient and self.patient_code(patient) != state.code):
            return False
        if heard.since <= stamp and stamp.stated_us < heard.until_us:
            return True
        sender, _, gaps = echo
        again = said_again(heard, state.said, state.type, gaps, sender=sender, stamp=stamp)
        if again is None:
            return False
        said, until_us = again
        if stamp.stated_us < until_us and self._is_shared(state, patient):
            state.echoes[echo] = heard._replace(since=stamp, until_us=until_us)
        elif said != state.said:
            self._reseal(state, state.parts, said)
        return True

    def _is_shared(self, state: State, patient: str | None) -> bool:
        """It belongs to no patient (stale.py)."""
        if patient:
            return False
        self._know_patients(state)
        return not state.patients

    def delete(self, type_: str, id_: str, *, institution: str, stamp: Stamp | None = None) -> Put:
        """A deletion version. Raises NotFound when there is nothing to delete.

        With a ``stamp`` it is a sender's statement: it changes nothing when something newer was stated, and
        what is deleted already only learns of the newer time.
        """
        state = self._state((type_, id_))
        if state is None or (state.deleted and stamp is None):
            raise NotFound("there is nothing to delete")
        said = said_by("", Stamp(self.at_us, self.at_us) if stamp is None else stamp)
        is_stale = stamp is not None and is_outdated(state.said, stamp)
        if is_stale or state.deleted:
            if not is_stale:
                self._note(state, state.parts, said, is_shared=False)
            return Put(type_, id_, state.version, is_created=False, is_changed=False)
        self._know_patients(state)
        deletion = replace(
            state,
            version=state.version + 1,
            updated_us=self.at_us,
            institution=institution,
            deleted=True,
            salt=self._shared.random.take(SALT_BYTES),
            body=b"",
            parts={},
            said=said,
            echoes={},
            made=None,
            before=state.base,
            is_stored=False,
            _content=None,
            _rows=IndexRows(),
        )
        self._write(deletion)
        if type_ == "Consent":
            self.batch.consents.append((None, state.rkey))
        return Put(type_, id_, deletion.version, is_created=False, is_changed=True)

    def amend(self, content: JsonObject) -> Put:
        """Stores ``content``, made from ``current``, without it being anybody's statement.

        What was said about it, when and by whom, stays as it is noted, and so does its institution.
        """
        state = self._state((content["resourceType"], content["id"]))
        if state is None or state.deleted:
            raise NotFound("there is nothing to amend")
        content = without_server_meta(content)
        patient = state.id if state.type == "Patient" else None
        return self._put(content, state.parts, state.said, state, state.institution, patient)

    def _put(
        self,
        content: JsonObject,
        parts: Parts,
        said: Said,
        state: State | None,
        institution: str,
        patient: str | None,
    ) -> Put:
        type_, id_ = content["resourceType"], content["id"]
        is_live = state is not None and not state.deleted
        if state is not None and is_live and _is_same(content, state.content()):
            self._note(state, parts, said, is_shared=not patient)
            return Put(type_, id_, state.version, is_created=False, is_changed=False)
        version = 1 if state is None else state.version + 1
        meta = {**(content.get("meta") or {}), "versionId": str(version), "lastUpdated": self._instant}
        body = dumps({"resourceType": type_, "id": id_, "meta": meta, **_without_identity(content)})
        rkey = self._take("resource", "rkey") if state is None else state.rkey
        rows = self._shared.indexer.rows(content, rkey)
        self._write_rows(type_, id_, version, body, rows, parts, said, state, institution, patient, rkey)
        if type_ == "Consent":
            self.batch.consents.append((content, rkey))
        return Put(type_, id_, version, is_created=not is_live, is_changed=True)

    def _create(self, new: Ready, sender: str, stamp: Stamp, institution: str, patient: str | None) -> Put:
        """The first version of what nothing was known about."""
        rkey = self._take("resource", "rkey")
        if self._whole is None or self._whole[0] != (sender, stamp):
            own: Parts = {sender: None}
            whole = said_by(sender, stamp)
            self._whole = ((sender, stamp), own, whole, owned(own, whole))
        _, parts, said, packed = self._whole
        patients = new.patients if not patient or patient in new.patients else new.patients | {patient}
        owner = patient or min(patients, default=None)
        code, kek = self._owner("patient", owner) if owner else self._owner("institution", institution)
        salt = self._shared.random.take(SALT_BYTES)
        state = State(
            new.type,
            new.id,
            rkey,
            1,
            self.at_us,
            institution,
            False,
            code,
            salt,
            new.body(1, self._instant),
            parts,
            patients,
            said=said,
            made=new,
        )
        self._write(state, kek, packed)
        if new.type == "Consent":
            self.batch.consents.append((new.resource(), rkey))
        return Put(new.type, new.id, 1, is_created=True, is_changed=True)

    def _write_rows(
        self,
        type_: str,
        id_: str,
        version: int,
        body: bytes,
        rows: IndexRows,
        parts: Parts,
        said: Said,
        state: State | None,
        institution: str,
        patient: str | None,
        rkey: int,
    ) -> None:
        """A version with its index rows, on top of ``state``."""
        patients = frozenset(rows.patients | {patient} if patient else rows.patients)
        owner = patient or min(patients, default=None)
        code, _ = self._owner("patient", owner) if owner else self._owner("institution", institution)
        if state is not None:
            self._know_patients(state)
        self._write(
            State(
                type=type_,
                id=id_,
                rkey=rkey,
                version=version,
                updated_us=self.at_us,
                institution=institution,
                deleted=False,
                code=code,
                salt=self._shared.random.take(SALT_BYTES),
                body=body,
                parts=parts,
                said=said,
                patients=patients,
                before=None if state is None else state.base,
            ).with_rows(rows)
        )

    def _write(self, new: State, kek: AESGCM | None = None, packed: bytes | None = None) -> None:
        """Buffers a version: sealed body, ledger leaf, the state that ``flush`` makes the rows of.

        ``kek`` of ``new.code`` and ``packed`` parts (envelope.owned), where the caller has them.
        """
        batch, place = self.batch, (new.type, new.id)
        plain = new.salt + (packed or owned(new.parts, new.said)) + new.body
        random = self._shared.random.take
        sealed = vault.seal(kek or self._kek(new.code), plain, binding(*place, new.version), random)
        fields = (new.rkey, new.version, *place, self.at_us, new.institution, new.deleted, new.code)
        scope = self._shared.indexer.scope(new.institution, new.patients or ())
        batch.versions.append((*fields, len(batch.leaves), sealed, scope))
        kind = "consent" if new.type == "Consent" else "resource"
        key, commitment = f"{new.type}/{new.id}", commit(new.salt, new.body)
        leaf = encode(kind, new.code, key, new.version, new.institution, self.at_us, commitment)
        batch.leaves.append(leaf)
        batch.set(place, new)

    def _note(self, state: State, parts: Parts, said: Said, *, is_shared: bool) -> None:
        """The content stays as it is; who said it, and when, may not."""
        shared = state.content() if is_shared and self._is_shared(state, None) else None
        if parts != state.parts or is_worth_noting(said, state.said, shared):
            self._reseal(state, parts, said)

    def _reseal(self, state: State, parts: Parts, said: Said) -> None:
        """The same version, body and salt (so its leaf holds) with new records of who said what, and when."""
        self._know_patients(state)
        plain = pack(state.salt, parts, state.body, said)
        bound = binding(state.type, state.id, state.version)
        sealed = vault.seal(self._kek(state.code), plain, bound, self._shared.random.take)
        self.batch.reseals.append((sealed, state.rkey, state.version))
        echoes = dict(state.echoes) if parts == state.parts else {}  # a copy: this may be reverted
        self.batch.set((state.type, state.id), replace(state, parts=parts, said=said, echoes=echoes))

    def _state(self, key: tuple[str, str]) -> State | None:
        states = self.batch.states
        if key in states:
            return states[key]
        state = self._shared.states.get(key)
        if state is None:
            self._cursor.execute(self._sql(_FIND_ONE), key)
            row = self._row()
            state = None if row is None else self._load(*row)
        states[key] = state
        return state

    def _load(
        self,
        type_: str,
        id_: str,
        rkey: int,
        version: int,
        deleted: bool,
        updated_us: int,
        institution: str,
        code: str,
        sealed: bytes,
    ) -> State:
        """The state of a resource from its row and its current version's."""
        opened = unpack(vault.open_sealed(self._kek(code), sealed, binding(type_, id_, version)))
        state = State(
            type_,
            id_,
            rkey,
            version,
            updated_us,
            institution,
            bool(deleted),
            code,
            opened.salt,
            opened.body,
            opened.parts,
            said=opened.said,
        )
        state.is_stored = True
        return state

    def _know_patients(self, state: State) -> None:
        """Compartments of a state that came from the database (they may exceed what its references say)."""
        if state.patients is None:
            self._cursor.execute(self._sql("SELECT patient FROM compartment WHERE rkey = ?"), (state.rkey,))
            state.patients = frozenset(row[0] for row in self._cursor.fetchall())

    def _row(self) -> Any:
        return self._cursor.fetchone()

    def _take(self, table: str, column: str) -> int:
        """The next surrogate key; the group holds the only writing transaction, so the maximum is final."""
        if table not in self._next:
            self._cursor.execute(f"SELECT coalesce(max({column}), 0) FROM {table}")  # noqa: S608  # our own names
            self._next[table] = self._row()[0]
        self._next[table] += 1
        return self._next[table]

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
            sql = "SELECT code, wrapped_kek FROM owner_key WHERE kind = ? AND owner = ?"
            self._cursor.execute(self._sql(sql), key)
            row = self._row()
            if row is None:
                code, kek = self._new_owner(kind, owner)
            else:
                code, kek = row[0], self._shared.keks.unwrap(*row)
        self.batch.owners[key] = (code, kek)
        return code, kek

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
        return code, salt, vault.seal(kek, pack(salt, {}, data), b"row/" + key.encode(), random)

    # --- everything else -----------------------------------------------------------------------------------

    def leaf(self, leaf: Leaf) -> None:
        """One more ledger leaf (access, key, …); resource versions get theirs by themselves."""
        self.batch.leaves.append(leaf.encode())

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
        row = (self._take("blob", "bkey"), cid, code, len(sealed), self.at_us, sealed if is_inline else None)
        self.batch.blobs.append(row)
        return cid

    def inbox_find(self, sender: str, control_id: str, sha256: str | None = None) -> InboxRow | None:
        """The message with that MSH-10 (and digest, when given): the accepted one if any, else the newest."""
        key = (_key(sender), _key(control_id))
        self._cursor.execute(
            self._sql(
                "SELECT ikey, sender, control_id, sha256, status, received_us, blob, ack, reason, place "
                "FROM inbox WHERE sender = ? AND control_id = ?"
            ),
            key,
        )
        rows = [*self._cursor.fetchall(), *(row for row in self.batch.inbox if (row[1], row[2]) == key)]
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


def _is_same(new: JsonObject, stored: JsonObject) -> bool:
    """Equal content, to the digit.

    Equality of dicts is quick to say no; bytes have the last word (1.50 is not 1.5).
    """
    stored = without_server_meta(stored)
    if new != stored:
        return False
    return canonical_bytes(new) == canonical_bytes(stored)


def _without_identity(content: JsonObject) -> JsonObject:
    return {key: value for key, value in content.items() if key not in ("resourceType", "id", "meta")}


def _key(text: str) -> str:
    """A text as a database key.

    As it is, or its digest when it is too long or holds what a database refuses.
    """
    if len(text) <= _KEY_MAX and text.isprintable():
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
