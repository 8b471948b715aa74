"""CDA documents behind the gate: of no institution does a document touch, hold up or tell anything of another's."""

from __future__ import annotations

from hdg import ingest_api


def document(
    number="d1",
    patient="p1",
    *,
    custodian="2.999.9",
    text="first",
    replaces="",
):
    parent = (
        f'<relatedDocument typeCode="RPLC"><parentDocument><id root="2.999.1" extension="{replaces}"/>'
        "</parentDocument></relatedDocument>"
        if replaces
        else ""
    )
    return f"""<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="2.999.1" extension="{number}"/>
  <code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/><title>{text}</title>
  <effectiveTime value="20240102030405+0000"/>
  <recordTarget><patientRole><id root="2.999.2" extension="{patient}"/>
    <patient><name><family>F{patient}</family></name></patient></patientRole></recordTarget>
  <custodian><assignedCustodian><representedCustodianOrganization><id root="{custodian}"/><name>C</name>
  </representedCustodianOrganization></assignedCustodian></custodian>{parent}</ClinicalDocument>""".encode()


def post(world, content, institution):
    return world.client.request(
        "POST",
        ingest_api.DOCUMENTS_PATH,
        world.token("sender", institution=institution),
        headers={"content-type": "text/xml"},
        content=content,
    )


def found(world, institution, query):
    answer = world.client.get(f"/fhir/{query}", world.token("clinician", institution=institution)).json()
    return [entry["resource"] for entry in answer.get("entry", ())]


def test_what_one_institution_sent_is_nothing_to_the_documents_of_another(either):
    assert post(either, document(text="of north"), "north").status_code == 200
    other = post(either, document(text="of south"), "south")
    assert other.status_code == 200, other.text
    same = post(either, document(text="of north"), "south")
    assert same.status_code == 422  # its own id was used for another text
    for institution in ("north", "south"):
        (one,) = found(either, institution, "Composition")
        assert one["title"] == f"of {institution}"
        assert len(found(either, institution, "DocumentReference")) == 1


def test_the_same_document_of_two_institutions_is_stored_for_both(either):
    answers = [post(either, document(), name) for name in ("north", "south", "north")]
    assert answers[0].json() == answers[1].json()
    assert "known already" in answers[2].json()["issue"][0]["diagnostics"]
    ids = [{one["id"] for one in found(either, name, "Binary")} for name in ("north", "south")]
    assert all(len(each) == 1 for each in ids)
    assert not ids[0] & ids[1]


def test_a_document_of_another_custodian_with_the_same_id_takes_nothing_away(either):
    post(either, document("d1", "p1"), "north")
    before = found(either, "north", "DocumentReference")
    assert post(either, document("d1", "p2", custodian="2.999.10"), "north").status_code == 422
    assert found(either, "north", "DocumentReference") == before


def test_a_document_that_replaces_one_of_another_patient_leaves_that_one_alone(either):
    post(either, document("d1", "p1"), "north")
    (before,) = found(either, "north", "DocumentReference")
    assert post(either, document("d2", "p2", replaces="d1"), "north").status_code == 200
    (after,) = [one for one in found(either, "north", "DocumentReference") if one["id"] == before["id"]]
    assert after == before


def test_a_document_that_replaces_one_of_its_patient_supersedes_it(either):
    post(either, document("d1", "p1"), "north")
    (before,) = found(either, "north", "DocumentReference")
    post(either, document("d2", "p1", replaces="d1"), "north")
    (after,) = [one for one in found(either, "north", "DocumentReference") if one["id"] == before["id"]]
    assert after["status"] == "superseded"
    assert after["content"] == before["content"]


def test_a_document_about_two_patients_is_not_stored_as_that_of_the_first(either):
    second = '<recordTarget><patientRole><id root="2.999.2" extension="p3"/></patientRole></recordTarget><custodian>'
    answer = post(either, document().replace(b"<custodian>", second.encode(), 1), "north")
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["diagnostics"].startswith("a document about several patients: ")
    assert found(either, "north", "Binary") == found(either, "north", "Composition") == []
