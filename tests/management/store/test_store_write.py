"""Versions, partial statements, deletions, owners, vault objects and the inbox, on both databases."""

from __future__ import annotations

import hmac
import threading
from concurrent.futures import Future, wait

import orjson
import pytest
import sqlalchemy
from sqlalchemy import true

from hdg.errors import NotFound, VaultError
from hdg.fhir import json
from hdg.management.audit import AuditEventRow
from hdg.management.consent.resource import grant, revoked
from hdg.management.keys import KeyRing
from hdg.management.ledger.leaf import Leaf, decode
from hdg.management.store import InboxRow, Store
from hdg.management.store.schema import StoreMeta
from hdg.management.store.writer import NotCommitted
from hdg.settings import Settings

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"family": "Muster", "given": ["Ana"]}],
    "gender": "female",
}
TRUE = true()


def observation(id_: str = "o1", patient: str = "p1", **more):
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "subject": {"reference": f"Patient/{patient}"},
        **more,
    }


def put(do, resource, **more):
    return do(lambda s: s.put(resource, institution="site", **more))


def state(do, resource, *deletions, sender="LAB"):
    return do(lambda s: s.statement(resource, deletions, sender=sender, institution="site"))


def scalar(store: Store, sql: str):
    with store.engine.connect() as connection:
        return connection.exec_driver_sql(sql).scalar_one()


def body(store: Store, type_: str, id_: str):
    return json.loads(store.reader.body(store.reader.read(type_, id_, TRUE)))


def test_a_read_returns_the_stored_bytes_with_version_and_time(store: Store, do, clock) -> None:
    made = put(do, PATIENT)
    found = store.reader.read("Patient", "p1", TRUE)
    assert (made.version, made.is_created, made.is_changed) == (1, True, True)
    assert (found.version, found.institution, found.patients, found.deleted) == (1, "site", ("p1",), False)
    assert found.updated_us == clock.at_us
    resource = json.loads(store.reader.body(found))
    assert resource["meta"] == {"versionId": "1", "lastUpdated": "2026-05-28T20:26:41.000000Z"}
    assert {**resource, "meta": None} == {**PATIENT, "meta": None}


def test_unchanged_content_makes_no_new_version(store: Store, do) -> None:
    put(do, PATIENT)
    again = put(do, PATIENT)
    stated = state(do, {"resourceType": "Patient", "id": "p1", "gender": "female"})
    assert (again.version, again.is_changed) == (1, False)
    assert (stated.version, stated.is_changed) == (1, False)
    assert scalar(store, "SELECT count(*) FROM version") == 1
    assert scalar(store, "SELECT count(*) FROM ledger_leaf") == 1


def test_decimals_survive_byte_for_byte(store: Store, do) -> None:
    value = {
        "resourceType": "Observation",
        "id": "d",
        "valueQuantity": json.loads(b'{"value":1.50,"x":1E+3,"y":-0.0}'),
    }
    put(do, value)
    assert b'"valueQuantity":{"value":1.50,"x":1E+3,"y":-0.0}' in store.reader.body(
        store.reader.read("Observation", "d", TRUE)
    )
    assert (
        put(do, {**value, "valueQuantity": json.loads(b'{"value":1.50,"x":1E+3,"y":-0.0}')}).is_changed
        is False
    )
    assert put(do, {**value, "valueQuantity": json.loads(b'{"value":1.5,"x":1E+3,"y":-0.0}')}).version == 2


def test_two_senders_each_own_their_part_of_a_list(store: Store, do) -> None:
    home, work, new = ({"value": v} for v in ("1", "2", "3"))
    state(do, {"resourceType": "Patient", "id": "p1", "telecom": [home]}, sender="A")
    state(do, {"resourceType": "Patient", "id": "p1", "telecom": [work], "active": True}, sender="B")
    assert body(store, "Patient", "p1")["telecom"] == [home, work]
    state(do, {"resourceType": "Patient", "id": "p1", "telecom": [new]}, sender="A")
    merged = body(store, "Patient", "p1")
    assert (merged["telecom"], merged["active"]) == ([new, work], True)
    state(do, {"resourceType": "Patient", "id": "p1"}, "telecom", sender="B")
    assert body(store, "Patient", "p1")["telecom"] == [new]


