"""The checks of one item apart from its children: values, types, profiles of its type, binding, invariants.

R4 elementdefinition.html, R4 terminologies.html#strength. What cannot be decided is a warning that says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

from hdg.errors import Severity
from hdg.fhir.definitions import is_primitive, resource_types, type_definition, type_names
from hdg.fhir.path import compile_condition
from hdg.fhir.path_branches import Env, is_subtype
from hdg.fhir.path_grammar import PathError
from hdg.fhir.path_values import Shadow, compare
from hdg.fhir.profiles.library import core_type
from hdg.fhir.profiles.run import Run
from hdg.fhir.profiles.tree import Node
from hdg.fhir.profiles.values import Item, fits, is_fixed
from hdg.fhir.profiles.valuesets import ValueSets, Verdict
from hdg.fhir.references import reference_type

__all__ = ["Check", "Known", "bound", "conformance", "item_rules", "type_codes"]

JsonObject = dict[str, Any]
Check = Callable[[Item, Run], None]
"""Adds to the run what is wrong with an item."""

_MAX_VALUE_SET = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"
_CORE = "http://hl7.org/fhir/StructureDefinition/"
_OF_BASE_TYPES = re.compile(r"ele-1|ext-1|dom-\d+")
_EVALUATION = (PathError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class Known(Protocol):
    """What the checks ask of the loaded profiles."""

    value_sets: ValueSets

    def profile(self, canonical: str) -> Check | None:
        """The check of a profile; None when it is not loaded."""

    def type_of(self, canonical: str) -> str:
        """The type that a loaded profile or R4's own definition is of, '' when it is not loaded."""


def item_rules(node: Node, type_: str, known: Known, label: str) -> list[Check]:
    """The checks of the items of a node that are of a type. ``label``: the profile, for the texts."""
    checks: list[Check] = []
    if (codes := type_codes(node)) and not node.definition.get("contentReference"):
        checks += _type_check(codes, type_, label)
    checks += _value_checks(node, type_, label)
    checks += _profile_checks(node, type_, known, label)
    binding = node.definition.get("binding")
    if isinstance(binding, dict):
        checks += _bindings(binding, known.value_sets, label)
    for constraint in node.constraints:
        checks += _constraint(constraint, node, type_, label)
    return checks


# --- types -----------------------------------------------------------------------------------------------


def type_codes(node: Node) -> tuple[str, ...]:
    """The types that a node's definition lists."""
    return tuple(one["code"] for one in node.definition.get("type", ()) if isinstance(one.get("code"), str))


def _type_check(codes: Sequence[str], type_: str, label: str) -> list[Check]:
    """Only what has a choice can be of a wrong type: R4's own definitions have asked the rest."""
    if type_ not in type_names() or any(code not in type_names() for code in codes):
        return []  # backbone elements, and System types of ids
    if type_ in codes or any(is_subtype(type_, code) for code in codes):
        return []
    text = f"{type_} is not among the types allowed here [{label}]"
    return [lambda item, run: run.add("error", "structure", item.place, text)]


# --- values ----------------------------------------------------------------------------------------------


def _value_checks(node: Node, type_: str, label: str) -> list[Check]:
    checks: list[Check] = []
    for prefix, test, text in (
        ("fixed", is_fixed, "not the fixed value"),
        ("pattern", fits, "it does not have what the pattern asks"),
    ):
        found = node.value(prefix)
        if found is not None:
            checks.append(_tested(test, found[1], f"{text} [{label}]"))
    for prefix, wrong, text in (
        ("minValue", -1, "below the least value"),
        ("maxValue", 1, "above the greatest value"),
    ):
        found = node.value(prefix)
        if found is not None:
            checks.append(_limited(found[1], wrong, f"{text} [{label}]"))
    longest = node.definition.get("maxLength")
    if type(longest) is int and is_primitive(type_):
        checks.append(_short(longest, f"longer than {longest} characters [{label}]"))
    return checks


