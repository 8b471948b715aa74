"""Nothing invalid leaves: what breaks R4 is taken out, what R4 requires and the message lacks is said to be
absent.

Both with an Issue. R4 extension-data-absent-reason.html; R4 element.html (ele-1).
"""

from __future__ import annotations

import re
from typing import Any

from hdg.errors import Issue, SourceError
from hdg.fhir.definitions import element_info, is_primitive
from hdg.fhir.invariants import Trusted
from hdg.fhir.validate import validate
from hdg.mapping.context import JsonObject
from hdg.mapping.remembered import fresh

_STEP = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[(\d+)\])?")
_MAX_REPAIRS = 50
_ABSENT = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}
    ]
}


def made_valid(resource: JsonObject, issues: list[Issue], trusted: Trusted | None = None) -> None:
    """Check a resource and repair it in place. Raises SourceError when it cannot be made valid.

    Issues name the FHIRPath of what was repaired, never its value. What is inside may be shared with other
    resources: a resource to repair gets copies first. ``trusted``: see ``validate``.
    """
    found = validate(resource, trusted)
    if not found:
        return
    kept = fresh(resource)
    resource.update(fresh(kept))
    for is_filling in (True, False):
        repairs: list[Issue] = []
        for _ in range(_MAX_REPAIRS):
            worst = found[0]
            what = _repair(resource, worst, is_filling=is_filling)
            if not what:
                break
            repairs.append(Issue("error", worst.code, worst.place, f"{what}: {worst.text}"))
            found = validate(resource)
            if not found:
                issues.extend(repairs)
                return
        resource.clear()
        resource.update(fresh(kept))
        found = validate(resource)
    raise SourceError(f"no valid resource can be made: {found[0].text}", found[0].place)


def _repair(resource: JsonObject, issue: Issue, *, is_filling: bool) -> str:
    """What was done about one finding; '' for nothing."""
    if is_filling and issue.code == "required" and _fill(resource, issue.place):
        return "said to be absent"
    return "taken out" if _remove(resource, issue.place) else ""


def _fill(resource: JsonObject, place: str) -> bool:
    """Say of a missing required element that it is unknown; False when its holder is missing too."""
    *way, (name, _) = [("", ""), *_STEP.findall(place)[1:]]
    kind = str(resource.get("resourceType"))
    node: Any = resource
    for step, at in way[1:]:
        key = _key(node, step)
        if key is None or key.startswith("_"):
            return False
        info = element_info(kind, key)
        if info is None:
            return False
        kind = info.type
        node = node[key]
        if isinstance(node, list):
            if int(at or 0) >= len(node):
                return False
            node = node[int(at or 0)]
    info = element_info(kind, name) if name and isinstance(node, dict) else None
    if info is None or info.is_choice or info.definition.is_choice or _key(node, name):
        return False
    absent = fresh(_ABSENT)
    key = f"_{name}" if is_primitive(info.type) else name
    node[key] = [absent] if info.is_list else absent
    if info.is_list and key.startswith("_"):
        node[name] = [None]
    return True


def _remove(resource: JsonObject, place: str) -> bool:
    """Take out the element at a path, or the nearest one around it that exists; False: only the root is
    left.
    """
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
    for key in map(str, node):
        stem = key.removeprefix("_")
        if stem.startswith(name) and stem[len(name) : len(name) + 1].isupper():
            return key
    return None
