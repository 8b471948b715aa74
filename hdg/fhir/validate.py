"""Validates a resource against R4 4.0.1 (R4 validation.html; profiles and terminology servers are not asked).

Checked: unknown elements, JSON types, cardinality, primitive grammar with real calendar dates, codes of
required bindings, one type per choice, ``_name`` companions and null padding, reference targets, contained
resources (R4 references.html#contained), empty objects, arrays and strings, narrative XHTML and the
invariants of hdg.fhir.invariants.

Places are FHIRPath as R4 operationoutcome.html asks: element names and indexes, a choice by its name without
type (``Observation.value.unit``). Texts never hold a value of the resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hdg.errors import Issue
from hdg.fhir.accept import resource_accept
from hdg.fhir.definitions import resource_types
from hdg.fhir.invariants import ROOM, Scope, Trusted
from hdg.fhir.json import JsonObject
from hdg.fhir.primitives import Check, Finding
from hdg.fhir.validate_objects import object_check

__all__ = ["is_accepted", "refused", "validate"]


def validate(resource: Any, trusted: Trusted | None = None) -> list[Issue]:
    """Everything wrong with a resource, or an empty list. Never raises for any JSON value.

    ``trusted``: objects that are never changed and may be part of many resources; which checks they pass is
    noted there and not asked again.
    """
    if type(resource) is not dict:
        return [Issue("error", "structure", "", "a resource is a JSON object")]
    if is_accepted(resource, trusted):
        return []
    kind = resource.get("resourceType")
    try:
        found = _resource_check(resource, Scope(resource, resource))
    except RecursionError:
        found = [("", "too-costly", "nested too deeply")]
    if found is None:
        return []
    place = kind if isinstance(kind, str) and kind in resource_types() else ""
    return [Issue("error", code, place + below, text) for below, code, text in found]


def is_accepted(resource: JsonObject, trusted: Trusted | None) -> bool:
    """Whether the short way finds the resource right; ``validate`` finds out about all the others.

    ``trusted``: as for ``validate``.
    """
    kind = resource.get("resourceType")
    accept = resource_accept(kind) if type(kind) is str and "contained" not in resource else None
    try:
        return accept is not None and accept(resource, Scope(resource, resource, trusted)) is None
    except RecursionError:  # too deep for the short way: the whole check says whether it is for that one, too
        return False


def refused(resources: Sequence[JsonObject], trusted: Trusted | None) -> list[int]:
    """The indexes of those that ``is_accepted`` says no to, for less than one by one."""
    found: list[int] = []
    scope = Scope({}, {}, trusted)
    for index, resource in enumerate(resources):
        kind = resource.get("resourceType")
        accept = resource_accept(kind) if type(kind) is str and "contained" not in resource else None
        scope.resource = scope.root = resource
        scope.locals = None
        scope.room = ROOM
        try:
            if accept is None or accept(resource, scope) is not None:
                found.append(index)
        except RecursionError:
            found.append(index)
    return found


def _resource_check(value: Any, scope: Scope) -> list[Finding] | None:
    """A resource of whatever type it says it is."""
    check = _check_of(value)
    if not callable(check):
        return check
    found = check(value, scope)
    if "contained" in value:
        problems = [*(found or ()), *_contained_rules(value)]
        return problems or None
    return found


def _check_of(value: Any) -> Check | list[Finding]:
    if type(value) is not dict:
        return [("", "structure", "a JSON object is needed")]
    if not value:
        return [("", "structure", "an empty object")]
    kind = value.get("resourceType")
    if not isinstance(kind, str) or kind not in resource_types():
        return [(".resourceType", "structure", "not a resource type of R4")]
    return object_check(kind, _inner_resource)


def _inner_resource(value: Any, scope: Scope, is_contained: bool) -> list[Finding] | None:
    """A resource that is the value of an element: contained in ``scope.root``, or a root of its own."""
    if not is_contained:
        return _resource_check(value, Scope(value, value) if type(value) is dict else scope)
    check = _check_of(value)
    if not callable(check):
        return check
    inside = Scope(value, scope.root)
    inside.locals = scope.local_ids()
    return check(value, inside)


# --- contained resources ---------------------------------------------------------------------------------


def _contained_rules(container: JsonObject) -> Iterator[Finding]:
    """dom-2, dom-3, dom-4, dom-5 and distinct ids."""
    inner = container["contained"]
    if not isinstance(inner, list):
        return
    used = set(_local_references(container))
    seen: set[str] = set()
    for index, item in enumerate(inner):
        if not isinstance(item, dict):
            continue
        place = f".contained[{index}]"
        identity = item.get("id")
        if not isinstance(identity, str):
            yield (place + ".id", "required", "a contained resource needs an id")
        elif identity in seen:
            yield (place + ".id", "duplicate", "two contained resources have the same id")
        elif "#" + identity not in used and "#" not in set(_local_references(item)):
            yield (place, "invariant", "dom-3: the contained resource is not referenced")
        if isinstance(identity, str):
            seen.add(identity)
        if "contained" in item:
            yield (place + ".contained", "invariant", "dom-2: a contained resource contains another")
        yield from _contained_meta(place, item.get("meta"))


def _contained_meta(place: str, meta: Any) -> Iterator[Finding]:
    if not isinstance(meta, dict):
        return
    for key, name in (("versionId", "dom-4"), ("lastUpdated", "dom-4"), ("security", "dom-5")):
        if key in meta:
            yield (f"{place}.meta.{key}", "invariant", f"{name}: not in a contained resource")


def _local_references(value: Any) -> Iterator[str]:
    """Every text below ``value`` that is ``#`` or ``#id``, of whatever element."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, str) and item.startswith("#"):
            yield item
