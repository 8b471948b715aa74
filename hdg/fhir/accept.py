"""Accepts the resources that are right, without finding out what is wrong with the others.

A check here returns None for a value that the whole check of hdg.fhir.validate_objects finds right, and
anything else for one that has to be asked there: wrong, or too unusual for a short way.

What properties an object has, in which order, decides much of its check: unknown elements, required ones, one
type per choice, ele-1 and the invariants that look at nothing but presence (R4 json.html,
conformance-rules.html#cardinality) hold for every object with the same properties or for none. That is worked
out once per sequence of properties; what is left is to look at the values (hdg.fhir.accept_parts).
"""

from __future__ import annotations

from functools import cache, reduce
from typing import Any, Final

from hdg.fhir.accept_parts import ASK, Code, Id, Object, Part, Reference, Shape, Shapes, String, Text
from hdg.fhir.definitions import ElementDefinition, codes, is_primitive, resource_types, type_definition
from hdg.fhir.invariants import NEEDS, OF_ELEMENT, OF_PRESENCE, Rule, Scope
from hdg.fhir.json import JsonObject
from hdg.fhir.primitives import Check, Finding, text_check
from hdg.fhir.validate_elements import bound_primitive, remembering, rules_of, with_more
from hdg.fhir.validate_objects import More, more_checks

__all__ = ["resource_accept"]

_MAX_SHAPES: Final = 128  # sequences of properties per type
_REPEATING: Final = frozenset(
    ["code", "uri", "url", "canonical", "oid", "uuid", "date", "dateTime", "instant", "time"]
)


@cache
def resource_accept(kind: str) -> Check | None:
    """The check of resources of a type, without contained ones; None when there is no such type."""
    return _shapes(kind).check if kind in resource_types() else None


@cache
def _shapes(type_name: str) -> _Shapes:
    return _Shapes(type_name)


@cache
def _object_accept(type_name: str) -> Check:
    check = _shapes(type_name).check
    if type_name == "Coding":
        return remembering(check, "display", "")
    return remembering(check, "unit", "value") if type_name == "Quantity" else check


def _inner(value: Any, scope: Scope) -> list[Finding] | None:
    """A resource that stands on its own inside another."""
    if type(value) is not dict or "contained" in value:
        return ASK
    kind = value.get("resourceType")
    check = resource_accept(kind) if type(kind) is str else None
    return ASK if check is None else check(value, Scope(value, value, room=scope.room))


_REFUSED: Final = Shape((), (), is_refused=True)


class _Shapes(Shapes):
    """The shapes of one type, made of its definition."""

    def __init__(self, type_name: str) -> None:
        super().__init__()
        self.definition = type_definition(type_name)
        own = [item for item in self.definition.invariants if item.path == type_name]
        self._rules = rules_of(own, type_name)
        self._elements = {
            name: (kind, element)
            for element in self.definition.elements
            for name, kind in element.json_names()
        }
        self._parts: dict[str, Part | None] = {}
        self.check = self._check()

    def _check(self) -> Check:
        """The check of a value that should be of this type."""

        def check(value: Any, scope: Scope) -> list[Finding] | None:
            return ASK if self.asks(value, scope) else None

        return check

    def make(self, value: JsonObject, scope: Scope) -> Shape:
        """The shape of objects with the properties of ``value``, which is kept."""
        shape = self._made(value, scope)
        if len(self.made) >= _MAX_SHAPES:
            self.made.clear()
        self.made[tuple(value)] = shape
        return shape

    def _made(self, value: JsonObject, scope: Scope) -> Shape:
        if not value or (len(value) == 1 and "id" in value) or not self._is_complete(value):
            return _REFUSED
        parts = []
        for key in value:
            if key == "resourceType" and self.definition.kind == "resource":
                continue  # it led here
            part = self._part(key)
            if part is None:
                return _REFUSED
            parts.append(part)
        tests = self._tests(value, scope)
        return _REFUSED if tests is None else Shape(parts, tests)

    def _is_complete(self, value: JsonObject) -> bool:
        """Whether every required element is there and no choice twice."""
        for element in self.definition.elements:
            if not (element.min or element.is_choice):
                continue
            present = {name for name, _ in element.json_names() if name in value or "_" + name in value}
            if len(present) > 1 or (element.min and not present):
                return False
        return True

    def _tests(self, value: JsonObject, scope: Scope) -> list[Rule] | None:
        """The invariants to ask of each object; None when one is broken by what is present."""
        tests: list[Rule] = []
        for invariant, test in self._rules:
            if invariant.key in OF_PRESENCE:
                if not test(value, scope):
                    return None
            elif all(name in value for name in NEEDS.get(invariant.key, ())):
                element = OF_ELEMENT.get(invariant.key)
                if element is None or element in value or "_" + element in value:
                    tests.append(test)
        return tests

    def _part(self, key: str) -> Part | None:
        """What to do with the value of a property; None when it cannot be checked apart from others."""
        if key not in self._parts:
            self._parts[key] = self._new_part(key)
        return self._parts[key]

    def _new_part(self, key: str) -> Part | None:
        kind, element = self._elements.get(key.removeprefix("_"), ("", None))
        if element is None:
            return None
        if key.startswith("_"):
            is_companion = is_primitive(kind) and not element.is_list
            return Part(key, _object_accept("Element")) if is_companion else None
        if kind == "Resource":
            return None if element.name == "contained" else Part(key, _inner)
        more = more_checks(kind, element, self.definition.name, self.definition.invariants)
        if is_primitive(kind):
            return _primitive_part(key, kind, element, more)
        check = reduce(with_more, more, _object_accept(kind))
        is_resource = self.definition.kind == "resource"
        if kind == "Reference":
            allowed = frozenset(element.targets) or resource_types()
            return Reference(key, check, allowed, is_list=element.is_list)
        if more or kind in ("Coding", "Quantity"):
            return Part(key, check, is_list=element.is_list, is_trusted=is_resource)
        return Object(key, check, _shapes(kind), is_list=element.is_list, is_trusted=is_resource)


def _primitive_part(key: str, kind: str, element: ElementDefinition, more: list[More]) -> Part:
    check = reduce(with_more, more, bound_primitive(kind, element))
    if more or element.binding == "currencies":
        return Part(key, check, is_list=element.is_list)
    if kind in ("string", "markdown"):
        return String(key, check, is_list=element.is_list)
    if kind == "id":
        return Id(key, check, is_list=element.is_list)
    if kind not in _REPEATING:
        return Part(key, check, is_list=element.is_list)
    bound = codes(element.binding) if element.binding and kind == "code" else None
    if bound is not None:
        return Code(key, check, frozenset().union(*bound.values()), is_list=element.is_list)
    return Text(key, text_check(kind), _texts(kind), is_list=element.is_list)


@cache
def _texts(kind: str) -> set[str]:
    """The texts of a primitive type that were right lately."""
    return set()
