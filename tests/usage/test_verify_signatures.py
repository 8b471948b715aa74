"""hdg verify and the patients' signatures: what was handed in is what was signed, and tampering is named."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hdg import device_api
from hdg.devices import Devices
from hdg.fhir import json as fhir_json
from hdg.fhir.json import dumps
from hdg.management import patient_signature
from hdg.operator import verify_store
from tests.ingestion.device.test_apple_files import HEAD, archive, observation, record

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXPORT = (EXAMPLES / "apple-health-export.xml").read_bytes()


@pytest.fixture
def world(either):
    """A patient has handed in an export."""
    device_api.mount(either.app, either.gate, either.gateway, Devices(either.gateway))
    hand_in(either, EXPORT)
    return either


def hand_in(world, content, kind="application/xml"):
    token = world.token("patient", patient="ann")
    headers = {"content-type": kind}
    answer = world.client.request("POST", device_api.PATH, token, headers=headers, content=content)
    assert answer.status_code == 200, answer.text


def findings(world, reference=""):
    report = verify_store(world.settings, reference)
    return report.summary, {(one.code, one.place): one.text for one in report.findings}


def signed(world):
    """The Provenance of what the patient handed in."""
    token = world.token("patient", patient="ann")
    bundle = fhir_json.loads(world.client.get("/fhir/Provenance", token).content)
    (found,) = [entry["resource"] for entry in bundle["entry"] if "signature" in entry["resource"]]
    return found


def change(world, statement, *values):
    """What somebody with the database, and nothing else, can do."""
    if world.store.engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(world.settings.data / "hdg.db")) as database, database:
            assert database.execute(statement, values).rowcount
        return
    with world.store.engine.begin() as connection:
        assert connection.exec_driver_sql(statement.replace("?", "%s"), values).rowcount


def test_what_a_patient_handed_in_and_nobody_changed_is_sound(world):
    summary, found = findings(world)
    assert found == {}
    assert "1 signatures of patients" in summary


def test_what_is_handed_in_again_otherwise_is_signed_as_it_then_stands(world):
    hand_in(world, EXPORT.replace(b'creationDate="2026-02-27', b'creationDate="2026-02-28'))
    summary, found = findings(world)
    assert found == {}
    assert "2 signatures of patients" in summary


def test_an_archive_of_own_and_clinical_data_is_signed_piece_by_piece(world):
    files = {
        "electrocardiograms/ecg_1.csv": HEAD + "1.5\n2.50\n",
        "clinical-records/Observation-r1.json": dumps(observation()),
    }
    hand_in(world, archive(files, record("Observation")), "application/zip")
    summary, found = findings(world)
    assert found == {}
    assert "3 signatures of patients" in summary
    token = world.token("patient", patient="ann")
    bundle = fhir_json.loads(world.client.get("/fhir/Observation?_count=100", token).content)
    texts = [entry["resource"]["code"].get("text") for entry in bundle["entry"]]
    assert {"Hemoglobin", "Electrocardiogram Lead I"} <= set(texts)


def test_a_signature_whose_key_was_destroyed_is_no_finding_of_its_own(world):
    keys = "wrapped_kek = NULL, wrapped_private_key = NULL"
    change(world, f"UPDATE owner_key SET {keys} WHERE kind = 'patient' AND owner = ?", "ann")
    codes = {code for code, _ in findings(world)[1]}
    assert "body-unreadable" in codes
    assert not [code for code in codes if code.startswith("signature")]


def test_a_target_whose_versions_are_gone_is_named(world):
    provenance = signed(world)
    type_, _, id_ = provenance["target"][0]["reference"].partition("/")
    change(world, "DELETE FROM version WHERE type = ? AND id = ?", type_, id_)
    _, found = findings(world)
    place = f"Provenance/{provenance['id']}/_history/1"
    assert f"{type_}/{id_}" in found["signature-target-missing", place]


def test_a_public_key_that_was_exchanged_is_named(world):
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    change(world, "UPDATE owner_key SET public_key = ? WHERE kind = 'patient' AND owner = 'ann'", other)
    _, found = findings(world)
    assert list(found) == [("signature-key-changed", "Patient/ann")]


def test_a_signature_by_another_key_is_named_though_the_ledger_holds(world):
    provenance = signed(world)
    targets = [
        fhir_json.loads(
            world.client.get(f"/fhir/{one['reference']}", world.token("patient", patient="ann")).content
        )
        for one in provenance["target"]
    ]
    key = Ed25519PrivateKey.generate()
    forged = patient_signature.sign(key, patient_signature.payload_of(targets))
    data = base64.b64encode(forged.encode()).decode()
    world.put({**provenance, "signature": [{**provenance["signature"][0], "data": data}]}, "north", "ann")
    _, found = findings(world)
    ((code, place),) = found
    assert (code, place) == ("signature-wrong", f"Provenance/{provenance['id']}/_history/2")
    assert "Patient/ann" in found[code, place]


@pytest.mark.parametrize("what", ["fewer targets", "other targets", "no digits"])
def test_a_signature_that_is_moved_to_other_targets_or_is_none_is_named(world, what):
    provenance = signed(world)
    changed = {
        "fewer targets": {"target": provenance["target"][:-1]},
        "other targets": {"target": [*provenance["target"][:-1], {"reference": "Observation/ann-0"}]},
        "no digits": {"signature": [{**provenance["signature"][0], "data": "eA=="}]},
    }[what]
    world.put({**provenance, **changed}, "north", "ann")
    _, found = findings(world)
    assert list(found) == [("signature-wrong", f"Provenance/{provenance['id']}/_history/2")]
    assert findings(world, f"Provenance/{provenance['id']}")[1] == found


def test_a_later_change_of_a_target_is_no_tampering(world):
    reference = next(
        one["reference"] for one in signed(world)["target"] if one["reference"].startswith("Observation/")
    )
    token = world.token("patient", patient="ann")
    content = fhir_json.loads(world.client.get(f"/fhir/{reference}", token).content)
    world.put({**content, "status": "amended"}, "north", "ann")
    assert findings(world)[1] == {}


def test_signatures_of_others_are_none_of_ours(world):
    other = {
        "resourceType": "Provenance",
        "id": "app-1",
        "target": [{"reference": "Observation/ann-0"}],
        "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"who": {"reference": "Patient/ann"}}],
        "signature": [
            {
                "type": [{"system": "urn:iso-astm:E1762-95:2013", "code": "1.2.840.10065.1.12.1.1"}],
                "when": "2026-01-01T00:00:00Z",
                "who": {"reference": "Patient/ann"},
                "sigFormat": "application/jose",
                "data": "eA==",
            }
        ],
    }
    world.put(other, "north", "ann")
    assert findings(world)[1] == {}
