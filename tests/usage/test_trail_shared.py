"""An access that concerned many patients is sealed once, and is each patient's own event (DESIGN §6, IHE BALP)."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import func, select, text

from hdg.errors import VaultError
from hdg.fhir.validate import validate
from hdg.management.audit import Access, AuditEventRow, audit_event
from hdg.management.audit_read import entries, event_of, records
from hdg.management.audit_shared import PATIENTS_MAX, AuditAccess, AuditPatient, tag
from hdg.management.identity import Principal
from hdg.management.ledger.leaf import Leaf, decode
from hdg.management.ledger.schema import LedgerLeaf
from hdg.management.ledger.verify import Trust, verify
from hdg.usage.trail import Caller, Trail

NAMES = ["ann", "cyd", "dan", "eva", "fay"]
PATH = "/fhir/Observation?code=718-7&_count=50"


@pytest.fixture
def crowd(either):
    """Five patients of north, and bob, whom north may not see."""
    for name in NAMES[1:]:
        either.put(either.patient(name, "A", "B"), "north", name)
        either.put(either.observation(f"{name}-0", name, "718-7", "2024-01-01"), "north", name)
    return either


def count(world, table):
    with world.store.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table.__table__))


def opener(world):
    return lambda code, sealed, key: world.store.reader.open_row(code, sealed, key).body


def events(world, patient):
    with world.store.engine.connect() as connection:
        found = entries(connection, records(connection, [patient]), is_newest_first=False)
        return [event_of(entry, opener(world)) for entry in found]


def leaves(world, kind):
    with world.store.engine.connect() as connection:
        query = select(LedgerLeaf.__table__.c.entry).order_by(LedgerLeaf.__table__.c.leaf_index)
        found = [decode(bytes(entry)) for entry in connection.scalars(query)]
    return [leaf for leaf in found if leaf.kind == kind]


def code_of(world, patient):
    with world.store.engine.connect() as connection:
        query = text("SELECT code FROM owner_key WHERE kind = 'patient' AND owner = :p")
        return connection.execute(query, {"p": patient}).scalar()


def findings(world):
    def opened(found):
        return found.salt, found.body

    reader = world.store.reader
    with world.store.engine.connect() as connection:
        report = verify(
            connection,
            Trust(world.store.log.origin, world.store.log.public_key),
            lambda version: opened(reader.opened(version)),
            open_audit=lambda owner, key, sealed: opened(reader.open_row(owner, sealed, key)),
        )
    return [finding.code for finding in report.findings]


def tampered(world, statement, leaf=None):
    def work(session):
        session.connection.execute(text(statement))
        if leaf is not None:
            session.leaf(leaf)

    world.store.submit(work).result(120)


def asked(world, path=PATH):
    return world.client.get(path, world.token("clinician", institution="north"))


def test_a_search_that_shows_many_patients_leaves_one_sealed_event_and_one_leaf(crowd):
    assert len(asked(crowd).json()["entry"]) == 7
    assert (count(crowd, AuditEventRow), count(crowd, AuditAccess), count(crowd, AuditPatient)) == (0, 1, 5)
    (leaf,) = leaves(crowd, "accesses")
    assert leaves(crowd, "access") == []
    assert findings(crowd) == []
    name = leaf.key.removeprefix("AuditEvent/")
    assert leaf.subject.split(" ") == sorted(tag(code_of(crowd, patient), name) for patient in NAMES)


def test_each_patient_s_event_is_the_one_that_it_would_be_alone(crowd):
    asked(crowd)
    ids = set()
    for name in NAMES:
        (event,) = events(crowd, name)
        policy = event["agent"][2]["policy"][0].removeprefix("urn:hdg:token:")
        who = Principal("clinician", "u1", "north", "", "TREAT", "", policy, 0)
        query = "Observation?code=718-7&_count=50"
        access = Access("search", "0", query=query, patients=(name,), client="127.0.0.1")
        alone = audit_event(who, access, at_us=0, server=crowd.settings.base_url)
        assert event == {**alone, "id": event["id"], "recorded": event["recorded"]}
        assert list(event) == list(alone)
        assert validate(event) == []
        ids.add(event["id"])
    assert len(ids) == len(NAMES)
    assert events(crowd, "bob") == []


def test_nothing_in_one_patient_s_event_or_in_the_leaf_tells_of_another(crowd):
    asked(crowd)
    (event,) = events(crowd, "ann")
    (leaf,) = leaves(crowd, "accesses")
    for name in NAMES[1:]:
        assert f"Patient/{name}" not in str(event)
        assert code_of(crowd, name) not in str(event)
    for name in NAMES:
        assert code_of(crowd, name) not in leaf.encode().decode()
        assert name not in re.findall(r"\w+", leaf.encode().decode())


def test_the_same_patients_have_other_tags_in_another_access(crowd):
    asked(crowd)
    asked(crowd)
    one, other = (set(leaf.subject.split(" ")) for leaf in leaves(crowd, "accesses"))
    assert not one & other


def test_who_saw_a_record_is_told_in_the_order_of_time_however_it_was_kept(crowd):
    reader = crowd.token("clinician", institution="north")
    paths = ["/fhir/Patient/ann", PATH, "/fhir/Patient/ann/_history/1", PATH, "/fhir/Patient/cyd"]
    for path in paths:
        assert crowd.client.get(path, reader).status_code == 200
    codes = [event["subtype"][0]["code"] for event in events(crowd, "ann")]
    assert codes == ["read", "search", "vread", "search"]
    recorded = [event["recorded"] for event in events(crowd, "ann")]
    assert recorded == sorted(recorded)
    assert [event["subtype"][0]["code"] for event in events(crowd, "cyd")] == ["search", "search", "read"]


def test_entries_of_many_leaves_are_all_found(crowd):
    reader = crowd.token("clinician", institution="north")
    for _ in range(5):
        crowd.client.gather([(PATH, reader), ("/fhir/Patient/ann", reader)] * 16)
    kinds = [event["subtype"][0]["code"] for event in events(crowd, "eva")]
    assert kinds == ["search"] * 80
    assert len(events(crowd, "ann")) == 160
    assert findings(crowd) == []


def test_few_patients_have_an_event_each(crowd):
    asked(crowd, "/fhir/Observation?subject=Patient/cyd,Patient/dan,Patient/eva")
    assert (count(crowd, AuditEventRow), count(crowd, AuditAccess)) == (3, 0)


def test_reads_and_writes_at_once_have_each_their_own_leaf(crowd):
    token = crowd.token("clinician", institution="north")
    body = b'{"resourceType":"Observation","status":"final","code":{"text":"t"},"subject":{"reference":"Patient/dan"}}'
    kind = {"content-type": "application/fhir+json"}
    requests = [("GET", PATH, token, {}, None), ("POST", "/fhir/Observation", token, kind, body)] * 12
    answers = crowd.client.gather_all(requests)
    assert {answer.status_code for answer in answers} == {200, 201}
    assert count(crowd, AuditAccess) == 12
    assert findings(crowd) == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM audit_access", "audit-missing"),
        ("UPDATE audit_access SET at_us = at_us - 1", "audit-changed"),
        ("UPDATE audit_access SET id = 'another'", "audit-changed"),
        ("UPDATE audit_access SET leaf_index = leaf_index - 1", "audit-missing"),
        ("DELETE FROM audit_patient WHERE code = :code", "audit-changed"),
        ("DELETE FROM audit_patient", "audit-changed"),
        ("UPDATE audit_patient SET code = 'other' WHERE code = :code", "audit-changed"),
        ("UPDATE audit_patient SET bucket = bucket + 1 WHERE code = :code", "audit-changed"),
        ("UPDATE audit_patient SET bucket = bucket + 1 WHERE code = :code", "audit-without-leaf"),
        (
            "UPDATE audit_patient SET wrapped = (SELECT wrapped FROM audit_patient WHERE code <> :code LIMIT 1) "
            "WHERE code = :code",
            "audit-unreadable",
        ),
        (
            "INSERT INTO audit_patient SELECT bucket, 'slipped-in', leaf_index, wrapped FROM audit_patient LIMIT 1",
            "audit-changed",
        ),
        (
            "INSERT INTO audit_patient SELECT bucket, code, leaf_index - 1, wrapped FROM audit_patient LIMIT 1",
            "audit-without-leaf",
        ),
        (
            "INSERT INTO audit_access SELECT leaf_index - 1, id, at_us, agent, body FROM audit_access",
            "audit-without-leaf",
        ),
        ("UPDATE audit_access SET body = (SELECT body FROM version LIMIT 1)", "audit-unreadable"),
        ("UPDATE owner_key SET wrapped_kek = NULL WHERE code = :code", "audit-unreadable"),
    ],
)
def test_tampering_with_a_shared_entry_is_found(crowd, statement, expected):
    asked(crowd)
    tampered(crowd, statement.replace(":code", f"'{code_of(crowd, 'cyd')}'"))
    crowd.store.reader._keks._open.clear()
    assert expected in findings(crowd)


def test_destroying_a_patient_s_key_takes_that_patient_s_event_and_no_other(crowd):
    asked(crowd)
    code = code_of(crowd, "cyd")
    with crowd.store.engine.connect() as connection:
        (kept,) = entries(connection, records(connection, ["cyd"]))
    erasure = Leaf("erasure", code, "Patient/cyd", 0, "north", crowd.now_us, b"")
    tampered(crowd, f"UPDATE owner_key SET wrapped_kek = NULL WHERE code = '{code}'", erasure)
    assert events(crowd, "cyd") == []
    crowd.store.reader._keks._open.clear()
    with pytest.raises(VaultError):
        event_of(kept, opener(crowd))
    assert [len(events(crowd, name)) for name in NAMES if name != "cyd"] == [1, 1, 1, 1]
    assert findings(crowd) == []


def test_nothing_leaves_when_a_shared_entry_cannot_be_written(crowd, monkeypatch):
    def full(*arguments, **named):
        raise OSError("disk full of SECRETS")

    monkeypatch.setattr("hdg.usage.trail.shared_rows", full)
    answer = asked(crowd)
    assert answer.status_code == 503
    assert "SECRETS" not in answer.text
    assert "718-7" not in answer.text
    monkeypatch.undo()
    assert (count(crowd, AuditAccess), count(crowd, AuditPatient), leaves(crowd, "accesses")) == (0, 0, [])
    assert asked(crowd).status_code == 200


def test_an_access_to_very_many_patients_has_leaves_of_a_size_that_the_ledger_takes(world):
    trail = Trail(world.store, world.settings)
    caller = Caller(Principal("clinician", "u1", "north", "", "TREAT", "", "t", 0))
    patients = [f"p{number}" for number in range(PATIENTS_MAX + 5)]
    everybody = ["", *patients, "p7"]

    def work(session):
        trail.write(session, caller, Access("operation", "0", query="all"), everybody)

    world.store.submit(work).result(120)
    assert [len(leaf.subject.split(" ")) for leaf in leaves(world, "accesses")] == [PATIENTS_MAX, 5]
    assert count(world, AuditPatient) == len(patients)
    assert count(world, AuditEventRow) == 1
    assert [len(events(world, name)) for name in ("p0", "p7", patients[-1])] == [1, 1, 1]
    assert findings(world) == []
