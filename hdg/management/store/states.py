"""What a unit of work knows of stored resources: looked up one by one, for a work, or for all of a group at once.

DESIGN §6, §9. ``session.WriteSession`` adds the writing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from hdg.errors import HdgError
from hdg.fhir.json import dumps
from hdg.management import vault
from hdg.management.store import named
from hdg.management.store.ahead import MESSAGES, Expected
from hdg.management.store.batch import State
from hdg.management.store.envelope import binding, unpack
from hdg.management.store.index import REFERENCE, TOKEN
from hdg.management.store.merge import JsonObject, Parts
from hdg.management.store.stale import Stamp, newest_of
from hdg.management.store.unit import Unit, newest

__all__ = ["States"]

_NUMBERED = (("resource", "rkey"), ("blob", "bkey"), ("inbox", "ikey"))
"""What every message takes numbers of."""


_ASKED_MAX = 12
_BEARING = (
    "SELECT r.type, r.id FROM idx_token t JOIN resource r ON r.rkey = t.rkey JOIN compartment c ON c.rkey = t.rkey "
    "WHERE t.param = ? AND t.code = ? AND t.system = ? AND c.patient = ? AND NOT r.deleted"
)
_BEARING_OF_ANYONE = (
    "SELECT r.type, r.id FROM idx_token t JOIN resource r ON r.rkey = t.rkey "
    "WHERE t.param = ? AND t.code = ? AND t.system = ? AND NOT r.deleted"
)
_ABOUT = (
    "SELECT r.id FROM compartment c JOIN resource r ON r.rkey = c.rkey "
    "WHERE c.patient = ? AND r.type = ? AND NOT r.deleted"
)


class States(Unit):
    """The states of resources, as far as they are known."""

    def prefetch(self, keys: Iterable[tuple[str, str]]) -> None:
        """Looks up (type, id) pairs at once, so that ``current`` and writes need no query each."""
        missing = self._missing(keys)
        if not missing:
            return
        self.batch.states.update(dict.fromkeys(missing))
        for row in named.find(self._cursor, missing, is_postgresql=self._shared.is_postgresql):
            self.batch.states[row[0], row[1]] = self._load(*row)

    def _missing(self, keys: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those that nothing is known about."""
        states, known = self.batch.states, self._shared.states
        missing: list[tuple[str, str]] = []
        for key in dict.fromkeys(keys):
            if key not in states:
                state = known.get(key)
                if state is None:
                    missing.append(key)
                else:
                    states[key] = state
        return missing

    def look_ahead(self, expected: Sequence[Expected]) -> None:
        """Looks up what the group's works will, where one question takes as long as all (PostgreSQL)."""
        if not self._shared.is_postgresql or not expected:
            return

        numbered = _NUMBERED if any(one.messages for one in expected) else _NUMBERED[:1]

        def ask(cursor: Callable[[], Any], keys: Iterable[tuple[str, str]]) -> Callable[[], None]:
            missing, states = self._missing(keys), cursor()
            if missing:
                named.ask(states, missing)
            numbers = [(table, cursor().execute(newest(table, column))) for table, column in numbered]

            def take() -> None:
                for table, number in numbers:
                    self._next[table] = number.fetchone()[0]
                self._learn_readable(missing, states.fetchall() if missing else ())

            return take

        self.ahead.ask(self._connection, expected, ask)

    def know(self, expected: Sequence[Expected], before: States) -> None:
        """Looks up what the works will on SQLite, so that they can run while the group of ``before`` commits.

        In its transaction, when its rows are written.
        """
        self._next.update(before._next)
        cursor = self._cursor
        for one in expected:
            missing = self._missing(one.keys)
            if missing:
                self._learn_readable(missing, named.find(cursor, missing, is_postgresql=False))
            for key in one.keys:
                state = self.batch.states.get(key)
                if state is not None:
                    self._know_patients(state)
            for message in one.messages:
                if message not in self.ahead.messages:
                    self.ahead.messages[message] = cursor.execute(MESSAGES, message).fetchall()
            for place in one.places:
                if place not in self.ahead.places:
                    prepared, type_, id_ = place
                    asked = cursor.execute(prepared.sql, prepared.values(type_, id_))
                    self.ahead.places[place] = asked.fetchone()
            for owner in one.owners:
                if owner not in self._shared.owners and owner not in self.ahead.owners:
                    self.ahead.owners[owner] = self._owner_row(owner)
        for table, column in _NUMBERED if expected else ():
            if table not in self._next:
                self._next[table] = self.fetch(newest(table, column), ())[0]

    def _learn_readable(self, missing: Iterable[tuple[str, str]], rows: Iterable[Any]) -> None:
        """What cannot be opened stays unknown: the work that needs it is to fail, and no other."""
        self.batch.states.update(dict.fromkeys(missing))
        for row in rows:
            del self.batch.states[row[0], row[1]]
            with contextlib.suppress(HdgError):
                self.batch.states[row[0], row[1]] = self._load(*row)

    def expect_none(self, type_: str, id_: str) -> None:
        """No resource has that id, which was drawn at random just now: it need not be looked up, nor a patient's keys.

        If there is one all the same, the database refuses the new one.
        """
        self.batch.states.setdefault((type_, id_), None)
        if type_ == "Patient":
            self.ahead.owners.setdefault(("patient", id_), None)

    def merged_into(self, patient: str) -> list[str]:
        """The records that a patient's replaces (``Patient.link``), also one after the other; the nearest first."""
        return self._linked(patient, "replaces")

    def survivors(self, patient: str) -> list[str]:
        """The records that have taken the place of a patient's, the nearest first."""
        return self._linked(patient, "replaced-by")

    def _linked(self, patient: str, kind: str) -> list[str]:
        found: dict[str, None] = {}
        pending = [patient]
        mark = f'"{kind}"'.encode()
        while pending:
            state = self._state(("Patient", pending.pop(0)))
            if state is None or state.deleted or mark not in state.body:
                continue
            for link in state.content().get("link", ()):
                other = link["other"].get("reference", "").removeprefix("Patient/")
                if link["type"] == kind and other not in found and other != patient:
                    found[other] = None
                    pending.append(other)
        return list(found)

    def bearing(
        self, types: Iterable[str], identifiers: Sequence[JsonObject], patients: Collection[str] | None
    ) -> list[tuple[str, str]]:
        """(type, id) of the live resources in these patients' compartments (None: in anybody's) with one of the
        identifiers (system and value), sorted.
        """
        if patients is not None and not patients:
            return []
        wanted = {(item.get("system"), item.get("value")) for item in identifiers}
        marks = [dumps(value) for _, value in wanted if value]
        types = frozenset(types)
        keys = {
            key
            for key, state in self.batch.states.items()
            if state is not None and key[0] in types and any(mark in state.body for mark in marks)
        }
        asked: list[Any] = []
        for type_ in sorted(types):
            heads, _ = self._shared.indexer.heads({"resourceType": type_, "identifier": list(identifiers)})
            rows = heads[TOKEN]
            asked += rows if patients is None else [(*row, patient) for row in rows for patient in patients]
        question = _BEARING_OF_ANYONE if patients is None else _BEARING
        for at in range(
            0, len(asked), _ASKED_MAX
        ):  # one question, also where it takes a turn to the database
            part = asked[at : at + _ASKED_MAX]
            self._cursor.execute(
                self._sql(" UNION ".join([question] * len(part))), [text for row in part for text in row]
            )
            keys.update((found[0], found[1]) for found in self._cursor.fetchall())
        return [key for key in sorted(keys) if self._is_bearer(key, wanted, patients)]

    def _is_bearer(
        self, key: tuple[str, str], wanted: set[tuple[Any, Any]], patients: Collection[str] | None
    ) -> bool:
        state = self._state(key)
        if state is None or state.deleted:
            return False
        held = {(item.get("system"), item.get("value")) for item in state.content().get("identifier", ())}
        return not held.isdisjoint(wanted) and (patients is None or self._is_about(key, patients))

    def reference_row(self, resource: JsonObject) -> tuple[int, int, int]:
        """How the index of references finds a resource that names what this one names first: (param, code, system)."""
        heads, _ = self._shared.indexer.heads(resource)
        param, code, system = heads[REFERENCE][0]
        return param, code, system

    def about(self, types: Iterable[str], patients: Collection[str]) -> list[tuple[str, str]]:
        """(type, id) of the live resources of these types in the patients' compartments, sorted."""
        types = frozenset(types)
        keys = {key for key, state in self.batch.states.items() if state is not None and key[0] in types}
        for type_ in sorted(types):
            for patient in patients:
                self._cursor.execute(self._sql(_ABOUT), (patient, type_))
                keys.update((type_, found[0]) for found in self._cursor.fetchall())
        self.prefetch(sorted(keys))
        return [key for key in sorted(keys) if self._is_about(key, patients)]

    def _is_about(self, key: tuple[str, str], patients: Collection[str]) -> bool:
        state = self._state(key)
        if state is None or state.deleted:
            return False
        self._know_patients(state)
        return not (state.patients or frozenset()).isdisjoint(patients)

    def stated(self, type_: str, id_: str, sender: str | None = None) -> dict[str, tuple[Stamp, str]]:
        """Element → when it was stated last, and by whom; of lists only by ``sender``, if one is given."""
        state = self._state((type_, id_))
        return {} if state is None or state.deleted else newest_of(state.said, state.content(), sender)

    def parts(self, type_: str, id_: str) -> Parts:
        """Whose the items of its lists are (merge.py); never to be changed."""
        state = self._state((type_, id_))
        return {} if state is None else state.parts

    def senders(self, type_: str, id_: str) -> frozenset[str]:
        """Who has a part in what is stored of a resource."""
        state = self._state((type_, id_))
        return frozenset() if state is None else frozenset(state.parts)

    def _state(self, key: tuple[str, str]) -> State | None:
        states = self.batch.states
        if key in states:
            return states[key]
        state = self._shared.states.get(key)
        if state is None:
            self._cursor.execute(self._sql(named.FIND_ONE), key)
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
        deleted: int,
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
