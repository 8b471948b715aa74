"""What was taken back as an error, and is stated again. R4 ``entered-in-error``; docs/hl7v2.md, Taken back.

A sender takes an allergy, a problem or a diagnosis back by an action code (HL7 v2.9 §3.4.7, §12.4.2), and the element
that says so is one that its other statements about it do not speak of. So the newest statement about the thing decides,
not the newest about that element: who states it again after that means it, and a late withdrawal changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from hdg.management.store.merge import JsonObject
from hdg.management.store.stale import Said, Stamp, author_of

__all__ = ["Settled", "settled"]

_WITHDRAWN = {
    "AllergyIntolerance": "verificationStatus",
    "CarePlan": "status",
    "Condition": "verificationStatus",
    "Goal": "lifecycleStatus",
    "Procedure": "status",
    "ServiceRequest": "status",
}
"""The element of a type that says ``entered-in-error``."""
_WITH_IT = "clinicalStatus"
"""Goes with a withdrawal (R4 con-5, ait-2) and comes back with the thing."""


class Settled(NamedTuple):
    """A statement, its deletions and its gaps, as WriteSession.statement takes them."""

    statement: JsonObject
    deletions: Collection[str]
    gaps: Collection[str]


def settled(
    statement: JsonObject,
    deletions: Collection[str],
    gaps: Collection[str],
    *,
    stored: JsonObject,
    said: Said,
    stamp: Stamp,
) -> Settled:
    """A statement that takes something back, or states again what was taken back. No argument is changed."""
    element = _WITHDRAWN.get(statement["resourceType"])
    if element is None:
        return Settled(statement, deletions, gaps)
    if _is_withdrawn(statement, element):
        if _is_late(said, stamp) and not _is_withdrawn(stored, element):
            kept = {name: value for name, value in statement.items() if name != element}
            return Settled(kept, _without(deletions, _WITH_IT), gaps)
        if element == "verificationStatus" and _WITH_IT not in deletions:
            return Settled(statement, [*deletions, _WITH_IT], gaps)
    elif _is_withdrawn(stored, element) and not _is_late(said, stamp) and author_of(said, stored, element):
        if element not in statement:
            deletions = [*deletions, element]
        elif (statement["resourceType"], statement[element]) != ("ServiceRequest", "unknown"):
            gaps = _without(gaps, element)  # a result that names its order does not say that the order stands
        return Settled(statement, deletions, _without(gaps, _WITH_IT))
    return Settled(statement, deletions, gaps)


def _is_late(said: Said, stamp: Stamp) -> bool:
    return any((row[0], row[1]) > stamp for row in said)


def _without(names: Collection[str], name: str) -> list[str]:
    return [each for each in names if each != name]


def _is_withdrawn(content: JsonObject, element: str) -> bool:
    value = content.get(element)
    if isinstance(value, dict):
        return any(coding.get("code") == "entered-in-error" for coding in value.get("coding", ()))
    return bool(value == "entered-in-error")
