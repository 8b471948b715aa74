"""Builds Consent resources for grants, and their revocation (R4 consent.html).

A grant is a root provision of type ``permit`` naming actors, purposes, resource types and a period.
Everything not granted stays denied by the default of the access policy.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from hdg.errors import BadRequest
from hdg.fhir.times import instant
from hdg.management.consent.decide import PROJECT_SYSTEM
from hdg.management.identity import is_project

JsonObject = dict[str, Any]

SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
CATEGORY = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
PURPOSE = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
RESOURCE_TYPES = "http://hl7.org/fhir/resource-types"
ACTOR_TYPES = frozenset({"Organization", "Patient", "Practitioner", "ResearchStudy"})
"""Kinds of grantee that a token can be (identity.Principal); a ResearchStudy is the token's project."""
RESEARCH_PURPOSES = frozenset({"HRESCH", "CLINTRCH", "BIORCH", "TRANSRCH"})


def grant(
    patient: str,
    actors: Sequence[str],
    purposes: Sequence[str],
    types: Sequence[str],
    *,
    from_us: int,
    until_us: int,
) -> JsonObject:
    """An active Consent with a fresh random id. ``actors`` are references such as
    ``Organization/city-clinic``.

    Empty ``purposes`` or ``types`` mean any. Raises BadRequest for an actor that is no such reference, and for a
    ResearchStudy without a purpose of research, which would permit nothing.
    """
    for actor in actors:
        kind, _, name = actor.partition("/")
        if kind not in ACTOR_TYPES or not name or "/" in name:
            raise BadRequest(f"a grantee is TYPE/ID with a type of {', '.join(sorted(ACTOR_TYPES))}")
    if not actors:
        raise BadRequest("a grant names at least one grantee")
    studies = [actor.partition("/")[2] for actor in actors if actor.startswith("ResearchStudy/")]
    if not all(map(is_project, studies)):
        raise BadRequest("a project's id is made of up to 64 letters, digits, hyphens and points")
    if studies and RESEARCH_PURPOSES.isdisjoint(purposes):
        raise BadRequest(
            "a grant to a ResearchStudy is for research: it needs the purpose HRESCH, or a kind of it"
        )
    is_research = bool(purposes) and set(purposes) <= RESEARCH_PURPOSES
    provision: JsonObject = {
        "type": "permit",
        "period": {"start": instant(from_us), "end": instant(until_us)},
        "actor": [
            {
                "role": {"coding": [{"system": PARTICIPATION, "code": "IRCP"}]},
                "reference": _reference(actor),
            }
            for actor in actors
        ],
    }
    if purposes:
        provision["purpose"] = [{"system": PURPOSE, "code": code} for code in purposes]
    if types:
        provision["class"] = [{"system": RESOURCE_TYPES, "code": code} for code in types]
    return {
        "resourceType": "Consent",
        "id": secrets.token_hex(16),
        "status": "active",
        "scope": {"coding": [{"system": SCOPE, "code": "research" if is_research else "patient-privacy"}]},
        "category": [{"coding": [{"system": CATEGORY, "code": "INFA"}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": instant(from_us),
        "policyRule": {"coding": [{"system": CATEGORY, "code": "OPTIN"}]},
        "provision": provision,
    }


def _reference(actor: str) -> JsonObject:
    """How a Consent names a grantee; a project by its identifier, since R4 allows no reference to a study here."""
    kind, _, name = actor.partition("/")
    if kind == "ResearchStudy":
        return {"identifier": {"system": PROJECT_SYSTEM, "value": name}}
    return {"reference": actor}


def revoked(consent: JsonObject) -> JsonObject:
    """The same Consent, inactive: from its next version on it permits nothing (R4 consent-state-codes)."""
    return {**consent, "status": "inactive"}
