"""Composites: a row for each combination of what their components select of one base.

R4 search.html#composite. A composite is filed under the elements that its last component begins with, so the work
follows what the resource holds, as for all other parameters (index.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import Any, Final

from hdg.errors import Issue, ValidationFailed
from hdg.fhir import definitions
from hdg.management.store.emit import Emit
from hdg.management.store.paths import Route, Walk, routes
from hdg.management.store.values import route_id

__all__ = [
    "COMBINED_EACH",
    "COMBINED_MAX",
    "COMPOSITE_BLANK",
    "Composite",
    "combined",
    "compose",
    "composite_id",
    "composite_slots",
    "file_composites",
]

Row = tuple[Any, ...]
_WHOLE: Final = "%resource."
COMBINED_MAX: Final = 10_000
"""Rows that one composite has of a resource, above COMBINED_EACH for each item: a thousand codes with a thousand values
in one Observation were a million."""
COMBINED_EACH: Final = 10

COMPOSITE_BLANK: Final = (0, 0, 0, 0, 0.0, 0.0, 0, 0, "")
"""A composite's row between its number and rkey, with no component in its place."""


@dataclass(slots=True)
class Composite:
    """One base of a composite. ``base``: None for the resource itself.

    ``components``: each with its alternatives, (element, walk), and whether they begin at the resource rather than at
    the base (``%resource``).
    """

    base: Route | None
    components: tuple[tuple[tuple[tuple[str, Walk | None], ...], Emit, bool], ...]
    slots: tuple[tuple[int, ...], ...]
    number: int


def file_composites(
    filed: dict[str, list[Composite]],
    type_: str,
    parameter: definitions.SearchParameter,
    bases: list[Route],
    emitters: Mapping[str, Emit],
) -> None:
    """Files each base under the elements that its *last* component begins with.

    The rarest (a value's type).
    """
    slots = composite_slots(tuple(component.kind for component in parameter.components))
    for base in bases if slots else ():
        parts = [_component(type_, base, component) for component in parameter.components]
        if not base.type or not all(parts):
            continue
        components = tuple(
            (
                tuple((key, route.walk) for route in part or () for key in route.keys),
                emitters[component.kind],
                component.expression.startswith(_WHOLE),
            )
            for part, component in zip(parts, parameter.components, strict=True)
        )
        number = composite_id(type_, base, parameter)
        last = [key for key, _ in components[-1][0]]
        for key in base.keys if base.keys != ("",) else last:
            there = filed.setdefault(key, [])
            if all(other.number != number for other in there):
                is_whole = base.keys == ("",) and base.walk is None
                there.append(Composite(None if is_whole else base, components, slots or (), number))


def _component(type_: str, base: Route, component: definitions.SearchParameter) -> list[Route] | None:
    if component.expression.startswith(_WHOLE):
        return routes(type_, component.expression.removeprefix(_WHOLE))
    return routes(base.type, component.expression)


def composite_id(type_: str, base: Route, parameter: definitions.SearchParameter) -> int:
    """The number of one base of a composite; equal for composites that make equal rows."""
    parts = [f"{component.kind}:{component.expression}" for component in parameter.components]
    return route_id(type_, "composite", "$".join((base.text, *parts)))


def compose(composite: Composite, resource: dict[str, Any], table: list[Row], *, is_cut: bool) -> None:
    """Adds the rows of a resource to a table, without rkey. Raises ValidationFailed as ``combined`` does."""
    items = composite.base.of(resource) if composite.base is not None else (resource,)
    room = COMBINED_MAX + COMBINED_EACH * len(items)
    for item in items:
        chosen: list[list[Row]] = []
        for alternatives, emit, is_whole in composite.components:
            values: list[Row] = []
            for key, walk in alternatives:
                start = resource if is_whole else item
                value = start.get(key) if key else start
                if value is None:
                    continue
                items = value if type(value) is list else [value]
                for found in items if walk is None else walk(items):
                    values += emit(found)
            if not values:
                break
            chosen.append(values)
        else:
            for parts in combined(chosen, room, is_cut=is_cut):
                room -= 1
                row: list[Any] = [composite.number, *COMPOSITE_BLANK]
                for slots, part in zip(composite.slots, parts, strict=True):
                    for slot, value in zip(slots, part, strict=False):
                        row[slot] = value
                table.append(tuple(row))


def combined(chosen: Sequence[Sequence[Row]], room: int, *, is_cut: bool) -> Iterable[tuple[Row, ...]]:
    """One of each in every combination, at most ``room``. Raises ValidationFailed for more unless ``is_cut``."""
    if prod(map(len, chosen)) <= room:
        return product(*chosen)
    if is_cut:
        return islice(product(*chosen), room)
    text = "more combinations of codes and values than can be searched by"
    raise ValidationFailed([Issue("error", "too-costly", "", text)])


def composite_slots(kinds: tuple[str, ...]) -> tuple[tuple[int, ...], ...] | None:
    """For each component the places of its values in an idx_composite row (1 code … 9 text).

    None: does not fit. Of two numbers each is a point.
    """
    codes: list[tuple[int, ...]] = [(1, 2), (3, 4)]
    texts: list[tuple[int, ...]] = [(9,)]
    dates: list[tuple[int, ...]] = [(7, 8)]
    numbers: list[tuple[int, ...]] = [(5,), (6,)] if kinds.count("number") == 2 else [(5, 6)]
    slots: list[tuple[int, ...]] = []
    for kind in kinds:
        free = {"number": numbers, "quantity": numbers, "date": dates, "string": texts, "uri": texts}
        places = free.get(kind, codes)
        if not places or (kind == "quantity" and (not codes or len(places[0]) == 1)):
            return None
        slots.append((*places.pop(0), *(codes.pop(0) if kind == "quantity" else ())))
    return tuple(slots)
