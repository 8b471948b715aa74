"""CDA → FHIR → CDA → FHIR: every coded fact comes back as it was, and what is denied stays denied."""

from __future__ import annotations

import pytest

from ccd_cases import EXAMPLE, FACTS, MAKING, concept, verified, whole
from ccd_facts import disorder, facts
from hdg.fhir import ids, json
from hdg.fhir.validate import validate
from hdg.ingestion.cda.convert import Converter
from hdg.usage.ccd.document import document


@pytest.fixture(scope="module")
def converter():
    return Converter(id_key=ids.PUBLIC_KEY)


def again(converter, resources):
    made = document(resources, MAKING)
    assert disorder(made) == []
    found = converter.convert(made, at_us=0)
    assert [issue for one in found.resources for issue in validate(one)] == []
    return found


def test_the_example_comes_back_with_all_its_facts(converter):
    first = converter.convert(EXAMPLE.read_bytes(), at_us=0)
    back = again(converter, first.resources)
    assert facts(back.resources) == facts(first.resources)
    assert [issue.text for issue in back.issues if issue.severity != "information"] == []


def test_a_third_time_changes_nothing_more(converter):
    first = again(converter, converter.convert(EXAMPLE.read_bytes(), at_us=0).resources)
    second = again(converter, first.resources)
    assert facts(second.resources) == facts(first.resources)


@pytest.mark.parametrize("fact", FACTS, ids=lambda one: f"{one['resourceType']} {one.get('status', '')}")
def test_every_state_of_a_fact_comes_back(converter, fact):
    resources = whole(fact)
    assert [issue for one in resources for issue in validate(one) if issue.severity == "error"] == []
    assert facts(again(converter, resources).resources) == facts(resources)


def test_the_encounter_of_a_statement_its_dose_and_that_an_order_is_one_come_back(converter):
    visit = {
        "resourceType": "Encounter",
        "status": "finished",
        "identifier": [{"system": "urn:oid:2.999.9", "value": "v1"}],
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
    }
    order = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "doNotPerform": False,
        "medicationCodeableConcept": concept("1"),
        "encounter": {"reference": "Encounter/r0"},
        "dosageInstruction": [
            {
                "timing": {"repeat": {"frequency": 1, "period": 8, "periodUnit": "h"}},
                "doseAndRate": [{"doseQuantity": {"value": json.decimal("2.50"), "unit": "mg"}}],
                "route": concept("26643006"),
                "asNeededCodeableConcept": concept("22253000"),
            }
        ],
    }
    back = again(converter, whole(visit, order)).resources
    (found,) = [one for one in back if one["resourceType"] == "MedicationRequest"]
    (met,) = [one for one in back if one["resourceType"] == "Encounter"]
    assert found["encounter"] == {"reference": f"Encounter/{met['id']}"}
    assert found["doNotPerform"] is False
    (dosage,) = found["dosageInstruction"]
    assert dosage["doseAndRate"][0]["doseQuantity"]["value"].literal == "2.50"
    assert dosage["timing"]["repeat"]["period"] == 8
    assert dosage["route"] == concept("26643006")
    assert dosage["asNeededCodeableConcept"] == concept("22253000")


def test_an_allergy_that_is_denied_and_not_named_does_not_become_no_known_allergies(converter):
    denied = {
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": verified("active", "allergyintolerance-clinical"),
        "verificationStatus": verified("refuted", "allergyintolerance-verification"),
    }
    found = [
        one
        for one in again(converter, whole(denied)).resources
        if one["resourceType"] == "AllergyIntolerance"
    ]
    assert [one["verificationStatus"]["coding"][0]["code"] for one in found] == ["refuted"]
    assert "code" not in found[0]


@pytest.mark.parametrize(
    ("type_", "code", "kind"),
    [
        ("AllergyIntolerance", "716186003", "allergyintolerance-verification"),
        ("AllergyIntolerance", "409137002", "allergyintolerance-verification"),
        ("Condition", "160245001", "condition-ver-status"),
    ],
)
def test_that_none_is_known_is_not_said_where_it_is_denied(converter, type_, code, kind):
    denied = {"resourceType": type_, "code": concept(code), "verificationStatus": verified("refuted", kind)}
    if type_ == "AllergyIntolerance":
        denied["clinicalStatus"] = verified("active", "allergyintolerance-clinical")
    found = again(converter, whole(denied)).resources
    assert type_ not in {one["resourceType"] for one in found}


def test_what_was_entered_in_error_into_a_plan_is_not_planned(converter):
    details = [
        {"status": status, "code": concept(code)}
        for status, code in (("entered-in-error", "1"), ("not-started", "2"))
    ]
    plan = {
        "resourceType": "CarePlan",
        "status": "active",
        "intent": "plan",
        "activity": [{"detail": one} for one in details],
    }
    found = again(converter, whole(plan)).resources
    asked = [one["code"] for one in found if one["resourceType"] == "ServiceRequest"]
    assert [one["coding"][0]["code"] for one in asked] == ["2"]
