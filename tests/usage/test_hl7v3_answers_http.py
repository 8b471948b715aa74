"""An answer that holds several patients: nobody sees by it that another one is in it."""

from __future__ import annotations

from hdg import ingest_api
from registry_messages import PERSON, message, registration


def stored(world):
    answer = [registration(PERSON, ids=f'<id root="2.999.2" extension="q{n}"/>') for n in range(2)]
    raw = message(*answer, interaction="PRPA_IN201306UV02")
    token = world.token("sender", institution="north")
    headers = {"content-type": "text/xml"}
    assert (
        world.client.request("POST", ingest_api.V3_PATH, token, headers=headers, content=raw).status_code
        == 200
    )
    north = world.token("clinician", institution="north")
    found = [
        world.client.get(f"/fhir/Patient?identifier=urn:oid:2.999.2|q{n}", north).json()["entry"]
        for n in range(2)
    ]
    return [entry[0]["resource"]["id"] for entry in found]


def test_a_patient_of_an_answer_sees_nothing_of_the_others(either):
    own, other = stored(either)
    token = either.token("patient", patient=own)
    assert either.client.get(f"/fhir/Patient/{own}", token).status_code == 200
    assert either.client.get(f"/fhir/Patient/{other}", token).status_code == 404
    for kind in ("MessageHeader", "Provenance", "RelatedPerson", "Patient"):
        text = either.client.get(f"/fhir/{kind}", token).text
        assert other not in text
    assert other not in either.client.get(f"/fhir/Patient/{own}/$everything", token).text
