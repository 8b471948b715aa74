"""Blocks: neighbouring rows of a plan that depend on their fields alone, remembered as one.

A patient's and a visit's segment comes again, letter for letter, with every message of a stay. What a block's
rows made of the texts that they read is kept when the same texts come a second time, and from the third time
on put where the rows would put it, with what they reported. That is right only where none of the elements is
there yet; otherwise, and where a row deleted something, the rows run.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hdg.fhir.json import MAX_DEPTH, JsonError
from hdg.mapping.context import Context, JsonObject, Made, Noted
from hdg.mapping.remembered import Remembered, fresh
from hdg.mapping.reuse import taken_again

if TYPE_CHECKING:
    from hdg.mapping.plans import Firing
    from hdg.mapping.runs import Run

LENGTH: Final = 2000
"""Longest text of a block that is remembered, in characters."""
LEAST: Final = 3
"""Rows that are worth being a block."""


class Extent(NamedTuple):
    """What a row reads and writes."""

    slots: tuple[int, ...] | None
    """The slots that all it does depends on, besides the sender, the registry and the maps; None: on more."""
    elements: frozenset[str]
    """The elements of the resource that it may look at or write, each also as ``_element``."""
    separator: str = ""
    """Of a row that refers to other resources: it is remembered for texts without this only."""


class Row(NamedTuple):
    """One row in a plan."""

    firing: Firing
    extent: Extent
    source: int
    """The slot whose text it reads."""


class _Referred(NamedTuple):
    """What a text of a slot referred to, and under what a message's memo has it."""

    slot: int
    key: Any
    made: Made


class _Fragment(NamedTuple):
    """What a block made. ``fields``: elements and values, which nobody changes."""

    fields: JsonObject
    lists: tuple[str, ...]
    """The elements that are lists: each resource gets a list of its own."""
    labels: tuple[tuple[str, str, int], ...]
    """(label, element, index) of items that later rows may add to."""
    defaulted: tuple[str, ...]
    effects: tuple[Noted | _Referred, ...]
    """What was reported and what was referred to, in order."""
    objects: tuple[Any, ...]
    has_more: bool
    """Whether there are labels, defaults or effects."""


_NOT_AGAIN: Final = _Fragment({}, (), (), (), (), (), has_more=False)
"""In place of what must not be put again: the rows run each time."""


def fused(rows: Sequence[Row], name: str, between: str, numbers: Iterator[int]) -> tuple[Firing, ...]:
    """The firings of a plan, with blocks in place of rows that may be remembered together.

    ``name`` with a number of ``numbers`` names a block; ``between`` is a text that no slot of a view holds.
    """
    found: list[Firing] = []
    written: set[str] = set()
    block: list[Row] = []

    def close() -> None:
        if len(block) >= LEAST:
            found.append((0, None, _block(tuple(block), f"{name} {next(numbers)}", between), None))
        else:
            found.extend(row.firing for row in block)
        for row in block:
            written.update(row.extent.elements)
        block.clear()

    for row in rows:
        if row.extent.slots is not None and written.isdisjoint(row.extent.elements):
            block.append(row)
            continue
        close()
        found.append(row.firing)
        written.update(row.extent.elements)
    close()
    return tuple(found)


def _block(rows: tuple[Row, ...], name: str, between: str) -> Run:
    slots = tuple(sorted({slot for row in rows for slot in row.extent.slots or ()}))
    texts_of: Callable[[list[str]], Sequence[str]] = _texts(slots)
    elements = frozenset[str]().union(*(row.extent.elements for row in rows))
    firings = tuple(row.firing for row in rows)
    has_references = any(row.extent.separator for row in rows)

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        values = context.values
        if values is not None:
            text = between.join(texts_of(view))
            if has_references:
                text = f"{context.speaker}{between}{text}"
            key = (name, text)
            known: _Fragment | None = values.young.get(key) or values.older(key)
            if known is not _NOT_AGAIN and elements.isdisjoint(out):
                if known is not None:
                    _put(known, out, context)
                    return True
                if len(text) <= LENGTH and "\\" not in text and values.is_due(key):
                    made = _watched(rows, elements, view, out, context)
                    values.keep(key, _NOT_AGAIN if made is None else made)
                    return True
        for slot, test, fire, quick in firings:
            if (found := view[slot]) and (test is None or test(view, context)):
                if quick is not None and quick.is_put(found, view, out, context):
                    continue
                fire(found, view, out, context)
        return True

    return run


def _texts(slots: tuple[int, ...]) -> Callable[[list[str]], Sequence[str]]:
    """Gives the texts of slots that a view has."""
    if len(slots) > 1:
        return itemgetter(*slots)
    return lambda view: [view[slot] for slot in slots]


