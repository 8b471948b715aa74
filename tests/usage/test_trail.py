"""The audit trail: an access is on disk and in the ledger before its answer leaves (DESIGN §6)."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from hdg.management.audit import AuditEventRow
from hdg.management.ledger.leaf import decode
from hdg.management.ledger.schema import LedgerLeaf

PATHS = [
    "/fhir/Patient/ann",
    "/fhir/Patient/ann/_history/1",
    "/fhir/Patient/ann/_history",
    "/fhir/Observation?code=718-7",
    "/fhir/Patient/bob",
    "/fhir/Patient/nobody",
    "/ledger/proof?type=Patient&id=ann",
]


def rows(world):
    table = AuditEventRow.__table__
    with world.store.engine.connect() as connection:
        return connection.execute(select(table.c.id, table.c.patient, table.c.agent, table.c.body)).all()


def access_leaves(world):
    table = LedgerLeaf.__table__
    with world.store.engine.connect() as connection:
        leaves = [decode(bytes(entry)) for entry in connection.scalars(select(table.c.entry))]
    return [leaf for leaf in leaves if leaf.kind == "access"]


@pytest.mark.parametrize("path", PATHS)
def test_each_access_leaves_one_event_and_one_leaf_whether_it_found_something_or_not(world, path):
    world.client.get(path, world.token("clinician", institution="north"))
    (row,), (leaf,) = rows(world), access_leaves(world)
    assert leaf.key == f"AuditEvent/{row.id}"
    assert row.agent == "u1"
    assert b"ann" not in bytes(row.body)


def test_a_hidden_read_is_recorded_without_naming_whose_it_was(world):
    world.client.get("/fhir/Patient/bob", world.token("clinician", institution="north"))
    world.client.get("/fhir/Patient/nobody", world.token("clinician", institution="north"))
    assert [row.patient for row in rows(world)] == ["", ""]
    assert len({leaf.subject for leaf in access_leaves(world)}) == 1


def test_a_search_by_a_list_names_whose_list_was_read(world):
    made = {"resourceType": "List", "id": "l", "status": "current", "mode": "working"}
    world.put({**made, "subject": {"reference": "Patient/ann"}}, "north", "ann")
    clinician = world.token("clinician", institution="north")
    assert world.client.get("/fhir/Organization?_list=l", clinician).json()["total"] == 0
    assert [row.patient for row in rows(world)] == ["ann"]


def test_a_search_leaves_one_event_for_each_patient_it_showed(world):
    world.grant("bob", "Organization/north")
    world.client.get("/fhir/Observation?code=718-7", world.token("clinician", institution="north"))
    assert sorted(row.patient for row in rows(world)) == ["ann", "bob"]


@pytest.mark.parametrize(
    "path",
    [
        "/fhir/Observation/both",
        "/fhir/Observation/both/_history/1",
        "/fhir/Observation/both/_history",
        "/fhir/Observation?_id=both",
        "/ledger/proof?type=Observation&id=both",
        "/ledger/proof?type=Observation&id=both&version=1",
    ],
)
@pytest.mark.parametrize("role", ["clinician", "patient"])
def test_an_access_to_a_resource_about_two_patients_leaves_an_event_for_each(world, path, role):
    both = world.observation("both", "ann", "718-7", "2024-01-01")
    world.put(both | {"performer": [{"reference": "Patient/bob"}]}, "north", "ann")
    world.grant("bob", "Patient/ann", purposes=("PATRQT",))
    token = world.token("patient", patient="ann")
    if role == "clinician":
        token = world.token("clinician", institution="north")
    assert world.client.get(path, token).status_code == 200
    assert sorted(row.patient for row in rows(world)) == ["ann", "bob"]
    assert len({leaf.subject for leaf in access_leaves(world)}) == 2


@pytest.mark.parametrize("path", PATHS)
def test_nothing_leaves_when_the_audit_cannot_be_written(world, path, monkeypatch):
    def full(*arguments, **named):
        raise OSError("disk full of SECRETS")

    token = world.token("clinician", institution="north")
    monkeypatch.setattr("hdg.usage.trail.seal_event", full)
    answer = world.client.get(path, token)
    assert answer.status_code == 503
    assert answer.json()["issue"][0]["code"] == "transient"
    for secret in ("Featherstonehaugh", "718-7", "SECRETS"):
        assert secret not in answer.text
    monkeypatch.undo()
    assert rows(world) == []
    assert world.client.get(path, token).status_code in (200, 404)


def test_nothing_leaves_after_the_store_has_closed(world):
    token = world.token("clinician", institution="north")
    world.client.get("/fhir/Patient/ann", token)
    world.store.close()
    answer = world.client.get("/fhir/Patient/ann", token)
    assert answer.status_code in (500, 503)
    assert "Featherstonehaugh" not in answer.text


def test_many_callers_at_once_get_their_own_answers_and_one_event_each(world):
    ann = world.token("clinician", institution="north")
    bob = world.token("clinician", institution="south")
    requests = [
        (f"/fhir/Patient/{id_}", token) for _ in range(20) for id_ in ("ann", "bob") for token in (ann, bob)
    ]
    answers = world.client.gather(requests)
    for (path, token), answer in zip(requests, answers, strict=True):
        is_visible = (path.endswith("ann") and token == ann) or (path.endswith("bob") and token == bob)
        assert answer.status_code == (200 if is_visible else 404)
    table = AuditEventRow.__table__
    with world.store.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(table)) == len(requests)