def test_an_item_that_two_senders_state_stays_until_neither_does(store: Store, do) -> None:
    item = {"value": "same"}
    statement = {"resourceType": "Patient", "id": "p1", "telecom": [item]}
    state(do, statement, sender="A")
    assert state(do, statement, sender="B").is_changed is False
    assert state(do, {"resourceType": "Patient", "id": "p1"}, "telecom", sender="A").is_changed is False
    assert body(store, "Patient", "p1")["telecom"] == [item]
    state(do, {"resourceType": "Patient", "id": "p1"}, "telecom", sender="B")
    assert "telecom" not in body(store, "Patient", "p1")


def test_ownership_is_kept_across_a_restart(settings, keys, clock) -> None:
    def one(sender, value):
        return lambda s: s.statement(
            {"resourceType": "Patient", "id": "p1", "telecom": [{"value": value}]},
            sender=sender,
            institution="site",
        )

    for sender, value in (("A", "1"), ("B", "2"), ("A", "3")):
        with Store.open(settings, keys, clock) as store:
            store.submit(one(sender, value)).result(120)
    with Store.open(settings, keys, clock) as store:
        assert body(store, "Patient", "p1")["telecom"] == [{"value": "3"}, {"value": "2"}]


def test_a_deletion_is_a_version_and_a_later_write_brings_the_resource_back(store: Store, do) -> None:
    put(do, observation())
    gone = do(lambda s: s.delete("Observation", "o1", institution="site"))
    found = store.reader.read("Observation", "o1", TRUE)
    assert (gone.version, found.deleted, store.reader.body(found)) == (2, True, b"")
    assert scalar(store, "SELECT count(*) FROM idx_token") == 0
    with pytest.raises(NotFound):
        do(lambda s: s.delete("Observation", "o1", institution="site"))
    assert do(lambda s: s.current("Observation", "o1")) is None
    back = put(do, observation())
    assert (back.version, back.is_created) == (3, True)
    assert scalar(store, "SELECT count(*) FROM idx_token") > 0
    assert [v.version for v in store.reader.history("Observation", "o1", TRUE).versions] == [3, 2, 1]


def test_a_new_version_replaces_exactly_the_old_index_rows(store: Store, do) -> None:
    put(do, PATIENT)
    put(do, {**PATIENT, "name": [{"family": "Anders"}], "birthDate": "1980-02-29"})
    fresh = put(do, {**PATIENT, "id": "p2", "name": [{"family": "Anders"}], "birthDate": "1980-02-29"})
    assert fresh.is_created
    for table in ("idx_string", "idx_date", "idx_token", "idx_reference"):
        with store.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()
        by_key = {rkey: {tuple(row[:-1]) for row in rows if row[-1] == rkey} for rkey in (1, 2)}
        assert by_key[1] == by_key[2]


def test_current_sees_what_the_same_group_wrote_and_is_a_copy(store: Store, do) -> None:
    def work(session):
        session.put(PATIENT, institution="site")
        seen = session.current("Patient", "p1")
        seen["gender"] = "male"
        session.put({**session.current("Patient", "p1"), "active": True}, institution="site")
        return (
            seen,
            session.current("Patient", "p1"),
            session.version("Patient", "p1"),
            session.version("Patient", "x"),
        )

    _, last, version, absent = do(work)
    assert (last["gender"], last["active"], version, absent) == ("female", True, 2, None)
    assert scalar(store, "SELECT count(*) FROM version") == 2
    assert scalar(store, "SELECT count(*) FROM resource") == 1


def test_prefetch_finds_several_at_once(store: Store, do) -> None:
    put(do, PATIENT)
    put(do, observation())

    def work(session):
        session.prefetch([("Patient", "p1"), ("Observation", "o1"), ("Observation", "p1"), ("Patient", "o1")])
        keys = (("Patient", "p1"), ("Observation", "o1"), ("Observation", "p1"), ("Patient", "o1"))
        return [session.version(*key) for key in keys]

    assert do(work) == [1, 1, None, None]


def test_a_patient_argument_puts_a_resource_into_the_compartment(store: Store, do) -> None:
    header = {
        "resourceType": "MessageHeader",
        "id": "h",
        "eventCoding": {"code": "A01"},
        "source": {"endpoint": "x:y"},
    }
    put(do, header, patient="p1")
    put(do, observation("o2", "p2"), patient="p1")
    put(do, {"resourceType": "Organization", "id": "org", "name": "X"})
    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT id, patient, patients FROM resource ORDER BY rkey").all()
        members = connection.exec_driver_sql(
            "SELECT rkey, patient FROM compartment ORDER BY rkey, patient"
        ).all()
    assert [tuple(row) for row in rows] == [("h", "p1", 1), ("o2", None, 2), ("org", None, 0)]
    assert [tuple(row) for row in members] == [(1, "p1"), (2, "p1"), (2, "p2")]


