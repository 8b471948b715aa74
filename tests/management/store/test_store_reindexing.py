"""hdg reindex: rows made anew are those that were made at write time; damage is found and repaired; both databases."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import text

from hdg.errors import BadRequest
from hdg.fhir import json
from hdg.management.store import Store, reindexing, schema
from hdg.management.store.batch import table_of
from hdg.management.store.custom import definition_of
from hdg.management.store.custom_fill import Filler
from hdg.management.store.custom_register import save
from hdg.management.store.reindexing import Reindexing, Scope
from tests.management.store.hanging import kill_at, started

TABLES = tuple(table_of(model) for model in schema.INDEX_TABLES)
NICKNAME = {
    "resourceType": "SearchParameter",
    "url": "urn:example:nickname",
    "code": "nickname",
    "base": ["Patient", "Observation"],
    "type": "string",
    "expression": "Resource.language",
}


def rows(store):
    with store.engine.connect() as connection:
        return {
            table.name: sorted(tuple(row) for row in connection.execute(table.select())) for table in TABLES
        }


def change(store, *statements):
    def work(session):
        for sql in statements:
            session.connection.execute(text(sql))

    store.submit(work).result(120)


def over(store, scope=Scope(), **more):  # noqa: B008  # frozen
    return Reindexing(store, store._shared.indexer, scope, **more)


def observation(id_, code="a", **more):
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"coding": [{"system": "urn:s", "code": code, "display": "Some Text"}]},
        "effectiveDateTime": "2024-05-06",
        "valueQuantity": {"value": 5.4, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
        "subject": {"reference": "Patient/p"},
        **more,
    }


def put(store, *contents):
    for content in contents:
        store.submit(lambda session, content=content: session.put(content, institution="s")).result(120)


@pytest.fixture
def filled(store):
    put(store, {"resourceType": "Patient", "id": "p", "language": "de", "name": [{"family": "Muster"}]})
    put(store, *(observation(f"o{number}", str(number), language="en") for number in range(7)))
    store.submit(lambda session: session.delete("Observation", "o6", institution="s")).result(120)
    store.submit(
        lambda session: save(session, "resource/x", definition_of(NICKNAME | {"status": "active"}))
    ).result(120)
    filler = Filler(store, store._shared.indexer.id_hash)
    while filler.step():
        pass
    return store


def test_rows_of_every_example_of_r4_are_made_anew_as_they_were_written(store, cases) -> None:
    """Each over another of its type, so that its rows were written as a difference."""
    examples = [
        json.loads(path.read_bytes()) for path in sorted((cases / "fhir" / "r4-examples").glob("*.json"))
    ]
    types = {content["resourceType"] for content in examples}

    def work(session):
        others = {}
        for content in examples:
            type_ = content["resourceType"]
            session.put({**others.get(type_, content), "id": content["id"]}, institution="s")
            others[type_] = content

    def again(session):
        for content in examples:
            session.put(content, institution="s")

    store.submit(work).result(300)
    assert over(store).verify().is_equal
    store.submit(again).result(300)
    assert len(types) >= 130
    before = rows(store)
    assert all(before.values())
    assert over(store).verify().is_equal
    change(store, *(f"DELETE FROM {table.name}" for table in TABLES))
    assert not over(store).verify().is_equal
    count = over(store).repair()
    assert (count.extra, count.unreadable) == (0, [])
    assert rows(store) == before
    assert over(store).verify().is_equal


DAMAGE = (
    "DELETE FROM idx_token WHERE rkey IN (2, 3)",
    "UPDATE idx_string SET value = 'other' WHERE rkey = 1",
    "INSERT INTO idx_date (param, lo, hi, rkey) VALUES (7, 1, 2, 4)",
    "INSERT INTO idx_reference (param, code, system, rkey) VALUES (8, 1, 2, 4711)",
    "DELETE FROM idx_quantity WHERE rkey = 5",
    "INSERT INTO idx_uri (param, value, rkey) SELECT 9, 'urn:x', rkey FROM resource WHERE id = 'o6'",
)


def test_what_is_missing_is_added_and_what_has_no_reason_removed(filled, monkeypatch) -> None:
    monkeypatch.setattr(reindexing, "WINDOW", 3)
    before = rows(filled)
    assert len([row for row in before["idx_string"] if row[0] >= 1 << 31]) == 7
    assert over(filled).repair().is_equal
    change(filled, *DAMAGE)
    damaged = over(filled).verify()
    assert damaged.missing
    assert damaged.extra
    made = over(filled).repair()
    assert (made.missing, made.extra, made.resources) == (damaged.missing, damaged.extra, 7)
    assert rows(filled) == before
    assert over(filled).verify().is_equal


def test_a_scope_leaves_everything_else_as_it_is(filled) -> None:
    before = rows(filled)
    change(filled, "DELETE FROM idx_token", "DELETE FROM idx_string", "DELETE FROM idx_date")
    over(filled, Scope("Observation", "date")).repair()
    now = rows(filled)
    assert now["idx_date"] == [row for row in before["idx_date"] if row in now["idx_date"]] != []
    assert now["idx_token"] == now["idx_string"] == []
    over(filled, Scope("Observation", "nickname")).repair()
    assert len(rows(filled)["idx_string"]) == 6
    over(filled, Scope("Patient")).repair()
    assert len(rows(filled)["idx_string"]) > 7
    over(filled, Scope(parameter="code")).repair()
    tokens = rows(filled)["idx_token"]
    assert set(tokens) < set(before["idx_token"])
    over(filled).repair()
    assert rows(filled) == before
    for scope in (Scope("Nothing"), Scope("Patient", "nothing"), Scope(parameter="nothing")):
        with pytest.raises(BadRequest):
            over(filled, scope)


def test_what_is_written_meanwhile_is_neither_lost_nor_doubled(filled, monkeypatch) -> None:
    monkeypatch.setattr(reindexing, "WINDOW", 3)
    monkeypatch.setattr(reindexing, "_FIXED_AT_ONCE", 2)
    change(filled, "DELETE FROM idx_token", "DELETE FROM idx_quantity")
    run = over(filled)
    fixed = run._fixed
    turns = []

    def meanwhile(window, rkeys):
        if len(turns) < 4:
            turns.append(rkeys)
            put(filled, observation("o1", f"changed {len(turns)}"), observation(f"new{len(turns)}"))
            if len(turns) == 1:
                filled.submit(lambda session: session.delete("Observation", "o4", institution="s")).result(
                    120
                )
        return fixed(window, rkeys)

    monkeypatch.setattr(Reindexing, "_fixed", lambda self, window, rkeys: meanwhile(window, rkeys))
    run.repair()
    assert len(turns) == 4
    assert over(filled).verify().is_equal


PROCESS = Path(__file__).with_name("reindexing_process.py")


def test_a_run_that_is_killed_goes_on_where_it_was(settings, keys, monkeypatch) -> None:
    def now() -> int:
        return time.time_ns() // 1000

    monkeypatch.setattr(reindexing, "WINDOW", 2)
    with Store.open(settings, keys, now) as store:
        put(store, *(observation(f"o{number}", str(number)) for number in range(7)))
        before = rows(store)
        change(store, "DELETE FROM idx_token")
    kill_at(started(PROCESS, settings))
    with Store.open(settings, keys, now) as store:
        assert rows(store) != before
        assert over(store, Scope("Observation")).position() == 0
        run = over(store)
        assert run.position() == 2
        count = run.repair(run.position())
        assert count.resources == 5
        assert rows(store) == before
        assert run.position() == 0


def test_a_body_that_does_not_open_is_named_and_what_was_erased_has_no_rows(filled) -> None:
    before = rows(filled)

    def damage(session):
        connection = session.connection
        sealed = bytes(connection.execute(text("SELECT body FROM version WHERE rkey = 2")).scalar())
        broken = sealed[:-1] + bytes([sealed[-1] ^ 1])
        connection.execute(text("UPDATE version SET body = :broken WHERE rkey = 2"), {"broken": broken})

    filled.submit(damage).result(120)
    count = over(filled).repair()
    assert count.unreadable == ["Observation/o0"]
    assert rows(filled) == before
    change(filled, "UPDATE owner_key SET wrapped_kek = NULL")
    assert over(filled).repair().unreadable == []
    assert all(row[-1] != 2 for found in rows(filled).values() for row in found)
