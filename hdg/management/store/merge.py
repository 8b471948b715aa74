"""A partial statement of one sender, merged into what is stored. Pure.

DESIGN §3. An absent element keeps what is stored; a deletion removes it; a single-valued element is replaced;
a valued list replaces that sender's part of the list and leaves the other senders' items where they are.

Whose item is whose is kept as ``Parts``: sender → element → hashes of the items it stated. ``None`` for a
sender stands for "every list item", which is true as long as only one sender has spoken: then nothing needs
hashing. An item that two senders state is one item and stays until neither states it. ``meta``'s lists are
merged under ``meta.tag`` and so on. A list in ``ADDITIVE`` is added to and never cut by a value. A deletion
of a list removes the sender's own items only, never another sender's. A primitive and its companion
(``birthDate``, ``_birthDate``) are one element; so are all forms of a choice (``valueString``,
``valueQuantity``). Narrative (``text``) is replaced like any single-valued element.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from hdg.fhir import definitions
from hdg.fhir.canonical import canonical_bytes

__all__ = [
    "ADDITIVE",
    "IDENTITY",
    "SERVER_META",
    "JsonObject",
    "Parts",
    "base_of",
    "bases",
    "item_hash",
    "merge",
    "own_items",
    "without_server_meta",
]

JsonObject = dict[str, Any]
Parts = dict[str, dict[str, list[str]] | None]

IDENTITY = frozenset({"resourceType", "id", "meta"})
SERVER_META = frozenset({"versionId", "lastUpdated"})

ADDITIVE = frozenset({("Patient", "link"), ("DiagnosticReport", "result")})
"""Lists that only grow: a message about one merge of records says nothing about earlier ones, nor does one with some
results of an order about those that came before it (a result that is none says so itself).
"""


def merge(
    stored: JsonObject | None,
    parts: Parts,
    statement: JsonObject,
    deletions: Iterable[str] = (),
    *,
    sender: str,
) -> tuple[JsonObject, Parts]:
    """The merged content and its new parts. No argument is changed; the result shares values with them.

    ``stored`` is None for a resource that is new or deleted. ``meta.versionId`` and ``meta.lastUpdated`` do
    not take part.
    """
    deleted = {name.removeprefix("_") for name in deletions}
    if stored is None:
        return without_server_meta(statement), {sender: None}
    parts = parts or {sender: None}
    is_alone = set(parts) == {sender} and parts[sender] is None
    state = _Merge(stored, {} if is_alone else _explicit(parts, stored), sender, is_alone)
    stated = bases(state.type, tuple(statement))
    for name in sorted(deleted - stated.keys() - IDENTITY):
        state.delete(base_of(state.type, name))
    for base, keys in stated.items():
        state.set(base, keys, statement)
    state.meta(statement.get("meta") or {})
    return state.result, {sender: None} if is_alone else state.parts


def item_hash(item: Any) -> str:
    """What identifies a list item: 128 bits of SHA-256 over its canonical bytes (hex)."""
    return hashlib.sha256(canonical_bytes(item)).hexdigest()[:32]


def own_items(parts: Parts, sender: str, element: str, items: list[Any]) -> list[Any]:
    """The items of a stored list that a sender has stated."""
    own = parts.get(sender, {}) if parts else None
    if own is None:
        return items
    hashes = set(own.get(element, ()))
    return [item for item in items if item_hash(item) in hashes] if hashes else []


def without_server_meta(resource: JsonObject) -> JsonObject:
    """``resource`` without ``meta.versionId`` and ``meta.lastUpdated``; itself when it has neither."""
    meta = resource.get("meta")
    if not meta or SERVER_META.isdisjoint(meta):
        return resource
    kept = {key: value for key, value in meta.items() if key not in SERVER_META}
    rest = {key: value for key, value in resource.items() if key != "meta"}
    return {**rest, "meta": kept} if kept else rest


def _explicit(parts: Parts, stored: JsonObject) -> dict[str, dict[str, list[str]]]:
    """Parts with every ``None`` written out as the hashes of all stored list items."""
    if None not in parts.values():
        return {sender: dict(owned) for sender, owned in parts.items() if owned is not None}
    lists = {key: value for key, value in stored.items() if type(value) is list}
    for key, value in (stored.get("meta") or {}).items():
        if type(value) is list:
            lists[f"meta.{key}"] = value
    everything = {key: [item_hash(item) for item in value] for key, value in lists.items()}
    return {sender: dict(everything if owned is None else owned) for sender, owned in parts.items()}


def _grown(old: list[Any], new: list[Any]) -> list[Any]:
    known = {item_hash(item) for item in old}
    return [*old, *(item for item in new if item_hash(item) not in known)]


@lru_cache(maxsize=8192)
def base_of(resource_type: str, key: str) -> str:
    """The element that a property belongs to.

    ``_birthDate`` → ``birthDate``, ``valueQuantity`` → ``value``.
    """
    name = key.removeprefix("_")
    try:
        info = definitions.element_info(resource_type, name)
    except KeyError:
        return name
    return info.definition.name if info is not None and info.is_choice else name


@lru_cache(maxsize=4096)
def bases(resource_type: str, keys: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The elements of a content with these properties, each with its own; shared: never to be changed."""
    found: dict[str, list[str]] = {}
    for key in keys:
        if key not in IDENTITY:
            found.setdefault(base_of(resource_type, key), []).append(key)
    return {base: tuple(own) for base, own in found.items()}


