"""One element of a resource, as what can be told apart in it; compared as the store compares it (merge.py).

What a field of a message had stated is looked for item by item (history.py, emptied.py, beside.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hdg.ingestion.converted import JsonObject
from hdg.management.store.merge import base_of, item_hash

__all__ = ["Items", "element_of", "hashes", "items_of", "together"]

Items = dict[str, Any]
"""By the hash of each."""


def items_of(element: JsonObject, base: str) -> Items:
    """What can be told apart in an element: the items of a list, else its parts; all of it where it has none."""
    value = element.get(base)
    if len(element) == 1 and type(value) is list:
        return {item_hash(item): item for item in value}
    if len(element) == 1 and type(value) is dict:
        return {item_hash({name: part}): {name: part} for name, part in value.items()}
    return {item_hash(element): element} if element else {}


def together(base: str, items: Iterable[Any], *, is_list: bool) -> JsonObject:
    """The element that ``items_of`` took apart."""
    if is_list:
        found = list(items)
        return {base: found} if found else {}
    parts = {name: part for item in items for name, part in item.items()}
    return {base: parts} if parts else {}


def element_of(resource: JsonObject, base: str) -> JsonObject:
    """The properties of one element."""
    return {
        name: value for name, value in resource.items() if base_of(resource["resourceType"], name) == base
    }


def hashes(element: JsonObject) -> Any:
    """Equal for what the store takes for equal: the order of a list's items does not count."""
    return {
        name: {item_hash(item) for item in value} if type(value) is list else item_hash({"": value})
        for name, value in element.items()
    }