def _put(known: _Fragment, out: JsonObject, context: Context) -> None:
    out.update(known.fields)
    for name in known.lists:
        out[name] = out[name].copy()
    if not known.has_more:
        return
    for label, name, index in known.labels:
        context.labels[label] = out[name][index]  # whoever adds to it copies it first
    if known.defaulted and context.build is not None:
        for name in known.defaulted:
            context.build.defaulted[name] = None
    for effect in known.effects:
        if isinstance(effect, _Referred):
            taken_again(effect.key, effect.made, context)
            if context.problems:
                context.report(effect.slot, 1)
        else:
            context.problems.extend([problem.copy() for problem in effect.problems])
            context.report(effect.slot, effect.repetition)


def _watched(
    rows: Sequence[Row], elements: frozenset[str], view: list[str], out: JsonObject, context: Context
) -> _Fragment | None:
    """Run the rows; what they made, or None where it must not be put again: see the module."""
    build = context.build
    held, labels = len(out), {*context.labels}
    effects: list[Noted | _Referred] = []
    is_whole = build is not None and not context.problems
    before = ({}, {}) if build is None else (build.deletions, build.defaulted)
    if build is not None:
        build.deletions, build.defaulted = {}, {}
    for row in rows:
        slot, test, fire, quick = row.firing
        if (raw := view[slot]) and (test is None or test(view, context)):
            if quick is not None and quick.is_put(raw, view, out, context):
                continue  # without a report, and it refers to nothing
            mark, context.noted = len(context.taken), []
            fire(raw, view, out, context)
            reported, context.noted = context.noted, None
            referred = [_Referred(row.source, _key_of(made, context), made) for made in context.taken[mark:]]
            if referred:  # the problems of people and places are those of this message
                is_whole = is_whole and not reported and row.extent.separator not in view[row.source]
                is_whole = is_whole and all(one.key is not None and not one.made.is_local for one in referred)
            effects += [*reported, *referred]
    if build is None:
        return None
    deletions, defaulted = build.deletions, build.defaulted
    build.deletions = before[0] | {
        name: is_all or before[0].get(name, False) for name, is_all in deletions.items()
    }
    build.defaulted = before[1] | defaulted
    new = {name: out[name] for name in [*out][held:]}
    if deletions or not is_whole or not elements.issuperset(new):
        return None
    added = {label: item for label, item in context.labels.items() if label not in labels}
    return _fragment(new, added, tuple(defaulted), effects, context.values)


def _fragment(
    new: JsonObject,
    labels: dict[str, JsonObject],
    defaulted: tuple[str, ...],
    effects: Sequence[Noted | _Referred],
    values: Remembered[Any] | None,
) -> _Fragment | None:
    places = {label: _place_of(item, new) for label, item in labels.items()}
    found = [(label, *place) for label, place in places.items() if place is not None]
    if len(found) < len(labels):
        return None
    trusted = {} if values is None else values.trusted
    fields = {name: _settled(value, trusted) for name, value in new.items()}
    objects = tuple(_objects(fields))
    has_more = bool(found or defaulted or effects)
    return _Fragment(
        fields, tuple(_lists(fields)), tuple(found), defaulted, tuple(effects), objects, has_more
    )


def _key_of(made: Made, context: Context) -> Any:
    """Under what the message's memo has it."""
    for key, (other, _) in (context.memo or {}).items():
        if other is made:
            return key
    return None


def _place_of(item: JsonObject, new: JsonObject) -> tuple[str, int] | None:
    """(element, index) of a labelled item; None when it lies deeper."""
    for name, value in new.items():
        if type(value) is list:
            for index, other in enumerate(value):
                if other is item:
                    return name, index
    return None


def _lists(item: JsonObject) -> list[str]:
    return [name for name, value in item.items() if type(value) is list]


def _settled(value: Any, trusted: Container[int], room: int = MAX_DEPTH) -> Any:
    """A value that nobody changes: itself, or a copy of what this message may change yet.

    Raises JsonError: more than ``room`` lists inside one another.
    """
    if not room:
        raise JsonError("nested too deeply")
    if type(value) is list:
        return [_settled(item, trusted, room - 1) for item in value]
    return value if id(value) in trusted else fresh(value)


def _objects(fields: JsonObject) -> list[JsonObject]:
    """The JSON objects of a fragment, which resources share."""
    found = []
    for value in fields.values():
        found += [item for item in (value if type(value) is list else (value,)) if type(item) is dict]
    return found


__all__ = ["Extent", "Row", "fused"]
