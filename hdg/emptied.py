"""Carries out ``""`` in one of several fields that feed one element: what that field had contributed goes, no more.

HL7 v2.9 §2.5.3.2; docs/hl7v2.md states the rule. A version does not say which field each of its items came from, but
the message that stated the element is kept. Converted once more as it was, it must give what is stored of its sender
now; converted without the field, it gives what is to be left. Where the two cannot be told (the bytes are gone,
something else is stored by now, several segments of that name take part), nothing is deleted, and that is reported.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hdg.errors import Hl7v2Error, VaultError
from hdg.ingestion.converted import Converted, Deletion, JsonObject
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.without import Blank
from hdg.ingestion.received import Received
from hdg.management.store.merge import IDENTITY, base_of, item_hash
from hdg.management.store.session import WriteSession

__all__ = ["Emptied", "emptied"]

Key = tuple[str, str]
_CONVERTED_MAX = 50
"""Messages of the sender about one resource that are converted again, the newest first."""
_PAGE, _PAGES_MAX = 200, 25
_ABOUT = (
    "SELECT r.id, c.rkey FROM compartment c JOIN resource r ON r.rkey = c.rkey WHERE c.patient = ? AND c.rkey < ? "
    "AND r.type = 'Provenance' AND NOT r.deleted ORDER BY c.rkey DESC LIMIT ?"
)
_NEWEST = 1 << 62
_DISPLAY = "HL7 v2 message "


@dataclass(frozen=True, slots=True)
class Emptied:
    """What is left of elements: ``values`` to be stated, ``deleted`` where nothing is.

    ``unclear``: (place, text) where it cannot be told what the field had contributed.
    """

    values: dict[Key, JsonObject] = field(default_factory=lambda: defaultdict(dict))
    deleted: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    unclear: list[tuple[str, str]] = field(default_factory=list)

    def fill(self, key: Key, resource: JsonObject) -> JsonObject:
        """The statement about a resource of ``values``, with what is left of its elements."""
        return {**resource, **self.values[key]}


class _Unclear(Exception):
    """It cannot be told what a field had contributed."""


def emptied(
    session: WriteSession,
    received: Received,
    converted: Converted,
    keys: Iterable[Key],
    converter: Converter,
) -> Emptied | None:
    """What a message's deletions of single fields come to; None when it has none (the usual case).

    ``keys``: of all its resources; asked for only where it has some.
    """
    wanted: defaultdict[tuple[Key, str], set[str]] = defaultdict(set)
    for deletion in converted.deletions:
        if deletion.source:
            key = (deletion.resource_type, deletion.resource_id)
            wanted[key, _base(deletion)].add(deletion.source)
    if not wanted:
        return None
    found = Emptied()
    own_ids = {id_ for type_, id_ in keys if type_ == "Provenance"}
    history = _History(session, received, converted, own_ids, converter)
    for (key, base), sources in wanted.items():
        stored = session.current(*key)
        held = _of(stored, base) if stored is not None and base not in IDENTITY else {}
        own = _own(session, key, base, held, converted.source.sender)
        if not own:
            continue  # nothing that this sender could take back
        try:
            left = _left(history, key, base, sources, own)
        except _Unclear:
            text = (
                f"what it had contributed to {key[0]}.{base} cannot be told: the delete was not carried out"
            )
            found.unclear.extend((place, text) for place in sorted(sources))
            continue
        if left is None:
            continue
        if left:
            found.values[key].update(left)
        else:
            found.deleted[key].append(base)
    return found


def _left(
    history: _History, key: Key, base: str, sources: Collection[str], own: JsonObject
) -> JsonObject | None:
    """What is left of an element without the fields; None: they had contributed nothing. Raises _Unclear."""
    raw, gone = history.stated(key, base)
    blanks = {_blank(source) for source in gone}
    before = history.element(raw, blanks, key, base)
    if _hashes(before) != _hashes(own):
        raise _Unclear  # something else is stored by now, or the tables have changed
    wanted = {_blank(source) for source in sources}
    after = history.element(raw, blanks | wanted, key, base)
    if _hashes(after) == _hashes(before):
        return None
    history.check_single(raw, blanks, wanted, key, base, before)
    return after


class _History:
    """The messages of one sender about a patient, the newest first; each is converted when it is asked for."""

    def __init__(
        self,
        session: WriteSession,
        received: Received,
        converted: Converted,
        own_ids: set[str],
        converter: Converter,
    ) -> None:
        self._session = session
        self._received = received
        self._own_ids = own_ids
        self._source = converted.source
        self._patient = converted.patient_id
        self._converter = converter
        self._made: dict[tuple[bytes, frozenset[Blank]], Converted] = {}

    def stated(self, key: Key, base: str) -> tuple[bytes, set[str]]:
        """The message that last stated an element, and the fields that were emptied since. Raises _Unclear."""
        gone: set[str] = set()
        target = {"reference": f"{key[0]}/{key[1]}"}
        room = _CONVERTED_MAX
        for provenance in self._provenances():
            if target not in provenance["target"]:
                continue
            room -= 1
            if not room:
                break
            raw = self._raw(provenance)
            converted = self._converted(raw, frozenset())
            if _of(_resource(converted, key), base):
                return raw, gone
            for deletion in converted.deletions:
                if (deletion.resource_type, deletion.resource_id) == key and _base(deletion) == base:
                    if not deletion.source:
                        raise _Unclear
                    gone.add(deletion.source)
        raise _Unclear

    def element(self, raw: bytes, blanks: Collection[Blank], key: Key, base: str) -> JsonObject:
        """An element as the message states it without some fields. Raises _Unclear when it has not that resource."""
        found = _resource(self._converted(raw, frozenset(blanks)), key)
        if not found:
            raise _Unclear
        return _of(found, base)

    def check_single(
        self, raw: bytes, blanks: set[Blank], wanted: set[Blank], key: Key, base: str, before: JsonObject
    ) -> None:
        """Raises _Unclear when the field of more than one segment had contributed."""
        for blank in wanted:
            count = raw.count(blank.segment.encode())
            changed = 0
            for occurrence in range(1, count + 1 if count > 1 else 0):
                one = blanks | {blank._replace(occurrence=occurrence)}
                changed += _hashes(self.element(raw, one, key, base)) != _hashes(before)
            if changed > 1:
                raise _Unclear

    def _converted(self, raw: bytes, blanks: frozenset[Blank]) -> Converted:
        known = self._made.get((raw, blanks))
        if known is None:
            try:
                known, _ = self._converter.run(
                    raw, self._received.sender, at_us=self._received.at_us, blanks=blanks
                )
            except Hl7v2Error:
                raise _Unclear from None
            self._made[raw, blanks] = known
        return known

    def _provenances(self) -> Iterator[JsonObject]:
        """Of this sender's messages about the patient, before the one at hand; those of the group first."""
        # What came after a message that is replayed was not known when it came first.
        is_later = any(self._session.version("Provenance", id_) is not None for id_ in self._own_ids)
        for id_ in self._ids():
            if is_later:
                is_later = id_ not in self._own_ids
                continue
            content = self._session.current("Provenance", id_)
            if content is not None and _is_of(content, self._source.sender):
                yield content

    def _ids(self) -> Iterator[str]:
        if self._patient is None:
            return
        states = self._session.batch.states
        pending = [
            id_ for (type_, id_), state in states.items() if type_ == "Provenance" and state is not None
        ]
        yield from (id_ for id_ in reversed(pending) if not self._is_stored(id_))
        before = _NEWEST
        for _ in range(_PAGES_MAX):
            rows = self._session.fetch_all(_ABOUT, (self._patient, before, _PAGE))
            self._session.prefetch([("Provenance", str(row[0])) for row in rows])
            yield from [str(row[0]) for row in rows]
            if len(rows) < _PAGE:
                return
            before = int(rows[-1][1])

    def _is_stored(self, id_: str) -> bool:
        state = self._session.batch.states.get(("Provenance", id_))
        return state is not None and (state.is_stored or state.base is not None)

    def _raw(self, provenance: JsonObject) -> bytes:
        control_id = str(provenance["entity"][0]["what"].get("display", "")).removeprefix(_DISPLAY)
        row = self._session.inbox_find(self._received.header.sender, control_id)
        if row is None or not row.blob:
            raise _Unclear
        try:
            raw = self._session.blob(row.blob)
        except VaultError:
            raise _Unclear from None
        if hashlib.sha256(raw).hexdigest() != _sha256(provenance):
            raise _Unclear
        return raw


