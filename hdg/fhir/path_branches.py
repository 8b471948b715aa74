"""Branches of a compiled FHIRPath expression: one closure per possible type of the result.

A closure takes the item that a path starts from and the Env, and returns a list of items. Lists may be the
resource's own: nothing here changes one. The element tables decide what a name means (R4 fhirpath.html).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from hdg.fhir.definitions import (
    element_info,
    is_primitive,
    resource_types,
    type_definition,
    type_names,
)
from hdg.fhir.path_grammar import Literal, Member, Node, PathError
from hdg.fhir.path_values import Shadow

__all__ = [
    "ANY",
    "FALSE",
    "RESOLVED",
    "TRUE",
    "Branch",
    "Env",
    "Run",
    "Scope",
    "boolean",
    "index",
    "is_subtype",
    "member",
    "merged",
    "this",
    "type_test",
    "values",
    "variable",
]

ANY = "?"  # the type of what children() and descendants() yield: decided by the data
RESOLVED = "resolve()"  # items are names of resource types, "" where the reference does not say
_ABSTRACT = ("Element", "BackboneElement", "Resource", "DomainResource")
TRUE, FALSE = [True], [False]
UCUM = "http://unitsofmeasure.org"


class Env(NamedTuple):
    """What ``%resource``, ``%rootResource`` and ``%context`` stand for."""

    resource: Any
    root: Any
    context: Any


Run = Callable[[Any, Env], list[Any]]


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression is compiled against.

    ``type`` is the type of ``$this``. ``branches`` compiles a part of the tree. ``has_shadows``: primitives
    that have only extensions count as existing.
    """

    type: str
    branches: Callable[[Node, Scope], list[Branch]]
    has_shadows: bool
    context_type: str = ""

    def inside(self, type_name: str) -> Scope:
        """The scope of a criterion, whose ``$this`` is an item of that type."""
        return Scope(type_name, self.branches, self.has_shadows, self.context_type or self.type)


@dataclass(frozen=True, slots=True)
class Branch:
    """Results of one type. ``companion`` yields the ``_name`` objects of a primitive element's items."""

    type: str
    run: Run
    companion: Run | None = None
    is_this: bool = False


def this(item: Any, env: Env) -> list[Any]:
    """The closure of ``$this``."""
    return [item]


def merged(branches: Sequence[Branch]) -> Run:
    """One closure for all branches, results in their order."""
    if len(branches) == 1:
        return branches[0].run
    runs = [branch.run for branch in branches]
    return lambda item, env: list(chain.from_iterable(run(item, env) for run in runs))


def boolean(run: Callable[[Any, Env], bool | None]) -> list[Branch]:
    """The branch of a condition: true, false or (None) empty."""

    def listed(item: Any, env: Env) -> list[Any]:
        verdict = run(item, env)
        return [] if verdict is None else TRUE if verdict else FALSE

    return [Branch("boolean", listed)]


def values(run: Run) -> Run:
    """The items without the primitives that have no value: operators and text functions see values only."""
    return lambda item, env: [found for found in run(item, env) if not isinstance(found, Shadow)]


def variable(name: str, scope: Scope) -> list[Branch]:
    """The branches of ``%name``; raises PathError."""
    if name == "ucum":
        constant = [UCUM]
        return [Branch("string", lambda item, env: constant)]
    if name == "context":
        return [Branch(scope.context_type or scope.type, lambda item, env: [env.context])]
    if name == "resource":
        kind = (scope.context_type or scope.type).partition(".")[0]
        is_resource = kind in resource_types()
        return [Branch(kind if is_resource else "Resource", lambda item, env: [env.resource])]
    if name == "rootResource":
        return [Branch("Resource", lambda item, env: [env.root])]
    raise PathError(f"the variable %{name} is not supported")


# --- names -----------------------------------------------------------------------------------------------


def member(node: Member, scope: Scope) -> list[Branch]:
    """The branches of ``target.name``; raises PathError when no type of the target has such an element."""
    if node.is_root and (root := _root(node.name, scope)) is not None:
        return [root]
    targets = scope.branches(node.target, scope)
    found = [step for branch in targets for step in _steps(branch, node.name, scope)]
    if not found:
        owners = ", ".join(branch.type or "an unknown type" for branch in targets)
        raise PathError(f"{owners} has no element {node.name!r}")
    return found


def _root(name: str, scope: Scope) -> Branch | None:
    """The start of ``Patient.name``: the resource itself, where it is one."""
    if name == scope.type or (
        name in ("Resource", "DomainResource") and scope.type in ("", *resource_types())
    ):
        return Branch(scope.type or name, this, is_this=True)
    if name in resource_types() and scope.type in ("", "Resource"):
        return Branch(name, lambda item, env: [item] if item.get("resourceType") == name else [])
    return None


def _steps(branch: Branch, name: str, scope: Scope) -> list[Branch]:
    """The branches of ``branch.name``, none when the type has no such element."""
    if branch.type == ANY:
        return [Branch(ANY, _untyped_step(branch.run, name))]
    if branch.companion is not None:
        if name not in ("id", "extension"):
            return []
        kind = "string" if name == "id" else "Extension"
        return [Branch(kind, _step(branch.companion, name, name == "extension", False))]
    if branch.type not in type_names() and "." not in branch.type:
        return []
    info = element_info(branch.type, name)
    if info is None:
        return [Branch(ANY, _untyped_step(branch.run, name))] if branch.type == "Resource" else []
    steps = []
    for key, kind in info.definition.json_names() if name == info.definition.name else ((name, info.type),):
        primitive = is_primitive(kind)
        has_shadow = scope.has_shadows and primitive
        run = (
            _first_step(key, info.is_list, has_shadow)
            if branch.is_this
            else _step(branch.run, key, info.is_list, has_shadow)
        )
        companion = _step(branch.run, "_" + key, info.is_list, False) if primitive else None
        steps.append(Branch(kind, run, companion))
    return steps


