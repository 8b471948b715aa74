"""A reference to what is ours is one, relative or absolute: whose a resource is does not hang on its form."""

from __future__ import annotations

import pytest

BASE = "https://gateway.example/fhir"


def about(patient, **more):
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": f"{BASE}/Patient/{patient}"},
        **more,
    }


def bundle(content):
    entry = {"resource": content, "request": {"method": "POST", "url": "Observation"}}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}


@pytest.mark.parametrize("is_bundle", [False, True])
def test_what_names_a_patient_by_our_own_url_is_that_patients(either, is_bundle):
    north = either.token("clinician", institution="north")
    content = about("ann")
    path, sent = ("/fhir", bundle(content)) if is_bundle else ("/fhir/Observation", content)
    assert either.client.send("POST", path, north, sent).status_code in (200, 201)
    own = either.client.get("/fhir/Observation?code:text=x", either.token("patient", patient="ann")).json()
    assert own["total"] == 1
    assert own["entry"][0]["resource"]["subject"] == {"reference": "Patient/ann"}


@pytest.mark.parametrize("patient", ["bob", "nobody"])
def test_nor_does_it_write_about_a_patient_whom_the_caller_may_not_read(either, patient):
    north = either.token("clinician", institution="north")
    for path, sent in (("/fhir/Observation", about(patient)), ("/fhir", bundle(about(patient)))):
        assert either.client.send("POST", path, north, sent).status_code == 422
    content = {**about(patient), "id": "ann-0"}
    assert either.client.send("PUT", "/fhir/Observation/ann-0", north, content).status_code == 422


def test_other_references_stay_as_they_are(either):
    north = either.token("clinician", institution="north")
    focus = [{"reference": text} for text in ("https://other.example/fhir/Patient/ann", "urn:oid:2.999")]
    note = [{"text": f"{BASE}/Patient/ann"}]
    made = either.client.send("POST", "/fhir/Observation", north, about("ann", focus=focus, note=note)).json()
    assert made["focus"] == focus
    assert made["note"] == note
