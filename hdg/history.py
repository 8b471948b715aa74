"""The messages of one sender about a resource, converted again: what each had stated, and by which of its fields.

A version does not say which field each of its items came from, but the messages are kept. Converted once more without a
field, a message gives what it stated otherwise. HL7 v2.9 §2.5.3.2; docs/hl7v2.md states the rules that rest on it
(emptied.py, beside.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from hdg.conversions import Conversions, Stated
from hdg.elements import Items, element_of, hashes, items_of
from hdg.errors import Hl7v2Error, VaultError
from hdg.ingestion.converted import Converted, Deletion, JsonObject
from hdg.ingestion.hl7v2.contributions import contributions
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.deletes import Feeds
from hdg.ingestion.hl7v2.encoding import NULL
from hdg.ingestion.hl7v2.nulls import has_nulls
from hdg.ingestion.hl7v2.parser import Message, parse
from hdg.ingestion.hl7v2.without import Blank
from hdg.ingestion.provenance import provenance_id
from hdg.ingestion.received import Received
from hdg.management.store.merge import base_of
from hdg.management.store.session import WriteSession
from hdg.management.store.stale import Stamp
from hdg.management.store.unit import InboxRow

__all__ = [
    "History",
    "Key",
    "Tables",
    "Unclear",
    "base_of_deletion",
    "blank_of",
]

Key = tuple[str, str]
_CONVERTED_MAX = 50
"""Messages of the sender about one resource that are converted again, the newest first."""
_PAGES = (3, 10, 100, *[200] * 24)
_NAMING = (
    "SELECT r.id, i.rkey FROM idx_reference i JOIN resource r ON r.rkey = i.rkey WHERE i.param = ? AND i.code = ? "
    "AND i.system = ? AND i.rkey < ? AND NOT r.deleted ORDER BY i.rkey DESC LIMIT ?"
)
_NEWEST = 1 << 62
_DISPLAY = "HL7 v2 message "


class Unclear(Exception):
    """It cannot be told what a field had contributed."""


class Tables(NamedTuple):
    """The tables of today: what converts by them, what it has converted of late, and their number."""

    converter: Converter
    of_late: Conversions
    generation: int


class Told(NamedTuple):
    """One message: what is kept of its provenance."""

    provenance: JsonObject


@dataclass(slots=True)
class Explained:
    """Items that are left: ``kept``. ``rest``: of which nothing could be found. ``mixed``: fields that had a part in an
    item that others made too, and that is not left.
    """

    rest: Items
    kept: Items = field(default_factory=dict)
    mixed: set[str] = field(default_factory=set)


_PEOPLE = frozenset({"Patient", "RelatedPerson"})
"""Of these it can be told what one of two fields had said alone (PID-12: the county of the address in PID-11); of a
dose it must not be.
"""


class History:
    """The messages of one sender about resources, the newest first; each is converted when it is asked for."""

    def __init__(
        self,
        session: WriteSession,
        received: Received,
        stated: Stated,
        tables: Tables,
    ) -> None:
        self._session = session
        self._received = received
        self._source = stated.facts.source
        self._tables = tables
        self._converter = tables.converter
        self._at_hand = stated
        self._made: dict[tuple[bytes, frozenset[Blank]], Stated] = {}
        self._parsed: dict[bytes, tuple[Message, Feeds | None]] = {}

    def stated(self, key: Key, base: str) -> tuple[bytes, set[str]]:
        """The message that last stated an element, and the fields that were emptied since. Raises Unclear."""
        gone: set[str] = set()
        for told in islice(self.told(key, is_before=True), _CONVERTED_MAX):
            raw = self.raw(told)
            if element_of(self._resource(raw, key), base):
                return raw, gone
            for deletion in self.facts(raw).deletions:
                if (deletion.resource_type, deletion.resource_id) == key and base_of_deletion(
                    deletion
                ) == base:
                    if not deletion.source:
                        raise Unclear
                    gone.add(deletion.source)
        raise Unclear

    def states(self, key: Key, base: str) -> bool:
        """Whether the message at hand gives an element a value."""
        return bool(element_of(self._resource(self._received.raw, key), base))

    def element(self, raw: bytes, blanks: Collection[Blank], key: Key, base: str) -> JsonObject:
        """An element as the message states it without some fields. Raises Unclear when it has not that resource."""
        found = self._resource(raw, key, frozenset(blanks))
        if not found:
            raise Unclear
        return element_of(found, base)

    def check_single(
        self, raw: bytes, blanks: set[Blank], wanted: set[Blank], key: Key, base: str, before: JsonObject
    ) -> None:
        """Raises Unclear when the field of more than one segment had contributed."""
        for blank in wanted:
            count = raw.count(blank.segment.encode())
            changed = 0
            for occurrence in range(1, count + 1 if count > 1 else 0):
                one = blanks | {blank._replace(occurrence=occurrence)}
                changed += hashes(self.element(raw, one, key, base)) != hashes(before)
            if changed > 1:
                raise Unclear

    def converted(self, raw: bytes, blanks: frozenset[Blank] = frozenset()) -> Converted:
        """A message converted again without some fields. Raises Unclear."""
        known = self._stated(raw, blanks)
        return known.whole() if known.is_whole else self._anew(raw).whole()

    def facts(self, raw: bytes) -> Converted:
        """What is told of a message beside its resources. Raises Unclear."""
        return self._stated(raw).facts

    def _resource(self, raw: bytes, key: Key, blanks: frozenset[Blank] = frozenset()) -> JsonObject:
        """A resource as a message states it without some fields; {} when it does not. Raises Unclear."""
        known = self._stated(raw, blanks)
        return (known if known.holds(key[0]) else self._anew(raw)).resource(key)

    def _count(self, raw: bytes, type_: str) -> int:
        known = self._stated(raw)
        return (known if known.holds(type_) else self._anew(raw)).count(type_)

    def _anew(self, raw: bytes) -> Stated:
        known = self._made[raw, frozenset()] = self._converted_again(raw, frozenset())
        return known

    def _stated(self, raw: bytes, blanks: frozenset[Blank] = frozenset()) -> Stated:
        if not blanks and raw == self._received.raw:
            return self._at_hand
        known = self._made.get((raw, blanks))
        if known is None:
            known = self._made[raw, blanks] = (
                self._converted_again(raw, blanks) if blanks else self._known(raw)
            )
        return known

    def _known(self, raw: bytes) -> Stated:
        tables, sender = self._tables, self._received.sender
        known = tables.of_late.find(hashlib.sha256(raw).hexdigest(), sender, tables.generation)
        if known is None:
            known = self._converted_again(raw, frozenset())
            tables.of_late.keep(known, sender, tables.generation)
        return known

    def _converted_again(self, raw: bytes, blanks: frozenset[Blank]) -> Stated:
        try:
            sender, at_us = self._received.sender, self._received.at_us
            return Stated(self._converter.run(raw, sender, at_us=at_us, blanks=blanks)[0])
        except Hl7v2Error:
            raise Unclear from None

    def told(self, key: Key, *, is_before: bool = False, with_own: bool = False) -> Iterator[Told]:
        """This sender's messages about a resource, the one received last first, but the message at hand.

        One that is replayed has later ones, and is stored itself. ``is_before``: without those; ``with_own``: with it.
        """
        own = provenance_id(self._converter.id_key, self._received.sender, self._source.sha256)
        is_later = is_before and self._session.version("Provenance", own) is not None
        target = {"reference": f"{key[0]}/{key[1]}"}
        for id_ in self._ids(target):
            if id_ == own:
                is_later = False
            if not is_later and (id_ != own or with_own):
                content = self._session.content("Provenance", id_)
                if (
                    content is not None
                    and _is_of(content, self._source.sender)
                    and target in content["target"]
                ):
                    yield Told(content)

    def _ids(self, target: JsonObject) -> Iterator[str]:
        """Of the Provenances that name a resource; before them, of all that are not stored yet."""
        states = self._session.batch.states
        pending = [
            id_
            for (type_, id_), state in states.items()
            if type_ == "Provenance" and state is not None and state.base is None
        ]
        yield from reversed(pending)
        row = self._session.reference_row({"resourceType": "Provenance", "target": [target]})
        before = _NEWEST
        for page in _PAGES:
            found = self._session.fetch_all(_NAMING, (*row, before, page))
            self._session.prefetch([("Provenance", str(one[0])) for one in found])
            yield from [str(one[0]) for one in found]
            if len(found) < page:
                return
            before = int(found[-1][1])

    def raw(self, told: Told) -> bytes:
        """Its bytes. Raises Unclear: they are not kept any more."""
        row = self._row(told)
        if not row.blob:
            raise Unclear
        try:
            raw = self._session.blob(row.blob)
        except VaultError:
            raise Unclear from None
        if hashlib.sha256(raw).hexdigest() != _sha256(told.provenance):
            raise Unclear
        return raw

    def received_us(self, told: Told) -> int:
        """When it was received. Raises Unclear."""
        return self._row(told).received_us

    def stamp(self, told: Told) -> Stamp:
        """When it was stated and received. Raises Unclear."""
        return Stamp.of(self.facts(self.raw(told)).source.stated_us, self.received_us(told))

    def _row(self, told: Told) -> InboxRow:
        control_id = str(told.provenance["entity"][0]["what"].get("display", "")).removeprefix(_DISPLAY)
        row = self._session.inbox_find(self._source.sender, control_id)
        if row is None:
            raise Unclear
        return row

    # --- fields ---------------------------------------------------------------------------------------------

    def feeds(self, raw: bytes, key: Key, base: str) -> frozenset[str]:
        """The fields that feed an element by the tables of a message."""
        feeds = self._read(raw)[1]
        return frozenset() if feeds is None else feeds.names(key[0], base)

    def valued(self, raw: bytes, key: Key, base: str) -> set[str]:
        """The fields that a message values for an element, also with ``""``. Raises Unclear."""
        message = self._read(raw)[0]
        found = set()
        feeds = self.feeds(raw, key, base)
        is_only = self._count(raw, key[0]) == 1
        for name in feeds:
            blank = blank_of(name)
            segments = message.all(blank.segment)
            texts = [one.field(blank.number) if blank.number else one.name for one in segments]
            if any(texts) and (
                (is_only and len(texts) == 1) or self._takes_part(raw, key, base, blank, texts)
            ):
                found.add(name)
        for deletion in self._deletions(raw):
            if (deletion.resource_type, deletion.resource_id) == key and base_of_deletion(deletion) == base:
                found |= {deletion.source} if deletion.source else feeds
        return found

    def names(self, raw: bytes, fields: Iterable[str]) -> bool:
        """Whether a message has anything in one of these fields."""
        message = self._read(raw)[0]
        return any(
            one.field(blank.number) for blank in map(blank_of, fields) for one in message.all(blank.segment)
        )

    def emptied(self, raw: bytes, key: Key, base: str) -> set[str]:
        """The fields with ``""`` among those that feed an element."""
        if not has_nulls(self._read(raw)[0]):
            return set()
        blanks = {name: blank_of(name) for name in self.feeds(raw, key, base)}
        message = self._read(raw)[0]
        return {
            name
            for name, blank in blanks.items()
            if blank.number and any(one.field(blank.number) == NULL for one in message.all(blank.segment))
        }

    def _read(self, raw: bytes) -> tuple[Message, Feeds | None]:
        known = self._parsed.get(raw)
        if known is None:
            message = parse(raw, charset=self._received.sender.charset)
            known = (message, self._converter.feeds(message, self._received.sender))
            self._parsed[raw] = known
        return known

    def _deletions(self, raw: bytes) -> tuple[Deletion, ...]:
        return self.facts(raw).deletions

    def _takes_part(self, raw: bytes, key: Key, base: str, blank: Blank, texts: Sequence[str]) -> bool:
        """Whether a field of one of several segments, or in a message about several of the kind, is about this one."""
        before = self._resource(raw, key)
        after = self._resource(raw, key, frozenset({blank}))
        if hashes(element_of(before, base)) != hashes(element_of(after, base)):
            return True
        for occurrence, text in enumerate(texts, 1):
            if text == NULL:  # it makes nothing: it is about what its segment is about
                segment = frozenset({Blank(blank.segment, 0, occurrence)})
                if self._resource(raw, key, segment) != before:
                    return True
        return False

    def items(self, raw: bytes, key: Key, base: str) -> Items:
        """What a message states of an element. Raises Unclear."""
        return items_of(element_of(self._resource(raw, key), base), base)

    def renewed(self, rest: Items, own: Items, claimed: Collection[str], key: Key, base: str) -> Items | None:
        """What stands for items that no message states as they are, since today's tables make something else of what
        it says: what other fields than the ``claimed`` ones say today. None: that is not what became of them.
        """
        since: set[str] = set()
        missing: set[str] = set()
        fresh: Items = {}
        for told in islice(self.told(key, with_own=True), _CONVERTED_MAX):
            try:
                raw = self.raw(told)
                fields = self.valued(raw, key, base) - since
                items = self.items(raw, key, base)
                missing |= self._contributed(raw, fields, key, base)[0] - own.keys()
                others = self._contributed(raw, fields - {*claimed}, key, base)[0]
            except Unclear:
                return None
            fresh |= {each: items[each] for each in others - own.keys()}
            since |= fields
            if len(missing) >= len(rest):
                return fresh
        return None

    def may_stay(self, items: Items, claimed: Collection[str], key: Key, base: str) -> Items:
        """Those of the items in which another field than the ``claimed`` ones can have had a part, by the tables."""
        sender = self._received.sender
        library = self._converter.tables(sender.mappings, sender.terminology).library
        known = contributions(library)
        return {
            each: item for each, item in items.items() if known.may_be_of_others(item, claimed, key[0], base)
        }

    def explained(
        self, items: Items, claimed: Collection[str], told: Iterable[Told], key: Key, base: str
    ) -> Explained:
        """What is left of items without the ``claimed`` fields, by the newest message that stated each."""
        found = Explained(rest=dict(items))
        for one in islice(told, _CONVERTED_MAX):
            if not found.rest:
                break
            try:
                self._explain(self.raw(one), claimed, key, base, found)
            except Unclear:
                break
        return found

    def _explain(self, raw: bytes, claimed: Collection[str], key: Key, base: str, found: Explained) -> None:
        before = self.items(raw, key, base)
        if self.is_gap(raw, key, base):  # it gives way to whatever is said
            found.rest = {each: item for each, item in found.rest.items() if each not in before}
            return
        here = found.rest.keys() & before.keys()
        valued = self.valued(raw, key, base)
        gone = valued.intersection(claimed)
        alone, shared = self._contributed(raw, valued - gone, key, base) if here else (set(), set())
        replaced = here - alone
        if key[0] in _PEOPLE and gone and ((shared and replaced) or found.rest.keys() - here):
            left = items_of(self.element(raw, {*map(blank_of, gone)}, key, base), base)
            taken = items_of(self.element(raw, {*map(blank_of, valued - gone)}, key, base), base)
            if shared and replaced:
                found.kept.update({each: item for each, item in left.items() if each not in before})
                shared = set()
            here |= (left.keys() | taken.keys()) & found.rest.keys()
            replaced = (replaced | taken.keys()) - left.keys()
        for each in here:
            item = found.rest.pop(each)
            if each not in replaced:
                found.kept[each] = item
        found.mixed |= shared if replaced & here else set()

    def is_gap(self, raw: bytes, key: Key, base: str) -> bool:
        """Whether a message only fills a gap with an element. Raises Unclear."""
        return any(
            (one.resource_type, one.resource_id) == key and base_of(key[0], one.element) == base
            for one in self.facts(raw).defaulted
        )

    def _contributed(
        self, raw: bytes, fields: Collection[str], key: Key, base: str
    ) -> tuple[set[str], set[str]]:
        """The items that fields alone have made, and those fields that share one with another. Raises Unclear."""
        before = {*self.items(raw, key, base)}

        def without(names: Collection[str]) -> set[str]:
            return {*items_of(self.element(raw, {*map(blank_of, names)}, key, base), base)}

        def left(names: Collection[str]) -> set[str]:
            try:
                return without(names)
            except (
                Unclear
            ):  # whose resource it is, is in one of them (PID-3): then what the others do not make
                return before - without(self.valued(raw, key, base).difference(names))

        together = left(fields)
        if before >= together:
            return before - together, set()
        alone: set[str] = set()
        shared: set[str] = set()
        for name in fields:
            here = left([name])
            if before >= here:
                alone |= before - here
            else:
                shared.add(name)
        return alone, shared


def blank_of(name: str) -> Blank:
    """``PID-13`` as a field to leave out; ``NK1-0``: all of the segment."""
    segment, _, number = name.partition("-")
    return Blank(segment, int(number))


def base_of_deletion(deletion: Deletion) -> str:
    """The element that a deletion is about."""
    return base_of(deletion.resource_type, deletion.element.removesuffix("[x]"))


def _sha256(provenance: JsonObject) -> str:
    return str(provenance["entity"][0]["what"].get("identifier", {}).get("value", ""))


def _is_of(provenance: JsonObject, sender: str) -> bool:
    name = sender or "unnamed sender"
    return any(agent.get("who", {}).get("display") == name for agent in provenance.get("agent", ()))
