"""CDA documents through the gateway: stored in one transaction, known again, superseded, kept when refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from hdg.documents import Documents
from hdg.gateway import Gateway
from hdg.ingestion.sender import Origin
from hdg.replay import quarantined, replay, replay_quarantined
from hdg.settings import Settings
from hdg.watch import Watch

HTTP = Origin("http", institution="north")


def document(
    id_: str = "d1", *, title: str = "Summary", related: str = "", day: str = "20240102030405+0000"
) -> bytes:
    return f"""<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
      <id root="2.999.1" extension="{id_}"/><code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/>
      <title>{title}</title><effectiveTime value="{day}"/>
      <recordTarget><patientRole><id root="2.999.2" extension="p1"/>
        <patient><name><given>Ada</given><family>Example</family></name></patient></patientRole></recordTarget>
      <custodian><assignedCustodian><representedCustodianOrganization><id root="2.999.9"/><name>North</name>
      </representedCustodianOrganization></assignedCustodian></custodian>{related}
      <component><structuredBody><component><section><code code="30954-2" codeSystem="2.16.840.1.113883.6.1"/>
        <text>One result</text><entry><observation classCode="OBS" moodCode="EVN"><id root="2.999.7" extension="r1"/>
        <code code="718-7" codeSystem="2.16.840.1.113883.6.1"/><statusCode code="completed"/>
        <effectiveTime value="20240101"/><value xsi:type="PQ" value="13.20" unit="g/dL"/></observation></entry>
      </section></component></structuredBody></component></ClinicalDocument>""".encode()


REPLACES = """<relatedDocument typeCode="RPLC"><parentDocument><id root="2.999.1" extension="d1"/></parentDocument>
  </relatedDocument>"""


@pytest.fixture
def gateway(tmp_path):
    with Gateway.open(Settings(data=tmp_path / "data", institution="north")) as opened:
        yield opened


def statuses(gateway):
    return {one["masterIdentifier"]["value"]: one["status"] for one in of_type(gateway, "DocumentReference")}


def of_type(gateway, type_):
    query = text("SELECT id FROM resource WHERE type = :type ORDER BY id")
    with gateway.store.engine.connect() as connection:
        ids = connection.execute(query, {"type": type_}).scalars().all()
    return [
        gateway.store.submit(lambda session, id_=id_: session.current(type_, id_)).result() for id_ in ids
    ]


def test_a_document_is_stored_with_its_original_and_belongs_to_its_patient(gateway):
    raw = document()
    taken = Documents(gateway).take_now(raw, HTTP)
    assert (taken.status, taken.is_repeat) == ("accepted", False)
    (patient,) = of_type(gateway, "Patient")
    (result,) = of_type(gateway, "Observation")
    assert result["valueQuantity"]["value"].literal == "13.20"
    assert result["subject"]["reference"] == f"Patient/{patient['id']}"
    (reference,), (binary,) = of_type(gateway, "DocumentReference"), of_type(gateway, "Binary")
    assert reference["content"][0]["attachment"]["url"] == f"Binary/{binary['id']}"
    assert reference["content"][0]["attachment"]["size"] == len(raw)
    with gateway.store.engine.connect() as connection:
        owners = (
            connection.execute(text("SELECT DISTINCT type FROM resource WHERE patient IS NULL"))
            .scalars()
            .all()
        )
    assert set(owners) == {"Organization"}


def test_the_same_document_again_changes_nothing(gateway):
    documents = Documents(gateway)
    first = documents.take_now(document(), HTTP)
    before = [one["meta"]["versionId"] for one in of_type(gateway, "Observation")]
    again = documents.take_now(document(), HTTP)
    assert (again.is_repeat, again.resources, again.control_id) == (True, first.resources, first.control_id)
    assert [one["meta"]["versionId"] for one in of_type(gateway, "Observation")] == before


def test_two_documents_with_one_fact_store_it_once(gateway):
    documents = Documents(gateway)
    assert documents.take_now(document("d1"), HTTP).is_accepted
    assert documents.take_now(document("d2", day="20240203030405+0000"), HTTP).is_accepted
    assert len(of_type(gateway, "Observation")) == 1
    assert len(of_type(gateway, "Composition")) == 2


def test_one_id_for_two_documents_keeps_the_second_in_quarantine(gateway):
    documents = Documents(gateway)
    assert documents.take_now(document(), HTTP).is_accepted
    other = documents.take_now(document(title="Another"), HTTP)
    assert (other.status, other.place) == ("quarantined", "ClinicalDocument/id")
    assert documents.take_now(document(title="Another"), HTTP).is_repeat
    assert len(list(quarantined(gateway.settings))) == 1


def test_a_document_in_the_place_of_another_supersedes_it(gateway):
    documents = Documents(gateway)
    documents.take_now(document("d1"), HTTP)
    documents.take_now(document("d2", related=REPLACES, day="20240203030405+0000"), HTTP)
    assert statuses(gateway) == {"d1": "superseded", "d2": "current"}


def test_a_document_that_comes_after_the_one_in_its_place_is_superseded_from_the_start(gateway):
    documents = Documents(gateway)
    documents.take_now(document("d2", related=REPLACES, day="20240203030405+0000"), HTTP)
    documents.take_now(document("d1"), HTTP)
    assert statuses(gateway) == {"d1": "superseded", "d2": "current"}


def test_of_two_documents_of_one_group_the_replaced_one_is_superseded_in_either_order(gateway):
    documents = Documents(gateway)
    works = [
        documents.work(document("d2", related=REPLACES, day="20240203030405+0000"), HTTP, 1),
        documents.work(document("d1"), HTTP, 2),
    ]
    for future in [gateway.store.submit(work) for work in works]:
        assert future.result().is_accepted
    assert statuses(gateway) == {"d1": "superseded", "d2": "current"}


def test_a_document_about_somebody_else_is_not_superseded_by_a_claim(gateway):
    documents = Documents(gateway)
    other = document("d2", related=REPLACES).replace(b'extension="p1"', b'extension="p2"')
    assert documents.take_now(other, HTTP).is_accepted
    documents.take_now(document("d1"), HTTP)
    assert statuses(gateway) == {"d1": "current", "d2": "current"}


def test_a_replaced_document_stays_superseded_when_it_is_replayed(tmp_path):
    settings = Settings(data=tmp_path / "data", institution="north")
    with Gateway.open(settings) as gateway:
        documents = Documents(gateway)
        documents.take_now(document("d1"), HTTP)
        documents.take_now(document("d2", related=REPLACES, day="20240203030405+0000"), HTTP)
    (line,) = replay(settings, since=0)
    assert "2 messages replayed, 0 changed" in line.text
    with Gateway.open(settings) as gateway:
        assert statuses(gateway) == {"d1": "superseded", "d2": "current"}


def test_what_cannot_be_converted_is_kept_and_can_be_mended(tmp_path):
    settings = Settings(data=tmp_path / "data", institution="north")
    with Gateway.open(settings) as gateway:
        taken = Documents(gateway).take_now(b"<ClinicalDocument><broken", HTTP)
        assert (taken.status, taken.place) == ("quarantined", "line 1")
    (line,) = replay_quarantined(settings, ())
    assert line.is_failure
    from hdg.replay import edit

    number = edit(settings, 1, document())
    (line,) = replay_quarantined(settings, [number])
    assert (line.is_failure, "accepted" in line.text) == (False, True)
    with Gateway.open(settings) as gateway:
        assert len(of_type(gateway, "Observation")) == 1


def test_the_watch_folder_takes_documents(tmp_path, gateway):
    folder = tmp_path / "in"
    watch = Watch(gateway, folder)
    watch.prepare()
    (folder / "a.xml").write_bytes(document())
    (folder / "b.xml").write_bytes(b"<html/>")

    async def look() -> int:
        return await watch.look() + await watch.look()

    assert asyncio.run(look()) == 2
    assert {path.name for path in Path(folder / "processed").iterdir()} == {"a.xml", "a.xml.ack"}
    assert {path.name for path in Path(folder / "failed").iterdir()} == {"b.xml", "b.xml.ack"}
    assert len(of_type(gateway, "Composition")) == 1


def test_a_document_about_nobody_is_kept_in_quarantine(gateway):
    whole = document().decode()
    start, end = whole.index("<recordTarget>"), whole.index("</recordTarget>") + len("</recordTarget>")
    taken = Documents(gateway).take_now((whole[:start] + whole[end:]).encode(), HTTP)
    assert (taken.status, taken.place) == ("quarantined", "ClinicalDocument/recordTarget")
    assert of_type(gateway, "Observation") == []
