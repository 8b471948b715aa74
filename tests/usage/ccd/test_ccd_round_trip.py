"""CDA → FHIR → CDA → FHIR: every coded fact comes back as it was, and what is denied stays denied."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccd_facts import disorder, facts
from hdg.fhir import ids, json
from hdg.fhir.validate import validate
from hdg.ingestion.cda.convert import Converter
from hdg.usage.ccd.document import Making, document

MAKING = Making(
    "0a0a0a0a-1111-4222-8333-444444444444", "2026-01-02T03:04:05Z", "north", "https://gw.example/fhir"
)
EXAMPLE = Path(__file__).parents[3] / "examples" / "ccd-summary.xml"


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


def concept(code, **rest):
    return {"coding": [{"system": "http://snomed.info/sct", "code": code}], **rest}


def verified(code, kind):
    system = f"http://terminology.hl7.org/CodeSystem/{kind}"
    return {"coding": [{"system": system, "code": code}]}


def whole(*resources):
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "identifier": [{"system": "urn:oid:2.999.1", "value": "1"}],
    }
    found = [patient]
    for number, one in enumerate(resources):
        name = "patient" if one["resourceType"] in ("AllergyIntolerance", "Immunization") else "subject"
        found.append({"id": f"r{number}", name: {"reference": "Patient/p"}, **one})
    return [json.loads(json.dumps(one)) for one in found]


FACTS = [
    {
        "resourceType": "Condition",
        "code": concept("1"),
        "verificationStatus": verified("refuted", "condition-ver-status"),
    },
    {"resourceType": "Condition", "code": concept("160245001")},
    *(
        {
            "resourceType": "Condition",
            "code": concept("1"),
            "onsetDateTime": "2010-02",
            "clinicalStatus": verified(status, "condition-clinical"),
        }
        for status in ("active", "inactive", "resolved", "recurrence", "relapse", "remission")
    ),
    {
        "resourceType": "AllergyIntolerance",
        "code": concept("1"),
        "clinicalStatus": verified("active", "allergyintolerance-clinical"),
        "verificationStatus": verified("refuted", "allergyintolerance-verification"),
    },
    *(
        {
            "resourceType": "AllergyIntolerance",
            "code": concept(code),
            "clinicalStatus": verified("active", "allergyintolerance-clinical"),
        }
        for code in ("716186003", "409137002", "429625007", "428607008", "762952008")
    ),
    *(
        {
            "resourceType": "MedicationStatement",
            "status": status,
            "medicationCodeableConcept": concept("1"),
            "effectivePeriod": {"start": "2024-01-01"},
        }
        for status in ("active", "completed", "intended", "stopped", "on-hold", "unknown", "not-taken")
    ),
    *(
        {
            "resourceType": "MedicationAdministration",
            "status": status,
            "medicationCodeableConcept": concept("1"),
            "effectiveDateTime": "2024-01-01",
            "dosage": {
                "route": concept("26643006"),
                "dose": {
                    "value": 2,
                    "unit": "mg",
                    "system": "http://unitsofmeasure.org",
                    "code": "mg",
                },
            },
        }
        for status in ("completed", "in-progress", "stopped", "on-hold", "unknown", "not-done")
    ),
    *(
        {
            "resourceType": "MedicationRequest",
            "status": status,
            "intent": intent,
            "doNotPerform": is_denied,
            "medicationCodeableConcept": concept("1"),
        }
        for status in ("active", "on-hold", "cancelled", "completed", "stopped", "draft", "unknown")
        for intent in ("plan", "order", "proposal")
        for is_denied in (True, False)
    ),
    *(
        {"resourceType": "MedicationDispense", "status": status, "medicationCodeableConcept": concept("1")}
        for status in (
            "completed",
            "in-progress",
            "stopped",
            "on-hold",
            "cancelled",
            "preparation",
            "declined",
        )
    ),
    *(
        {
            "resourceType": "Immunization",
            "status": status,
            "vaccineCode": concept("1"),
            "occurrenceDateTime": "2024",
        }
        for status in ("completed", "not-done")
    ),
    *(
        {
            "resourceType": "Procedure",
            "status": status,
            "code": concept("1"),
            "performedDateTime": "2024-01-02",
        }
        for status in ("completed", "in-progress", "stopped", "on-hold", "preparation", "not-done", "unknown")
    ),
    *(
        {"resourceType": "Observation", "status": "final", "code": concept("1"), **value}
        for value in (
            {
                "valueQuantity": {
                    "value": json.decimal("1.50"),
                    "unit": "mg",
                    "system": "http://unitsofmeasure.org",
                    "code": "mg",
                }
            },
            {"valueCodeableConcept": concept("2")},
            {"valueString": "a <b> & c"},
            {"valueBoolean": False},
            {"valueInteger": 0},
            {"effectiveDateTime": "2024-01-02T03:04:05+01:00", "valueDateTime": "2024-01"},
            {"dataAbsentReason": verified("not-asked", "data-absent-reason")},
        )
    ),
]


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
