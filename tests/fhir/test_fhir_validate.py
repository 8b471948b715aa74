"""hdg.fhir.validate: what is right passes, every kind of mistake is blamed at its FHIRPath."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal as PlainDecimal
from typing import Any

import pytest
from fhir_mutants import Change, Mutant, Path, every_spot, mutants
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir.json import JsonObject, loads
from hdg.fhir.validate import validate

EXTENSION = {"url": "u:v", "valueCode": "x"}
ALLERGY_CLINICAL = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
XHTML = '<div xmlns="http://www.w3.org/1999/xhtml">{}</div>'

PATIENT: JsonObject = {
    "resourceType": "Patient",
    "id": "p1",
    "meta": {"lastUpdated": "2024-01-01T00:00:00Z", "profile": ["http://example.org/p"]},
    "text": {"status": "generated", "div": XHTML.format("<p>A&nbsp;B</p>")},
    "contained": [{"resourceType": "Organization", "id": "o1", "name": "Ward"}],
    "extension": [{"url": "http://example.org/x", "valueCodeableConcept": {"text": "x"}}],
    "identifier": [{"use": "usual", "system": "urn:oid:1.2.3", "value": "1", "period": {"start": "2020"}}],
    "active": True,
    "name": [
        {
            "family": "Roe",
            "given": ["Ann", "Bea"],
            "_family": {"extension": [EXTENSION]},
        }
    ],
    "telecom": [{"system": "phone", "value": "1", "rank": 1}],
    "gender": "female",
    "birthDate": "1980-02-29",
    "deceasedBoolean": False,
    "multipleBirthInteger": 2,
    "photo": [{"contentType": "image/png", "data": "AAAA", "size": 3}],
    "contact": [{"relationship": [{"text": "mother"}], "name": {"text": "X"}}],
    "managingOrganization": {"reference": "#o1"},
    "link": [{"other": {"reference": "Patient/2"}, "type": "seealso"}],
}
OBSERVATION: JsonObject = {
    "resourceType": "Observation",
    "status": "final",
    "category": [{"coding": [{"system": "http://example.org/c", "code": "laboratory"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3", "display": "K"}]},
    "subject": {"reference": "http://host/fhir/Patient/1/_history/2"},
    "effectivePeriod": {"start": "2024-01-01T10:00:00Z", "end": "2024-01-01T11:00:00Z"},
    "issued": "2024-01-01T12:00:00.000+01:00",
    "performer": [{"type": "Practitioner", "identifier": {"value": "7"}}],
    "valueQuantity": {"value": 4, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
    "note": [{"authorString": "me", "time": "2024-01-01", "text": "ok"}],
    "referenceRange": [{"low": {"value": 3}, "high": {"value": 5}}],
    "component": [
        {
            "code": {"text": "x"},
            "valueSampledData": {"origin": {"value": 0}, "period": 10, "dimensions": 1, "data": "1 2 3"},
        }
    ],
}
OTHERS: list[JsonObject] = [
    {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": "x"},
        "subject": {"reference": "Patient/1"},
        "dosageInstruction": [
            {
                "sequence": 1,
                "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": 1}}],
            }
        ],
    },
    {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": {"resourceType": "Organization", "name": "x"},
                   "request": {"method": "POST", "url": "Organization"}}],
    },
    {
        "resourceType": "Questionnaire",
        "status": "draft",
        "item": [{"linkId": "1", "type": "group", "item": [{"linkId": "1.1", "type": "boolean"}]}],
    },
    {
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": {"coding": [{"system": ALLERGY_CLINICAL, "code": "active"}]},
        "patient": {"reference": "Patient/1"},
        "onsetAge": {"value": 3, "code": "a", "system": "http://unitsofmeasure.org"},
    },
    {"resourceType": "Binary", "contentType": "application/pdf", "data": "AA=="},
    {"resourceType": "Parameters", "parameter": [{"name": "a", "valueOid": "urn:oid:1.2"}, {
        "name": "b", "resource": {"resourceType": "Basic", "code": {"text": "x"}}}]},
    {"resourceType": "Invoice", "status": "draft", "totalNet": {"value": 1, "currency": "EUR"}},
]  # fmt: skip
RIGHT = [PATIENT, OBSERVATION, *OTHERS]


def places(resource: Any) -> dict[str, str]:
    return {issue.place: issue.code for issue in validate(resource)}


@pytest.mark.parametrize("resource", RIGHT, ids=lambda resource: str(resource["resourceType"]))
def test_a_right_resource_has_no_issues(resource: JsonObject) -> None:
    assert validate(resource) == []


MUTANTS = [mutant for resource in RIGHT for mutant in mutants(resource)]


def test_there_are_mutants_of_every_kind_the_issue_names() -> None:
    kinds = {mutant.kind for mutant in MUTANTS}
    assert kinds >= {
        "unknown element", "number for text", "empty array", "item for an array", "array for one",
        "code outside a required binding", "two types of a choice", "31 February", "missing required",
        "empty object", "empty string", '"true" for a boolean', "bad reference type", "null",
        "dangling local reference", "reference to no resource type", "script in a narrative",
    }  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.kind} {m.place}")
def test_every_mutant_is_rejected_at_the_right_place(mutant: Mutant) -> None:
    assert mutant.place in places(mutant.resource)


def patient(**elements: Any) -> JsonObject:
    return {"resourceType": "Patient", **elements}


@pytest.mark.parametrize("value", [None, [], "x", 1, {}, {"resourceType": 1}, {"resourceType": "Nope"}])
def test_what_is_no_resource_is_an_issue_and_no_exception(value: Any) -> None:
    assert validate(value)


def test_several_mistakes_are_all_reported() -> None:
    found = places(patient(gender="robot", active="true", name=[{"given": ["a", ""]}, {"famly": "x"}]))
    assert found == {
        "Patient.gender": "code-invalid",
        "Patient.active": "structure",
        "Patient.name[0].given[1]": "value",
        "Patient.name[1].famly": "structure",
    }


def test_no_issue_text_holds_a_value_of_the_resource() -> None:
    secret = "Zebulon"
    wrong = patient(
        gender=secret, active=secret, birthDate=secret, name=[{"family": {secret: 1}}],
        managingOrganization={"reference": f"{secret}/1"}, link=[{"other": secret}], id=f"{secret} {secret}",
    )  # fmt: skip
    issues = validate(wrong)
    assert len(issues) > 5
    assert not any(secret in issue.text for issue in issues)


# --- primitives and their companions (R4 json.html#primitive) ---


@pytest.mark.parametrize(
    "elements",
    [
        {"_birthDate": {"extension": [{"url": "u:v", "valueString": "x"}]}},
        {"birthDate": "2020", "_birthDate": {"id": "a"}},
        {"name": [{"given": ["a", None], "_given": [None, {"extension": [EXTENSION]}]}]},
        {"name": [{"_given": [{"extension": [EXTENSION]}]}]},
        {"name": [{"given": ["a", "b"], "_given": [None, {"id": "x"}]}]},
        {"_gender": {"extension": [{"url": "u:v", "valueCode": "unknown"}]}},
        {"deceasedBoolean": True, "_deceasedBoolean": {"id": "a"}},
    ],
)
def test_a_companion_beside_or_instead_of_a_value_is_right(elements: JsonObject) -> None:
    assert validate(patient(**elements)) == []


@pytest.mark.parametrize(
    "elements, place",
    [
        ({"_birthDate": {}}, "Patient.birthDate"),
        ({"_birthDate": "x"}, "Patient.birthDate"),
        ({"_birthDate": {"id": "x"}}, "Patient.birthDate"),
        ({"name": [{"given": ["a", None], "_given": [None, {"id": "x"}]}]}, "Patient.name[0].given[1]"),
        ({"_birthDate": {"id": "x"}, "birthDate": None}, "Patient.birthDate"),
        ({"_name": [{"id": "x"}]}, "Patient._name"),
        ({"_birthDate": {"value": "x"}}, "Patient.birthDate.value"),
        ({"_birthDate": {"extension": [{"url": "u:v"}]}}, "Patient.birthDate.extension[0]"),
        ({"name": [{"given": [None]}]}, "Patient.name[0].given[0]"),
        ({"name": [{"given": ["a", None], "_given": [{"id": "x"}, None]}]}, "Patient.name[0].given[1]"),
        ({"name": [{"given": ["a"], "_given": [None]}]}, "Patient.name[0].given"),
        ({"name": [{"given": ["a", "b"], "_given": [{"id": "x"}]}]}, "Patient.name[0].given"),
        ({"name": [{"_given": [None, {"id": "x"}]}]}, "Patient.name[0].given[0]"),
        ({"name": [{"given": ["a"], "_given": {"id": "x"}}]}, "Patient.name[0].given"),
        ({"deceasedBoolean": True, "_deceasedDateTime": {"id": "x"}}, "Patient.deceased"),
    ],
)
def test_a_wrong_companion_is_rejected(elements: JsonObject, place: str) -> None:
    assert place in places(patient(**elements))


def test_a_required_primitive_may_be_absent_with_a_reason() -> None:
    reason = {"extension": [{"url": "u:reason", "valueCode": "unknown"}]}
    assert validate({"resourceType": "Observation", "_status": reason, "code": {"text": "x"}}) == []


@pytest.mark.parametrize("value, is_right", [
    (loads("1.50"), True), (loads("1E+3"), True), (7, True), (PlainDecimal("1.5"), True),
    (PlainDecimal("NaN"), False), (1.5, False), (True, False), ("1.5", False),
])  # fmt: skip
def test_a_decimal_is_a_number_that_keeps_its_digits(value: Any, is_right: bool) -> None:
    observation = {**OBSERVATION, "valueQuantity": {"value": value}}
    assert (places(observation) == {}) is is_right
    assert is_right or "Observation.value.value" in places(observation)


def test_texts_that_passed_once_do_not_excuse_others() -> None:
    for _ in range(3):
        assert validate(OBSERVATION) == []
        for broken in (
            {"system": "http://loinc.org", "code": "2823-3", "display": ""},
            {"system": "http://loinc.org", "code": "2823-3", "display": ["K"]},
            {"system": "http://loinc.org", "code": "2823-3", "disply": "K"},
            {"system": "http://loinc.org", "code": " 2823-3", "display": "K"},
        ):
            assert validate({**OBSERVATION, "code": {"coding": [broken]}})
        for quantity in (
            {"value": "4", "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
            {"valu": 4, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
        ):
            assert validate({**OBSERVATION, "valueQuantity": quantity})


# --- hostile input ---


def test_deep_nesting_is_an_issue_and_takes_no_time() -> None:
    extension: JsonObject = {"url": "u:v", "valueString": ""}
    for _ in range(60):
        extension = {"url": "u:v", "extension": [extension]}
    assert len(validate(patient(extension=[extension]))) == 1
    for _ in range(3000):
        extension = {"url": "u:v", "extension": [extension]}
    assert places(patient(extension=[extension])) == {"Patient": "too-costly"}


def test_a_thousand_mistakes_are_a_thousand_issues() -> None:
    assert len(validate(patient(name=[{"family": ""}] * 1000))) == 1000


TEXTS = ["", "x", "#", "#o1", "2024", "Patient/1"]
NAMES = ["id", "extension", "url", "_id", "valueCode", "reference", "contained", "resourceType"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
SPOTS = [(resource, spot) for resource in RIGHT for spot in every_spot(resource)]


@given(st.sampled_from(SPOTS), json_values)
def test_no_json_value_anywhere_makes_it_raise(spot: tuple[JsonObject, Path], value: Any) -> None:
    resource, path = spot
    issues = validate(Change(resource, path, value).made())
    assert all(issue.severity == "error" and issue.text for issue in issues)


def test_a_patient_without_rare_elements_is_validated_without_loading_fhirpath() -> None:
    program = (
        "import sys; from hdg.fhir.validate import validate;"
        "print(validate({'resourceType': 'Patient', 'name': [{'family': 'Roe'}], 'birthDate': '1980'}),"
        "'hdg.fhir.path' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["[]", "False"]
