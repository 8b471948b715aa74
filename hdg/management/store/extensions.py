"""Search parameters on extensions: what R4's expressions mean is the extension's value.

R4 searchparameter-registry.html. Some of R4's expressions name an extension by another URL than the one that R4
defines; then values under either are found.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

__all__ = ["extension_url", "extension_values"]

Items = list[Any]

_EXTENSION = re.compile(r"[A-Z]\w*\.extension\('([^']+)'\)\Z")
_BASE: Final = "http://hl7.org/fhir/StructureDefinition/"
_DEFINED: Final = {
    "http://hl7.org/fhir/SearchParameter/device-extensions-Device-din": (f"{_BASE}device-din", ""),
    f"{_BASE}patient-extensions-Patient-mothersMaidenName": (f"{_BASE}patient-mothersMaidenName", ""),
    f"{_BASE}observation-geneticsAminoAcidChangeName": (
        f"{_BASE}observation-geneticsAminoAcidChange",
        "Name",
    ),
    f"{_BASE}observation-geneticsDnaVariant": (f"{_BASE}observation-geneticsVariant", "Name"),
}
"""URL in a search parameter → URL of the extension that R4 defines, and the part of it that is meant ('': all)."""


def extension_url(expression: str) -> str:
    """The URL, when an expression is nothing but ``Type.extension('url')``, else ''."""
    match = _EXTENSION.match(expression)
    return match[1] if match is not None else ""


def extension_values(url: str) -> Callable[[Items], Items]:
    """Extensions → the values of those meant by a search parameter that names ``url``."""
    parts = {url: ""}
    if url in _DEFINED:
        defined, part = _DEFINED[url]
        parts[defined] = part

    def values(items: Items) -> Items:
        found: Items = []
        for item in items:
            part = parts.get(item.get("url", "")) if type(item) is dict else None
            if part is None:
                continue
            inner = [item] if not part else [e for e in item.get("extension", ()) if e.get("url") == part]
            found += [value for each in inner for key, value in each.items() if key.startswith("value")]
        return found

    return values
