"""Where a visit is: what PV1-3 makes of ``Encounter.location``, over all messages of a sender.

An event that moves a patient says that the patient is in a bed, or will be (``status``). An update (A08, A31, ORU …)
with PV1-3 names the bed and does not say so. The place is the one that the newest message names; how the visit stands
to it is what the newest message that says so has said, where that was about the same place. docs/hl7v2.md states the
rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from hdg.elements import items_of
from hdg.history import History, Key, Told, Unclear, blank_of
from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store.stale import Stamp

__all__ = [
    "OVER",
    "Said",
    "event_of",
    "is_assigned",
    "is_one_of",
    "last_said",
    "left_place",
    "named",
    "named_places",
    "named_since",
    "newest_place",
    "places",
    "reopened",
    "said",
]

OVER = frozenset({"finished", "cancelled", "entered-in-error"})
"""What the status of a visit that is over may be."""
_CANCELS = frozenset({"A11", "A27", "A38"})
"""Events after which the patient is not in the place that they name, and will not be: no status says that."""
_FIELD = "PV1-3"
_MESSAGES_MAX = 50


class Said(NamedTuple):
    """What PV1-3 of one message makes. ``is_update``: it names a place and does not say how the visit stands to it."""

    item: JsonObject
    is_update: bool


def event_of(converted: Converted) -> str:
    """MSH-9.2."""
    return converted.source.message_type.partition("^")[2].partition("^")[0]


def places(locations: list[Any]) -> set[str]:
    """Where a visit is, of ``Encounter.location``: what PV1-3 makes. A place that is named so again is said anew."""
    return {
        one["location"]["reference"]
        for one in locations
        if one.get("status", "active") == "active"
        and "physicalType" not in one
        and "reference" in one.get("location", ())
    }


def is_assigned(place: JsonObject, reference: str) -> bool:
    """Whether a place is the one that PV1-3 has made of ``reference``, and that the visit has not left."""
    return (
        place.get("location", {}).get("reference") == reference
        and place.get("status") in (None, "active", "planned")
        and "physicalType" not in place
    )


def named(locations: list[Any], event: str) -> JsonObject | None:
    """The place that an update only names; None: there is none."""
    if event in _CANCELS:
        return None
    return next((one for one in locations if _is_bare(one)), None)


def named_places(locations: Iterable[Any], event: str) -> set[str]:
    """The reference of what an update only names; empty: there is none."""
    bare = named([*locations], event)
    return set() if bare is None else {bare["location"]["reference"]}


def is_one_of(place: JsonObject, references: set[str]) -> bool:
    """Whether a place, however the visit stands to it, is one of these."""
    return place.get("location", {}).get("reference") in references and "physicalType" not in place


def said(history: History, raw: bytes, key: Key) -> Said | None:
    """What a message says by PV1-3. None: nothing. Raises Unclear."""
    if _FIELD not in history.valued(raw, key, "location"):
        return None
    others = items_of(history.element(raw, {blank_of(_FIELD)}, key, "location"), "location")
    made = [one for each, one in history.items(raw, key, "location").items() if each not in others]
    if not made:
        return None
    event = event_of(history.facts(raw))
    return Said(made[0], event not in _CANCELS and all(map(_is_bare, made)))


def _is_update(history: History, raw: bytes, key: Key) -> bool:
    """Whether a message says of no place how the visit stands to it. Raises Unclear."""
    is_known = event_of(history.facts(raw)) not in _CANCELS
    return is_known and all(map(_is_bare, history.items(raw, key, "location").values()))


def last_said(history: History, newer: list[Told], key: Key, reference: str) -> JsonObject | None:
    """A place as the newest message had made it that says how the visit stands to one; None: that was another place,
    or nobody knows. ``newer``: messages that do not count.
    """

    def firm(told: Told) -> Said | None:
        if told in newer:
            return None
        raw = history.raw(told)
        if _is_update(history, raw, key):
            return None
        known = said(history, raw, key)
        return None if known is None or known.is_update else known

    found: JsonObject | None = None
    with suppress(Unclear):  # its bytes are gone, and those of all before it
        for one in _ever_newer(history, key, firm):
            found = one
    return None if found is None or found.get("location", {}).get("reference") != reference else found


def newest_place(history: History, key: Key) -> str | None:
    """The place that the newest message with PV1-3 names, however the visit stood to it; None: none does.

    Raises Unclear.
    """
    found: str | None = None
    for one in _ever_newer(history, key, lambda told: said(history, history.raw(told), key)):
        found = one.get("location", {}).get("reference", "")
    return found


def _ever_newer(history: History, key: Key, of: Callable[[Told], Said | None]) -> Iterator[JsonObject]:
    """What messages say by PV1-3, as ``of`` has it, each newer than those before; until none can be newer.

    Raises Unclear.
    """
    newest: Stamp | None = None
    for told in islice(history.told(key), _MESSAGES_MAX):
        if newest is not None and history.received_us(told) <= newest.stated_us:
            return
        known = of(told)
        if known is not None and (newest is None or history.stamp(told) > newest):
            newest = history.stamp(told)
            yield known.item


def named_since(history: History, newer: list[Told], key: Key) -> JsonObject | None:
    """The place that the newest of some messages names; None where one of them says how the visit stands to one.
    Raises Unclear.
    """
    found: tuple[Stamp, JsonObject] | None = None
    for told in newer:
        known = said(history, history.raw(told), key)
        if known is None:
            continue
        if not known.is_update:
            return None
        stamp = history.stamp(told)
        found = (stamp, known.item) if found is None or stamp > found[0] else found
    return None if found is None else found[1]


def left_place(place: JsonObject, status: str) -> JsonObject:
    """A place of a visit that is over: nobody is there any more."""
    if place.get("status") not in ("active", "planned", "reserved"):
        return place
    if status == "finished" and place["status"] == "active":
        return {**place, "status": "completed"}
    return {name: value for name, value in place.items() if name != "status"}


def reopened(locations: Iterable[Any], reference: str) -> list[Any]:
    """The places of a visit whose discharge was taken back: the patient is in the one that the discharge had left."""
    return [
        {**place, "status": "active"}
        if place.get("status") == "completed"
        and "physicalType" not in place
        and place.get("location", {}).get("reference") == reference
        else place
        for place in locations
    ]


def _is_bare(place: JsonObject) -> bool:
    return "status" not in place and "physicalType" not in place and "reference" in place.get("location", ())
