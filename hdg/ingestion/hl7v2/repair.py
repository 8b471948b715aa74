"""Nothing invalid leaves: an element that breaks R4 is taken out, with an Issue, or the message is refused."""

from __future__ import annotations

import re
from typing import Any

from hdg.errors import Hl7v2Error, Issue
from hdg.fhir.validate import validate
from hdg.mapping.context import JsonObject

_STEP = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[(\d+)\])?")
_MAX_REMOVALS = 50


def made_valid(resource: JsonObject, issues: list[Issue]) -> None:
    """Check a resource; take out what breaks R4. Raises Hl7v2Error when it cannot be made valid.

    Issues name the FHIRPath of what went, never its value.
    """
    found = validate(resource)
    for _ in range(_MAX_REMOVALS):
        if not found:
            return
        worst = found[0]
        if not _remove(resource, worst.place):
            break
        issues.append(Issue("error", worst.code, worst.place, f"taken out: {worst.text}"))
        found = validate(resource)
    if found:
        raise Hl7v2Error(f"no valid resource can be made: {found[0].text}", found[0].place, condition="207")


def _remove(resource: JsonObject, place: str) -> bool:
    """Take out the element at a path, or the nearest element around it that exists; False when only the root is left."""
    steps = _STEP.findall(place)[1:]
    while steps:
        if _drop(resource, steps):
            return True
        steps.pop()
    return False


def _drop(root: Any, steps: list[tuple[str, str]]) -> bool:
    *way, (name, index) = steps
    parents: list[tuple[Any, Any]] = []
    node = root
    for step, at in way:
        key = _key(node, step)
        if key is None:
            return False
        parents.append((node, key))
        node = node[key]
        if isinstance(node, list):
            number = int(at or 0)
            if number >= len(node):
                return False
            parents.append((node, number))
            node = node[number]
    key = _key(node, name)
    if key is None:
        return False
    value = node[key]
    if isinstance(value, list) and index:
        if int(index) >= len(value):
            return False
        del value[int(index)]
        if not value:
            del node[key]
    else:
        del node[key]
    _prune(node, parents)
    return True


def _prune(node: Any, parents: list[tuple[Any, Any]]) -> None:
    """An object or list that became empty goes too."""
    while parents and not node:
        holder, key = parents.pop()
        del holder[key]
        node = holder


def _key(node: Any, name: str) -> str | None:
    """The property of an element; a choice is named without its type in a FHIRPath."""
    if not isinstance(node, dict):
        return None
    if name in node:
        return name
    if f"_{name}" in node:
        return f"_{name}"
    for key in node:
        stem = key.removeprefix("_")
        if stem.startswith(name) and stem[len(name) : len(name) + 1].isupper():
            return key
    return None
