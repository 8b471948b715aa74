"""A StructureDefinition as one tree of elements and slices.

R4 profiling.html#snapshot, R4 elementdefinition.html#interpretation. A snapshot is taken as it is; without one
the differential is laid over the tree of its base, which comes to the same: R4's own types need no tree, since
hdg.fhir.validate checks them before any profile is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hdg.fhir.definitions import ElementDefinition, is_primitive, type_definition, type_names
from hdg.fhir.path_branches import is_subtype
from hdg.fhir.profiles.library import Library, core_type
from hdg.fhir.profiles.package import PackageError

__all__ = ["Node", "element_of", "find_element", "tree_of"]

JsonObject = dict[str, Any]

_KEPT = ("min", "max", "type", "binding", "slicing", "contentReference", "maxLength")
_VALUES = ("fixed", "pattern", "minValue", "maxValue")
_DEEPEST = 32
"""Bases of bases."""


@dataclass(slots=True, eq=False)
class Node:
    """One element or slice. ``types``: what it may be, in R4's own tables (a backbone by its path).

    ``definition`` holds what the profile says: cardinality, values, types, binding, constraints. A slice that
    says nothing of its least number has none (R4 profiling.html#slice-cardinality).
    """

    name: str
    types: tuple[str, ...]
    slice: str = ""
    is_list: bool = True
    definition: JsonObject = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)
    slices: dict[str, Node] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    """Of a choice: the types by whose names a differential speaks of it, without slicing it by type."""

    @property
    def min(self) -> int:
        """How often at least."""
        return int(self.definition.get("min", 0))

    @property
    def max(self) -> int | None:
        """How often at most; None: as often as R4 allows."""
        most = self.definition.get("max", "*")
        return None if most == "*" else int(most)

    @property
    def constraints(self) -> list[JsonObject]:
        """Its invariants."""
        found: list[JsonObject] = self.definition.get("constraint", [])
        return found

    def value(self, prefix: str) -> tuple[str, Any] | None:
        """(key, value) of ``fixed[x]``, ``pattern[x]``, ``minValue[x]`` or ``maxValue[x]``."""
        for key, value in self.definition.items():
            if key.startswith(prefix) and key[len(prefix) :][:1].isupper():
                return key, value
        return None


def tree_of(definition: JsonObject, library: Library) -> Node:
    """The tree of a profile. Raises PackageError naming the profile, and its base or element if that is why."""
    return _tree(definition, library, 0)


def _tree(definition: JsonObject, library: Library, depth: int) -> Node:
    url = str(definition.get("url", ""))
    type_ = definition.get("type")
    if not isinstance(type_, str) or type_ not in type_names():
        raise PackageError("its type is none of R4", place=url)
    root = Node(type_, (type_,))
    listed = _elements(definition, "snapshot", url)
    if not listed:
        base = str(definition.get("baseDefinition", ""))
        if not core_type(base):
            found = library.find("StructureDefinition", base)
            if found is None:
                raise PackageError(
                    f"it has no snapshot, and its base {base or '(none)'} is not loaded", place=url
                )
            if depth >= _DEEPEST:
                raise PackageError("its base leads back to itself", place=url)
            if found.get("type") != type_:
                raise PackageError("its base is of another type", place=url)
            root = _tree(found, library, depth + 1)
        listed = _elements(definition, "differential", url)
    names: list[tuple[str, str]] = []
    for element in listed:
        names = _names(element, names)
        if names[0][0] != type_:
            raise PackageError("an element's path starts with another type", place=url)
        node = root
        for step, (name, slice_) in enumerate(names[1:], 1):
            node = _child(node, name, slice_, f"{url} {'.'.join(one for one, _ in names[: step + 1])}")
        _say(node, element, url)
    _narrow(root)
    return root


def _narrow(node: Node) -> None:
    """A choice that is only spoken of as ``valueQuantity`` may be nothing else, as in R4's own snapshots."""
    if node.named:
        codes = [one for one in dict.fromkeys(node.named) if one in node.types]
        node.definition = {"type": [{"code": code} for code in codes], **node.definition}
    for below in (*node.children.values(), *node.slices.values()):
        _narrow(below)


def _elements(definition: JsonObject, view: str, url: str) -> list[JsonObject]:
    listed = (definition.get(view) or {}).get("element") or []
    for element in listed:
        if not isinstance(element, dict) or not isinstance(element.get("path"), str):
            raise PackageError(f"an element of its {view} has no path", place=url)
    return list(listed)


def _names(element: JsonObject, before: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """(name, slice) along the way to an element: by its id; without one by what came before it."""
    path: list[str] = element["path"].split(".")
    id_ = element.get("id")
    if isinstance(id_, str):
        parts = [part.partition(":") for part in id_.split(".")]
        if [name for name, _, _ in parts] == path:
            return [(name, slice_) for name, _, slice_ in parts]
    names: list[tuple[str, str]] = []
    for depth, name in enumerate(path[:-1]):
        is_same = depth < len(before) and before[depth][0] == name and before[:depth] == names
        names.append(before[depth] if is_same else (name, ""))
    return [*names, (path[-1], element.get("sliceName", ""))]


def _child(node: Node, name: str, slice_: str, place: str) -> Node:
    """The node of an element, or of its slice, made if it is not there. Raises PackageError."""
    found = find_element(node.types, name)
    if found is None:
        raise PackageError("R4 has no such element", place=place)
    element, kind = found
    plain = element.name + ("[x]" if element.is_choice else "")
    if kind and not slice_:  # valueQuantity is short for the slice of value[x] of that type
        slice_ = name
    child = node.children.get(plain)
    if child is None:
        child = node.children[plain] = Node(plain, element.types, is_list=element.is_list)
    if kind and "slicing" not in child.definition:
        child.named = (*child.named, kind)
    at = ""
    for part in slice_.split("/") if slice_ else ():
        at = f"{at}/{part}" if at else part
        if at not in child.slices:
            child.slices[at] = Node(plain, (kind,) if kind else child.types, at, element.is_list)
        child = child.slices[at]
    return child


@cache
def find_element(types: tuple[str, ...], name: str) -> tuple[ElementDefinition, str] | None:
    """The element of a name in one of the types; of a choice named with its type (``valueCode``), that type too."""
    for type_ in types:
        element = element_of(type_, name)
        if element is not None:
            return element, ""
    for type_ in types:
        for element in _elements_of(type_):
            for written, kind in element.json_names() if element.is_choice else ():
                if written == name:
                    return element, kind
    return None


@cache
def element_of(type_: str, name: str) -> ElementDefinition | None:
    """The element of a type (or backbone path, or primitive type); a choice with or without ``[x]``."""
    plain = name.removesuffix("[x]")
    return next((element for element in _elements_of(type_) if element.name == plain), None)


def _elements_of(type_: str) -> tuple[ElementDefinition, ...]:
    if type_.partition(".")[0] not in type_names():
        return ()
    if is_primitive(type_):
        value = ElementDefinition("value", (type_,), 0, 1, "", (), False, False)
        return (*type_definition("Element").elements, value)
    return type_definition(type_).elements


def _say(node: Node, element: JsonObject, url: str) -> None:
    """Lays what an ElementDefinition says over what its base said."""
    said = {key: element[key] for key in _KEPT if key in element}
    said |= {key: value for key, value in element.items() if key.startswith(_VALUES)}
    least, most = said.get("min", 0), said.get("max", "*")
    if type(least) is not int or not (most == "*" or (isinstance(most, str) and most.isdecimal())):
        raise PackageError("a cardinality that cannot be read", place=f"{url} {element['path']}")
    before = node.constraints
    known = {(one.get("key"), one.get("expression")) for one in before}
    more = [
        one for one in element.get("constraint", ()) if (one.get("key"), one.get("expression")) not in known
    ]
    node.definition = {**node.definition, **said, "constraint": [*before, *more]}
    allowed = [
        code
        for code in _types(said.get("type", ()))
        if code in type_names() and any(is_subtype(code, type_) for type_ in node.types)
    ]
    node.types = tuple(allowed) or node.types


def _types(listed: Any) -> Iterator[str]:
    for one in listed:
        if isinstance(one, dict) and isinstance(one.get("code"), str):
            yield one["code"]
