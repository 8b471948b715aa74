"""Checks of data types and backbone elements, compiled from the definitions when a type is first met.

R4 json.html (shape), R4 conformance-rules.html#cardinality, R4 terminologies.html#required,
R4 references.html. A check is one closure per type around a table property name → check; where all is well it
returns None and allocates nothing. Findings get their place on the way out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from hdg.fhir.definitions import (
    ElementDefinition,
    Invariant,
    is_primitive,
    type_definition,
)
from hdg.fhir.invariants import Rule, Scope
from hdg.fhir.json import JsonObject
from hdg.fhir.primitives import NULL, Check, Finding
from hdg.fhir.validate_elements import (
    bound_primitive,
    broken_rules,
    concept_check,
    plain_reference_first,
    reference_check,
    remembering,
    rules_of,
    simple_quantity,
    with_more,
)

__all__ = ["More", "more_checks", "object_check"]

More = Callable[[Any, Scope], list[Finding] | None]
ResourceCheck = Callable[[Any, Scope, bool], list[Finding] | None]
_EMPTY_OBJECT: list[Finding] = [("", "structure", "an empty object")]
_NOT_OBJECT: list[Finding] = [("", "structure", "a JSON object is needed")]
_UNKNOWN: list[Finding] = [("", "structure", "unknown element")]
_NAME = re.compile(r"_?[A-Za-z][A-Za-z0-9]{0,63}")
"""What an element can be called. A "name" that is none may be data and is not repeated."""
_ID_ONLY: list[Finding] = [("", "invariant", "ele-1: an element with an id and nothing else")]


@cache
def object_check(type_name: str, resource_check: ResourceCheck) -> Check:
    """The check of a complex type, backbone element (by path) or resource type.

    ``resource_check`` checks a resource inside another one; its third argument tells contained ones from
    those that stand on their own (Bundle.entry.resource).
    """
    return _ObjectCompiler(type_name, resource_check).check()


class _ObjectCompiler:
    """Builds the closure for one type."""

    def __init__(self, type_name: str, resource_check: ResourceCheck) -> None:
        self.definition = type_definition(type_name)
        self.type_name = type_name
        self.resource_check = resource_check
        self.members: dict[str, Check] = {}
        self.places: dict[str, str] = {}  # property → what it adds to a place
        self.primitives: dict[str, bool] = {}  # property of primitive type → is_list
        self.required: list[tuple[str, tuple[str, ...]]] = []
        self.choices: list[tuple[str, frozenset[str]]] = []

    def check(self) -> Check:
        if self.definition.kind == "resource":
            self.members["resourceType"] = _is_text(self.type_name)
        for element in self.definition.elements:
            self.add(element)
        own = [item for item in self.definition.invariants if item.path == self.type_name]
        return _object_closure(self, rules_of(own, self.type_name))

    def add(self, element: ElementDefinition) -> None:
        names = element.json_names()
        for name, kind in names:
            self.places[name] = "." + element.name
            if is_primitive(kind):
                self.primitives[name] = element.is_list
            self.members[name] = self.lazy(name, kind, element)
        companions = tuple("_" + name for name, kind in names if name in self.primitives)
        every = (*(name for name, _ in names), *companions)
        if element.min:
            self.required.append((element.name, every))
        if element.is_choice:
            self.choices.append((element.name, frozenset(every)))

    def lazy(self, name: str, kind: str, element: ElementDefinition) -> Check:
        """Compiles the member when it is first met, and puts the result in its own place."""

        def first(value: Any, scope: Any) -> list[Finding] | None:
            member = self.item_check(kind, element)
            if element.is_list:
                member = _list_check(member)
            self.members[name] = member
            return member(value, scope)

        return first

    def item_check(self, kind: str, element: ElementDefinition) -> Check:
        if kind == "Resource":
            is_contained, check_resource = element.name == "contained", self.resource_check
            return lambda value, scope: check_resource(value, scope, is_contained)
        is_simple = is_primitive(kind)
        check = bound_primitive(kind, element) if is_simple else object_check(kind, self.resource_check)
        for more in more_checks(kind, element, self.type_name, self.definition.invariants):
            check = with_more(check, more)
        return plain_reference_first(frozenset(element.targets), check) if kind == "Reference" else check


def more_checks(
    kind: str, element: ElementDefinition, owner: str, invariants: Sequence[Invariant]
) -> list[More]:
    """What an element of a complex or primitive type is asked beyond its type, in this order.

    ``owner``: the type that has the element and ``invariants``. A Reference has its targets first.
    """
    checks: list[More] = []
    path = f"{owner}.{element.name}"
    if kind == "Reference":
        checks.append(reference_check(frozenset(element.targets)))
    elif kind == "CodeableConcept" and element.binding:
        checks.append(concept_check(element.binding))
    elif element.is_simple and kind == "Quantity":
        checks.append(simple_quantity)
    own = [item for item in invariants if item.path.removesuffix("[x]") == path]
    if own and kind != path and (rules := rules_of(own, kind)):
        checks.append(broken_rules(rules))
    return checks


# --- objects -----------------------------------------------------------------------------------------------


def _object_closure(compiler: _ObjectCompiler, rules: list[tuple[Invariant, Rule]]) -> Check:
    member_of = compiler.members.get
    choices = tuple(group for _, group in compiler.choices)
    any_choice: frozenset[str] = frozenset().union(*choices)
    required = tuple((every[0], every) for _, every in compiler.required)
    tests = tuple(test for _, test in rules)
    is_plain = not (choices or required or tests or compiler.definition.kind == "resource")
    failed = _Failures(compiler, rules)

    def plain(value: Any, scope: Any) -> list[Finding] | None:
        if type(value) is not dict:
            return _NOT_OBJECT
        problems: list[Finding] | None = None
        for key, item in value.items():
            found = member_of(key, _unknown)(item, scope)
            if found is not None:
                problems = failed.member(problems, key, value, found, scope)
        if len(value) < 2 and (not value or "id" in value):
            return _ID_ONLY if value else _EMPTY_OBJECT
        return problems or None

    def full(value: Any, scope: Any) -> list[Finding] | None:
        if type(value) is not dict:
            return _NOT_OBJECT
        problems: list[Finding] | None = None
        for key, item in value.items():
            found = member_of(key, _unknown)(item, scope)
            if found is not None:
                problems = failed.member(problems, key, value, found, scope)
        for first, every in required:
            if first not in value and not any(name in value for name in every):
                problems = failed.missing(problems, value)
                break
        if choices:
            chosen = any_choice.intersection(value)
            if len(chosen) > 1 and any(len(group & chosen) > 1 for group in choices):
                problems = failed.choice(problems, value)
        if not value:
            return _EMPTY_OBJECT
        if problems is None:
            for test in tests:
                if not test(value, scope):
                    return failed.rules(value, scope)
        if len(value) < 2 and "id" in value:
            return _ID_ONLY
        return problems or None

    check = plain if is_plain else full
    if compiler.type_name == "Coding":
        return remembering(check, "display", "")
    if compiler.type_name == "Quantity":
        return remembering(check, "unit", "value")
    return check


def _unknown(value: Any, scope: Any) -> list[Finding]:
    return _UNKNOWN


class _Failures:
    """The slow side of an object check: turns what went wrong into findings with places."""

    def __init__(self, compiler: _ObjectCompiler, rules: list[tuple[Invariant, Rule]]) -> None:
        self.compiler = compiler
        self.all_rules = rules

    def member(
        self,
        problems: list[Finding] | None,
        key: str,
        value: JsonObject,
        found: list[Finding],
        scope: Scope,
    ) -> list[Finding] | None:
        """Adds a member's findings, without nulls that the companion array accounts for."""
        if found is _UNKNOWN:
            found = self.other(key, value, scope) or []
        name = key[1:] if key[1:] in self.compiler.primitives else key
        place = self.compiler.places.get(name) or (f".{key}" if _NAME.fullmatch(key) else "")
        companion = value.get("_" + key)
        if self.compiler.primitives.get(key) and isinstance(companion, list):
            padded = {f"[{index}]" for index, item in enumerate(companion) if item}
            found = [finding for finding in found if finding[1:] != NULL[1:] or finding[0] not in padded]
        if not found:
            return problems
        placed = [(place + below, code, text) for below, code, text in found]
        if problems is None:
            return placed
        problems.extend(placed)
        return problems

    def other(self, key: str, value: JsonObject, scope: Scope) -> list[Finding] | None:
        """A property that is no element: the companion of a primitive, or unknown."""
        name = key[1:]
        if not key.startswith("_") or name not in self.compiler.primitives:
            return _UNKNOWN
        element = object_check("Element", self.compiler.resource_check)
        if not self.compiler.primitives[name]:
            found = element(value[key], scope)
            return None if found is _ID_ONLY and value.get(name) is not None else found
        return _companion_array(value[key], value.get(name), element, scope)

    def missing(self, problems: list[Finding] | None, value: JsonObject) -> list[Finding]:
        """Every required element that is absent."""
        problems = problems if problems is not None else []
        for name, every in self.compiler.required:
            if not any(key in value for key in every):
                problems.append(("." + name, "required", "a required element is missing"))
        return problems

    def choice(self, problems: list[Finding] | None, value: JsonObject) -> list[Finding] | None:
        """A choice that is there with two types; a primitive and its companion are one."""
        for name, every in self.compiler.choices:
            present = {key.removeprefix("_") for key in value.keys() & every}
            finding = ("." + name, "structure", "more than one type of a choice")
            if len(present) > 1 and finding not in (problems or ()):
                problems = [*(problems or ()), finding]
        return problems

    def rules(self, value: JsonObject, scope: Scope) -> list[Finding]:
        """Every broken invariant."""
        return [
            ("", "invariant", f"{invariant.key}: {invariant.expression}")
            for invariant, test in self.all_rules
            if not test(value, scope)
        ]


