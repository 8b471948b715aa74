"""FHIRPath Patch on a resource (R4 fhirpatch.html): add, insert, delete, replace, move.

A path is walked to *places* (object and property, array and index), so that a primitive and its companion
(``birthDate``, ``_birthDate``) are changed together. Paths are what R4 fhirpatch.html allows: element names, ``[n]``,
first(), last(), where(…), ofType()/as, extension('url'); a where() condition is any FHIRPath of hdg.fhir.path.
Pure: the resource given is not changed. Validation of the outcome is the caller's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.fhir.patch_json import PatchFailed
from hdg.fhir.patch_paths import Slot, walk
from hdg.fhir.path import PathError

__all__ = ["apply_fhirpath_patch"]

JsonObject = dict[str, Any]

MAX_OPERATIONS = 10_000
_PARTS = frozenset({"type", "path", "name", "value", "index", "source", "destination"})


@dataclass(frozen=True, slots=True)
class _Value:
    """A value to put in: ``type`` '' for an anonymous one; ``companion``: its ``_`` property, None for none."""

    type: str
    value: Any
    companion: Any = None


@dataclass(frozen=True, slots=True)
class _Operation:
    type: str
    path: str
    name: str
    value: JsonObject | None
    index: int | None
    source: int | None
    destination: int | None


def apply_fhirpath_patch(resource: JsonObject, patch: JsonObject) -> JsonObject:
    """``resource`` after all operations of a Parameters resource.

    Raises BadRequest for what is no FHIRPath Patch, PatchFailed where it does not fit; the texts name the number of the
    operation and no value.
    """
    if patch.get("resourceType") != "Parameters":
        raise BadRequest("a FHIRPath Patch is a Parameters resource", code="structure")
    parameters = patch.get("parameter", [])
    if not isinstance(parameters, list) or len(parameters) > MAX_OPERATIONS:
        raise BadRequest(f"parameter is a list of at most {MAX_OPERATIONS} operations", code="structure")
    result: JsonObject = copy.deepcopy(resource)
    for number, parameter in enumerate(parameters):
        try:
            _apply(result, _operation(parameter))
        except PatchFailed as error:
            raise PatchFailed(f"operation {number}: {error}", code=error.code) from None
        except BadRequest as error:
            raise BadRequest(f"operation {number}: {error}", code=error.code) from None
        except PathError:
            raise BadRequest(f"operation {number}: the path is not understood", code="value") from None
    return result


def _operation(parameter: Any) -> _Operation:
    if not isinstance(parameter, dict) or parameter.get("name") != "operation":
        raise BadRequest("each parameter is named operation", code="structure")
    parts: dict[str, JsonObject] = {}
    for part in parameter.get("part") or ():
        name = part.get("name") if isinstance(part, dict) else None
        if name not in _PARTS or name in parts:
            raise BadRequest("a part that is unknown or given twice", code="structure")
        parts[name] = part
    type_, path = _text(parts.get("type")), _text(parts.get("path"))
    if not type_ or not path:
        raise BadRequest("type and path are needed", code="required")
    index, source, destination = (_number(parts.get(name)) for name in ("index", "source", "destination"))
    return _Operation(type_, path, _text(parts.get("name")), parts.get("value"), index, source, destination)


def _text(part: JsonObject | None) -> str:
    if part is None:
        return ""
    value = part.get("valueString", part.get("valueCode"))
    if not isinstance(value, str):
        raise BadRequest("type, path and name are texts", code="value")
    return value


def _number(part: JsonObject | None) -> int | None:
    if part is None:
        return None
    value = part.get("valueInteger")
    if type(value) is not int or value < 0:
        raise BadRequest("index, source and destination are numbers from 0 on", code="value")
    return value


# --- the operations ------------------------------------------------------------------------------------------


def _apply(root: JsonObject, operation: _Operation) -> None:
    match operation.type:
        case "add":
            _add(root, operation)
        case "insert":
            _insert(root, operation)
        case "delete":
            _delete(root, operation)
        case "replace":
            _replace(root, operation)
        case "move":
            _move(root, operation)
        case _:
            raise BadRequest("the type is add, insert, delete, replace or move", code="value")


def _add(root: JsonObject, operation: _Operation) -> None:
    slot = _single(walk(root, operation.path))
    if not operation.name:
        raise BadRequest("add needs a name", code="required")
    owner = slot.object(root)
    key, type_, is_list = _property(slot.type, operation.name, operation.value)
    value = _value(operation.value, type_)
    if is_list:
        _splice(owner, key, value, len(owner.get(key) or owner.get(f"_{key}") or ()))
        return
    if _is_valued(owner, slot.type, operation.name):
        raise PatchFailed("the element is there already")
    _set(owner, key, value)


def _insert(root: JsonObject, operation: _Operation) -> None:
    if operation.index is None:
        raise BadRequest("insert needs an index", code="required")
    owner, key, type_ = _list(walk(root, operation.path))
    if operation.index > _length(owner, key):
        raise PatchFailed("the index is beyond the end of the list")
    _splice(owner, key, _value(operation.value, type_), operation.index)


def _delete(root: JsonObject, operation: _Operation) -> None:
    slots = walk(root, operation.path)
    if not slots:
        return  # R4 fhirpatch.html: nothing to delete is no error
    slot = _single(slots)
    if slot.owner is None:
        raise PatchFailed("a resource cannot be deleted by a patch")
    _take(slot.owner, slot.key, slot.index)
    _prune(slot.parents)


def _replace(root: JsonObject, operation: _Operation) -> None:
    slot = _single(walk(root, operation.path))
    if slot.owner is None:
        raise PatchFailed("a resource cannot be replaced by a patch")
    value = _value(operation.value, slot.type)
    key = slot.key
    if slot.choice:
        key, _, _ = _property(slot.owner_type, slot.choice, operation.value)
    if slot.index is None:
        _take(slot.owner, slot.key, None)
        _set(slot.owner, key, value)
    else:
        _take(slot.owner, slot.key, slot.index)
        _splice(slot.owner, key, value, slot.index)


def _move(root: JsonObject, operation: _Operation) -> None:
    source, destination = operation.source, operation.destination
    if source is None or destination is None:
        raise BadRequest("move needs source and destination", code="required")
    owner, key, type_ = _list(walk(root, operation.path))
    if max(source, destination) >= _length(owner, key):
        raise PatchFailed("source or destination is beyond the end of the list")
    value, companion = _take(owner, key, source)
    _splice(owner, key, _Value(type_, value, companion), destination)


def _single(slots: Sequence[Slot]) -> Slot:
    if len(slots) != 1:
        raise PatchFailed("the path finds nothing" if not slots else "the path finds more than one element")
    return slots[0]


def _list(slots: Sequence[Slot]) -> tuple[JsonObject, str, str]:
    """(owner, property, type) of the one list that a path names. Raises PatchFailed."""
    places = {(id(slot.owner), slot.key): slot for slot in slots}
    if len(places) != 1:
        raise PatchFailed("the path does not find one list")
    slot = next(iter(places.values()))
    if slot.owner is None or slot.index is None:
        raise PatchFailed("the element is not a list")
    return slot.owner, slot.key, slot.type


# --- values --------------------------------------------------------------------------------------------------


def _value(part: JsonObject | None, type_: str) -> _Value:
    """What a ``value`` part holds, for an element of that type."""
    if part is None:
        raise BadRequest("a value is needed", code="required")
    if "resource" in part:
        return _Value("Resource", copy.deepcopy(part["resource"]))
    if part.get("part"):
        return _Value(type_, _anonymous(part["part"], type_))
    name = next((key.removeprefix("_") for key in part if key.lstrip("_").startswith("value")), "")
    info = definitions.element_info("Parameters.parameter", name) if name else None
    if info is None:
        raise BadRequest("a value is needed", code="required")
    return _Value(info.type, copy.deepcopy(part.get(name)), copy.deepcopy(part.get(f"_{name}")))


def _anonymous(parts: Any, type_: str) -> JsonObject:
    """A backbone element whose content is given as parts, one for each child (R4 fhirpatch.html)."""
    made: JsonObject = {}
    for part in parts if isinstance(parts, list) else ():
        name = part.get("name") if isinstance(part, dict) else None
        if not isinstance(name, str):
            raise BadRequest("a part needs a name", code="required")
        key, kind, is_list = _property(type_, name, part)
        value = _value(part, kind)
        if is_list:
            _splice(made, key, value, _length(made, key))
        elif key in made or f"_{key}" in made:
            raise BadRequest("an element that does not repeat is given twice", code="structure")
        else:
            _set(made, key, value)
    return made


def _property(type_: str, name: str, part: JsonObject | None) -> tuple[str, str, bool]:
    """(JSON property, type, whether it is a list) of the child ``name`` of a type for that value."""
    name = name.removesuffix("[x]")
    info = definitions.element_info(type_, name) if type_ and not name.startswith("_") else None
    if info is None:
        raise PatchFailed("there is no such element")
    if info.is_choice and name == info.definition.name:
        kind = _value(part, "").type
        names = {found: key for key, found in info.definition.json_names()}
        if kind not in names:
            raise PatchFailed("the element does not take a value of this type")
        return names[kind], kind, info.is_list
    return name, info.type, info.is_list


def _is_valued(owner: JsonObject, type_: str, name: str) -> bool:
    """Whether an element, in whatever form of a choice, is there."""
    info = definitions.element_info(type_, name.removesuffix("[x]"))
    names = [key for key, _ in info.definition.json_names()] if info is not None else [name]
    return any(key in owner or f"_{key}" in owner for key in names)


# --- properties and their companions -------------------------------------------------------------------------


def _length(owner: JsonObject, key: str) -> int:
    return max(len(owner.get(key) or ()), len(owner.get(f"_{key}") or ()))


def _set(owner: JsonObject, key: str, value: _Value) -> None:
    if value.value is not None:
        owner[key] = value.value
    if value.companion is not None:
        owner[f"_{key}"] = value.companion


def _splice(owner: JsonObject, key: str, value: _Value, index: int) -> None:
    """Puts an item into a list, and its companion into the list beside it."""
    length = _length(owner, key)
    for name, item in ((key, value.value), (f"_{key}", value.companion)):
        if item is None and name not in owner:
            continue
        items = list(owner.get(name) or ())
        items += [None] * (length - len(items))
        items.insert(index, item)
        owner[name] = items


def _take(owner: JsonObject, key: str, index: int | None) -> tuple[Any, Any]:
    """Removes an element (or an item of a list) with its companion; what they were."""
    taken: list[Any] = []
    for name in (key, f"_{key}"):
        if index is None or not isinstance(owner.get(name), list):
            taken.append(owner.pop(name, None))
            continue
        items = owner[name]
        taken.append(items[index] if index < len(items) else None)
        rest = [*items[:index], *items[index + 1 :]]
        if any(item is not None for item in rest):
            owner[name] = rest
        else:
            del owner[name]
    return taken[0], taken[1]


def _prune(parents: Sequence[Slot]) -> None:
    """An element that has lost its last child goes too: R4 knows no empty elements."""
    for slot in reversed(parents):
        if slot.owner is None or slot.value() or slot.value() is False or slot.value() == 0:
            return
        if slot.key.startswith("_") and slot.index is not None:
            _blank(slot.owner, slot.key, slot.index)
        elif not slot.key.startswith("_") and slot.owner.get(f"_{slot.key}"):
            return
        else:
            _take(slot.owner, slot.key, slot.index)


def _blank(owner: JsonObject, key: str, index: int) -> None:
    """An item of a list of companions goes without the others moving up."""
    items = [None if at == index else item for at, item in enumerate(owner[key])]
    if any(item is not None for item in items):
        owner[key] = items
    else:
        del owner[key]
