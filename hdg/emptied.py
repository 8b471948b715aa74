"""Carries out ``""`` in one of several fields that feed one element: what that field had contributed goes, no more.

HL7 v2.9 §2.5.3.2; docs/hl7v2.md states the rule. A version does not say which field each of its items came from, but
the message that stated the element is kept. Converted once more as it was, it must give what is stored of its sender
now; converted without the field, it gives what is to be left. Where the two cannot be told (the bytes are gone,
something else is stored by now, several segments of that name take part), nothing is deleted, and that is reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from hdg.elements import element_of, hashes, items_of, together
from hdg.history import History, Key, Unclear, base_of_deletion, blank_of
from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store.merge import IDENTITY, own_items
from hdg.management.store.session import WriteSession

__all__ = ["Emptied", "emptied"]


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


def emptied(session: WriteSession, history: History, converted: Converted) -> Emptied | None:
    """What a message's deletions of single fields come to; None when it has none (the usual case)."""
    wanted: defaultdict[tuple[Key, str], set[str]] = defaultdict(set)
    for deletion in converted.deletions:
        if deletion.source:
            key, base = (deletion.resource_type, deletion.resource_id), base_of_deletion(deletion)
            wanted[key, base].add(deletion.source)
    if not wanted:
        return None
    found = Emptied()
    for (key, base), sources in wanted.items():
        stored = session.current(*key)
        if stored is None or history.states(key, base):
            continue  # nothing to take back, or beside.py does it
        held = element_of(stored, base) if base not in IDENTITY else {}
        own = _own(session, key, base, held, converted.source.sender)
        if not own:
            continue  # nothing that this sender could take back
        try:
            left = _left(history, key, base, sources, own)
        except Unclear:
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
    history: History, key: Key, base: str, sources: Collection[str], own: JsonObject
) -> JsonObject | None:
    """What is left of an element without the fields; None: they had contributed nothing. Raises Unclear."""
    raw, gone = history.stated(key, base)
    blanks = {blank_of(source) for source in gone}
    before = history.element(raw, blanks, key, base)
    if hashes(before) != hashes(own):
        return _left_of_items(history, key, base, sources, own)
    wanted = {blank_of(source) for source in sources}
    after = history.element(raw, blanks | wanted, key, base)
    if hashes(after) == hashes(before):
        return None
    history.check_single(raw, blanks, wanted, key, base, before)
    return after


def _left_of_items(
    history: History, key: Key, base: str, sources: Collection[str], own: JsonObject
) -> JsonObject | None:
    """``_left`` of an element that several messages have stated parts of (beside.py)."""
    items = items_of(own, base)
    if type(own.get(base)) not in (list, dict) or len(own) > 1:
        raise Unclear
    told = history.told(key, is_before=True)
    found = history.explained(items, sources, told, key, base)
    if found.rest or found.mixed:
        raise Unclear  # something else is stored by now, or the tables have changed
    if found.kept.keys() == items.keys():
        return None
    left = [found.kept[each] for each in sorted(found.kept, key=[*items, *found.kept].index)]
    return together(base, left, is_list=type(own[base]) is list)


def _own(session: WriteSession, key: Key, base: str, held: JsonObject, sender: str) -> JsonObject:
    """What of an element is the sender's: its own items of a list, and all of an element with one value."""
    state = session.batch.states.get(key)
    items = held.get(base)
    if state is None or type(items) is not list or len(held) > 1:
        return held
    mine = own_items(state.parts, sender, base, items)
    return {base: mine} if mine else {}
