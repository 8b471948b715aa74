"""The operators of the FHIRPath subset (FHIRPath N1 §6): three-valued logic, equality, order, sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hdg.fhir.path_branches import Branch, Env, Run, boolean, merged, values
from hdg.fhir.path_grammar import PathError
from hdg.fhir.path_values import compare, same, same_all, text_of, truth

__all__ = ["operation"]


def _and(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _or(left: bool | None, right: bool | None) -> bool | None:
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def _xor(left: bool | None, right: bool | None) -> bool | None:
    return None if left is None or right is None else left is not right


def _implies(left: bool | None, right: bool | None) -> bool | None:
    return _or(None if left is None else not left, right)


_LOGIC: dict[str, Callable[[bool | None, bool | None], bool | None]] = {
    "and": _and,
    "or": _or,
    "xor": _xor,
    "implies": _implies,
}
_ORDER: dict[str, Callable[[int], bool]] = {
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    ">=": lambda order: order >= 0,
}


def operation(operator: str, lefts: list[Branch], rights: list[Branch]) -> list[Branch]:
    """The branches of ``left operator right``; raises PathError."""
    if operator in _LOGIC:
        logic, one, other = _LOGIC[operator], merged(lefts), merged(rights)
        return boolean(lambda item, env: logic(truth(one(item, env)), truth(other(item, env))))
    left, right = values(merged(lefts)), values(merged(rights))
    if operator in ("=", "!="):
        return boolean(_equality(left, right, operator == "="))
    if operator in _ORDER:
        return boolean(_ordering(left, right, _ORDER[operator]))
    if operator == "in":
        return boolean(_membership(left, right))
    if operator == "contains":
        return boolean(_membership(right, left))
    if operator in ("+", "-", "&"):
        return _arithmetic(operator, left, right)
    raise PathError(f"the operator {operator} is not supported")


def _equality(left: Run, right: Run, is_wanted: bool) -> Callable[[Any, Env], bool | None]:
    def test(item: Any, env: Env) -> bool | None:
        one, other = left(item, env), right(item, env)
        return same_all(one, other) is is_wanted if one and other else None

    return test


def _ordering(left: Run, right: Run, verdict: Callable[[int], bool]) -> Callable[[Any, Env], bool | None]:
    def test(item: Any, env: Env) -> bool | None:
        one, other = left(item, env), right(item, env)
        order = compare(one[0], other[0]) if one and other else None
        return None if order is None else verdict(order)

    return test


def _membership(left: Run, right: Run) -> Callable[[Any, Env], bool | None]:
    def test(item: Any, env: Env) -> bool | None:
        wanted = left(item, env)
        return any(same(found, wanted[0]) for found in right(item, env)) if wanted else None

    return test


def _arithmetic(operator: str, left: Run, right: Run) -> list[Branch]:
    def joined(item: Any, env: Env) -> list[Any]:
        return ["".join(text_of(found) for found in (*left(item, env)[:1], *right(item, env)[:1]))]

    def added(item: Any, env: Env) -> list[Any]:
        one, other = left(item, env), right(item, env)
        if not one or not other:
            return []
        if isinstance(one[0], str) or isinstance(other[0], str):
            return [text_of(one[0]) + text_of(other[0])]
        return [one[0] - other[0] if operator == "-" else one[0] + other[0]]

    return [Branch("string", joined)] if operator == "&" else [Branch("integer", added)]