def _companion_array(companion: Any, values: Any, element: Check, scope: Scope) -> list[Finding] | None:
    """``_name`` of a repeating primitive: as long as ``name``, null or object, one of both at each index."""
    if type(companion) is not list or not companion:
        return [("", "structure", "a JSON array that is not empty is needed")]
    problems: list[Finding] = []
    if isinstance(values, list) and len(values) != len(companion):
        problems.append(("", "structure", "the companion array has another length"))
    if all(item is None for item in companion):
        problems.append(("", "structure", "a companion array without any object"))
    for index, item in enumerate(companion):
        if item is None:
            if values is None:
                problems.append((f"[{index}]", "structure", "null in both arrays"))
            continue
        found = element(item, scope)
        has_value = isinstance(values, list) and index < len(values) and values[index] is not None
        if found is not None and not (found is _ID_ONLY and has_value):
            problems.extend((f"[{index}]{below}", code, text) for below, code, text in found)
    return problems or None


def _list_check(check: Check) -> Check:
    def checked(value: Any, scope: Any) -> list[Finding] | None:
        if type(value) is not list:
            return [("", "structure", "a JSON array is needed")]
        if not value:
            return [("", "structure", "an empty array")]
        for item in value:
            found = check(item, scope)
            if found is not None:
                return _list_findings(check, value, scope, item, found)
        return None

    return checked


def _list_findings(
    check: Check, value: list[Any], scope: Any, first: Any, found: list[Finding]
) -> list[Finding]:
    """The findings of an array whose item ``first`` is the first wrong one, with ``found``."""
    start = next(index for index, item in enumerate(value) if item is first)
    problems = [(f"[{start}]{below}", code, text) for below, code, text in found]
    for index in range(start + 1, len(value)):
        for below, code, text in check(value[index], scope) or ():
            problems.append((f"[{index}]{below}", code, text))
    return problems


def _is_text(wanted: str) -> Check:
    return lambda value, scope: None if value == wanted else [("", "structure", f"{wanted} is needed here")]
