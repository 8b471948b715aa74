"""Functional lists of ``_list``: what is current, told by the statuses that resources bear.

R4 search.html#list, R4 lifecycle.html#current; which resources are current is left to servers. Here: all that is not
said to be over, wrong or refuted, so that nothing is missed for want of a status. ``$current-medications`` are
MedicationStatements: a MedicationRequest may be one not to give (doNotPerform), which no search parameter tells.
"""

from __future__ import annotations

from collections.abc import Sequence

from hdg.errors import BadRequest
from hdg.management.store.search import Clause
from hdg.usage.fhir_api.filters import FILTER

__all__ = ["CURRENT", "current"]


def _not(param: str, *codes: str) -> Clause:
    return Clause(param, "token", "not", codes)


def _of(modifier: str, *clauses: Clause) -> Clause:
    return Clause(FILTER, "filter", modifier, links=tuple(("", clause) for clause in clauses))


_IS_PROBLEM = _of(
    "or", Clause("category", "token", "", ("problem-list-item",)), _not("category", "encounter-diagnosis")
)
CURRENT: dict[str, tuple[str, Clause]] = {
    "$current-problems": (
        "Condition",
        _of(
            "and",
            _not("clinical-status", "inactive", "remission", "resolved"),
            _not("verification-status", "refuted", "entered-in-error"),
            _IS_PROBLEM,
        ),
    ),
    "$current-medications": (
        "MedicationStatement",
        _not("status", "completed", "stopped", "not-taken", "intended", "entered-in-error"),
    ),
    "$current-allergies": (
        "AllergyIntolerance",
        _of(
            "and",
            _not("clinical-status", "inactive", "resolved"),
            _not("verification-status", "refuted", "entered-in-error"),
        ),
    ),
}
"""Name → the type of what is in it, and which of that type are."""


def current(types: Sequence[str], values: Sequence[str]) -> Clause:
    """What is in the functional list that is named. Raises BadRequest."""
    found = CURRENT.get(values[0]) if len(values) == 1 else None
    if found is None:
        text = "parameter '_list': one List or several, or one of " + ", ".join(sorted(CURRENT))
        raise BadRequest(text, code="not-supported")
    type_, clause = found
    if tuple(types) != (type_,):
        raise BadRequest(f"parameter '_list': {values[0]} is a list of {type_}s", code="not-supported")
    return clause