def _tested(test: Callable[[Any, Any], bool], wanted: Any, text: str) -> Check:
    def check(item: Item, run: Run) -> None:
        if not test(item.value, wanted):
            run.add("error", "value", item.place, text)

    return check


def _limited(limit: Any, wrong: int, text: str) -> Check:
    def check(item: Item, run: Run) -> None:
        if item.value is not None and compare(item.value, limit) == wrong:
            run.add("error", "value", item.place, text)

    return check


def _short(longest: int, text: str) -> Check:
    def check(item: Item, run: Run) -> None:
        if type(item.value) is str and len(item.value) > longest:
            run.add("error", "too-long", item.place, text)

    return check


# --- profiles of types and of references -------------------------------------------------------------------


def _profile_checks(node: Node, type_: str, known: Known, label: str) -> list[Check]:
    checks: list[Check] = []
    listed = [one for one in node.definition.get("type", ()) if isinstance(one, dict)]
    of_type = [one for one in listed if one.get("code") == type_]
    if not of_type and type_ in resource_types():
        of_type = [one for one in listed if one.get("code") in ("Resource", "DomainResource")]
    profiles = [url for one in of_type for url in one.get("profile", ())]
    if profiles and all(one.get("profile") for one in of_type):
        checks.append(conformance(profiles, known, label))
    targets = [url for one in of_type for url in one.get("targetProfile", ())]
    if targets and type_ == "Reference":
        checks.append(_target(targets, known, label))
    return checks


def conformance(urls: Sequence[str], known: Known, label: str) -> Check:
    """An item conforms to one of these profiles, if they are for its type at all."""

    def check(item: Item, run: Run) -> None:
        unknown = [url for url in urls if not known.type_of(url)]
        fitting = [url for url in urls if known.type_of(url) and is_subtype(item.type, known.type_of(url))]
        if any(core_type(url) for url in fitting):
            return
        if len(fitting) == 1 and not unknown:
            _run(fitting[0], known, item, run)
            return
        for url in fitting:
            trial = run.trial()
            _run(url, known, item, trial)
            if not trial.has_errors:
                run.issues.extend(trial.issues)
                return
        if unknown:
            for url in unknown:
                run.tell("warning", item.place, f"the profile {url} is not loaded: not checked [{label}]")
            return
        named = ", ".join(urls)
        run.add("error", "structure", item.place, f"it conforms to none of {named} [{label}]")

    return check


def _run(url: str, known: Known, item: Item, run: Run) -> None:
    check = known.profile(url)
    key = (id(item.value), url)
    if check is None or key in run.active:
        return
    run.active.add(key)
    try:
        check(item, run)
    finally:
        run.active.discard(key)


def _target(urls: Sequence[str], known: Known, label: str) -> Check:
    """The target of a Reference: its type, and if it came along also its profile."""
    conforms = conformance(urls, known, label)

    def check(item: Item, run: Run) -> None:
        types = {known.type_of(url) for url in urls}
        found = run.resolved(item)
        kind = found.type if found is not None else reference_type(item.value, run.root)
        if kind is None or "Resource" in types:
            return
        if kind not in types:
            if "" not in types:
                run.add("error", "structure", item.place, f"a reference to {kind} is not allowed [{label}]")
                return
            missing = ", ".join(url for url in urls if not known.type_of(url))
            run.tell("warning", item.place, f"{missing} not loaded: the target was not checked [{label}]")
            return
        if found is not None:
            is_contained = str(item.value.get("reference")).startswith("#")
            conforms(found, run.inside(found.value, is_contained=is_contained))
        elif not any(core_type(url) == kind for url in urls):
            text = "targets of references that did not come along were checked for their type only"
            run.tell("information", item.place, text)

    return check


# --- bindings ----------------------------------------------------------------------------------------------


