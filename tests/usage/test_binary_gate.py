"""A Binary is of whom it was stored for, and of whom its securityContext names (R4 binary.html#security)."""

from __future__ import annotations

from hdg.management.consent.resource import SCOPE


def deny(world, patient):
    """A Consent of the patient that lets nobody read anything."""
    denial = {
        "resourceType": "Consent",
        "id": "no",
        "status": "active",
        "scope": {"coding": [{"system": SCOPE, "code": "patient-privacy"}]},
        "category": [{"text": "x"}],
        "patient": {"reference": f"Patient/{patient}"},
        "policyRule": {"text": "x"},
        "provision": {"type": "deny"},
    }
    world.put(denial, "north", patient)


def test_the_original_stays_its_patients_whatever_a_clinician_does_to_it(either):
    made = {"resourceType": "Binary", "id": "original", "contentType": "text/xml", "data": "eA=="}
    either.put(made, "north", "ann")
    north = either.token("clinician", institution="north")
    own = either.token("patient", patient="ann")
    place = "/fhir/Binary/original"
    tag = {
        "resourceType": "Parameters",
        "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "x"}]}}],
    }
    assert either.client.get(place, own).status_code == 200
    assert either.client.send("POST", f"{place}/$meta-add", north, tag).status_code == 200
    assert either.client.get(place, own).status_code == 200
    changed = {**made, "contentType": "application/xml"}
    assert either.client.send("PUT", place, north, changed).status_code == 200
    assert either.client.get(place, own).status_code == 200
    deny(either, "ann")
    assert either.client.get(place, north).status_code == 404
    assert either.client.get("/fhir/Binary", north).json()["total"] == 0


def test_a_binary_is_of_the_patient_that_its_security_context_names(either):
    north = either.token("clinician", institution="north")
    content = {
        "resourceType": "Binary",
        "contentType": "text/plain",
        "securityContext": {"reference": "Patient/ann"},
        "data": "eA==",
    }
    made = either.client.send("POST", "/fhir/Binary", north, content)
    place = f"/fhir/Binary/{made.json()['id']}"
    assert either.client.get(place, either.token("patient", patient="ann")).status_code == 200
    deny(either, "ann")
    assert either.client.get(place, north).status_code == 404
