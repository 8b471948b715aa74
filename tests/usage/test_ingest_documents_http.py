"""POST /ingest/cda: one document, answered by an OperationOutcome once it is stored."""

from __future__ import annotations

import pytest

from hdg import ingest_api
from hdg.fhir.validate import validate

DOCUMENT = b"""<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="2.999.1" extension="d1"/>
  <code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/><effectiveTime value="20240102030405+0000"/>
  <recordTarget><patientRole><id root="2.999.2" extension="p1"/></patientRole></recordTarget></ClinicalDocument>"""


def post(world, content, role="sender", kind="text/xml", institution="north"):
    headers = {"content-type": kind}
    token = world.token(role, institution=institution) if role else None
    return world.client.request("POST", ingest_api.DOCUMENTS_PATH, token, headers=headers, content=content)


def test_a_document_is_stored_for_the_institution_of_its_sender(either):
    answer = post(either, DOCUMENT)
    assert answer.status_code == 200
    assert validate(answer.json()) == []
    north, south = (either.token("clinician", institution=name) for name in ("north", "south"))
    query = "/fhir/Composition?type=http://loinc.org|34133-9"
    assert either.client.get(query, north).json()["total"] == 1
    assert either.client.get(query, south).json()["total"] == 0


def test_what_is_no_document_is_422_and_kept(either):
    answer = post(
        either,
        b"<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><ClinicalDocument>&y;</ClinicalDocument>",
    )
    assert answer.status_code == 422
    assert "document type definition" in answer.json()["issue"][0]["diagnostics"]
    with either.store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT status FROM inbox").all() == [("quarantined",)]


@pytest.mark.parametrize(
    ("content", "role", "kind", "status"),
    [
        (DOCUMENT, "", "text/xml", 401),
        (DOCUMENT, "clinician", "text/xml", 403),
        (DOCUMENT, "sender", "application/json", 415),
        (b"", "sender", "text/xml", 400),
    ],
)
def test_requests_that_are_refused(either, content, role, kind, status):
    assert post(either, content, role, kind).status_code == status


def test_a_directive_in_a_document_opens_and_closes_nothing(either):
    """Clinicians read it as an Observation; the Consent beside it is the patient's and decides nothing."""
    sct = 'codeSystem="2.16.840.1.113883.6.96"'
    directive = f"""<component><structuredBody><component><section><code code="42348-3"
      codeSystem="2.16.840.1.113883.6.1"/><text>x</text><entry><observation xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
      classCode="OBS" moodCode="EVN"><templateId root="2.16.840.1.113883.10.20.22.4.48"/><id root="2.999.5"/>
      <code code="304251008" {sct}/><statusCode code="completed"/><value xsi:type="CD" code="304253006" {sct}/>
      </observation></entry></section></component></structuredBody></component></ClinicalDocument>"""
    answer = post(either, DOCUMENT.replace(b"</ClinicalDocument>", directive.encode()))
    assert answer.status_code == 200
    north, south = (either.token("clinician", institution=name) for name in ("north", "south"))
    query = "/fhir/Observation?code=http://snomed.info/sct|304251008"
    [found] = either.client.get(query, north).json()["entry"]
    assert found["resource"]["valueCodeableConcept"]["coding"][0]["code"] == "304253006"
    assert either.client.get(query, south).json()["total"] == 0
    patient = found["resource"]["subject"]["reference"].partition("/")[2]
    assert either.client.get("/fhir/Consent", north).json()["total"] == 0
    own = either.client.get("/fhir/Consent", either.token("patient", patient=patient)).json()
    assert [one["resource"]["scope"]["coding"][0]["code"] for one in own["entry"]] == ["adr"]
    with either.store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM consent_rule").scalar() == 0


def test_what_only_a_replaced_document_said_is_found_as_entered_in_error(either):
    """CDA R2 relatedDocument, RPLC; the other database takes it as well."""
    result = """<component><structuredBody><component><section><code code="30954-2"
      codeSystem="2.16.840.1.113883.6.1"/><text>x</text><entry><observation xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
      classCode="OBS" moodCode="EVN"><id root="2.999.5"/><code code="59408-5" codeSystem="2.16.840.1.113883.6.1"/>
      <statusCode code="completed"/><effectiveTime value="20240101"/><value xsi:type="PQ" value="13.20" unit="g/dL"/>
      </observation></entry></section></component></structuredBody></component></ClinicalDocument>"""
    related = """<relatedDocument typeCode="RPLC"><parentDocument><id root="2.999.1" extension="d1"/></parentDocument>
      </relatedDocument></ClinicalDocument>"""
    stated = DOCUMENT.replace(b"</ClinicalDocument>", result.encode())
    over = DOCUMENT.replace(b"</ClinicalDocument>", related.encode()).replace(b"d1", b"d2", 1)
    assert [post(either, raw).status_code for raw in (stated, over)] == [200, 200]
    north = either.token("clinician", institution="north")
    query = "/fhir/Observation?code=http://loinc.org|59408-5&status={}"
    assert either.client.get(query.format("final"), north).json()["total"] == 0
    [found] = either.client.get(query.format("entered-in-error"), north).json()["entry"]
    assert found["resource"]["valueQuantity"]["value"] == 13.2
    assert either.client.get("/fhir/DocumentReference?status=superseded", north).json()["total"] == 1
