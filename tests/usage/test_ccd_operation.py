"""Patient/ID/$ccd under the caller's own view: nothing hidden, recorded before it leaves, not for researchers."""

from __future__ import annotations

import pytest
from lxml import etree
from sqlalchemy import select

from hdg.management.audit import AuditEventRow
from hdg.usage import record

NS = {"h": "urn:hl7-org:v3"}


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


@pytest.fixture
def asthma(either):
    put = lambda resource, owner=None: either.put(resource, "north", owner)  # noqa: E731
    put({"resourceType": "Organization", "id": "practice", "name": "Practice of Elm Street"})
    put({"resourceType": "Practitioner", "id": "dr", "name": [{"family": "Docteur"}]})
    put(
        {
            "resourceType": "PractitionerRole",
            "id": "role",
            "practitioner": {"reference": "Practitioner/dr"},
            "organization": {"reference": "Organization/practice"},
        }
    )
    put(
        {
            "resourceType": "Condition",
            "id": "asthma",
            "subject": {"reference": "Patient/ann"},
            "recorder": {"reference": "PractitionerRole/role"},
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "195967001"}]},
        },
        "ann",
    )
    return either


def asked(world, token, path, status=200, **headers):
    answer = world.client.get(f"/fhir/{path}", token, headers=headers)
    assert answer.status_code == status, answer.text
    return answer


def codes(answer):
    root = etree.fromstring(answer.content)
    return {one.get("code") for one in root.iterfind(".//h:observation/*[@code]", NS)}


def test_the_record_of_a_patient_comes_as_a_document_whatever_format_is_named(asthma, north):
    for headers, path in (
        ({}, "Patient/ann/$ccd"),
        ({"accept": "application/hl7-cda+xml"}, "Patient/ann/$ccd"),
        ({"accept": "application/fhir+xml"}, "Patient/ann/$ccd?_format=xml"),
    ):
        answer = asked(asthma, north, path, **headers)
        assert answer.headers["content-type"] == "application/hl7-cda+xml"
        assert {"195967001", "718-7"} <= codes(answer)
        assert "MRN-ann" in answer.text
        assert "MRN-bob" not in answer.text
        assert "Docteur" in answer.text
        assert "Practice of Elm Street" in answer.text


def test_what_the_caller_may_not_see_is_not_in_the_document(asthma):
    south = asthma.token("clinician", user="dr-south", institution="south", purpose="TREAT")
    asked(asthma, south, "Patient/ann/$ccd", 404)
    asthma.grant("ann", "Organization/south", types=("Patient", "Observation"))
    answer = asked(asthma, south, "Patient/ann/$ccd")
    assert "718-7" in codes(answer)
    assert "195967001" not in answer.text
    assert "Docteur" not in answer.text


def test_hidden_absent_and_other_types_are_refused_alike(asthma, north):
    south = asthma.token("clinician", user="dr-south", institution="south", purpose="TREAT")
    hidden = asked(asthma, south, "Patient/ann/$ccd", 404)
    absent = asked(asthma, south, "Patient/nobody/$ccd", 404)
    assert hidden.text == absent.text
    asked(asthma, north, "Observation/ann-0/$ccd", 404)
    asked(asthma, north, "Patient/ann/$ccd?_type=Condition", 400)
    asked(asthma, None, "Patient/ann/$ccd", 401)


def test_it_is_recorded_with_the_patient_whose_record_it_is(asthma, north):
    def audited():
        table = AuditEventRow.__table__
        with asthma.store.engine.connect() as connection:
            return sorted(connection.scalars(select(table.c.patient)))

    asked(asthma, north, "Patient/ann/$ccd")
    assert audited() == ["ann"]
    asked(asthma, north, "Patient/nobody/$ccd", 404)
    assert audited() == ["", "ann"]


def test_researchers_get_no_document(asthma):
    token = asthma.token("researcher", user="rs", project="p")
    asked(asthma, token, "Patient/ann/$ccd", 403)


def test_a_record_that_would_be_cut_short_is_refused(asthma, north, monkeypatch):
    monkeypatch.setattr(record, "RECORD_MAX", 2)
    assert "more than 2" in asked(asthma, north, "Patient/ann/$ccd", 400).text


def test_what_the_patient_only_had_a_part_in_is_not_in_the_document(asthma, north):
    of_bob = {
        **asthma.observation("of-bob", "bob", "9999-9", "2024-01-01"),
        "performer": [{"reference": "Patient/ann"}],
    }
    asthma.put(of_bob, "north", "bob")
    found = asthma.client.get("/fhir/Patient/ann/$everything", north).json()
    assert "of-bob" in [entry["resource"]["id"] for entry in found["entry"]]
    assert "9999-9" not in asked(asthma, north, "Patient/ann/$ccd").text