def _first_step(key: str, is_list: bool, has_shadow: bool) -> Run:
    """The element ``key`` of the starting item."""
    if has_shadow:
        return _step(this, key, is_list, has_shadow)
    if is_list:

        def several(item: Any, env: Env) -> list[Any]:
            found = item.get(key)
            if found is None:
                return []
            return [value for value in found if value is not None] if None in found else found

        return several

    def one(item: Any, env: Env) -> list[Any]:
        found = item.get(key)
        return [] if found is None else [found]

    return one


def _step(parent: Run, key: str, is_list: bool, has_shadow: bool) -> Run:
    """The element ``key`` of each item that ``parent`` yields."""
    if has_shadow:
        return _shadow_step(parent, key, is_list)
    if is_list:
        return lambda item, env: [
            value
            for owner in parent(item, env)
            if (found := owner.get(key)) is not None
            for value in found
            if value is not None
        ]
    return lambda item, env: [found for owner in parent(item, env) if (found := owner.get(key)) is not None]


def _shadow_step(parent: Run, key: str, is_list: bool) -> Run:
    """As _step(), with a Shadow for each primitive that has only a ``_key`` companion."""
    companion_key = "_" + key

    def run(item: Any, env: Env) -> list[Any]:
        out: list[Any] = []
        for owner in parent(item, env):
            found, companion = owner.get(key), owner.get(companion_key)
            if not is_list:
                found = None if found is None else [found]
                companion = None if companion is None else [companion]
            for index in range(max(len(found or ()), len(companion or ()))):
                value = found[index] if found and index < len(found) else None
                extra = companion[index] if companion and index < len(companion) else None
                if value is not None:
                    out.append(value)
                elif extra is not None:
                    out.append(Shadow(extra))
        return out

    return run


def _untyped_step(parent: Run, name: str) -> Run:
    """The element ``name`` of items whose type only the data tell; a choice is found by its type suffix."""

    def run(item: Any, env: Env) -> list[Any]:
        out: list[Any] = []
        for owner in parent(item, env):
            if isinstance(owner, dict):
                for key, found in owner.items():
                    if key == name or (key.startswith(name) and _is_choice_suffix(key[len(name) :])):
                        out.extend(found if isinstance(found, list) else [found])
        return out

    return run


def _is_choice_suffix(suffix: str) -> bool:
    return suffix[0].isupper() and (suffix in type_names() or suffix[0].lower() + suffix[1:] in type_names())


def index(targets: list[Branch], position: Node) -> list[Branch]:
    """The branches of ``target[n]``."""
    if not isinstance(position, Literal) or not isinstance(position.value, int):
        raise PathError("an index must be a number")
    at = position.value
    if len(targets) == 1:
        run = targets[0].run
        return [Branch(targets[0].type, lambda item, env: run(item, env)[at : at + 1])]
    run = merged(targets)
    return [Branch(ANY, lambda item, env: run(item, env)[at : at + 1])]


# --- types -----------------------------------------------------------------------------------------------


def is_subtype(name: str, ancestor: str) -> bool:
    """Whether type ``name`` is ``ancestor`` or descends from it."""
    while name and name != ancestor:
        name = type_definition(name).base if name.partition(".")[0] in type_names() else ""
    return bool(name)


def type_test(operator: str, targets: list[Branch], kind: str) -> list[Branch]:
    """``is`` and ``as``, decided by the branches' types; resources of unknown type by their resourceType."""
    if kind not in type_names():
        kind = kind[0].lower() + kind[1:]  # System.DateTime and FHIR.dateTime
    if kind not in type_names():
        raise PathError(f"the type {kind!r} is not defined")
    if operator == "is":
        return _is(targets, kind)
    kept = []
    for branch in targets:
        if branch.type in (ANY, "Resource") and kind in resource_types():
            kept.append(Branch(kind, _of_resource_type(branch.run, kind)))
        elif branch.type == kind or (kind in _ABSTRACT and is_subtype(branch.type, kind)):
            kept.append(branch)
    return kept or [Branch(kind, lambda item, env: [])]


def _of_resource_type(run: Run, kind: str) -> Run:
    return lambda item, env: [
        found for found in run(item, env) if isinstance(found, dict) and found.get("resourceType") == kind
    ]


def _always(verdict: bool) -> Callable[[Any], bool]:
    return lambda found: verdict


def _is(targets: list[Branch], kind: str) -> list[Branch]:
    tests: list[tuple[Run, Callable[[Any], bool]]] = []
    for branch in targets:
        if branch.type == RESOLVED:
            tests.append((branch.run, lambda found: bool(found == kind)))
        elif branch.type in (ANY, "Resource"):
            tests.append(
                (branch.run, lambda found: isinstance(found, dict) and found.get("resourceType") == kind)
            )
        else:
            tests.append((branch.run, _always(is_subtype(branch.type, kind))))

    def run(item: Any, env: Env) -> list[Any]:
        return [test(found) for branch_run, test in tests for found in branch_run(item, env)][:1]

    return [Branch("boolean", run)]
