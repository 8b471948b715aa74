"""POST /ingest/device: whose data they are, who may send them, marks, the patient's signature, repeats, quarantine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdg import device_api
from hdg.devices import Devices
from hdg.fhir import json as fhir_json
from hdg.fhir.validate import validate
from hdg.ingestion.device import convert
from hdg.management import patient_signature
from hdg.replay import edit, replay, replay_quarantined, show

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXPORT = (EXAMPLES / "apple-health-export.xml").read_bytes()
HUB = (EXAMPLES / "blood-pressure-gateway.json").read_bytes()
MARKS = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
OURS = "subject=Patient/ann"


@pytest.fixture
def world(either):
    device_api.mount(either.app, either.gate, either.gateway, Devices(either.gateway))
    return either


def post(world, content, role="patient", kind="application/xml", query="", **who):
    who = who or {"patient": "ann"}
    token = world.token(role, **who) if role else None
    return world.client.request(
        "POST", device_api.PATH + query, token, headers={"content-type": kind}, content=content
    )


def found(world, query, **who):
    token = world.token("patient", patient="ann") if not who else world.token(**who)
    bundle = fhir_json.loads(world.client.get(f"/fhir/{query}", token).content)
    assert bundle["resourceType"] == "Bundle", bundle
    return [entry["resource"] for entry in bundle.get("entry", ())]


def inbox(world):
    with world.store.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT status, reason FROM inbox ORDER BY ikey").all()


def test_a_patients_export_is_theirs_and_told_apart_from_clinical_data_by_its_marks(world):
    answer = post(world, EXPORT)
    assert answer.status_code == 200, answer.text
    assert validate(answer.json()) == []
    reported = found(world, f"Observation?_tag={MARKS}|PATRPT&_count=100")
    others = found(world, f"Observation?_tag:not={MARKS}|PATRPT&_count=100")
    assert len(reported) == 7
    assert {one["id"] for one in others} == {"ann-0", "ann-1", "ann-2"}
    typed = found(world, f"Observation?_tag={MARKS}|PATAST")
    assert [one["code"]["text"] for one in typed] == ["Body mass"]
    assert fhir_json.dumps(typed[0]["valueQuantity"]["value"]) == b"71.20"


def test_a_persons_own_devices_are_that_persons(world):
    post(world, EXPORT)
    assert len(found(world, "Device")) == 4
    assert found(world, "Device", role="clinician", institution="south") == []
    assert found(world, "Device", role="patient", patient="bob") == []


def test_the_patients_record_itself_is_not_changed_by_an_export(world):
    before = world.client.get("/fhir/Patient/ann", world.token("patient", patient="ann")).json()
    post(world, EXPORT)
    assert world.client.get("/fhir/Patient/ann", world.token("patient", patient="ann")).json() == before


def test_what_a_patient_hands_in_is_signed_by_the_patients_key(world):
    post(world, EXPORT)
    (provenance,) = found(world, "Provenance")
    token = world.token("patient", patient="ann")
    targets = [
        fhir_json.loads(world.client.get(f"/fhir/{target['reference']}", token).content)
        for target in provenance["target"]
    ]
    keys = [
        world.store.submit(lambda session, id_=id_: patient_signature.public_key(session, id_)).result(120)
        for id_ in ("ann", "bob")
    ]
    assert patient_signature.is_signed_by(provenance, targets, keys[0])
    assert not patient_signature.is_signed_by(provenance, targets, keys[1])
    assert not patient_signature.is_signed_by(provenance, targets[:-1], keys[0])
    changed = [{**targets[0], "status": "amended"}, *targets[1:]]
    assert not patient_signature.is_signed_by(provenance, changed, keys[0])
    assert {agent["who"].get("reference") for agent in provenance["agent"]} == {"Patient/ann", None}


def test_the_same_bytes_again_are_answered_from_the_record(world):
    assert post(world, EXPORT).status_code == 200
    again = post(world, EXPORT)
    assert (again.status_code, len(inbox(world))) == (200, 1)
    assert "known already" in again.json()["issue"][0]["diagnostics"]


def test_the_same_facts_in_another_export_make_no_new_version(world):
    post(world, EXPORT)
    post(world, EXPORT.replace(b"2026-03-01 08:00:00", b"2026-03-02 08:00:00"))
    reported = found(world, f"Observation?_tag={MARKS}|PATRPT&_count=100")
    assert {one["meta"]["versionId"] for one in reported} == {"1"}


def test_a_large_export_is_several_transactions_and_one_answer(world, monkeypatch):
    monkeypatch.setattr(convert, "PIECE", 3)
    assert post(world, EXPORT).status_code == 200
    assert len(found(world, f"Observation?_tag={MARKS}|PATRPT&_count=100")) == 7
    assert len(found(world, "Provenance?_count=100")) == 4
    assert inbox(world) == [("accepted", "")]


def test_a_gateway_of_an_institution_adds_to_the_patient_that_its_identifier_names(world):
    answer = post(world, HUB, "sender", "application/json", institution="north")
    assert answer.status_code == 200, answer.text
    north = {"role": "clinician", "institution": "north"}
    pressure = found(world, "Observation?code=http://loinc.org|85354-9", **north)[0]
    assert {tag["code"] for tag in pressure["meta"]["tag"]} == {"DEVAST"}
    assert found(world, f"Patient?_id={pressure['subject']['reference'][8:]}", **north)
    (provenance,) = found(world, "Provenance", **north)
    assert "signature" not in provenance
    assert (
        found(world, "Observation?code=http://loinc.org|85354-9", role="clinician", institution="south") == []
    )


@pytest.mark.parametrize(
    ("institution", "patient", "status"),
    [("north", "ann", 200), ("south", "ann", 422), ("north", "nobody", 422)],
)
def test_a_sender_adds_to_its_own_patients_and_others_look_absent(world, institution, patient, status):
    answer = post(world, EXPORT, "sender", query=f"?patient={patient}", institution=institution)
    assert answer.status_code == status
    if status == 422:
        assert answer.json()["issue"][0]["diagnostics"] == "no such patient"
        assert found(world, f"Observation?_tag={MARKS}|PATRPT") == []


@pytest.mark.parametrize(
    ("content", "role", "kind", "query", "status"),
    [
        (EXPORT, "", "application/xml", "", 401),
        (EXPORT, "clinician", "application/xml", "", 403),
        (EXPORT, "patient", "application/xml", "?patient=bob", 403),
        (EXPORT, "patient", "image/png", "", 415),
        (EXPORT, "patient", "application/xml", "?patient=" + "x" * 65, 400),
        (b" ", "patient", "application/xml", "", 400),
    ],
)
def test_requests_that_are_refused(world, content, role, kind, query, status):
    who = {"institution": "north"} if role == "clinician" else {"patient": "ann"}
    assert post(world, content, role, kind, query, **who).status_code == status
    assert inbox(world) == []


def test_what_cannot_be_read_is_kept_with_its_reason_and_can_be_replayed(world):
    envelope = json.loads(HUB)
    envelope["patient"] = {"id": "later"}
    data = json.dumps(envelope).encode()
    answer = post(world, data, "sender", "application/json", institution="north")
    assert answer.status_code == 422
    assert inbox(world) == [("quarantined", "no such patient")]
    assert post(world, data, "sender", "application/json", institution="north").status_code == 422
    assert len(inbox(world)) == 1


def test_an_error_in_the_middle_refuses_the_input_and_keeps_it(world):
    answer = post(world, EXPORT[:-60])
    assert answer.status_code == 422
    assert "line" in str(answer.json()["issue"][0])
    assert inbox(world)[0][0] == "quarantined"


def test_a_quarantined_input_is_accepted_once_its_patient_is_there(make_world, tmp_path):
    world = make_world()
    device_api.mount(world.app, world.gate, world.gateway, Devices(world.gateway))
    envelope = {**json.loads(HUB), "patient": {"id": "cid"}}
    post(world, json.dumps(envelope).encode(), "sender", "application/json", institution="north")
    world.put({"resourceType": "Patient", "id": "cid"}, "north", "cid")
    settings = world.settings
    (line,) = replay_quarantined(settings, ())
    assert "accepted" in line.text


def test_an_operator_mends_and_replays_and_an_accepted_input_is_replayed_without_change(make_world):
    world = make_world()
    device_api.mount(world.app, world.gate, world.gateway, Devices(world.gateway))
    post(world, HUB, "sender", "application/json", institution="north")
    broken = HUB.replace(b"1e75", b"zz75")
    post(world, broken, "sender", "application/json", institution="north")
    assert any("data of a device" in line for line in show(world.settings, 2))
    number = edit(world.settings, 2, HUB.replace(b"1e75", b"1e76"))
    (line,) = replay_quarantined(world.settings, (number,))
    assert "accepted" in line.text
    assert [status for status, _ in inbox(world)] == ["accepted", "edited", "replayed", "accepted"]
    (line,) = replay(world.settings, since=0, until=world.now_us + 1)
    assert line.text.startswith("2 messages replayed, ")  # what came out of quarantine is among them
    assert not line.is_failure
    assert [status for status, _ in inbox(world)] == ["accepted", "edited", "replayed", "accepted"]
    again = post(world, HUB.replace(b"1e75", b"1e76"), "sender", "application/json", institution="north")
    assert "known already" in again.json()["issue"][0]["diagnostics"]


def test_what_a_patient_says_of_a_hub_changes_no_device_that_others_share(world):
    def versions():
        with world.store.engine.connect() as connection:
            query = "SELECT id, version, patient FROM resource WHERE type = 'Device' ORDER BY id"
            return set(map(tuple, connection.exec_driver_sql(query).all()))

    hub = json.loads(HUB)
    hub["patient"] = {"id": "ann"}
    assert post(world, json.dumps(hub), "sender", "application/json", institution="north").status_code == 200
    before = versions()
    hub["patient"] = {"id": "bob"}
    hub["gateway"] = {**hub["gateway"], "manufacturer": "another", "model": "another"}
    assert post(world, json.dumps(hub), "patient", "application/json", patient="bob").status_code == 200
    added = versions() - before
    assert before <= versions()
    assert [patient for *_, patient in added] == ["bob", "bob"]
