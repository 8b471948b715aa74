"""One unit of work's view of the store: reads see what the group has written so far; writes are buffered.

DESIGN §3 (partial statements), §6. A session lives on the writer's thread only, for the time of one group.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from hdg.errors import NotFound
from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.json import dumps
from hdg.management import vault
from hdg.management.ledger.leaf import commit, encode
from hdg.management.store.batch import Echo, State
from hdg.management.store.envelope import SALT_BYTES, binding, owned, pack, parse
from hdg.management.store.fields import Fields
from hdg.management.store.index import IndexRows
from hdg.management.store.merge import IDENTITY, JsonObject, Parts, merge, without_server_meta
from hdg.management.store.ready import Ready
from hdg.management.store.shared import Shared
from hdg.management.store.stale import (
    Heard,
    Said,
    Stamp,
    admit,
    is_apart,
    is_outdated,
    is_worth_noting,
    said_again,
    said_by,
)
from hdg.management.store.states import States
from hdg.management.store.withdrawn import settled

__all__ = ["Put", "WriteSession"]

_ECHOES_MAX = 16


class Put(NamedTuple):
    """What a write came to. ``is_changed`` False: the content was there already and no version was made."""

    type: str
    id: str
    version: int
    is_created: bool
    is_changed: bool


class WriteSession(States):
    """Handed to every work.

    A work may be run a second time if the database refuses its group: no outside effects.
    """

    def __init__(self, shared: Shared, connection: Connection, at_us: int, floor_us: int = 0) -> None:
        super().__init__(shared, connection, at_us, floor_us)
        self._whole: tuple[tuple[str, Stamp], Parts, Said, bytes] | None = None

    # --- resources -----------------------------------------------------------------------------------------

    def current(self, type_: str, id_: str) -> JsonObject | None:
        """The current content, meta included; None when absent or deleted.

        A fresh dict: callers may change it.
        """
        return copy.deepcopy(self.content(type_, id_))

    def content(self, type_: str, id_: str) -> JsonObject | None:
        """The same, shared: never to be changed."""
        state = self._state((type_, id_))
        return None if state is None or state.deleted else state.content()

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
        fields: Fields | None = None,
    ) -> Put:
        """Merges a partial statement (merge.py) into the current version, as far as it is news (stale.py).

        ``deletions``: top-level element names. ``stamp``: when it was made; None: now. ``gaps``: elements
        whose value only fills a gap. What is stored about another patient takes no part: a result that
        moves to the right patient leaves everything of the wrong one behind, unless the statement says that
        it moves (``is_move``). ``fields``: knows what of an element the statement does not speak of.
        """
        stamp = Stamp(self.at_us, self.at_us) if stamp is None else stamp
        echo: Echo | None = None
        made: Ready | None = None
        if isinstance(resource, Ready):
            made = resource
            state = self._state((resource.type, resource.id))
            meaning = "" if fields is None else fields.meaning(resource.type)
            if not deletions:
                if state is None and not gaps:
                    return self._create(resource, sender, stamp, institution, patient, is_final=not meaning)
                echo = (sender, resource.digest, frozenset(gaps), meaning)
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
        asked, wanted = resource, gaps
        if fields is not None and any(row[2] == sender and (row[0], row[1]) > stamp for row in said):
            asked = fields.still_said(resource)
        if said:
            asked, deletions, gaps = settled(asked, deletions, gaps, stored=stored, said=said, stamp=stamp)
        news = admit(said, stored, asked, tuple(deletions), sender=sender, stamp=stamp, gaps=gaps)
        if state is None or parts is None:
            merged, parts = merge(None, {}, news.statement, news.deletions, sender=sender)
            made = _fitting(made, merged, resource)
            return self._put(merged, parts, news.said(merged), state, institution, patient, made)
        if is_move and is_other and "subject" not in news.statement:
            patient = None  # something newer has said whose it is
        statement = news.statement
        if fields is not None:
            statement = fields.completed(asked, statement, stored, parts)
        merged, parts = merge(stored, parts, statement, news.deletions, sender=sender)
        made = _fitting(made, merged, resource)
        put = self._put(merged, parts, news.said(merged), state, institution, patient, made)
        after = self.batch.states[state.type, state.id]
        if after is None or deletions:
            return put
        if put.is_changed:
            _carry(state, after)
            return put
        is_word_for_word = news.statement is resource or (
            asked is resource
            and gaps is wanted
            and statement == news.statement
            and set(news.left) <= set(gaps)
        )
        if echo and is_word_for_word and parts == state.parts:
            if len(after.echoes) >= _ECHOES_MAX:
                after.echoes.clear()
            after.echoes[echo] = Heard.of(resource, stored, gaps, news.left)
        return put

    def _is_heard(self, state: State, echo: Echo, stamp: Stamp, patient: str | None) -> bool:
        """Whether the statement changes nothing but, perhaps, when it was made: then that is noted."""
        heard = state.echoes.get(echo) or _heard_once(state, echo)
        if heard is None or state.deleted or (patient and self.patient_code(patient) != state.code):
            return False
        if heard.since <= stamp and stamp.stated_us < heard.until_us:
            return True
        sender, _, gaps, _ = echo
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
            digest=b"",
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
        made: Ready | None = None,
    ) -> Put:
        """``made``: of the same content."""
        type_, id_ = content["resourceType"], content["id"]
        is_live = state is not None and not state.deleted
        if state is not None and is_live and _is_same(content, state.content()):
            self._note(state, parts, said, is_shared=not patient)
            return Put(type_, id_, state.version, is_created=False, is_changed=False)
        version = 1 if state is None else state.version + 1
        meta = {**(content.get("meta") or {}), "versionId": str(version), "lastUpdated": self._instant}
        body = dumps({"resourceType": type_, "id": id_, "meta": meta, **_without_identity(content)})
        rkey = self._take("resource", "rkey") if state is None else state.rkey
        rows = self._shared.indexer.rows(content, rkey) if made is None else made.rows(rkey)
        self._write_rows(type_, id_, version, body, rows, parts, said, state, institution, patient, rkey)
        if type_ == "Consent":
            self.batch.consents.append((content, rkey))
        return Put(type_, id_, version, is_created=not is_live, is_changed=True)

    def _create(
        self,
        new: Ready,
        sender: str,
        stamp: Stamp,
        institution: str,
        patient: str | None,
        *,
        is_final: bool,
    ) -> Put:
        """The first version of what nothing was known about. ``is_final``: the same again would change nothing."""
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
            digest=new.digest if is_final else b"",
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
        self.batch.set((state.type, state.id), state.resealed(parts, said, echoes))


def _is_same(new: JsonObject, stored: JsonObject) -> bool:
    """Equal content, to the digit.

    Equality of dicts is quick to say no; bytes have the last word (1.50 is not 1.5).
    """
    stored = without_server_meta(stored)
    if new != stored:
        return False
    return canonical_bytes(new) == canonical_bytes(stored)


def _heard_once(state: State, echo: Echo) -> Heard | None:
    """What its only sender has said of it, word for word: an echo without a look at it. None: it is something else."""
    sender, digest, gaps, _ = echo
    if digest != state.digest or gaps or state.parts != {sender: None}:
        return None
    content = parse(state.body)
    heard = state.echoes[echo] = Heard.of(content, content, gaps)
    return heard


def _carry(before: State, after: State) -> None:
    """What changed nothing in the content before, and speaks of nothing that has changed, changes nothing now."""
    if not before.echoes or after.deleted or not is_apart(before.content(), after.content()):
        return
    parts = before.parts, after.parts
    for echo, heard in before.echoes.items():
        known = heard.carried(before.content(), after.content(), parts)
        if known is not None:
            after.echoes[echo] = known


def _fitting(made: Ready | None, merged: JsonObject, statement: JsonObject) -> Ready | None:
    """``made`` of a statement, if a merged content is that, element by element: merge.py puts in the very objects."""
    is_all = (
        made is not None
        and merged.keys() == statement.keys()
        and all(
            value is statement[name] or (name in IDENTITY and value == statement[name])
            for name, value in merged.items()
        )
    )
    return made if is_all else None


def _without_identity(content: JsonObject) -> JsonObject:
    return {key: value for key, value in content.items() if key not in ("resourceType", "id", "meta")}
