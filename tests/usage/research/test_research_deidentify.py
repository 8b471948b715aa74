"""What a project is shown of a resource: ids, references, masks, modifiers, contained resources, ages."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from hdg.fhir.json import JsonObject, dumps, loads
from hdg.fhir.validate import validate
from hdg.usage.research.deidentify import SHOWN, Deidentifier, shown_elements

TODAY = date(2026, 11, 21)
PROJECT = Deidentifier(b"p" * 32, "https://own.example/fhir")
OTHER = Deidentifier(b"q" * 32, "https://own.example/fhir")
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
MASKED = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}
    ]
}
MASKED_VALUE = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "masked"}]
}
GLUCOSE = {"coding": [{"system": LOINC, "code": "15074-8", "display": "Glucose"}], "text": "Glucose of Ann"}


def shown(content: JsonObject, offset_days: int | None = -100, project: Deidentifier = PROJECT) -> JsonObject:
    found = project.resource(content, offset_days, TODAY)
    assert found is not None
    assert validate(found) == []
    return found


def observation(**elements: Any) -> JsonObject:
    return {"resourceType": "Observation", "id": "o1", "status": "final", "code": GLUCOSE} | elements


def patient(**elements: Any) -> JsonObject:
    return {"resourceType": "Patient", "id": "ann", "gender": "female"} | elements


# --- ids and references -------------------------------------------------------------------------------------


def test_ids_are_the_same_within_a_project_and_different_between_projects() -> None:
    first, again = shown(patient()), shown(patient())
    assert dumps(first) == dumps(again)
    assert first["id"] == PROJECT.pseudonym("Patient", "ann")
    assert first["id"] != shown(patient(), project=OTHER)["id"]
    assert PROJECT.pseudonym("Patient", "x") != PROJECT.pseudonym("Encounter", "x")
    assert Deidentifier(b"p" * 32).pseudonym("Patient", "ann") == first["id"]


def test_a_project_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32"):
        Deidentifier(b"short")


@pytest.mark.parametrize(
    "text",
    [
        "Patient/ann",
        "Patient/ann/_history/3",
        "https://own.example/fhir/Patient/ann",
        "https://own.example/fhir/Patient/ann/_history/3",
    ],
)
def test_references_to_our_own_lead_to_the_pseudonym(text: str) -> None:
    value = {"reference": text, "type": "Patient", "display": "Ann", "identifier": {"value": "123"}}
    found = shown(observation(subject=value))["subject"]
    assert found == {"reference": f"Patient/{PROJECT.pseudonym('Patient', 'ann')}"}


@pytest.mark.parametrize(
    "value",
    [
        {"reference": "https://other.example/fhir/Patient/ann"},
        {"reference": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"},
        {"reference": "Patient?identifier=123"},
        {"reference": "Group/all"},
        {"reference": "#nobody"},
        {"display": "Ann"},
        {"identifier": {"value": "123"}, "type": "Patient"},
        {"reference": ["Patient/ann"]},
    ],
)
def test_other_references_are_masked(value: JsonObject) -> None:
    assert shown(observation(subject=value))["subject"] == MASKED


def test_a_list_has_one_mask_for_all_that_is_not_shown() -> None:
    listed = [{"display": "Ann"}, {"reference": "Patient/ann"}, {"reference": "Practitioner/bob"}]
    found = shown(observation(performer=listed))["performer"]
    assert found == [{"reference": f"Patient/{PROJECT.pseudonym('Patient', 'ann')}"}, MASKED]


# --- what gets lost is said ---------------------------------------------------------------------------------


def test_what_is_not_listed_is_not_there() -> None:
    found = shown(
        patient(
            meta={
                "versionId": "7",
                "lastUpdated": "2026-01-01T00:00:00Z",
                "source": "#ann",
                "tag": [{"code": "x"}],
            },
            language="de",
            text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Ann</div>'},
            extension=[{"url": "http://example.org/race", "valueString": "Ann"}],
            identifier=[{"value": "123"}],
            name=[{"family": "Ann"}],
            telecom=[{"system": "phone", "value": "123"}],
            photo=[{"data": "QW5u", "contentType": "image/png"}],
            contact=[{"name": {"family": "Bob"}}],
            communication=[{"language": {"text": "Ann"}}],
            birthDate="1980-05-01",
            _birthDate={"extension": [{"url": "http://example.org/time", "valueString": "Ann"}]},
        )
    )
    assert found == {
        "resourceType": "Patient",
        "id": PROJECT.pseudonym("Patient", "ann"),
        "meta": {
            "security": [
                {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "PSEUDED"}
            ]
        },
        "gender": "female",
        "birthDate": "1980-01-22",
    }


def test_free_text_as_a_value_is_masked() -> None:
    found = shown(observation(valueString="Ann is ill", note=[{"text": "Ann"}]))
    assert found["dataAbsentReason"] == MASKED_VALUE
    assert "valueString" not in found
    component = {"code": GLUCOSE | {"coding": [{"system": LOINC, "code": "8480-6"}]}, "valueString": "Ann"}
    assert shown(observation(component=[component]))["component"][0]["dataAbsentReason"] == MASKED_VALUE


def test_text_where_a_date_could_be_still_says_that_something_was() -> None:
    resolved = {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "resolved"}]
    }
    condition = {
        "resourceType": "Condition",
        "clinicalStatus": resolved,
        "subject": {"reference": "Patient/ann"},
        "abatementString": "when Ann moved",
        "code": {"text": "only words"},
    }
    found = shown(condition)
    assert found["_abatementDateTime"] == MASKED
    assert found["code"] == MASKED
    assert found["clinicalStatus"] == resolved


def test_what_r4_demands_is_masked() -> None:
    immunization = {
        "resourceType": "Immunization",
        "status": "not-done",
        "vaccineCode": {"text": "flu"},
        "patient": {"display": "Ann"},
        "occurrenceString": "in spring",
        "protocolApplied": [{"doseNumberString": "first"}],
    }
    found = shown(immunization)
    assert found["status"] == "not-done"
    assert found["vaccineCode"] == found["patient"] == found["_occurrenceDateTime"] == MASKED
    assert found["protocolApplied"] == [{"_doseNumberPositiveInt": MASKED}]


def test_a_reason_that_the_resource_gives_itself_stays() -> None:
    unknown = {"extension": [MASKED["extension"][0] | {"valueCode": "unknown"}]}
    assert shown(patient(_birthDate=unknown))["_birthDate"] == unknown
    assert shown(observation(subject=unknown))["subject"] == unknown
    assert shown(observation(_valueString=unknown))["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    ours = {"extension": [MASKED["extension"][0] | {"valueCode": "Ann"}]}
    assert shown(patient(_birthDate=ours))["_birthDate"] == MASKED


def test_an_item_of_a_list_of_primitives_is_masked_in_its_place() -> None:
    timing = {"event": ["2020-04-10", "1930-01-01", "2020-04-12"]}
    request = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/ann"},
        "occurrenceTiming": timing,
    }
    assert shown(request)["occurrenceTiming"] == {
        "event": ["2020-01-01", None, "2020-01-03"],
        "_event": [None, MASKED, None],
    }


def test_numbers_keep_their_digits_and_units_their_code() -> None:
    body = (
        b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.50,'
    )
    body += b'"unit":"milligrams of Ann","system":"http://unitsofmeasure.org","code":"mg"}}'
    assert b'"valueQuantity":{"value":1.50,"system":"http://unitsofmeasure.org","code":"mg"}' in dumps(
        shown(loads(body))
    )


# --- meaning ------------------------------------------------------------------------------------------------


def test_a_modifier_extension_deep_inside_hides_the_resource() -> None:
    not_so = {"modifierExtension": [{"url": "http://example.org/not", "valueBoolean": True}]}
    component = {"code": {"text": "x"}, "dataAbsentReason": MASKED_VALUE}
    assert shown(observation(component=[component]))["component"][0]["code"] == MASKED
    assert PROJECT.resource(observation(component=[component | not_so]), -100, TODAY) is None
    timing = {"code": {"text": "x"}} | not_so
    assert PROJECT.resource(observation(effectiveTiming=timing), -100, TODAY) is None


def test_a_status_that_cannot_be_shown_hides_the_resource() -> None:
    assert PROJECT.resource(observation(status="Ann"), -100, TODAY) is None
    condition = {
        "resourceType": "Condition",
        "subject": {"reference": "Patient/ann"},
        "verificationStatus": {"text": "refuted, says Ann"},
    }
    assert PROJECT.resource(condition, -100, TODAY) is None
    refuted = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
    condition["verificationStatus"] = {"coding": [{"system": refuted, "code": "refuted"}], "text": "says Ann"}
    assert shown(condition)["verificationStatus"] == {"coding": [{"system": refuted, "code": "refuted"}]}


def test_do_not_stays_do_not() -> None:
    request = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "doNotPerform": True,
        "medicationCodeableConcept": {"text": "aspirin"},
        "subject": {"reference": "Patient/ann"},
    }
    assert shown(request)["doNotPerform"] is True
    assert PROJECT.resource(request | {"doNotPerform": "yes"}, -100, TODAY) is None


def test_the_dead_stay_dead_when_the_date_is_not_shown() -> None:
    assert shown(patient(deceasedDateTime="1930-01-01"))["_deceasedDateTime"] == MASKED
    assert shown(patient(deceasedBoolean=False))["deceasedBoolean"] is False


# --- contained ----------------------------------------------------------------------------------------------


def with_medication(**elements: Any) -> JsonObject:
    code = {
        "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "1049502"}],
        "text": "Ann",
    }
    medication = {"resourceType": "Medication", "id": "ann-med", "code": code} | elements
    return {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "contained": [medication, {"resourceType": "Practitioner", "id": "bob", "name": [{"family": "Bob"}]}],
        "medicationReference": {"reference": "#ann-med"},
        "subject": {"reference": "Patient/ann"},
        "requester": {"reference": "#bob"},
    }


def test_what_is_contained_and_shown_follows_the_same_rules() -> None:
    found = shown(with_medication())
    assert found["medicationReference"] == {"reference": "#1"}
    [inner] = found["contained"]
    assert inner["id"] == "1"
    assert "text" not in inner["code"]
    assert "meta" not in inner
    assert found["requester"] == MASKED


def test_what_is_contained_and_not_shown_is_masked() -> None:
    found = shown(
        with_medication(modifierExtension=[{"url": "http://example.org/not", "valueBoolean": True}])
    )
    assert found["medicationReference"] == MASKED
    assert "contained" not in found


def test_contained_resources_that_refer_to_each_other_end() -> None:
    inner = [
        {
            "resourceType": "Observation",
            "id": "a",
            "status": "final",
            "code": GLUCOSE,
            "hasMember": [{"reference": "#b"}],
        },
        {
            "resourceType": "Observation",
            "id": "b",
            "status": "final",
            "code": GLUCOSE,
            "hasMember": [{"reference": "#a"}],
        },
    ]
    found = shown(observation(contained=inner, hasMember=[{"reference": "#a"}]))
    assert {item["id"] for item in found["contained"]} == {"1", "2"}
    assert found["hasMember"] == [{"reference": "#1"}]


# --- ages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("born", ["1936-11-21", "1936", "1930-01", "1901-01-01"])
def test_nobody_is_seen_to_be_over_89(born: str) -> None:
    found = shown(patient(birthDate=born, deceasedDateTime="2020-04-10"))
    assert found["_birthDate"] == MASKED
    assert "birthDate" not in found
    assert found["deceasedDateTime"] == "2020-01-01"


def test_ages_over_89_are_folded() -> None:
    age = {"value": 94, "unit": "years", "system": UCUM, "code": "a"}
    condition = {"resourceType": "Condition", "subject": {"reference": "Patient/ann"}, "onsetAge": age}
    assert shown(condition)["onsetAge"] == {"value": 89, "comparator": ">", "system": UCUM, "code": "a"}
    assert shown(condition | {"onsetAge": age | {"value": 60}})["onsetAge"]["value"] == 60


@pytest.mark.parametrize(
    "value",
    [
        {"valueInteger": 95},
        {"valueQuantity": {"value": 95}},
        {"valueQuantity": {"value": 95, "system": UCUM, "code": "{years}"}},
    ],
)
def test_an_observed_age_that_cannot_be_folded_is_masked(value: JsonObject) -> None:
    age = {"coding": [{"system": LOINC, "code": "30525-0"}]}
    found = shown(observation(code=age) | value)
    assert found["dataAbsentReason"] == MASKED_VALUE
    quantity = {"value": 95, "system": UCUM, "code": "a"}
    assert shown(observation(code=age, valueQuantity=quantity))["valueQuantity"]["value"] == 89


def test_what_is_about_no_patient_shows_no_date() -> None:
    found = shown(observation(effectiveDateTime="2020-04-10", issued="2020-04-10T10:00:00Z"), None)
    assert found["_effectiveDateTime"] == found["_issued"] == MASKED


# --- what is shown at all -----------------------------------------------------------------------------------


def test_shown_elements_are_those_of_the_list() -> None:
    assert "Patient.birthDate" in shown_elements("Patient")
    assert "Patient.name" not in shown_elements("Patient")
    assert "Observation.component.code" in shown_elements("Observation")
    assert shown_elements("Practitioner") == frozenset()
    assert not {"Practitioner", "Organization", "Binary", "DocumentReference", "RelatedPerson"} & set(SHOWN)


def test_nonsense_is_not_shown() -> None:
    nested: Any = "x"
    for _ in range(2000):
        nested = {"coding": [nested]}
    wrong: tuple[Any, ...] = (nested, [], {}, None, 7, {"coding": {}}, {"coding": [None]})
    for code in wrong:
        found = PROJECT.resource(observation(code=code), -100, TODAY)
        assert found is not None
        assert found["code"] == MASKED