def test_leaves_commit_to_the_stored_bytes_under_the_salt_in_the_envelope(store: Store, do) -> None:
    put(do, PATIENT)
    put(do, observation())
    salts = set()
    for place, type_, id_ in ((0, "Patient", "p1"), (1, "Observation", "o1")):
        found = store.reader.read(type_, id_, TRUE)
        opened = store.reader.opened(found)
        with store.engine.connect() as connection:
            leaf = orjson.loads(store.log.leaf(connection, place))
        assert found.leaf_index == place
        assert leaf["commitment"] == hmac.digest(opened.salt, opened.body, "sha256").hex()
        assert (leaf["key"], leaf["version"], leaf["subject"]) == (f"{type_}/{id_}", 1, found.patient_code)
        salts.add(opened.salt)
    assert {len(salt) for salt in salts} == {32}
    assert len(salts) == 2  # of each version its own


def test_patients_get_random_codes_and_keys(store: Store, do) -> None:
    codes = do(
        lambda s: (s.patient_code("p1"), s.patient_code("p2"), s.patient_code("p1"), s.institution_code("p1"))
    )
    assert codes[0] == codes[2]
    assert len(set(codes)) == 3
    assert do(lambda s: s.patient_code("p1")) == codes[0]
    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT kind, public_key, wrapped_kek FROM owner_key").all()
    assert {(row[0], len(row[1])) for row in rows} == {("patient", 32), ("institution", 32)}
    assert all(len(row[2]) == 12 + 32 + 16 for row in rows)


@pytest.mark.parametrize("size", [3, 300_000])
def test_blobs_come_back_inline_or_from_files(store: Store, do, size, settings) -> None:
    data = b"x" * size
    cid = do(lambda s: s.blob_put(data, patient="p1", institution="site"))
    other = do(lambda s: s.blob_put(data, patient="p2", institution="site"))
    assert cid != other  # content addressing of ciphertexts tells nobody that two plaintexts are equal
    assert store.reader.blob(cid) == data
    files = [path for path in (settings.data / "vault").rglob("*") if path.is_file()]
    assert len(files) == (2 if size > 100_000 else 0)
    with pytest.raises(VaultError):
        store.reader.blob("bafk" + "a" * 55)


def test_a_damaged_blob_file_is_detected(store: Store, do, settings) -> None:
    cid = do(lambda s: s.blob_put(b"x" * 300_000, patient=None, institution="site"))
    path = settings.data / "vault" / cid[-2:] / cid
    sealed = path.read_bytes()
    path.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(VaultError, match="damaged"):
        store.reader.blob(cid)


def test_the_inbox_prefers_the_accepted_message(store: Store, do) -> None:
    def row(sha256, status):
        return InboxRow("A|B", "7", sha256, status, 1, "", b"ACK " + status.encode())

    do(lambda s: s.inbox_add(row("11", "quarantined")))
    assert do(lambda s: s.inbox_find("A|B", "7")).status == "quarantined"
    do(lambda s: s.inbox_add(row("22", "accepted")))
    do(lambda s: s.inbox_add(row("33", "quarantined")))
    found = do(lambda s: (s.inbox_find("A|B", "7"), s.inbox_find("A|B", "7", "33"), s.inbox_find("A|B", "8")))
    assert (found[0].sha256, found[0].ack, found[1].status, found[2]) == (
        "22",
        b"ACK accepted",
        "quarantined",
        None,
    )
    long = "9" * 70_000
    do(lambda s: s.inbox_add(InboxRow("A\0|B", long, "44", "accepted", 1, "", b"")))
    assert do(lambda s: s.inbox_find("A\0|B", long)).sha256 == "44"


