"""Where in a resource a path of a FHIRPath Patch points to: places that can be changed, not values.

R4 fhirpatch.html#concept: simple paths, plus where(), first(), last(), ofType(), extension(). FHIRPath itself yields
values, from which the place of a primitive cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hdg.fhir import definitions
from hdg.fhir.path import compile as compile_path
from hdg.fhir.path_grammar import (
    Binary,
    Call,
    Index,
    Literal,
    Member,
    Node,
    PathError,
    This,
    TypeTest,
    Variable,
    parse,
)

__all__ = ["Slot", "walk"]

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place: ``owner[key]``, or item ``index`` of the list there; ``owner`` None: the resource itself.

    ``type``: of what is there (a backbone element's path). ``choice``: the element's name without type, '' for
    none; ``parents``: the places above, outermost first.
    """

    owner: JsonObject | None
    key: str
    index: int | None
    type: str
    owner_type: str = ""
    choice: str = ""
    parents: tuple[Slot, ...] = ()

    def value(self) -> Any:
        """What is there; None for a primitive that has a companion only."""
        if self.owner is None:
            return None
        found = self.owner.get(self.key)
        if self.index is None:
            return found
        return found[self.index] if isinstance(found, list) and self.index < len(found) else None

    def object(self, root: JsonObject) -> JsonObject:
        """The object there, whose properties can be set. Raises PathError for a primitive."""
        found = root if self.owner is None else self.value()
        if not isinstance(found, dict):
            raise PathError("a primitive has no elements")
        return found


def walk(root: JsonObject, path: str) -> list[Slot]:
    """The places that ``path`` finds in ``root``, in order. Raises PathError for a path that is not understood."""
    try:
        return _slots(parse(path), root)
    except RecursionError:
        raise PathError("nested too deeply") from None


def _slots(node: Node, root: JsonObject) -> list[Slot]:
    match node:
        case This() | Variable("resource" | "context"):
            return [Slot(None, "", None, root.get("resourceType", ""))]
        case Member(This(), name, True) if name in (root.get("resourceType"), "Resource", "DomainResource"):
            return [Slot(None, "", None, root.get("resourceType", ""))]
        case Member(target, name):
            return [child for slot in _slots(target, root) for child in _children(slot, name, root)]
        case Index(target, Literal(int() as position, "integer")):
            return _slots(target, root)[position : position + 1]
        case TypeTest("as", target, kind):
            return [slot for slot in _slots(target, root) if slot.type == kind]
        case Call(target, "first", ()):
            return _slots(target, root)[:1]
        case Call(target, "last", ()):
            return _slots(target, root)[-1:]
        case Call(target, "single", ()):
            found = _slots(target, root)
            if len(found) > 1:
                raise PathError("single() finds several")
            return found
        case Call(target, "where", (condition,)):
            return [slot for slot in _slots(target, root) if _holds(condition, slot, root)]
        case Call(target, "extension", (Literal(str() as url, "string"),)):
            found = [child for slot in _slots(target, root) for child in _children(slot, "extension", root)]
            return [slot for slot in found if slot.object(root).get("url") == url]
    raise PathError("the path is not one that a patch can follow")


def _children(slot: Slot, name: str, root: JsonObject) -> Iterator[Slot]:
    """The places of a child element."""
    parents = (*slot.parents, slot) if slot.owner is not None else ()
    if definitions.is_primitive(slot.type.partition(".")[0]) and slot.owner is not None:
        yield from _of_primitive(slot, name, parents)
        return
    owner = slot.object(root)
    type_ = slot.type
    if type_ in ("Resource", "DomainResource") and isinstance(owner.get("resourceType"), str):
        type_ = owner["resourceType"]
    try:
        info = definitions.element_info(type_, name)
    except KeyError:
        info = None
    if info is None or name.startswith("_"):
        raise PathError("there is no such element")
    choice = info.definition.name if info.is_choice else ""
    for key, kind in info.definition.json_names():
        if name in (key, info.definition.name):
            made = Slot(owner, key, None, kind, type_, choice, parents)
            yield from _items(made, is_list=info.is_list)


def _of_primitive(slot: Slot, name: str, parents: tuple[Slot, ...]) -> Iterator[Slot]:
    """id and extensions of a primitive lie in its companion."""
    if slot.owner is None or name not in ("id", "extension"):
        raise PathError("a primitive has no such element")
    companion = slot.owner.get(f"_{slot.key}")
    if slot.index is not None and isinstance(companion, list):
        companion = companion[slot.index] if slot.index < len(companion) else None
    if isinstance(companion, dict):
        kind = "string" if name == "id" else "Extension"
        parents = (*parents, Slot(slot.owner, f"_{slot.key}", slot.index, "Element"))
        made = Slot(companion, name, None, kind, "Element", "", parents)
        yield from _items(made, is_list=name == "extension")


def _items(slot: Slot, *, is_list: bool) -> Iterator[Slot]:
    owner = slot.owner or {}
    value, companion = owner.get(slot.key), owner.get(f"_{slot.key}")
    if not is_list:
        if value is not None or companion is not None:
            yield slot
        return
    lists = [items for items in (value, companion) if isinstance(items, list)]
    for index in range(max(map(len, lists), default=0)):
        yield replace(slot, index=index)


def _holds(condition: Node, slot: Slot, root: JsonObject) -> bool:
    """Whether a where() condition is true for what lies at a place."""
    item = root if slot.owner is None else slot.value()
    if item is None:
        return False
    found = compile_path(_text(condition), slot.type).typed_at(item, root)
    return [value for _, value in found] == [True]


def _text(node: Node) -> str:
    """A tree as FHIRPath text again."""
    match node:
        case This():
            return "$this"
        case Literal(value, kind):
            return _literal(value, kind)
        case Variable(name):
            return f"%`{name}`"
        case Member(target, name, is_root):
            return f"`{name}`" if is_root else f"{_text(target)}.`{name}`"
        case Index(target, position):
            return f"{_text(target)}[{_text(position)}]"
        case TypeTest(operator, operand, kind):
            return f"({_text(operand)} {operator} {kind})"
        case Binary(operator, left, right):
            return f"({_text(left)} {operator} {_text(right)})"
        case Call(target, name, arguments):
            start = "" if isinstance(target, This) else _text(target) + "."
            return f"{start}{name}({', '.join(map(_text, arguments))})"
    raise PathError("the condition is not understood")


def _literal(value: Any, kind: str) -> str:
    if value is None:
        return "{}"
    if kind == "string":
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return str(value).lower() if kind == "boolean" else str(value)
