"""Finds and removes what an Issue's place names (the FHIRPath of R4 operationoutcome.html).

A place has element names and indexes only: ``Observation.component[1].value.unit``. A choice stands without
its type, and ``Patient.birthDate.extension[0]`` lies in the companion ``_birthDate``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hdg.fhir.definitions import type_names
from hdg.fhir.json import JsonObject

__all__ = ["without"]

_STEP = re.compile(r"([^.\[\]]+)((?:\[[0-9]+\])?)")
_GONE = object()
# element name → index (None: not indexed) → what to remove below; an empty one removes the element itself.
Plan = dict[str, dict[int | None, Any]]


def without(resource: JsonObject, places: Iterable[str]) -> JsonObject | None:
    """A copy of ``resource`` without the elements at ``places``; objects and arrays left empty go too.

    Where a place names an element that is missing (a required one), the object that lacks it goes. None when
    nothing of the resource would remain.
    """
    plan: Plan = {}
    for place in places:
        steps = _STEP.findall(place)[1:]
        if not steps:
            return None
        node = plan
        for position, (name, index) in enumerate(steps):
            branches = node.setdefault(name, {})
            at = int(index[1:-1]) if index else None
            if position == len(steps) - 1 or branches.get(at) == {}:
                branches[at] = {}
                break
            node = branches.setdefault(at, {})
    result = _object(resource, plan)
    return result if result is not _GONE and set(result) != {"resourceType"} else None


def _object(value: JsonObject, plan: Plan) -> Any:
    """``value`` after the plan, or _GONE."""
    result: JsonObject = {}
    met: set[tuple[str, int | None]] = set()
    for key, item in value.items():
        name = next((name for name in plan if _is_form_of(key.removeprefix("_"), name) or key == name), None)
        if name is not None:
            item = _element(item, plan[name], name, met)
        if item is not _GONE:
            result[key] = item
    is_lacking = any((name, index) not in met for name, branches in plan.items() for index in branches)
    return _GONE if is_lacking or not result else result


def _element(value: Any, branches: dict[int | None, Any], name: str, met: set[tuple[str, int | None]]) -> Any:
    if None in branches and (branches[None] == {} or isinstance(value, dict)):
        met.add((name, None))
        return _object(value, branches[None]) if branches[None] else _GONE
    if not isinstance(value, list):
        return value
    items = []
    for index, item in enumerate(value):
        plan = branches.get(index)
        if plan == {} or (plan is not None and isinstance(item, dict)):
            met.add((name, index))
            item = _object(item, plan) if plan else _GONE
        if item is not _GONE:
            items.append(item)
    return _GONE if all(item is None for item in items) else items


def _is_form_of(key: str, name: str) -> bool:
    """Whether a property is the element ``name``, or the choice ``name`` with one of its types."""
    if key == name:
        return True
    suffix = key[len(name) :] if key.startswith(name) else ""
    types = type_names()
    return suffix[:1].isupper() and (suffix in types or suffix[0].lower() + suffix[1:] in types)
