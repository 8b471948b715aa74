"""What a message leaves as it was: the fields that it does not value, of an element that others of its fields feed.

HL7 v2.9 §2.5.3: a field that is absent is not changed. ``Patient.telecom`` is made of PID-13, PID-14 and PID-40; a
message with PID-13 alone takes the place of what PID-13 had stated. Which field an item came from is told by the
message that stated it, converted again without its fields (history.py). That is asked only where something stored would
go otherwise, and where a message is older than another one of its sender. docs/hl7v2.md states the rule.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from hdg.elements import Items, items_of, together
from hdg.emptied import Emptied
from hdg.fhir.definitions import element_info
from hdg.fhir.times import compare_times
from hdg.history import History, Key, Told, Unclear, blank_of
from hdg.ingestion.converted import Converted, JsonObject
from hdg.ingestion.received import Received
from hdg.management.store.merge import ADDITIVE, IDENTITY, Parts, base_of, own_items
from hdg.management.store.stale import Stamp
from hdg.merged import is_back
from hdg.places import (
    OVER,
    event_of,
    is_assigned,
    is_one_of,
    last_said,
    left_place,
    named,
    named_places,
    named_since,
    newest_place,
    places,
    reopened,
    said,
)

__all__ = ["Beside"]

_NEWER_MAX = 50
_MOVES = frozenset(f"A{number:02}" for number in (*range(1, 8), *range(9, 18), 25, 26, 27, 32, 33))
"""Events that say where the patient is: all of it, so that no place stays in use that was left."""
_WHERE = ("PV1-3", "PV1-6")
"""One of them says it; a temporary or a pending place alone does not."""
_DISCHARGES = frozenset({"A03", "A13", "A16", "A25"})
"""Events that say whether and when the visit ends, be it by leaving PV1-45 out."""
_RUNNING = frozenset({"planned", "arrived", "triaged", "in-progress", "onleave", "cancelled"})
_OF_DISCHARGE = frozenset({"end", "dischargeDisposition", "destination"})
_ENDED = frozenset({"Encounter", "Patient"})
_CHANGED = re.compile(rb"[\r\n]AI[GLP][^A-Za-z0-9\r\n][^|\r\n]*[^A-Za-z0-9\r\n][DU](?![A-Za-z0-9])")
"""A resource of an appointment that is changed or taken out, and not said as all there are."""
_ADDS = "S18"
"""The event that adds a resource to those there are."""
_TAKES = frozenset({"S20", "S21", "S22"})
"""Those that take one out: an action code says which."""
_LEFT = "the discharge is taken back, and which place the patient was in cannot be told: none is in use"
_WHOM = (
    "something is taken out of the appointment and no action code says what: who takes part stays as it was"
)
_ACTIONS = frozenset({blank_of("AIG-2"), blank_of("AIL-2"), blank_of("AIP-2")})
_PENDING = "https://hdg.dev/fhir/StructureDefinition/pending-discharge-time"
_KEPT = "what other fields had stated of {} cannot be told from what it replaces: both are kept"
_PLACES = ("Encounter", "location")
_MIXED = "what it had said of {} went with the value that takes its place"


class Beside:
    """What one message leaves as it was. ``unclear``: (place, text) of what could not be told, for a work item."""

    def __init__(self, history: History, received: Received, converted: Converted) -> None:
        self._history = history
        self._raw = received.raw
        self._sender = converted.source.sender
        self._event = event_of(converted)
        self._stamp = Stamp.of(converted.source.stated_us, received.at_us)
        self._claimed: dict[tuple[Key, str], set[str]] = {}
        self._newer: dict[Key, list[Told]] = {}
        self._stands: dict[Key, str] = {}
        """The place of a visit that newer messages name, where this one says how the visit stands to it."""
        self._settled = {
            ((one.resource_type, one.resource_id), base_of(one.resource_type, one.element))
            for one in converted.defaulted
        }
        """Elements that only fill a gap, or that another rule has settled."""
        self.unclear: list[tuple[str, str]] = []

    def leave(self, left: Emptied | None) -> None:
        """Of what single fields deleted (emptied.py) nothing more is asked."""
        for key, resource in left.values.items() if left is not None else ():
            self._settled |= {(key, base_of(key[0], name)) for name in resource}

    def still_said(self, statement: JsonObject) -> JsonObject:
        """A statement of a message that is older than others of its sender, without what these have said anew or
        deleted: field by field, where an element has several.
        """
        key = (statement["resourceType"], statement["id"])
        found = statement
        for base in dict.fromkeys(base_of(key[0], name) for name in statement if name not in IDENTITY):
            if (key, base) in self._settled or not self._has_several(key, base):
                continue
            try:
                claimed = self._said_since(key, base)
                gone = claimed & self._history.valued(self._raw, key, base)
                left = self._history.element(self._raw, {*map(blank_of, gone)}, key, base) if gone else None
                if left is not None and (key[0], base) == _PLACES:
                    left = self._standing_since(key, left)
            except Unclear:
                continue  # the element's own stamp decides
            self._claimed[key, base] = claimed
            if left is not None:
                found = {name: value for name, value in found.items() if base_of(key[0], name) != base}
                found |= left
        return found

    def completed(
        self, asked: JsonObject, statement: JsonObject, stored: JsonObject, parts: Parts
    ) -> JsonObject:
        """A statement with what is to stay of its elements. ``asked``: with what something newer was stated about."""
        key = (asked["resourceType"], asked["id"])
        found: JsonObject = {}
        if key[0] == "Encounter" and "location" in asked and (key, "location") not in self._settled:
            asked, statement = self._standing(key, asked, statement, stored, parts)
        for base, new in asked.items():
            old = stored.get(base)
            is_late = base not in statement
            if (
                base in IDENTITY
                or (key, base) in self._settled
                or (old == new)
                or (is_late and (key, base) not in self._claimed)
            ):
                continue
            if type(new) is list and f"_{base}" not in asked and f"_{base}" not in stored:
                own = own_items(parts, self._sender, base, old or [])
                if not (is_late or any(item not in new for item in own)):
                    continue
                if (key[0], base) not in ADDITIVE and self._has_several(key, base):
                    found[base] = self._list(key, base, own, new)
            elif type(new) is dict and type(old) is dict and _has_parts(key[0], base):
                found[base] = self._parts(
                    key, base, old, new, is_late=is_late, status=statement.get("status")
                )
        whole = {**statement, **found} if found else statement
        if key[0] == "Encounter":
            return {**whole, **self._of_visit(key, whole, stored, parts)}
        is_change = key[0] == "Appointment" and "participant" in statement
        if is_change and (self._event == _ADDS or _CHANGED.search(self._raw)):
            return {**whole, "participant": self._of_appointment(key, statement, stored, parts)}
        if is_change and self._event in _TAKES:
            own = own_items(parts, self._sender, "participant", stored.get("participant") or [])
            if statement["participant"] != own:
                self.unclear.append(("AIP-2", _WHOM))
            return {**whole, "participant": own or statement["participant"]}
        is_in_use_again = key[0] == "Patient" and key not in self._newer and is_back(asked, stored)
        return {**whole, "active": True} if is_in_use_again else whole

    def meaning(self, type_: str) -> str:
        """What an event ends or takes back is told of a visit and a person only."""
        return self._event if type_ in _ENDED else ""

    def _of_visit(self, key: Key, statement: JsonObject, stored: JsonObject, parts: Parts) -> JsonObject:
        """What an event ends or takes back without naming it again."""
        is_news = "status" in statement
        status = statement.get("status", stored.get("status"))
        found: JsonObject = {}

        def own(base: str) -> list[Any]:
            stated: list[Any] | None = statement.get(base)
            return own_items(parts, self._sender, base, stored.get(base) or []) if stated is None else stated

        if status in OVER and (is_news or "location" in statement):
            found["location"] = [left_place(place, status) for place in own("location")]
        elif (self._event == "A13" and status not in OVER) or (self._event == "A03" and not is_news):
            beds = own("location")
            back = self._back_in_bed(key, statement, beds)
            if back != beds:
                found["location"] = back
        if is_news and self._event in _DISCHARGES - {"A16"}:
            found["extension"] = [one for one in own("extension") if one.get("url") != _PENDING]
        if is_news and self._event == "A13":
            for base in ("period", "hospitalization"):
                if base not in statement and base in stored:
                    found[base] = {
                        name: part for name, part in stored[base].items() if name not in _OF_DISCHARGE
                    }
        return {name: value for name, value in found.items() if value or (value == [] and name in stored)}

    def _back_in_bed(self, key: Key, statement: JsonObject, own: list[Any]) -> list[Any]:
        """The places of a visit whose discharge is taken back, or was before it came: nobody has left the bed.

        A13 says where the patient is, or means the place that was left.
        """
        if (self._event == "A13") == ("location" in statement):
            return own
        try:
            if self._event == "A13":
                left = newest_place(self._history, key)
            else:
                known = said(self._history, self._raw, key)
                left = None if known is None else known.item["location"].get("reference")
        except Unclear:
            if any(place.get("status") == "completed" for place in own):
                self.unclear.append(("PV1-3", _LEFT))
            return own
        return own if left is None else reopened(own, left)

    def _of_appointment(self, key: Key, statement: JsonObject, stored: JsonObject, parts: Parts) -> list[Any]:
        """Who takes part, after single resources were changed or taken out (HL7 v2.9 §10.6.4.2, segment action code):
        those of whom the message does not speak stay.
        """
        new: list[Any] = statement["participant"]
        try:  # with the resources that it takes out, too
            told = self._history.element(self._raw, _ACTIONS, key, "participant").get("participant", ())
        except Unclear:
            self.unclear.append(("SCH", _KEPT.format("Appointment.participant")))
            told = new
        spoken = {one.get("actor", {}).get("reference") for one in (*told, *new)}
        own = own_items(parts, self._sender, "participant", stored.get("participant") or [])
        return [*new, *(one for one in own if one.get("actor", {}).get("reference") not in spoken)]

    def _has_several(self, key: Key, base: str) -> bool:
        return len(self._history.feeds(self._raw, key, base)) > 1

    def _list(self, key: Key, base: str, own: list[Any], new: list[Any]) -> list[Any]:
        """The sender's part of a list: what is new, in the place of what its fields had stated."""
        fresh = items_of({base: new}, base)
        before = items_of({base: own}, base)
        lost = {each: item for each, item in before.items() if each not in fresh}
        again: set[str] = set()
        if (key[0], base) == _PLACES:
            again = places(new)
            if key in self._stands:
                lost = {each: item for each, item in lost.items() if not is_assigned(item, self._stands[key])}
        kept = self._said_by_newer(key, base, lost)
        open_ = {
            each: item for each, item in lost.items() if each not in kept and places([item]).isdisjoint(again)
        }
        kept |= self._kept(key, base, open_, before)
        staying = [each for each in before if each in kept]
        place = next((at for at, each in enumerate(before) if each not in kept), len(before))
        at = sum(each in kept for each in [*before][:place])
        items = [kept[each] for each in (*staying, *(each for each in kept if each not in before))]
        return [*items[:at], *new, *items[at:]]

    def _kept(self, key: Key, base: str, lost: Items, own: Items) -> Items:
        """What of one's own items no field of the message speaks of."""
        if not lost or ((key[0], base) == _PLACES and self._is_whole(self._raw, self._event)):
            return {}
        try:
            valued = self._history.valued(self._raw, key, base)
        except Unclear:
            valued = set()
        claimed = valued | self._claimed.get((key, base), set())
        if key[0] == "Encounter" and self._event in _DISCHARGES:
            claimed |= {"PV1-45"}
        if claimed >= self._history.feeds(self._raw, key, base):
            return {}
        standing: Items = {}
        if (key[0], base) == _PLACES and claimed.isdisjoint(_WHERE):
            # however the visit stands to them by now: a discharge that was taken back is said by no message of theirs
            standing = {each: item for each, item in lost.items() if _is_stay(item)}
            lost = {each: item for each, item in lost.items() if each not in standing}
        lost = self._history.may_stay(lost, claimed, key, base)
        if not lost:
            return standing
        newer = self._newer.get(key, ())
        told = (one for one in self._history.told(key) if one not in newer)
        found = self._history.explained(lost, claimed, told, key, base)
        found.kept.update(standing)
        name = f"{key[0]}.{base}"
        if found.rest:
            renewed = self._history.renewed(found.rest, own, claimed, key, base)
            if renewed is not None:
                there = {one["location"].get("reference", "") for one in standing.values()}
                return found.kept | {at: one for at, one in renewed.items() if not is_one_of(one, there)}
            self.unclear.append((min(valued, default=""), _KEPT.format(name)))
        self.unclear.extend((place, _MIXED.format(name)) for place in sorted(found.mixed))
        return found.kept | found.rest

    def _parts(
        self, key: Key, base: str, old: JsonObject, new: JsonObject, *, is_late: bool, status: Any
    ) -> JsonObject:
        """A Period, or a hospitalization: each part of its own field."""
        if is_late:
            return _in_order({**new, **old}, old)
        lost = items_of({base: {name: part for name, part in old.items() if name not in new}}, base)
        if key[0] == "Encounter" and (status in _RUNNING or self._event in _DISCHARGES):
            lost = {each: part for each, part in lost.items() if _OF_DISCHARGE.isdisjoint(part)}
        emptied = self._history.emptied(self._raw, key, base)
        if emptied and lost:
            found = self._history.explained(lost, emptied, self._history.told(key), key, base)
            lost = found.kept | found.rest
        return _in_order({**together(base, lost.values(), is_list=False).get(base, {}), **new}, new)

    def _standing(
        self, key: Key, asked: JsonObject, statement: JsonObject, stored: JsonObject, parts: Parts
    ) -> tuple[JsonObject, JsonObject]:
        """``asked`` and ``statement`` of an update that names a place, with the place as it is known of this sender."""
        bare = named(asked["location"], self._event)
        if bare is None or key in self._stands or (parts and self._sender not in parts):
            return asked, statement
        reference = bare["location"]["reference"]
        own = own_items(parts, self._sender, "location", stored.get("location") or [])
        known = next((one for one in own if is_assigned(one, reference)), None)
        if known is None:
            known = last_said(self._history, self._newer.get(key, []), key, reference)
        if known is None:
            return asked, statement
        location = [known if one is bare else one for one in asked["location"]]
        asked = {**asked, "location": location}
        return asked, {**statement, "location": location} if "location" in statement else statement

    # --- older than others ----------------------------------------------------------------------------------

    def _said_since(self, key: Key, base: str) -> set[str]:
        """The fields that newer messages of the sender value. Raises Unclear."""
        found: set[str] = set()
        for told in self._newer_of(key):
            raw = self._history.raw(told)
            is_place = (key[0], base) == _PLACES
            is_whole = is_place and self._is_whole(raw, event_of(self._history.facts(raw)))
            if is_whole and self._history.items(raw, key, base):
                return set(self._history.feeds(self._raw, key, base))
            found |= self._history.valued(raw, key, base)
        return found

    def _is_whole(self, raw: bytes, event: str) -> bool:
        """Whether a message says where the patient is, all of it."""
        return event in _MOVES and self._history.names(raw, _WHERE)

    def _standing_since(self, key: Key, left: JsonObject) -> JsonObject:
        """What is left of the places of a late message, with the one that newer ones only name: as this message makes
        it, where it says how the visit stands to it. Raises Unclear.
        """
        own = said(self._history, self._raw, key)
        if own is None or own.is_update:
            return left
        place = named_since(self._history, self._newer_of(key), key)
        if place is None:
            return left
        reference = place["location"]["reference"]
        self._stands[key] = reference
        is_there = own.item.get("location", {}).get("reference") == reference
        return {"location": [own.item if is_there else place, *left.get("location", ())]}

    def _newer_of(self, key: Key) -> list[Told]:
        found = self._newer.get(key)
        if found is None:
            found = []
            # None that was received before this one was stated is newer.
            for told in islice(self._history.told(key), _NEWER_MAX):
                if self._history.received_us(told) <= self._stamp.stated_us:
                    break
                if self._history.stamp(told) > self._stamp:
                    found.append(told)
            else:
                if len(found) == _NEWER_MAX:
                    raise Unclear
            self._newer[key] = found
        return found

    def _said_by_newer(self, key: Key, base: str, items: Items) -> Items:
        newer = self._newer.get(key, ()) if (key, base) in self._claimed else ()
        said_: set[str] = set()
        there: set[str] = set()
        for told in newer:
            raw = self._history.raw(told)
            if not self._history.is_gap(raw, key, base):
                made = self._history.items(raw, key, base)
                said_ |= made.keys()
                if (key[0], base) == _PLACES and key not in self._stands:
                    there |= named_places(made.values(), event_of(self._history.facts(raw)))
        return {
            each: item for each, item in items.items() if each in said_ or (there and is_one_of(item, there))
        }


def _is_stay(place: JsonObject) -> bool:
    """Whether a place is one where the patient is or was by PV1-3 or PV1-6: neither temporary nor only reserved."""
    return "physicalType" not in place and place.get("status") in ("active", "completed")


def _in_order(parts: JsonObject, otherwise: JsonObject) -> JsonObject:
    """``parts``, unless it would end before it began (R4 per-1)."""
    start, end = parts.get("start"), parts.get("end")
    if start is not None and end is not None and (compare_times(end, start) or 0) < 0:
        return otherwise
    return parts


def _has_parts(kind: str, base: str) -> bool:
    """Whether each part of an element is a fact of its own."""
    if (kind, base) == ("Encounter", "hospitalization"):
        return True
    try:
        info = element_info(kind, base)
    except KeyError:
        return False
    return info is not None and info.types == ("Period",)