class _Merge:
    """The state of one merge; lives for one call, which deletes or sets each element at most once."""

    def __init__(
        self, stored: JsonObject, parts: dict[str, dict[str, list[str]]], sender: str, is_alone: bool
    ) -> None:
        self.result = without_server_meta(stored)
        if self.result is stored:
            self.result = dict(stored)
        self.type: str = stored["resourceType"]
        self.parts: Any = parts
        self._own = bases(self.type, tuple(stored))
        self._sender = sender
        self._is_alone = is_alone

    def delete(self, base: str) -> None:
        value = self.result.get(base)
        if type(value) is list and f"_{base}" not in self.result:
            self._set_list(self.result, base, base, [])
            return
        for key in self._own.get(base, ()):
            self.result.pop(key, None)

    def set(self, base: str, keys: tuple[str, ...], statement: JsonObject) -> None:
        new = statement.get(base)
        is_list = type(new) is list and f"_{base}" not in statement and f"_{base}" not in self.result
        if is_list and type(new) is list:
            self._set_list(self.result, base, base, new)
            return
        for key in self._own.get(base, ()):
            if key not in keys:
                self.result.pop(key, None)
        for key in keys:
            self.result[key] = statement[key]

    def meta(self, stated: JsonObject) -> None:
        stated = {key: value for key, value in stated.items() if key not in SERVER_META}
        if not stated:
            return
        meta = dict(self.result.get("meta") or {})
        for key, value in stated.items():
            if type(value) is list:
                self._set_list(meta, key, f"meta.{key}", value)
            else:
                meta[key] = value
        self.result["meta"] = meta

    def _set_list(self, holder: JsonObject, key: str, part: str, new: list[Any]) -> None:
        old = holder.get(key)
        if (self.type, part) in ADDITIVE and type(old) is list:
            new = old if new == old else _grown(old, new)
        if self._is_alone or type(old) is not list:
            items = new
            hashes = [] if self._is_alone else [item_hash(item) for item in new]
        else:
            hashes = [item_hash(item) for item in new]
            items = self._spliced(old, part, new, hashes)
        if not self._is_alone:
            owned = self.parts.setdefault(self._sender, {})
            owned[part] = hashes
        if items:
            holder[key] = items
        else:
            holder.pop(key, None)

    def _spliced(self, old: list[Any], part: str, new: list[Any], hashes: list[str]) -> list[Any]:
        """``old`` with the sender's own items replaced by ``new``, at the place where its first one stood."""
        mine = set(self.parts.get(self._sender, {}).get(part, ()))
        others = {
            h for sender, owned in self.parts.items() if sender != self._sender for h in owned.get(part, ())
        }
        kept: list[Any] = []
        kept_hashes: set[str] = set()
        place: int | None = None
        for item in old:
            digest = item_hash(item)
            if digest in mine and digest not in others:
                place = len(kept) if place is None else place
                continue
            kept.append(item)
            kept_hashes.add(digest)
        fresh = [item for item, digest in zip(new, hashes, strict=True) if digest not in kept_hashes]
        at = len(kept) if place is None else place
        return [*kept[:at], *fresh, *kept[at:]]
