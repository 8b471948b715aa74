"""The items of an element in a resource, and what fixed[x] and pattern[x] ask of one.

R4 json.html, R4 elementdefinition-definitions.html#ElementDefinition.fixed_x_, #ElementDefinition.pattern_x_.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from hdg.fhir.definitions import is_primitive, resource_types
from hdg.fhir.path_values import same
from hdg.fhir.profiles.tree import element_of

__all__ = ["Item", "fetcher", "fits", "is_fixed"]


class Item(NamedTuple):
    """One value in a resource. ``type``: as R4's tables name it; ``place``: FHIRPath from the root.

    ``companion``: the ``_name`` object of a primitive, which may have no value at all.
    """

    value: Any
    companion: Any
    type: str
    place: str


Fetch = Callable[[Item], list[Item]]


@cache
def fetcher(type_: str, name: str) -> Fetch:
    """What finds the items of an element in an item of a type; nothing where the JSON is not what R4 asks."""
    element = element_of(type_, name)
    if element is None:
        return lambda item: []
    place = "." + element.name
    is_simple = is_primitive(type_)
    if is_simple and element.name == "value":
        return lambda item: [] if item.value is None else [Item(item.value, None, type_, item.place)]
    keys = tuple((key, "_" + key, kind) for key, kind in element.json_names())
    is_list = element.is_list

    def fetch(item: Item) -> list[Item]:
        owner = item.companion if is_simple else item.value
        if type(owner) is not dict:
            return []
        found: list[Item] = []
        for key, companion_key, kind in keys:
            value, companion = owner.get(key), owner.get(companion_key)
            if value is None and companion is None:
                continue
            if not is_list:
                found.append(Item(value, companion, _kind(value, kind), item.place + place))
                continue
            values = value if type(value) is list else []
            companions = companion if type(companion) is list else []
            for index in range(max(len(values), len(companions))):
                one = values[index] if index < len(values) else None
                more = companions[index] if index < len(companions) else None
                if one is not None or more is not None:
                    found.append(Item(one, more, _kind(one, kind), f"{item.place}{place}[{index}]"))
        return found

    return fetch


def _kind(value: Any, kind: str) -> str:
    """The type of an item; a resource is of the type that it says."""
    if kind != "Resource" or type(value) is not dict:
        return kind
    said = value.get("resourceType")
    return said if isinstance(said, str) and said in resource_types() else kind


def is_fixed(value: Any, wanted: Any) -> bool:
    """Whether a value is exactly the fixed one: no more, no less, in the same order."""
    if type(wanted) is dict:
        if type(value) is not dict or value.keys() != wanted.keys():
            return False
        return all(is_fixed(value[key], wanted[key]) for key in wanted)
    if type(wanted) is list:
        if type(value) is not list or len(value) != len(wanted):
            return False
        return all(is_fixed(one, other) for one, other in zip(value, wanted, strict=True))
    return same(value, wanted)


def fits(value: Any, pattern: Any) -> bool:
    """Whether a value has at least what the pattern has; of a list each item in some item of the value."""
    if type(pattern) is dict:
        return type(value) is dict and all(
            key in value and fits(value[key], wanted) for key, wanted in pattern.items()
        )
    if type(pattern) is list:
        return type(value) is list and all(any(fits(one, wanted) for one in value) for wanted in pattern)
    return same(value, pattern)
