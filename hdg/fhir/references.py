"""What the text of a Reference says (R4 references.html#literal).

``Patient/1``, ``http://host/fhir/Patient/1``, either with ``/_history/2``, ``#id`` of a contained resource,
``#`` for the container, or a URI that names no type (``urn:uuid:…``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hdg.fhir.definitions import resource_types
from hdg.fhir.json import JsonObject

__all__ = ["contained", "reference_parts", "reference_texts", "reference_type"]

_LITERAL = re.compile(
    r"(?:(https?://\S+)/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?"
)


def reference_parts(text: str) -> tuple[str, str] | None:
    """(resource type, id) of a literal reference, relative or absolute; None when the text names no type."""
    match = _LITERAL.fullmatch(text)
    if match is None or match[2] not in resource_types():
        return None
    return match[2], match[3]


def contained(resource: JsonObject, text: str) -> JsonObject | None:
    """The resource that ``#id`` points to inside ``resource`` (``#`` alone: the resource itself), or None."""
    if text == "#":
        return resource
    inner = resource.get("contained")
    for item in inner if isinstance(inner, list) else ():
        if isinstance(item, dict) and item.get("id") == text[1:]:
            return item
    return None


def reference_type(reference: Any, root: JsonObject) -> str | None:
    """The resource type that a Reference (or a canonical or uri text) names, or None when it does not say.

    ``root`` is the resource whose ``contained`` list ``#id`` refers to.
    """
    text = reference.get("reference") if isinstance(reference, dict) else reference
    if isinstance(text, str):
        if text.startswith("#"):
            target = contained(root, text)
            return target.get("resourceType") if target is not None else None
        parts = reference_parts(text)
        if parts is not None:
            return parts[0]
    said = reference.get("type") if isinstance(reference, dict) else None
    return said.rpartition("/")[2] if isinstance(said, str) else None


def reference_texts(content: dict[str, Any]) -> Iterator[str]:
    """The texts of all references, in their order."""
    pending: list[Any] = [content]
    while pending:
        item = pending.pop()
        if type(item) is dict:
            text = item.get("reference")
            if type(text) is str:
                yield text
        below = item.values() if type(item) is dict else item
        pending.extend(part for part in reversed(list(below)) if type(part) in (dict, list))