def _bindings(binding: JsonObject, value_sets: ValueSets, label: str) -> list[Check]:
    checks: list[Check] = []
    strength, url = binding.get("strength"), binding.get("valueSet")
    if isinstance(url, str) and strength in ("required", "extensible"):
        checks.append(bound(url, strength, value_sets, label))
    for extension in binding.get("extension", ()):
        most = extension.get("valueCanonical") if extension.get("url") == _MAX_VALUE_SET else None
        if isinstance(most, str):
            checks.append(bound(most, "required", value_sets, label))
    return checks


def bound(url: str, strength: Literal["required", "extensible"], value_sets: ValueSets, label: str) -> Check:
    """The check of a coded item. An extensible binding is broken by a warning: it may be for a reason."""
    severity: Severity = "error" if strength == "required" else "warning"

    def check(item: Item, run: Run) -> None:
        codings = _codings(item)
        if codings is None:
            return
        test = value_sets.test(url)
        verdicts = [test(system, code) for system, code in codings]
        if any(verdict.is_in for verdict in verdicts):
            return
        unknown: Verdict | None = next((one for one in verdicts if one.is_in is None), None)
        if unknown is not None:
            text = f"the {strength} binding to {url} was not checked: {unknown.why} [{label}]"
            run.tell("warning", item.place, text)
            return
        text = f"no code of the {strength} value set {url} [{label}]"
        run.add(severity, "code-invalid", item.place, text)

    return check


def _codings(item: Item) -> list[tuple[str | None, str]] | None:
    """(system, code) of what an item says; None where a binding does not apply."""
    value = item.value
    if type(value) is str:
        return [(None, value)]
    if type(value) is not dict:
        return None
    if item.type == "CodeableConcept":
        listed = value.get("coding", ())
    elif item.type in ("Coding", "Quantity"):
        listed = (value,)
    else:
        return None
    if type(listed) not in (list, tuple):
        return None
    return [
        (one.get("system", ""), one["code"])
        for one in listed
        if type(one) is dict and type(one.get("code")) is str
    ]


# --- invariants --------------------------------------------------------------------------------------------


def _constraint(constraint: JsonObject, node: Node, type_: str, label: str) -> list[Check]:
    key, expression = str(constraint.get("key", "")), constraint.get("expression")
    if _is_of_r4(constraint, node, type_):
        return []
    severity: Severity = "warning" if constraint.get("severity") == "warning" else "error"
    human = constraint.get("human") or expression
    if not isinstance(expression, str):
        return [_telling(f"the invariant {key} was not checked: it has no FHIRPath expression [{label}]")]
    try:
        condition = compile_condition(expression, type_)
    except (PathError, re.error, RecursionError):
        why = "its expression is outside of the FHIRPath that is supported"
        return [_telling(f"the invariant {key} was not checked: {why} [{label}]")]
    failed = f"{key}: {human} [{label}]"
    untold = f"the invariant {key} could not be evaluated [{label}]"

    def check(item: Item, run: Run) -> None:
        value = Shadow(item.companion) if item.value is None else item.value
        try:
            holds = condition(value, Env(run.resource, run.root, value))
        except _EVALUATION:
            run.tell("warning", item.place, untold)
            return
        if not holds:
            run.add(severity, "invariant", item.place, failed)

    return [check]


def _telling(text: str) -> Check:
    return lambda item, run: run.tell("warning", item.place, text)


def _is_of_r4(constraint: JsonObject, node: Node, type_: str) -> bool:
    """Whether an invariant that a snapshot repeats is one of R4's own, which hdg.fhir.validate asks."""
    key, source = str(constraint.get("key", "")), str(constraint.get("source", ""))
    if _OF_BASE_TYPES.fullmatch(key) or (source.startswith(_CORE) and core_type(source)):
        return True
    return not source and key in _core_keys((*node.types, type_))


def _core_keys(types: Iterable[str]) -> set[str]:
    """The keys of the invariants that R4 has on these types, or on the resources that they are part of."""
    found: set[str] = set()
    for type_ in types:
        head = type_.partition(".")[0]
        for name in (type_, head) if head in type_names() else ():
            found.update(invariant.key for invariant in type_definition(name).invariants)
    return found