def test_a_work_that_raises_fails_alone(store: Store) -> None:
    gate = threading.Event()
    store.submit(lambda s: gate.wait(120))

    def bad(session):
        session.put({**PATIENT, "id": "bad"}, institution="site")
        session.blob_put(b"lost", patient="bad", institution="site")
        session.inbox_add(InboxRow("A", "1", "x", "accepted", 1, "", b""))
        raise ValueError("mine")

    works = [(lambda s, n=n: s.put({**PATIENT, "id": f"g{n}"}, institution="site")) for n in range(5)]
    futures: list[Future] = [store.submit(work) for work in (*works[:3], bad, *works[3:])]
    gate.set()
    wait(futures, timeout=120)
    with pytest.raises(ValueError, match="mine"):
        futures[3].result()
    assert [f.result().version for i, f in enumerate(futures) if i != 3] == [1] * 5
    assert scalar(store, "SELECT count(*) FROM resource") == 5
    assert scalar(store, "SELECT count(*) FROM owner_key WHERE owner = 'bad'") == 0
    assert scalar(store, "SELECT count(*) FROM inbox") == 0
    with store.engine.connect() as connection:
        indexes = (
            connection.exec_driver_sql("SELECT leaf_index FROM version ORDER BY leaf_index").scalars().all()
        )
    assert indexes == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 31, 32, 33, 64, 65, 100])
def test_rows_and_leaves_that_come_in_numbers_are_all_there_in_order(store: Store, count: int) -> None:
    audit = AuditEventRow.__table__

    def work(session):
        for number in range(count):
            session.insert_later(audit, (f"e{number:03d}", number, "p", "u", b"%d" % number))
            session.leaf(Leaf("access", "", f"AuditEvent/e{number:03d}", 0, "site", 0, b""))

    def fails(session):
        work(session)
        raise ValueError

    with pytest.raises(ValueError):
        store.submit(fails).result(120)
    store.submit(work).result(120)
    with store.engine.connect() as connection:
        rows = connection.execute(sqlalchemy.select(audit).order_by(audit.c.id)).all()
        stored = connection.exec_driver_sql(
            "SELECT leaf_index, entry FROM ledger_leaf ORDER BY leaf_index"
        ).all()
    assert [tuple(row) for row in rows] == [
        (f"e{number:03d}", number, "p", "u", b"%d" % number) for number in range(count)
    ]
    assert [(index, decode(bytes(entry)).key) for index, entry in stored] == [
        (number, f"AuditEvent/e{number:03d}") for number in range(count)
    ]


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_unit_that_the_database_refuses_does_not_fail_its_neighbours(store: Store, is_plain: bool) -> None:
    gate = threading.Event()
    store.submit(lambda s: gate.wait(120))
    audit = sqlalchemy.table("store_meta", sqlalchemy.column("name"), sqlalchemy.column("value"))

    def twice(session):
        session.put({**PATIENT, "id": "bad"}, institution="site")
        if is_plain:
            session.insert_later(StoreMeta.__table__, ("same", "1"))
            session.insert_later(StoreMeta.__table__, ("same", "2"))
        else:
            session.execute_later(audit, [{"name": "same", "value": "1"}, {"name": "same", "value": "2"}])

    futures = [store.submit(lambda s: s.put(PATIENT, institution="site")), store.submit(twice)]
    futures.append(store.submit(lambda s: s.put(observation(), institution="site")))
    gate.set()
    assert futures[0].result(120).version == 1
    with pytest.raises(NotCommitted, match="refused"):
        futures[1].result(120)
    assert futures[2].result(120).version == 1
    assert scalar(store, "SELECT count(*) FROM resource") == 2
    assert scalar(store, "SELECT count(*) FROM ledger_leaf") == 2


def test_many_threads_write_and_read_the_same_resource(store: Store) -> None:
    def write(number: int) -> None:
        for turn in range(6):
            resource = {**PATIENT, "id": f"c{turn % 3}", "birthDate": f"19{number:02d}-01-{turn + 1:02d}"}
            store.submit(lambda s, r=resource: s.put(r, institution="site")).result(120)
            found = store.reader.read("Patient", resource["id"], TRUE)
            assert json.loads(store.reader.body(found))["meta"]["versionId"] == str(found.version)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT rkey, count(*), max(version) FROM version GROUP BY rkey"
        ).all()
    assert all(count == newest for _, count, newest in rows)
    assert scalar(store, "SELECT count(*) FROM ledger_leaf") == sum(count for _, count, _ in rows)


def test_another_root_key_is_refused(settings, keys, clock) -> None:
    with Store.open(settings, keys, clock) as store:
        store.submit(lambda s: s.put(PATIENT, institution="site")).result(120)
    wrong = KeyRing.of_bytes(b"?" * 32, *(bytes([number]) * 32 for number in range(2, 6)))
    with pytest.raises(VaultError, match="root key"):
        Store.open(settings, wrong, clock)


