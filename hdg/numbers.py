"""What orders, charges and visits are told apart by: their numbers by kind, and of services what they are.

Under one number of services there may be several; two things that have a kind of number (table 0203) in common, and
not the number, are two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from hdg.ingestion.converted import JsonObject

__all__ = ["by_kind", "common", "kind_of", "services", "whole"]

Number = TypeVar("Number")


def kind_of(identifier: JsonObject) -> str:
    """The first code of its type; '' where it says none."""
    return next((str(one.get("code", "")) for one in identifier.get("type", {}).get("coding", ())), "")


def whole(identifier: JsonObject) -> tuple[str, str, str]:
    """Its kind, system and value; '' for what it does not say."""
    return kind_of(identifier), identifier.get("system", ""), identifier.get("value", "")


def by_kind(resource: JsonObject, number: Callable[[JsonObject], Number]) -> dict[str, set[Number]]:
    """Kind → the numbers of that kind; ``number`` of an identifier with a value."""
    found: dict[str, set[Number]] = {}
    for item in resource.get("identifier", ()):
        if item.get("value"):
            found.setdefault(kind_of(item), set()).add(number(item))
    return found


def common(own: Mapping[str, set[Number]], theirs: Mapping[str, set[Number]]) -> set[Number]:
    """The numbers that both have; none where they have different ones of a kind that both have."""
    found = [own[kind] & theirs[kind] for kind in own if kind in theirs]
    return set[Number]().union(*found) if all(found) else set()


def services(request: JsonObject) -> set[tuple[str, str]]:
    """The codes of a service (system, code), else its text."""
    code = request.get("code", {})
    found = {(item.get("system", ""), item.get("code", "")) for item in code.get("coding", ())}
    return found or {("", code.get("text", ""))}
