"""What the example messages became is found by the parameters that clients begin with, by type (R4 search.html)."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
MESSAGES = ("adt-a01-admission", "oru-r01-chemistry", "vxu-v04-immunization")
MRN = "urn:oid:2.999.1.1|10042"

FOUND_BY = {
    "Patient": [
        f"identifier={MRN}", "name=exam", "name=ADA", "family=Example", "birthdate=1961-04-12", "gender=female"],
    "Encounter": ["identifier=V-500", "class=IMP", "date=ge2026-03-01", "status=in-progress"],
    "Observation": [
        "code=http://loinc.org|2160-0",
        "code=2160-0&date=2026-03-14",
        "code=2160-0&date=gt2026-03-13&date=lt2026-03-15",
        "code=2160-0&category=laboratory",
        "code=2160-0&status=final",
    ],
    "DiagnosticReport": ["code=24323-8", "date=le2026-03-14", "category=CH", "status=final", "identifier=F-7001"],
    "Immunization": ["vaccine-code=133", "date=2026-03-14", "status=completed", "identifier=IM-1"],
    "Practitioner": ["name=okafor", "identifier=http://hl7.org/fhir/sid/us-npi|1000000004"],
    "Organization": ["name=northgen", "identifier=NORTHGEN"],
}  # fmt: skip
NOT_FOUND_BY = {
    "Patient": ["identifier=10043", "name=xample", "birthdate=1961-04-13", "gender=male"],
    "Encounter": ["identifier=V-501", "class=AMB", "date=lt2026-03-14", "status=cancelled"],
    "Observation": ["code=urn:other|2160-0", "date=gt2026-03-14", "category=vital-signs", "status=cancelled"],
    "DiagnosticReport": ["code=24323-9", "date=ge2026-03-15", "category=XX", "status=amended"],
    "Immunization": ["vaccine-code=134", "date=2026-03-15", "status=entered-in-error"],
    "Practitioner": ["name=kafor", "identifier=1000000005"],
    "Organization": ["name=nowhere", "identifier=SOUTHGEN"],
}
OF_A_PATIENT = ("Encounter", "Observation", "DiagnosticReport", "Immunization")


@pytest.fixture
def ask(world):
    """Searches as a clinician of the institution that sent the messages: (status, body)."""
    for name in MESSAGES:
        assert b"\rMSA|AA|" in world.gateway.receive_now((EXAMPLES / f"{name}.hl7").read_bytes())
    token = world.token("clinician", institution="northgen")

    def asked(query):
        answer = world.client.get(f"/fhir/{query}", token)
        return answer.status_code, answer.json()

    return asked


def ids(answer):
    status, bundle = answer
    assert status == 200, bundle
    found = [entry["resource"]["id"] for entry in bundle.get("entry", ())]
    assert bundle["total"] == len(found)
    return found


def test_each_type_is_found_by_its_parameters_and_not_by_other_values(ask):
    for type_, queries in FOUND_BY.items():
        for query in queries:
            found = ids(ask(f"{type_}?{query}"))
            assert found, query
            one = found[0]
            assert ids(ask(f"{type_}?_id={one}")) == [one]
            assert ids(ask(f"{type_}?_id={one}&_lastUpdated=ge2020")) == [one]
            assert ids(ask(f"{type_}?_id={one}&_lastUpdated=lt2020")) == []
        for query in NOT_FOUND_BY[type_]:
            assert ids(ask(f"{type_}?{query}")) == [], query
        assert ids(ask(f"{type_}?_id=nobody")) == []


def test_what_is_about_the_patient_is_found_by_the_patient(ask):
    (patient,) = ids(ask(f"Patient?identifier={MRN}"))
    for type_ in OF_A_PATIENT:
        every = set(ids(ask(type_)))
        assert every
        for query in (f"patient={patient}", f"patient=Patient/{patient}", f"patient.identifier={MRN}"):
            assert set(ids(ask(f"{type_}?{query}"))) == every
        assert ids(ask(f"{type_}?patient=nobody")) == []
        if type_ != "Immunization":  # which has no subject (R4 immunization.html#search)
            assert set(ids(ask(f"{type_}?subject=Patient/{patient}"))) == every


def test_an_unknown_parameter_is_named_and_its_value_is_not(ask):
    for type_ in FOUND_BY:
        status, outcome = ask(f"{type_}?colour=SECRET")
        assert (status, outcome["resourceType"]) == (400, "OperationOutcome")
        assert "colour" in outcome["issue"][0]["diagnostics"]
        assert "SECRET" not in str(outcome)
