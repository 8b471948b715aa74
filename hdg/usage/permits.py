"""Who may write what: pure rules over the policy's section ``write`` (docs/access-policy.md).

Nothing here looks at stored data; ``writing.py`` asks these inside the writer's transaction. The reasons name
the rule and no value. Default deny, as for reads.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from hdg.errors import AccessDenied
from hdg.fhir import definitions
from hdg.management.consent.decide import AccessRequest, terms_of
from hdg.management.consent.policy import EVERY_TYPE, Policy
from hdg.management.identity import Principal
from hdg.usage.unstored import UNSTORED

__all__ = [
    "check_about",
    "check_change",
    "check_type",
    "definitions_of",
    "home_of",
    "may_choose_id",
    "writable",
]

JsonObject = dict[str, Any]

NAMED = frozenset({"SearchParameter"})
"""Types about nobody that change what the server does for all: ``*`` does not stand for them. The only ones that
an operator may work on.
"""
_OWN_ID = re.compile(r"[A-Za-z0-9\-]+")


def check_type(policy: Policy, who: Principal, type_: str) -> None:
    """Raises AccessDenied (403) unless the role may write that type, for the token's purpose, at all."""
    if who.role == "operator":
        if type_ not in definitions_of(policy, who.purpose):
            raise AccessDenied("this role may not write resources of this type")
        return
    request = AccessRequest(who.role, who.user, who.institution, who.patient, who.purpose, "access", 0)
    if terms_of(request, policy) is None or policy.obligations.get(who.role):
        raise AccessDenied("this role writes nothing for this purpose")
    types = policy.writes.get(who.role, frozenset())
    is_readable = who.role in policy.restricted.get(type_, (who.role,))
    if type_ in UNSTORED or not is_readable or not _names(types, type_):
        raise AccessDenied("this role may not write resources of this type")


def writable(policy: Policy) -> frozenset[str]:
    """The types that some role may write."""
    return frozenset(
        type_
        for type_ in definitions.resource_types() - UNSTORED
        for role, types in policy.writes.items()
        if role in policy.restricted.get(type_, (role,))
        and _names(types, type_)
        and (role != "operator" or type_ in NAMED)
    )


def _names(types: Collection[str], type_: str) -> bool:
    return type_ in types or (EVERY_TYPE in types and type_ not in NAMED)


def definitions_of(policy: Policy, purpose: str) -> frozenset[str]:
    """The types that an operator, who has no part in clinical data, reads and writes for that purpose."""
    may_act = not policy.purpose_line(purpose).isdisjoint(policy.role_purposes.get("operator", ()))
    return policy.writes.get("operator", frozenset()) & NAMED if may_act else frozenset()


def check_change(who: Principal, institution: str, patients: Collection[str]) -> None:
    """Raises AccessDenied unless a resource that ``who`` may read is also theirs to change or delete.

    ``institution``: who sent its current version; ``patients``: whose it is. A clinician changes what the own
    institution sent: anything else would turn a permission to read into the right to read for ever.
    """
    if who.role == "operator":
        return  # what is about nobody, and nothing else is theirs to see
    if who.role == "patient":
        if set(patients) != {who.patient}:
            raise AccessDenied("a patient changes only what is about the patient alone")
    elif not who.institution or institution != who.institution:
        raise AccessDenied("only what the own institution sent can be changed")


def check_about(who: Principal, content: JsonObject, patients: Collection[str]) -> None:
    """Raises AccessDenied when a patient writes what is not about themselves alone."""
    if who.role != "patient":
        return
    named = content.get("patient") or content.get("subject")
    reference = named.get("reference") if isinstance(named, dict) else None
    if set(patients) != {who.patient} or reference != f"Patient/{who.patient}":
        raise AccessDenied("a patient writes only what is about the patient alone")


def may_choose_id(policy: Policy, who: Principal, id_: str) -> bool:
    """Whether a PUT may create a resource under that id.

    Under ``institution`` an id is the institution's name, a point and a name without points, so that no
    institution can meet (and thereby probe) another's resources.
    """
    if who.role == "operator":
        return policy.client_ids != "none"
    if policy.client_ids == "institution":
        institution, _, name = id_.rpartition(".")
        return bool(institution) and institution == who.institution and bool(_OWN_ID.fullmatch(name))
    return policy.client_ids == "any"


def home_of(who: Principal, keeper: str) -> str:
    """The institution that what ``who`` writes belongs to; ``keeper`` (the gateway's own) for patients."""
    return who.institution or keeper
