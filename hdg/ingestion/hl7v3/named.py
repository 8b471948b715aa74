"""Named converters of the tables of registry messages: what a row cannot say."""

from __future__ import annotations

from typing import Any

from hdg.ingestion.cda.named_registry import named
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values_codes import to_identifier
from hdg.ingestion.cda.values_times import to_period
from hdg.ingestion.cda.xml import Element, children
from hdg.ingestion.hl7v3.identity import key_of, patient_reference, prior_ids
from hdg.ingestion.hl7v3.message import key_text
from hdg.mapping.context import JsonObject, Several, Unfit

__all__: list[str] = []

_ROLE_CLASS = "http://terminology.hl7.org/CodeSystem/v3-RoleClass"
_ENDED = frozenset({"terminated", "nullified", "cancelled", "obsolete", "aborted", "suspended"})
_INACTIVE = _ENDED | {"inactive"}
_TO_EVENT = 5
"""From the id of a priorRegisteredRole up to the registration."""


@named("hl7v3.number", is_whole=True)
def number(element: Element, state: State) -> str | None:
    """An II as one text."""
    return key_text(element) or None


@named("hl7v3.active")
def active(text: str, state: State) -> bool | None:
    """RoleStatus: whether it is in use."""
    code = text.strip().lower()
    if code in ("active", "normal"):
        return True
    if code in _INACTIVE:
        return False
    raise Unfit("not a status that says whether it is in use")


@named("hl7v3.removed")
def removed(text: str, state: State) -> bool | None:
    """updateMode D: what was said before is taken back."""
    return False if text.strip() == "D" else None


@named("hl7v3.other_ids")
def other_ids(element: Element, state: State) -> Any:
    """asOtherIDs: each number with what kind it is, who gives it and whether it is still in use."""
    found = []
    assigner = _assigner(element, state)
    kind = element.get("classCode", "")
    status = [one.get("code", "").lower() for one in children(element, "statusCode")]
    for one in (*children(element, "statusCode"), *children(element, "effectiveTime")):
        state.mark(one)
    periods = [period for one in children(element, "effectiveTime") if (period := to_period(one, state))]
    for one in children(element, "id"):
        state.mark(one)
        identifier = to_identifier(one, state)
        if identifier is None:
            continue
        if kind not in ("", "ROL", "PAT"):
            identifier["type"] = {"coding": [{"system": _ROLE_CLASS, "code": kind}]}
        if _ENDED.intersection(status):
            identifier["use"] = "old"
        if periods:
            identifier["period"] = periods[0]
        if assigner is not None:
            identifier["assigner"] = {**identifier.get("assigner", {}), **assigner}
        found.append(identifier)
    return Several(found) if found else None


def _assigner(element: Element, state: State) -> JsonObject | None:
    """The scoping organization, when it is more than a number that the identifiers bear already."""
    roots = {one.get("root") for one in children(element, "id")}
    for scope in children(element, "scopingOrganization"):
        is_bare = all(one.tag.endswith("}id") for one in scope)
        if is_bare and all(one.get("root") in roots and not one.get("extension") for one in scope):
            state.mark(scope)
            continue
        return state.reference("organization.Organization", scope)
    return None


@named("hl7v3.replaces", is_whole=True)
def replaces(element: Element, state: State) -> JsonObject | None:
    """An id of a priorRegisteredRole, as a link of the record that stays; none for what is no record's number."""
    key = key_of(element)
    if key is None or not _is_record(element):
        return None
    return {"other": {"reference": patient_reference(key, state)}, "type": "replaces"}


def _is_record(element: Element) -> bool:
    event: Element | None = element
    for _ in range(_TO_EVENT):
        event = None if event is None else event.around
    return event is not None and any(one is element for one in prior_ids(event))


@named("hl7v3.replaced_by")
def replaced_by(element: Element, state: State) -> JsonObject | None:
    """The record that stays, as a link of the one that is no longer used."""
    return None if state.subject is None else {"other": state.subject.copy(), "type": "replaced-by"}