def _base(deletion: Deletion) -> str:
    return base_of(deletion.resource_type, deletion.element.removesuffix("[x]"))


def _blank(source: str) -> Blank:
    segment, _, number = source.partition("-")
    return Blank(segment, int(number))


def _resource(converted: Converted, key: Key) -> JsonObject:
    return next((one for one in converted.resources if (one["resourceType"], one["id"]) == key), {})


def _of(resource: JsonObject, base: str) -> JsonObject:
    """The properties of one element."""
    return {
        name: value for name, value in resource.items() if base_of(resource["resourceType"], name) == base
    }


def _own(session: WriteSession, key: Key, base: str, held: JsonObject, sender: str) -> JsonObject:
    """What of an element is the sender's: its own items of a list, and all of an element with one value."""
    state = session.batch.states.get(key)
    items = held.get(base)
    if state is None or type(items) is not list or len(held) > 1:
        return held
    parts = state.parts.get(sender, {})
    if parts is None:
        return held
    hashes = set(parts.get(base, ()))
    mine = [item for item in items if item_hash(item) in hashes]
    return {base: mine} if mine else {}


def _hashes(element: JsonObject) -> Any:
    """Equal for what the store takes for equal: the order of a list's items does not count."""
    return {
        name: {item_hash(item) for item in value} if type(value) is list else item_hash({"": value})
        for name, value in element.items()
    }


def _sha256(provenance: JsonObject) -> str:
    return str(provenance["entity"][0]["what"].get("identifier", {}).get("value", ""))


def _is_of(provenance: JsonObject, sender: str) -> bool:
    name = sender or "unnamed sender"
    return any(agent.get("who", {}).get("display") == name for agent in provenance.get("agent", ()))
