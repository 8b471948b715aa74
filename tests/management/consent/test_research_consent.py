"""Whom a Consent lets do research: every project, one project, one researcher, nobody (docs/access-policy.md)."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.errors import BadRequest
from hdg.fhir.validate import validate
from hdg.management.consent.decide import AccessRequest, Decision, ResourceFacts, decide
from hdg.management.consent.policy import load_policy
from hdg.management.consent.resource import grant
from hdg.management.consent.rules import rules_of

POLICY = load_policy()
PROJECT = {"identifier": {"system": "urn:hdg:project", "value": "asthma-1"}}
FACTS = ResourceFacts("Observation", frozenset({"ann"}), "north")


def consent(kind: str = "permit", actors: list[Any] | None = None, **provision: Any) -> dict[str, Any]:
    purpose = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HRESCH"}]
    root: dict[str, Any] = {"type": kind, "purpose": purpose, **provision}
    if actors is not None:
        role = {
            "coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
            ]
        }
        root["actor"] = [{"role": role, "reference": actor} for actor in actors]
    scope = {"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "research"}
    return {
        "resourceType": "Consent",
        "id": "c",
        "status": "active",
        "scope": {"coding": [scope]},
        "patient": {"reference": "Patient/ann"},
        "provision": root,
    }


def asked(*consents: dict[str, Any], project: str = "asthma-1", **changes: str) -> Decision:
    fields = {"role": "researcher", "user": "u1", "institution": "", "patient": "", "purpose": "HRESCH"}
    request = AccessRequest(**{**fields, **changes}, action="access", at_us=50, project=project)
    return decide(request, FACTS, [rule for one in consents for rule in rules_of(one)], POLICY)


def test_without_a_consent_nobody_does_research() -> None:
    assert not asked().is_permitted


def test_a_permit_for_research_that_names_nobody_is_for_every_project() -> None:
    assert asked(consent()).is_permitted
    assert asked(consent(), project="other").is_permitted


def test_a_permit_for_a_project_is_for_that_project_alone() -> None:
    made = consent(actors=[PROJECT])
    assert asked(made).is_permitted
    assert asked(made).obligations == ("deidentify",)
    assert not asked(made, project="asthma-2").is_permitted
    assert not asked(made, project="asthma-2", user="asthma-1").is_permitted
    assert not asked(made, role="clinician", purpose="TREAT", institution="asthma-1").is_permitted


@pytest.mark.parametrize(
    ("reference", "changes"),
    [
        ({"reference": "Practitioner/u1"}, {}),
        ({"reference": "Organization/institute"}, {"institution": "institute"}),
    ],
)
def test_a_permit_may_name_the_researcher_or_the_institution(
    reference: dict[str, Any], changes: dict[str, str]
) -> None:
    assert asked(consent(actors=[reference]), **changes).is_permitted
    assert not asked(consent(actors=[reference]), user="u2").is_permitted


def test_a_denial_of_a_project_wins_over_any_permit_and_is_about_that_project_alone() -> None:
    denial = consent("deny", actors=[PROJECT])
    assert not asked(consent(), denial).is_permitted
    assert asked(consent(), denial, project="asthma-2").is_permitted


@pytest.mark.parametrize(
    "reference",
    [
        {"reference": "ResearchStudy/asthma-1"},  # R4 allows no such reference, so nobody says who is meant
        {"reference": "Group/asthma-1"},
        {"display": "the asthma study"},
    ],
)
def test_what_names_a_project_in_no_way_that_is_understood_permits_none_and_denies_all(
    reference: dict[str, Any],
) -> None:
    assert not asked(consent(actors=[reference])).is_permitted
    assert not asked(consent(), consent("deny", actors=[reference])).is_permitted


def test_a_permit_for_care_or_for_every_purpose_is_none_for_research() -> None:
    made = consent()
    del made["provision"]["purpose"]
    made["scope"]["coding"][0]["code"] = "patient-privacy"
    assert not asked(made).is_permitted
    treatment = grant("ann", ["Organization/institute"], ["TREAT"], [], from_us=0, until_us=100)
    assert not asked(treatment, institution="institute").is_permitted


def test_a_grant_to_a_research_study_is_valid_r4_and_opens_that_project() -> None:
    made = grant("ann", ["ResearchStudy/asthma-1"], ["HRESCH"], [], from_us=0, until_us=100)
    assert validate(made) == []
    assert asked(made).is_permitted
    assert not asked(made, project="asthma-2").is_permitted


@pytest.mark.parametrize(
    ("to", "purposes"),
    [
        ("ResearchStudy/asthma-1", []),
        ("ResearchStudy/asthma-1", ["TREAT"]),
        ("ResearchStudy/the asthma study", ["HRESCH"]),
    ],
)
def test_a_grant_that_would_open_nothing_is_refused(to: str, purposes: list[str]) -> None:
    with pytest.raises(BadRequest):
        grant("ann", [to], purposes, [], from_us=0, until_us=100)
