"""DeviceMetrics of monitors through the gateway: stored once, searched, and read by whom Devices are."""

from __future__ import annotations

import pytest

from hdg.fhir import json
from tests.pcd_messages import BPM, MONITOR, PERCENT, PULSE, SPO2, number, pcd


@pytest.fixture
def filled(either):
    """Two messages of one monitor, about two patients, whose OBX-4 counts otherwise in the second."""
    lines = [number(SPO2, "1.1.1.1", "97.0", PERCENT), number(PULSE, "1.1.1.2", "61", BPM)]
    moved = [number(SPO2, "1.2.1.9", "95.0", PERCENT), number(PULSE, "1.2.1.8", "66", BPM)]
    for control, patient, metrics in (("1", "10042", lines), ("2", "10043", moved)):
        when = f"202601011200{control}0+0000"
        raw = pcd(MONITOR, *metrics, control=control, observed=when, sent=when, patient=patient)
        assert b"\rMSA|AA|" in either.gateway.receive_now(raw)
    return either


def found(world, query, role="clinician", institution="home", **who):
    token = world.token(role, institution=institution, **who)
    answer = json.loads(world.client.get(f"/fhir/{query}", token).content)
    return [entry["resource"] for entry in answer.get("entry", ())]


def test_a_metric_in_many_messages_is_one_resource_of_one_version(filled):
    stored = found(filled, "DeviceMetric")
    assert len(stored) == 2
    assert {one["meta"]["versionId"] for one in stored} == {"1"}
    assert len(found(filled, "Device")) == 1


def test_measurements_are_found_by_the_monitor_above_their_metric(filled):
    (monitor,) = found(filled, "Device")
    chained = found(filled, f"Observation?device:DeviceMetric.source=Device/{monitor['id']}")
    assert len(chained) == 4
    (metric,) = found(filled, "DeviceMetric?type=urn:iso:std:iso:11073:10101|149530")
    assert metric["source"]["reference"] == f"Device/{monitor['id']}"
    assert len(found(filled, f"Observation?device=DeviceMetric/{metric['id']}")) == 2


def test_a_metric_is_nobodys_and_read_by_whom_devices_are(filled):
    for kind in ("Device", "DeviceMetric"):
        assert found(filled, kind, institution="elsewhere"), "clinicians read what is about no patient"
        assert found(filled, kind, role="patient", institution="", patient="ann") == []
        assert found(filled, kind, role="researcher", institution="", project="p1") == []
    with filled.store.engine.connect() as connection:
        owners = connection.exec_driver_sql("SELECT patient FROM resource WHERE type = 'DeviceMetric'").all()
    assert {row[0] or "" for row in owners} == {""}, (
        "no patient's key, whose erasure would take it from others"
    )
