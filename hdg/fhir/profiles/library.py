"""Canonical URL → definition, over all loaded packages. R4 references.html#canonical."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from hdg.fhir import json
from hdg.fhir.definitions import type_names
from hdg.fhir.profiles.shelf import Shelf, Slot

__all__ = ["Library", "core_type"]

JsonObject = dict[str, Any]
_CORE = "http://hl7.org/fhir/StructureDefinition/"
_KEPT = 512
"""Definitions that are held decoded; what is compiled of them needs them no more."""


def core_type(canonical: str) -> str:
    """The R4 type whose own definition a canonical URL names, '' for any other URL."""
    name = canonical.partition("|")[0]
    name = name.removeprefix(_CORE) if name.startswith(_CORE) else ""
    return name if name in type_names() else ""


class Library:
    """Definitions by type and canonical URL; a URL without a version means the newest that is loaded."""

    def __init__(self) -> None:
        self._found: defaultdict[tuple[str, str], list[tuple[str, Callable[[], JsonObject]]]]
        self._found = defaultdict(list)
        self._decoded = lru_cache(_KEPT)(_decode)

    @classmethod
    def of_shelf(cls, shelf: Shelf) -> Library:
        """All that is loaded; definitions are read from the disk when they are first asked for."""
        library = cls()
        for slot in shelf.slots():
            library._put(slot.type, slot.url, slot.version, lambda slot=slot: library._decoded(slot))  # type: ignore[misc]  # a default binds the slot
        return library

    def with_resources(self, resources: Iterable[JsonObject]) -> Library:
        """This library and more definitions, which stay in memory; self is not changed."""
        library = Library()
        for key, versions in self._found.items():
            library._found[key] = list(versions)
        for resource in resources:
            version = resource.get("version", "")
            library._put(resource["resourceType"], resource["url"], version, lambda it=resource: it)  # type: ignore[misc]  # a default binds the resource
        return library

    def _put(self, type_: str, url: str, version: str, get: Callable[[], JsonObject]) -> None:
        versions = self._found[type_, url]
        versions.append((version, get))
        versions.sort(key=lambda pair: _order(pair[0]))

    def find(self, type_: str, canonical: str) -> JsonObject | None:
        """The definition that ``url`` or ``url|version`` names, or None when it is not loaded."""
        url, _, version = canonical.partition("|")
        for known, get in reversed(self._found.get((type_, url), ())):
            if not version or known == version:
                return get()
        return None

    def urls(self, type_: str) -> list[str]:
        """The canonical URLs of a type of definitions."""
        return sorted(url for kind, url in self._found if kind == type_)


def _decode(slot: Slot) -> JsonObject:
    found: JsonObject = json.loads(slot.read())
    return found


def _order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers by value; a version with a label (4.0.0-ballot) before the one without."""
    number, _, label = version.partition("-")
    parts = [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"[.+]", number)]
    return (*parts, (0, 0, label) if label else (1, 0, ""))
