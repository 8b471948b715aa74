"""Checks of single elements beyond their type: bindings, reference targets, SimpleQuantity, invariants.

R4 terminologies.html#required, R4 references.html, R4 datatypes.html#SimpleQuantity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

from hdg.fhir.definitions import ElementDefinition, Invariant, codes, resource_types
from hdg.fhir.invariants import ELSEWHERE, NOT_CHECKED, Rule, Scope, rule
from hdg.fhir.narrative import check_div
from hdg.fhir.primitives import Check, Finding, code_check, primitive_check
from hdg.fhir.references import reference_type

__all__ = [
    "bound_primitive",
    "broken_rules",
    "concept_check",
    "plain_reference_first",
    "reference_check",
    "remembering",
    "rules_of",
    "simple_quantity",
    "with_more",
]

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_LOOKS_LITERAL: Final = re.compile(r"[A-Z][A-Za-z]+/")  # and yet no type and id were found in it
_MAX_ID: Final = 64  # characters
_REMEMBERED: Final = 4096  # codings, units
_REMEMBERED_LENGTH: Final = 128  # characters of each text


def rules_of(invariants: Iterable[Invariant], type_name: str) -> list[tuple[Invariant, Rule]]:
    """The invariants that are checked here, with their rules for items of a type."""
    found: list[tuple[Invariant, Rule]] = []
    for invariant in invariants:
        if invariant.key in ELSEWHERE or invariant.key in NOT_CHECKED:
            continue
        if invariant.key == "ras-1" and type_name != "Range":
            continue  # probability[x] may be a decimal, of which the rule says nothing
        found.append((invariant, rule(invariant.key, invariant.expression, type_name)))
    return found


def with_more(check: Check, more: Callable[[Any, Scope], list[Finding] | None]) -> Check:
    """One check after the other; the second sees only what the first found right."""

    def both(value: Any, scope: Any) -> list[Finding] | None:
        found = check(value, scope)
        return found if found is not None else more(value, scope)

    return both


def broken_rules(rules: list[tuple[Invariant, Rule]]) -> Callable[[Any, Scope], list[Finding] | None]:
    """Invariants as a check."""

    def check(value: Any, scope: Scope) -> list[Finding] | None:
        return [
            ("", "invariant", f"{invariant.key}: {invariant.expression}")
            for invariant, test in rules
            if not test(value, scope)
        ] or None

    return check


def bound_primitive(kind: str, element: ElementDefinition) -> Check:
    """The check of a primitive element, with the codes of its required binding."""
    if kind == "xhtml":
        return check_div
    if element.binding == "currencies":  # ISO 4217 is not in the package: its shape
        return with_more(_primitive(kind), _currency)
    bound = codes(element.binding) if element.binding and kind == "code" else None
    if bound is None:
        return _primitive(kind)
    return code_check(element.binding, frozenset().union(*bound.values()))


@cache
def _primitive(kind: str) -> Check:
    return primitive_check(kind)


def _currency(value: Any, scope: Scope) -> list[Finding] | None:
    return None if _CURRENCY.fullmatch(value) else [("", "code-invalid", "not a currency code (ISO 4217)")]


def simple_quantity(value: Any, scope: Scope) -> list[Finding] | None:
    """sqty-1: a SimpleQuantity has no comparator."""
    if "comparator" in value:
        return [(".comparator", "structure", "a SimpleQuantity has no comparator")]
    return None


def concept_check(value_set: str) -> Callable[[Any, Scope], list[Finding] | None]:
    """A CodeableConcept under a required binding: at least one coding from the value set."""
    bound = codes(value_set)
    wrong = [("", "code-invalid", f"no coding from the required value set {value_set}")]

    def check(value: Any, scope: Scope) -> list[Finding] | None:
        if bound is None:
            return None
        codings = value.get("coding", ())
        has_one = any(coding.get("code") in bound.get(coding.get("system"), ()) for coding in codings)
        return None if has_one else wrong

    return check


def reference_check(targets: frozenset[str]) -> Callable[[Any, Scope], list[Finding] | None]:
    """ref-1, the types an element may refer to, and that Reference.type agrees with the text."""

    allowed = targets or resource_types()

    def check(value: Any, scope: Scope) -> list[Finding] | None:
        text = value.get("reference")
        if text is not None and "type" not in value:
            head, _, rest = text.partition("/")
            if head in allowed and rest.isalnum() and rest.isascii() and len(rest) <= _MAX_ID:
                return None
        kind: str | None
        if text is not None and text.startswith("#"):
            target = scope.root if text == "#" else scope.local_ids().get(text[1:])
            if target is None:
                return [(".reference", "invariant", "ref-1: no contained resource has this id")]
            named = target.get("resourceType")
            kind = named if named is None or isinstance(named, str) else ""
        else:
            kind = reference_type(value, scope.root)
        if kind is None:
            if text is not None and _LOOKS_LITERAL.match(text):
                return [(".reference", "value", "not Type/id with a resource type and an id of R4")]
            return None
        if kind not in resource_types():
            return [(".type", "value", "not a resource type")]
        if targets and kind not in targets:
            return [("", "value", f"a reference to {kind} is not allowed here")]
        if text is not None and "type" in value and value["type"].rpartition("/")[2] != kind:
            return [(".type", "value", "type and reference name different resource types")]
        return None

    return check


def plain_reference_first(targets: frozenset[str], check: Check) -> Check:
    """The check of a Reference: ``Type/id`` of an allowed type, alone or with a display, is right at once."""
    allowed = targets or resource_types()
    text_check = _primitive("string")

    def first(value: Any, scope: Scope) -> list[Finding] | None:
        if type(value) is not dict:
            return check(value, scope)
        text, size = value.get("reference"), len(value)
        if type(text) is not str or size > 2 or (size == 2 and "display" not in value):
            return check(value, scope)
        head, _, rest = text.partition("/")
        is_right = head in allowed and rest.isalnum() and rest.isascii() and len(rest) <= _MAX_ID
        if is_right and (size == 1 or text_check(value["display"], scope) is None):
            return None
        return check(value, scope)

    return first


def remembering(check: Check, label: str, number: str) -> Check:
    """Codings and units repeat more than anything else: system, code and label that passed pass again.

    Applies to objects with exactly these texts, and a decimal as ``number`` if there is one; without a number
    also to those of system and code alone.
    """
    seen: set[tuple[Any, ...]] = set()
    count = 4 if number else 3
    bare = 0 if number else 2
    decimal_check = primitive_check("decimal")

    def remembered(value: Any, scope: Any) -> list[Finding] | None:
        size = len(value) if type(value) is dict else 0
        if size == count:
            key: tuple[Any, ...] = (value.get("system"), value.get("code"), value.get(label))
        elif size and size == bare:
            key = (value.get("system"), value.get("code"))
        else:
            return check(value, scope)
        try:
            if key in seen and (not number or decimal_check(value.get(number), scope) is None):
                return None
        except TypeError:  # not hashable, so not texts
            return check(value, scope)
        found = check(value, scope)
        if found is None and all(type(text) is str and len(text) <= _REMEMBERED_LENGTH for text in key):
            if len(seen) >= _REMEMBERED:
                seen.clear()
            seen.add(key)
        return found

    return remembered