def test_tampered_and_moved_bodies_do_not_open(store: Store, do) -> None:
    put(do, PATIENT)
    put(do, {**PATIENT, "gender": "male"})
    first, second = (store.reader.vread("Patient", "p1", version, TRUE) for version in (1, 2))
    from dataclasses import replace

    for place in (0, 5, 20, 100, len(first.sealed) - 1):
        damaged = bytearray(first.sealed)
        damaged[place] ^= 1
        with pytest.raises(VaultError):
            store.reader.body(replace(first, sealed=bytes(damaged)))
    with pytest.raises(VaultError):
        store.reader.body(replace(first, sealed=second.sealed))
    with pytest.raises(VaultError):
        store.reader.body(replace(first, sealed=b""))


def test_a_closed_store_takes_no_work(settings, keys, clock) -> None:
    store = Store.open(settings, keys, clock)
    last = store.submit(lambda s: s.put(PATIENT, institution="site"))
    store.close()
    store.close()
    assert last.result(0).version == 1
    with pytest.raises(NotCommitted, match="closed"):
        store.submit(lambda s: None)


def test_two_processes_worth_of_stores_share_one_database(store: Store, settings, keys, clock) -> None:
    with Store.open(settings, keys, clock) as other:

        def write(mine: Store, name: str) -> None:
            for turn in range(15):
                shared = {**PATIENT, "id": "shared", "name": [{"text": f"{name} {turn}"}]}
                own = {**PATIENT, "id": f"{name}{turn}"}
                for resource in (shared, own):
                    mine.submit(lambda s, r=resource: s.put(r, institution="site")).result(120)

        threads = [threading.Thread(target=write, args=pair) for pair in ((store, "a"), (other, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.reader.read("Patient", "shared", TRUE).version == 30
        assert other.reader.read("Patient", "a14", TRUE).version == 1
    assert (
        scalar(store, "SELECT count(*) FROM version")
        == scalar(store, "SELECT count(*) FROM ledger_leaf")
        == 60
    )
    assert scalar(store, "SELECT count(*) - count(DISTINCT param) FROM idx_string WHERE rkey = 1") == 0


def test_consent_rules_follow_the_current_version_of_a_consent(store: Store, do) -> None:
    granted = grant("p1", ["Organization/x"], [], [], from_us=1, until_us=2_000_000)
    put(do, granted)
    assert scalar(store, "SELECT count(*) FROM consent_rule") > 0
    assert b'"kind":"consent"' in do(lambda s: store.log.leaf(s.connection, 0))
    put(do, revoked(granted))
    assert scalar(store, "SELECT count(*) FROM consent_rule") == 0
    put(do, granted)
    assert scalar(store, "SELECT count(*) FROM consent_rule") > 0
    do(lambda s: s.delete("Consent", granted["id"], institution="site"))
    assert scalar(store, "SELECT count(*) FROM consent_rule") == 0


def test_orphaned_vault_files_are_collected(store: Store, do, settings) -> None:
    kept = do(lambda s: s.blob_put(b"x" * 300_000, patient="p1", institution="site"))

    def fails(session):
        session.blob_put(b"y" * 300_000, patient="p1", institution="site")
        raise ValueError

    with pytest.raises(ValueError):
        do(fails)
    assert store.collect_orphans() == 0
    assert store.collect_orphans(older_than_s=-1) == 1
    assert len(store.reader.blob(kept)) == 300_000


def test_the_database_file_is_for_its_owner_only(tmp_path, keys, clock) -> None:
    with Store.open(Settings(data=tmp_path / "new"), keys, clock):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_any_number_of_rows_is_inserted_each_once(store: Store) -> None:
    counts = [*range(1, 18), 63, 64, 65, 66, 71, 72, 73, 127, 128, 129]
    meta = StoreMeta.__table__
    for count in counts:

        def work(session, count=count):
            for number in range(count):
                session.insert_later(meta, (f"rows {count} {number}", str(number)))

        store.submit(work).result(120)
    with store.engine.connect() as connection:
        rows = connection.execute(sqlalchemy.select(meta).where(meta.c.name.startswith("rows "))).all()
    assert sorted(tuple(row) for row in rows) == sorted(
        (f"rows {count} {number}", str(number)) for count in counts for number in range(count)
    )
