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


def sent(either, reference, role="clinician", **more):
    content = {**about("ann"), "subject": {"reference": reference}, **more}
    token = (
        either.token("patient", patient="ann")
        if role == "patient"
        else either.token(role, institution="north")
    )
    return either.client.send("POST", "/fhir/Observation", token, content)


OURS = [
    "Patient/ann",
    "Patient/ann/_history/2",
    f"{BASE}/Patient/ann/",
    f"{BASE}/Patient/ann",
    f"{BASE}/Patient/ann/_history/2",
    f"{BASE}//Patient/ann",
    f"{BASE}///Patient//ann",
    f"{BASE}/./Patient/../Patient/ann",
    "http://gateway.example/fhir/Patient/ann",
    "HTTPS://Gateway.Example/fhir/Patient/ann",
    "https://gateway.example:443/fhir/Patient/ann",
    "http://gateway.example:80//fhir/Patient/ann",
    "https://someone@gateway.example/fhir/Patient/ann",
    "https://gateway.example./fhir/Patient/ann",
    "https:/gateway.example/fhir/Patient/ann",
    "https:\\\\gateway.example\\fhir\\Patient\\ann",
    "https://gateway.example/fhir/Patient/%61nn",
    "https://gateway.example/fhir%2FPatient%2Fann",
]


def test_however_our_own_patient_is_spelled_it_is_that_patients(either):
    for number, reference in enumerate(OURS, 1):
        made = sent(either, reference)
        assert made.status_code == 201, reference
        assert made.json()["subject"]["reference"].removesuffix("/_history/2") == "Patient/ann", reference
        own = either.client.get(
            "/fhir/Observation?code:text=x", either.token("patient", patient="ann")
        ).json()
        assert own["total"] == number, reference


ODD = [
    "/Patient/ann",
    "//gateway.example/fhir/Patient/ann",
    "./Patient/ann",
    "../fhir/Patient/ann",
    "fhir/Patient/ann",
    "Patient//ann",
    "Patient/ann/",
    "Patient/ann#x",
    "Patient/ann?x=1",
    "Patient?identifier=urn:example:mrn|MRN-ann",
    "patient/ann",
    "Patient%2Fann",
    "ann",
    "urn:uuid:0c3f0a54-1111-4222-8333-444444444444",
    "URN:UUID:0c3f0a54-1111-4222-8333-444444444444",
    f"{BASE}",
    f"{BASE}/",
    f"{BASE}/Patient",
    f"{BASE}/Patient/ann?x=1",
    f"{BASE}/Patient/ann#x",
    f"{BASE}/patient/ann",
    f"{BASE}?Patient/ann",
    f"{BASE}/Patient/ann/Observation",
    f"{BASE}/other/Patient/ann",
]


def test_what_might_mean_one_of_ours_and_does_not_say_so_is_refused(either):
    for reference in ODD:
        focus = [{"reference": "Patient/ann"}, {"reference": reference}]
        for answer in (sent(either, reference), sent(either, "Patient/ann", focus=focus)):
            assert answer.status_code == 422, reference
            assert "ann" not in answer.json()["issue"][0]["diagnostics"]
        assert answer.json()["issue"][0]["expression"] == ["Observation.focus[1].reference"], reference


def test_what_a_stored_bundle_holds_is_nobodys_and_is_not_looked_at(either):
    odd = {"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": "/Patient/ann"}}
    content = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": "urn:uuid:0c3f0a54-1111-4222-8333-444444444444", "resource": odd}],
    }
    north = either.token("clinician", institution="north")
    assert either.client.send("POST", "/fhir/Bundle", north, content).status_code == 201


def test_a_uri_that_is_called_reference_is_no_reference(either):
    content = {"resourceType": "DetectedIssue", "status": "final", "reference": "/Patient/ann"}
    content["patient"] = {"reference": f"{BASE}//Patient/ann"}
    made = either.client.send(
        "POST", "/fhir/DetectedIssue", either.token("clinician", institution="north"), content
    )
    assert made.status_code == 201, made.text
    assert made.json()["patient"] == {"reference": "Patient/ann"}
    assert made.json()["reference"] == "/Patient/ann"


def test_a_patient_names_nobody_else_by_another_spelling(either):
    for reference in (f"{BASE}//Patient/bob", "http://gateway.example/fhir/Patient/bob", "/Patient/bob"):
        answer = sent(either, "Patient/ann", "patient", performer=[{"reference": reference}])
        assert answer.status_code in (403, 422), reference
