"""Searches for elements of type code by ``system|code``: the system is the one that the element's value set says.

R4 search.html#token: the system of a code is implicit. The index holds the code alone, so the system is compared here,
once for each query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store.forms import coded_numbers
from hdg.management.store.operators import split_at, unescape
from hdg.management.store.paths import routes
from hdg.usage.fhir_api.query import MAX_VALUES

__all__ = ["without_systems"]

Systems = Mapping[str, frozenset[str]]


def without_systems(types: Sequence[str], code: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """The values of a token parameter of these types, by the code alone where the system goes without saying.

    Raises BadRequest: the parameter is about plain codes whose system cannot be told, or which have one system in one
    type and another in another; every code of a system is asked for and that is too many.
    """
    if not any("|" in value for value in values):
        return values
    found = {bound: None for type_ in types for bound in _systems(type_, code)}
    if not found:
        return values
    return tuple(text for value in values for text in _alone(code, value, [dict(one) for one in found]))


def _alone(code: str, value: str, found: list[Systems]) -> tuple[str, ...]:
    """The codes that a value means; a value without a system, or one that no element can have, stays as it is."""
    parts = split_at(value, "|")
    if len(parts) != 2 or not parts[0]:
        return (value,)
    system, wanted = (unescape(part) for part in parts)
    if not all(found):
        text = f"parameter '{code}': the system of these codes is not known; ask by the code alone"
        raise BadRequest(text, code="not-supported")
    if wanted:
        having = [bound for bound in found if any(wanted in codes for codes in bound.values())]
        of_system = [bound for bound in having if wanted in bound.get(system, ())]
        if of_system and len(of_system) < len(having):
            text = (
                f"parameter '{code}': another of the types has this code in another system; search one type"
            )
            raise BadRequest(text, code="not-supported")
        return (parts[1],) if of_system else (value,)
    listed = sorted(set().union(*(bound.get(system, ()) for bound in found)))
    if len(listed) > MAX_VALUES:
        raise BadRequest(f"parameter '{code}': more than {MAX_VALUES} values", code="too-costly")
    return tuple(listed) or (value,)


@lru_cache(maxsize=4096)
def _systems(type_: str, code: str) -> frozenset[tuple[tuple[str, frozenset[str]], ...]]:
    """System → codes of each value set that a parameter's elements are bound to; one that is empty cannot be told.

    Nothing for a parameter that is about anything but plain codes.
    """
    parameter = next((one for one in definitions.search_parameters(type_) if one.code == code), None)
    if parameter is None or parameter.kind != "token":
        return frozenset()
    found = routes(type_, parameter.expression)
    if not found or any(route.type != "code" for route in found):
        return frozenset()
    _, plain = coded_numbers(type_, code)
    known = [definitions.codes(binding) or {} for _, binding in plain]
    return frozenset(tuple(sorted(one.items())) for one in known) or frozenset({()})
