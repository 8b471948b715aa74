"""Who may write what: hidden looks like absent, institutions stay apart, every write is audited (DESIGN §6)."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from hdg.fhir import json
from hdg.fhir.validate import validate
from hdg.management.audit import AuditEventRow
from hdg.management.ledger.leaf import decode
from hdg.management.ledger.schema import LedgerLeaf


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def same(one, other):
    return (one.status_code, one.content, one.headers) == (other.status_code, other.content, other.headers)


def put(either, token, id_, patient="bob", **headers):
    sent = either.observation(id_, patient, "718-7", "2024-05-05")
    return either.client.send("PUT", f"/fhir/Observation/{id_}", token, sent, **headers)


def consent(either, patient, actor="Organization/east"):
    from hdg.management.consent import resource as consents

    made = consents.grant(patient, [actor], ["TREAT"], [], from_us=either.now_us, until_us=2 * either.now_us)
    del made["id"]
    return made


def stored_events(either):
    table = AuditEventRow.__table__
    with either.store.engine.connect() as connection:
        rows = connection.execute(
            select(table.c.id, table.c.patient, table.c.body).order_by(table.c.at_us)
        ).all()
        entries = connection.scalars(select(LedgerLeaf.__table__.c.entry))
        owners = {
            leaf.key: leaf.subject for leaf in map(decode, map(bytes, entries)) if leaf.kind == "access"
        }
    reader = either.store.reader
    return [
        (row.patient, json.loads(reader.open_row(owners[key], bytes(row.body), key).body))
        for row in rows
        for key in [f"AuditEvent/{row.id}"]
    ]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("PUT", {}),
        ("PUT", {"if_match": 'W/"1"'}),
        ("PUT", {"if_none_match": "*"}),
        ("DELETE", {}),
        ("DELETE", {"if_match": 'W/"1"'}),
    ],
)
def test_a_write_to_something_hidden_answers_what_a_write_to_nothing_does(either, north, method, headers):
    answers = []
    for id_ in ("bob-0", "bob-9"):
        sent = either.observation(id_, "ann", "718-7", "2024-05-05") if method == "PUT" else None
        answers.append(either.client.send(method, f"/fhir/Observation/{id_}", north, sent, **headers))
    assert same(*answers)
    assert answers[0].status_code in (404, 405, 412)
    south = either.token("clinician", institution="south")
    assert either.client.get("/fhir/Observation/bob-0", south).json()["meta"]["versionId"] == "1"


def test_what_is_about_a_patient_whom_the_writer_does_not_see_is_refused_like_about_nobody(either, north):
    answers = []
    for patient in ("bob", "nobody"):
        sent = either.observation("x", patient, "718-7", "2024-05-05")
        answers.append(either.client.send("POST", "/fhir/Observation", north, sent))
    assert same(*answers)
    assert answers[0].status_code == 422
    assert validate(answers[0].json()) == []
    moved = put(either, north, "ann-0", "bob")
    assert moved.status_code == 422


def test_a_permission_to_read_is_none_to_change(either, north):
    either.grant("bob", "Organization/north")
    assert either.client.get("/fhir/Observation/bob-0", north).status_code == 200
    assert put(either, north, "bob-0").status_code == 403
    assert either.client.send("DELETE", "/fhir/Observation/bob-0", north).status_code == 403
    added = either.client.send(
        "POST", "/fhir/Observation", north, either.observation("x", "bob", "1-1", "2024-05-05")
    )
    assert added.status_code == 201


def test_what_an_institution_writes_is_its_own(either, north):
    stored = either.client.send(
        "POST", "/fhir/Observation", north, either.observation("x", "ann", "1-1", "2024-05-05")
    ).json()
    south = either.token("clinician", institution="south")
    path = f"/fhir/Observation/{stored['id']}"
    assert either.client.get(path, south).status_code == 404
    assert either.client.get(path, north).status_code == 200


@pytest.mark.parametrize(
    ("role", "claims"),
    [
        ("operator", {}),
        ("researcher", {"project": "p"}),
        ("sender", {"institution": "north"}),
        ("patient", {"patient": "ann"}),
        ("clinician", {"institution": "north", "purpose": "HMARKT"}),
    ],
)
def test_other_roles_and_purposes_write_no_observation(either, role, claims):
    token = either.token(role, **claims)
    sent = either.observation("ann-0", "ann", "1-1", "2024-05-05")
    for method, path, body in (
        ("POST", "/fhir/Observation", sent),
        ("PUT", "/fhir/Observation/ann-0", sent),
        ("DELETE", "/fhir/Observation/ann-0", None),
    ):
        assert either.client.send(method, path, token, body).status_code == 403


def test_nobody_writes_audit_events_and_no_clinician_a_consent(either, north):
    event = {
        "resourceType": "AuditEvent",
        "type": {"code": "rest"},
        "recorded": "2024-01-01T00:00:00Z",
        "agent": [{"requestor": True}],
        "source": {"observer": {"display": "x"}},
    }
    assert validate(event) == []
    for token in (north, either.token("patient", user="ann", patient="ann")):
        assert either.client.send("POST", "/fhir/AuditEvent", token, event).status_code == 403
    assert either.client.send("POST", "/fhir/Consent", north, consent(either, "ann")).status_code == 403


def test_a_patient_writes_consents_about_themselves_which_then_decide(either):
    ann = either.token("patient", user="ann", patient="ann")
    east = either.token("clinician", institution="east")
    assert either.client.get("/fhir/Patient/ann", east).status_code == 404
    created = either.client.send("POST", "/fhir/Consent", ann, consent(either, "ann"))
    assert created.status_code == 201
    assert either.client.get("/fhir/Patient/ann", east).status_code == 200
    path = f"/fhir/Consent/{created.json()['id']}"
    revoked = either.client.send("PUT", path, ann, {**created.json(), "status": "inactive"})
    assert revoked.status_code == 200
    assert either.client.get("/fhir/Patient/ann", east).status_code == 404
    assert either.client.send("DELETE", path, ann).status_code == 204


def test_a_patient_writes_no_consent_of_another(either):
    ann = either.token("patient", user="ann", patient="ann")
    assert either.client.send("POST", "/fhir/Consent", ann, consent(either, "bob")).status_code == 403
    theirs = either.grant("bob", "Patient/ann")
    path = f"/fhir/Consent/{theirs['id']}"
    if either.client.get(path, ann).status_code == 200:
        assert either.client.send("PUT", path, ann, theirs).status_code == 403
    mine = either.grant("ann", "Organization/east")
    taken = {**mine, "patient": {"reference": "Patient/bob"}}
    assert either.client.send("PUT", f"/fhir/Consent/{mine['id']}", ann, taken).status_code == 403
    absolute = {
        **consent(either, "ann"),
        "patient": {"reference": "https://gateway.example/fhir/Patient/ann"},
    }
    assert either.client.send("POST", "/fhir/Consent", ann, absolute).status_code == 403


def test_a_denying_patient_s_record_cannot_be_changed_by_who_cannot_see_it(either, north):
    ann = either.token("patient", user="ann", patient="ann")
    denial = consent(either, "ann", "Organization/north")
    denial["provision"]["type"] = "deny"
    assert either.client.send("POST", "/fhir/Consent", ann, denial).status_code == 201
    assert either.client.send("DELETE", "/fhir/Observation/ann-0", north).status_code == 404
    assert put(either, north, "ann-0", "ann").status_code == 405


def test_each_write_leaves_its_event_in_the_same_transaction(either, north):
    created = either.client.send(
        "POST", "/fhir/Observation", north, either.observation("x", "ann", "1-1", "2024-05-05")
    ).json()
    put(either, north, "ann-0", "ann")
    either.client.send("DELETE", "/fhir/Observation/ann-1", north)
    events = stored_events(either)
    said = [
        (patient, event["subtype"][0]["code"], event["outcome"], event["entity"][-1]["what"]["reference"])
        for patient, event in events
    ]
    assert said == [
        ("ann", "create", "0", f"Observation/{created['id']}"),
        ("ann", "update", "0", "Observation/ann-0"),
        ("ann", "delete", "0", "Observation/ann-1"),
    ]
    assert all(validate(event) == [] for _, event in events)


def test_a_refused_write_is_recorded_without_naming_whose_it_was(either, north):
    put(either, north, "bob-0", "ann")
    either.client.send("DELETE", "/fhir/Observation/bob-0", either.token("operator"))
    events = stored_events(either)
    assert [(patient, event["outcome"]) for patient, event in events] == [("", "4"), ("", "4")]


def test_nothing_is_written_when_the_audit_cannot_be(either, north, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("no audit")

    monkeypatch.setattr("hdg.usage.trail.seal_event", broken)
    answer = put(either, north, "ann-0", "ann")
    assert answer.status_code in (500, 503)
    monkeypatch.undo()
    assert either.client.get("/fhir/Observation/ann-0", north).json()["meta"]["versionId"] == "1"


def test_without_a_policy_about_writing_nobody_writes(tmp_path, world):
    from hdg.management.consent.policy import SHIPPED, load_policy

    text = SHIPPED.read_text()
    start, end = text.index("[write]"), text.index("[purposes]")
    file = tmp_path / "policy.toml"
    file.write_text(text[:start] + text[end:])
    policy = load_policy(file)
    assert (policy.writes, policy.client_ids, policy.needs_known_patient) == ({}, "none", True)
