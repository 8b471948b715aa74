"""Functional lists: what is not said to be over, wrong or refuted, as far as it may be seen (R4 search.html#list)."""

from __future__ import annotations

import pytest

CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
VERIFIED = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"


def coded(system, code):
    return {"coding": [{"system": system, "code": code}]}


def condition(id_, clinical="", verified="", *categories):
    found = {"resourceType": "Condition", "id": id_, "subject": {"reference": "Patient/ann"}}
    found |= {"clinicalStatus": coded(CLINICAL, clinical)} if clinical else {}
    found |= {"verificationStatus": coded(VERIFIED, verified)} if verified else {}
    return found | ({"category": [coded(CATEGORY, one) for one in categories]} if categories else {})


def allergy(id_, clinical="", verified=""):
    found = condition(id_, clinical, verified) | {"resourceType": "AllergyIntolerance"}
    return found | {"patient": found.pop("subject")}


def statement(id_, status):
    return {"resourceType": "MedicationStatement", "id": id_, "status": status, "subject": {"reference": "Patient/ann"},
            "medicationCodeableConcept": {"text": "x"}}  # fmt: skip


@pytest.fixture
def record(either):
    for resource in (
        condition("active", "active", "confirmed", "problem-list-item"),
        condition("relapse", "relapse", "", "problem-list-item", "encounter-diagnosis"),
        condition("unknown"),
        condition("unconfirmed", "", "unconfirmed"),
        condition("inactive", "inactive"),
        condition("remission", "remission"),
        condition("resolved", "resolved", "confirmed", "problem-list-item"),
        condition("refuted", "active", "refuted"),
        condition("wrong", "", "entered-in-error"),
        condition("of-a-stay", "active", "confirmed", "encounter-diagnosis"),
        allergy("a-active", "active", "confirmed"),
        allergy("a-unknown"),
        allergy("a-inactive", "inactive"),
        allergy("a-resolved", "resolved"),
        allergy("a-refuted", "", "refuted"),
        allergy("a-wrong", "", "entered-in-error"),
        *(statement(f"m-{status}", status) for status in ("active", "completed", "entered-in-error", "intended",
                                                         "stopped", "on-hold", "unknown", "not-taken")),
    ):  # fmt: skip
        either.put(resource, "north", "ann")
    either.put(condition("hidden", "active"), "south", "ann")
    return either


def ids(world, path):
    answer = world.client.get(f"/fhir/{path}", world.token("clinician", institution="north"))
    assert answer.status_code == 200, answer.text
    found = [entry["resource"]["id"] for entry in answer.json().get("entry", ())]
    assert answer.json()["total"] == len(found)
    return sorted(found)


def test_what_is_current_is_in_the_list_of_its_kind(record):
    problems = ["active", "relapse", "unconfirmed", "unknown"]
    assert ids(record, "Condition?patient=ann&_list=$current-problems") == problems
    assert ids(record, "Condition?_list=$current-problems") == problems
    assert ids(record, "Patient/ann/Condition?_list=$current-problems&category=problem-list-item") == [
        "active",
        "relapse",
    ]
    assert ids(record, "AllergyIntolerance?patient=ann&_list=$current-allergies") == ["a-active", "a-unknown"]
    assert ids(record, "MedicationStatement?patient=ann&_list=$current-medications") == [
        "m-active",
        "m-on-hold",
        "m-unknown",
    ]
    assert ids(record, "Condition?patient=bob&_list=$current-problems") == []


def test_what_is_hidden_changes_no_byte(record):
    token = record.token("clinician", institution="north")
    path = "/fhir/Condition?patient=ann&_list=$current-problems&_count=2"
    before = record.client.get(path, token).content
    record.delete("Condition", "hidden", "south")
    assert record.client.get(path, token).content == before


def test_other_lists_types_and_mixtures_are_refused(record):
    token = record.token("clinician", institution="north")
    for path in (
        "Condition?_list=$current-allergies",
        "MedicationRequest?_list=$current-medications",
        "AllergyIntolerance?_list=$current-drug-allergies",
        "Condition?_list=$",
        "Condition?_list=$current-problems,mine",
        "Condition?_list=mine,$current-problems",
        "?_type=Condition,Patient&_list=$current-problems",
        "Patient/ann/*?_list=$current-problems",
        "Patient?_has:Condition:patient:_list=$current-problems",
    ):
        answer = record.client.get(f"/fhir/{path}", token)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "not-supported"), path
    researcher = record.token("researcher", purpose="HRESCH", project="p")
    assert record.client.get("/fhir/Condition?_list=$current-problems", researcher).status_code == 403
