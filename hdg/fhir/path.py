"""FHIRPath, the part that R4 needs, compiled to closures (FHIRPath N1 http://hl7.org/fhirpath/N1).

Covered: every expression of every R4 search parameter, and the invariants listed in hdg.fhir.invariants.
Paths, ``[n]``, ``|``, is/as/ofType, comparison, in/contains, and/or/xor/implies, ``+ - &``, ``$this``,
``%resource %rootResource %context %ucum``, and the functions in _FUNCTIONS (hdg.fhir.path_functions).
Anything else raises PathError when it is compiled; nothing is skipped silently. Where this differs from the
whole language: ``|`` keeps duplicates (search and exists() cannot tell), System types are taken as FHIR's, as
and ofType() want the very type while ``is`` takes subtypes too, and resolve() fetches nothing: it tells which
type a reference names, so ``resolve() is Patient`` works on the text ``Patient/1``, on Reference.type and on
contained resources, and is false when none of them says.

Types are worked out when an expression is compiled, from the definitions: an expression is a list of
*branches*, one per possible type, and ``as`` keeps branches instead of testing values. So a result's type is
known without wrapping: ``compile(…)(resource)`` gives plain JSON values, ``.typed(resource)`` gives
(type, value) pairs. The values are parts of the resource, not copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

from hdg.fhir.definitions import SearchParameter
from hdg.fhir.json import JsonObject
from hdg.fhir.path_branches import Branch, Env, Scope, index, member, merged, this, type_test, variable
from hdg.fhir.path_functions import call
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
from hdg.fhir.path_operators import operation
from hdg.fhir.path_values import Shadow

__all__ = ["Path", "PathError", "compile", "compile_condition", "composite"]


class Path:
    """A compiled expression; call it with a resource for the list of results."""

    __slots__ = ("_branches", "_run", "expression")

    def __init__(self, expression: str, branches: Sequence[Branch]) -> None:
        self.expression = expression
        self._branches = tuple(branches)
        self._run = merged(branches)

    def __call__(self, resource: JsonObject) -> list[Any]:
        """The results as plain JSON values, in the order of the branches."""
        return list(self._run(resource, Env(resource, resource, resource)))

    def typed(self, resource: JsonObject) -> list[tuple[str, Any]]:
        """The results as (type name, value); a resource inside another has type ``Resource``."""
        env = Env(resource, resource, resource)
        return [(branch.type, item) for branch in self._branches for item in branch.run(resource, env)]

    def typed_at(self, item: Any, resource: JsonObject) -> list[tuple[str, Any]]:
        """As typed(), with ``item`` (of the type that the expression was compiled for) as its start."""
        env = Env(resource, resource, item)
        return [(branch.type, found) for branch in self._branches for found in branch.run(item, env)]

    @property
    def types(self) -> tuple[str, ...]:
        """The types that results can have, in order."""
        return tuple(dict.fromkeys(branch.type for branch in self._branches))

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The branches, for composites."""
        return self._branches


def _branches_of(node: Node, scope: Scope) -> list[Branch]:
    """The branches of a tree; raises PathError."""
    match node:
        case This():
            return [Branch(scope.type, this, is_this=True)]
        case Literal(value, kind):
            constant = [] if value is None else [value]
            return [Branch(kind, lambda item, env: constant)]
        case Member():
            return member(node, scope)
        case Variable(name):
            return variable(name, scope)
        case Index(target, position):
            return index(_branches_of(target, scope), position)
        case TypeTest(operator, operand, kind):
            return type_test(operator, _branches_of(operand, scope), kind)
        case Binary("|", left, right):
            return [*_branches_of(left, scope), *_branches_of(right, scope)]
        case Binary(operator, left, right):
            return operation(operator, _branches_of(left, scope), _branches_of(right, scope))
        case Call(target, name, arguments):
            return call(name, _branches_of(target, scope), arguments, scope)
    raise PathError(f"nothing known about {node!r}")


@lru_cache(maxsize=8192)  # R4 has 2,600 search expressions; callers may bring their own
def compile(expression: str, type_name: str = "") -> Path:
    """The compiled expression; raises PathError when it is not FHIRPath or lies outside the subset.

    ``type_name`` is the type it starts from. Without it the expression must begin with a resource type
    (``Patient.name``) or ``Resource``, and yields nothing for a resource of another type.
    """
    try:
        return Path(expression, _branches_of(parse(expression), Scope(type_name, _branches_of, False)))
    except RecursionError:
        raise PathError("nested too deeply") from None


@cache
def compile_condition(expression: str, type_name: str) -> Callable[[Any, Env], bool]:
    """An invariant as a closure (item, Env) → whether it holds.

    An empty result counts as holding: R4's own bdl-8 and ras-2 are empty where their element is absent.
    Unlike in compile(), a primitive that has only extensions exists here (R4 fhirpath.html).
    """
    run = merged(_branches_of(parse(expression), Scope(type_name, _branches_of, True)))

    def holds(item: Any, env: Env) -> bool:
        return not any(found is False for found in run(item, env) if not isinstance(found, Shadow))

    return holds


Composite = Callable[[JsonObject], list[tuple[list[tuple[str, Any]], ...]]]


@cache
def composite(parameter: SearchParameter, resource_type: str) -> Composite:
    """For a composite parameter: resource → one tuple per item, holding each component's (type, value) list.

    An item for which a component yields nothing is left out. Raises PathError.
    """
    root = compile(parameter.expression, resource_type)
    plans = [
        (branch.run, [compile(component.expression, branch.type) for component in parameter.components])
        for branch in root.branches
    ]

    def tuples(resource: JsonObject) -> list[tuple[list[tuple[str, Any]], ...]]:
        env = Env(resource, resource, resource)
        rows = (
            tuple(component.typed_at(item, resource) for component in components)
            for run, components in plans
            for item in run(resource, env)
        )
        return [row for row in rows if all(row)]

    return tuples
