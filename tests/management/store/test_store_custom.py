"""Search parameters beside R4's own: their rows while they are filled and others write, and after crashes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import text, true

from hdg.fhir import definitions
from hdg.management.store import Clause, SearchQuery, Store, custom, custom_fill, meta
from hdg.management.store.custom import definition_of
from hdg.management.store.custom_fill import Filler
from hdg.management.store.custom_register import Catalog, save
from tests.management.store.hanging import kill_at, started

URL = "http://example.org/SearchParameter/"
NICK = "http://example.org/nickname"


def parameter(code, type_, expression, bases=("Patient",), **more):
    return {
        "resourceType": "SearchParameter",
        "url": URL + code,
        "name": "X",
        "status": "active",
        "description": "x",
        "code": code,
        "base": list(bases),
        "type": type_,
        "expression": expression,
        **more,
    }


NICKNAME = parameter("nickname", "string", f"Patient.extension('{NICK}').value.as(string)")


def patient(id_, nick):
    return {"resourceType": "Patient", "id": id_, "extension": [{"url": NICK, "valueString": nick}]}


@pytest.fixture
def filler(store: Store) -> Filler:
    return Filler(store, store._shared.indexer.id_hash, batch=2)


def put(do, resource):
    return do(lambda session: session.put(resource, institution="s"))


def define(do, content, origin="resource/1"):
    do(lambda session: save(session, origin, None if content is None else definition_of(content)))


def run(filler) -> int:
    steps = 0
    while filler.step():
        steps += 1
    return steps


def numbers(store, code="nickname", type_="Patient"):
    found = Catalog(store.engine).current().find(type_, code)
    return found.number(type_)


def found(store, value, code="nickname", kind="string", type_="Patient"):
    places = ((numbers(store, code, type_), ""),)
    clause = Clause(code, kind, "", (value,), places=places)
    page = store.reader.search(SearchQuery(type_, (clause,)), true())
    ids = [version.id for version in page.versions]
    assert page.total == len(ids) == len(set(ids))
    return sorted(ids)


def rows(store, table="idx_string"):
    with store.engine.connect() as connection:
        sql = f"SELECT * FROM {table} WHERE param >= {1 << 31} ORDER BY 1, 2, 3"
        return [tuple(row) for row in connection.execute(text(sql))]


def test_what_is_there_is_indexed_in_batches_and_what_is_written_meanwhile_at_once(store, do, filler) -> None:
    for number in range(5):
        put(do, patient(f"p{number}", f"Nick {number}"))
    define(do, NICKNAME)
    put(do, patient("new", "Nick new"))
    assert found(store, "nick") == ["new"]
    assert filler.step()
    known = Catalog(store.engine).current().find("Patient", "nickname")
    assert not known.is_ready
    assert 0 < known.done < 100
    assert found(store, "nick") == ["new", "p0", "p1"]
    put(do, patient("p0", "Other"))  # behind the filler
    put(do, patient("p4", "Later"))  # before it
    do(lambda session: session.delete("Patient", "p3", institution="s"))
    run(filler)
    assert Catalog(store.engine).current().find("Patient", "nickname").is_ready
    assert found(store, "nick") == ["new", "p1", "p2"]
    assert found(store, "other") == ["p0"]
    assert found(store, "later") == ["p4"]
    put(do, patient("p2", "Last"))
    assert found(store, "nick") == ["new", "p1"]
    assert len(rows(store)) == 5


PROCESS = Path(__file__).with_name("custom_filler_process.py")


def test_processes_that_are_killed_in_the_middle_lose_and_double_nothing(settings, keys, tmp_path) -> None:
    """Other processes write meanwhile; each that fills is killed inside a batch's transaction but the last."""

    def now() -> int:
        return time.time_ns() // 1000

    wanted = {}
    with Store.open(settings, keys, now) as store:
        do = lambda work: store.submit(work).result(120)  # noqa: E731
        for number in range(30):
            put(do, patient(f"p{number:02}", f"Nick {number}"))
            wanted[f"p{number:02}"] = f"nick {number}"
        define(do, NICKNAME)
        define(do, parameter("nick-url", "uri", f"Patient.extension('{NICK}').url"), "resource/2")
    for turn in range(3):
        kill_at(started(PROCESS, settings, 2))
        with Store.open(settings, keys, now) as store:
            do = lambda work: store.submit(work).result(120)  # noqa: E731
            assert not Catalog(store.engine).current().find("Patient", "nickname").is_ready
            put(do, patient(f"new{turn}", f"New {turn}"))
            put(do, patient(f"p{turn:02}", f"Again {turn}"))  # filled already
            put(do, patient(f"p{20 + turn}", f"Again {20 + turn}"))  # not yet
            do(lambda session, turn=turn: session.delete("Patient", f"p{10 + turn}", institution="s"))
            wanted |= {f"new{turn}": f"new {turn}", f"p{turn:02}": f"again {turn}"}
            wanted |= {f"p{20 + turn}": f"again {20 + turn}"}
            del wanted[f"p{10 + turn}"]
    both = [started(PROCESS, settings, 0) for _ in "12"]
    for each in both:
        out, _ = each.communicate(timeout=120)
        assert each.returncode == 0
        assert out.endswith("end\n")
    with Store.open(settings, keys, now) as store:
        assert all(one.is_ready for one in Catalog(store.engine).current().parameters)
        for id_, nick in wanted.items():
            assert id_ in found(store, nick)
        sql = (
            "SELECT r.id, i.value FROM idx_string i JOIN resource r ON r.rkey = i.rkey "
            f"WHERE i.param = {numbers(store)} ORDER BY 1"
        )
        with store.engine.connect() as connection:
            assert [tuple(row) for row in connection.execute(text(sql))] == sorted(wanted.items())
        assert len(found(store, NICK, "nick-url", "uri")) == len(wanted)


def test_writes_of_another_process_index_what_it_has_not_heard_of(settings, keys, clock) -> None:
    with Store.open(settings, keys, clock) as one, Store.open(settings, keys, clock) as two:
        put(lambda work: two.submit(work).result(120), patient("before", "Nick"))
        define(lambda work: one.submit(work).result(120), NICKNAME)
        put(lambda work: two.submit(work).result(120), patient("after", "Nick"))
        assert found(one, "nick") == ["after"]
        run(Filler(one, one._shared.indexer.id_hash))
        assert found(two, "nick") == ["after", "before"]


def test_a_lease_keeps_another_process_away_until_it_runs_out(store, do, clock) -> None:
    for number in range(5):
        put(do, patient(f"p{number}", "Nick"))
    define(do, NICKNAME)
    hash_ = store._shared.indexer.id_hash
    mine, other = (Filler(store, hash_, batch=2, lease_us=60_000_000) for _ in "12")
    assert mine.step()
    assert not other.step()
    clock.at_us += 120_000_000
    assert other.step()
    assert not mine.step()
    other.release()
    assert mine.step()
    assert not mine.step()
    assert found(store, "nick") == [f"p{number}" for number in range(5)]


def test_an_index_that_is_made_anew_is_filled_again(settings, keys, clock, monkeypatch) -> None:
    with Store.open(settings, keys, clock) as store:
        do = lambda work: store.submit(work).result(120)  # noqa: E731
        put(do, patient("p", "Nick"))
        define(do, NICKNAME)
        run(Filler(store, store._shared.indexer.id_hash))
        before = rows(store)
    monkeypatch.setattr(meta, "INDEX_VERSION", "next")
    with Store.open(settings, keys, clock) as store:
        assert not Catalog(store.engine).current().find("Patient", "nickname").is_ready
        run(Filler(store, store._shared.indexer.id_hash))
        assert Catalog(store.engine).current().find("Patient", "nickname").is_ready
        assert rows(store) == before


def test_what_fails_on_a_resource_keeps_nobody_from_storing_it(store, do, filler, monkeypatch) -> None:
    def failing(hash_):
        def string(item):
            if item == "Bad":
                raise TypeError
            return [(item, 0)]

        return {"string": string}

    put(do, patient("old", "Bad"))
    monkeypatch.setattr(custom, "emitters", failing)
    define(do, NICKNAME)
    put(do, patient("new", "Bad"))
    put(do, patient("good", "good"))
    run(filler)
    assert found(store, "good") == ["good"]
    assert len(rows(store)) == 1


def test_what_an_older_definition_left_is_removed_in_parts(store, do, filler, monkeypatch) -> None:
    monkeypatch.setattr(custom_fill, "_REMOVED_AT_ONCE", 2)
    for number in range(5):
        put(do, patient(f"p{number}", "Nick"))
    define(do, NICKNAME)
    run(filler)
    define(do, None)
    assert Catalog(store.engine).current().parameters == ()
    assert run(filler) == 3
    assert rows(store) == []


def test_of_references_too_all_rows_of_what_is_used_no_more_are_removed(
    store, do, filler, monkeypatch
) -> None:
    monkeypatch.setattr(custom_fill, "_REMOVED_AT_ONCE", 2)
    other = [{"other": {"reference": f"Patient/{name}"}, "type": "refer"} for name in "abc"]
    for number in range(2):
        put(do, {"resourceType": "Patient", "id": f"p{number}", "link": other})
    kept = sorted(rows(store, "idx_reference"))
    define(do, parameter("linked", "reference", "Patient.link.other"))
    run(filler)
    assert len(rows(store, "idx_reference")) == len(kept) + 6
    define(do, None)
    assert run(filler) == 4  # six rows two at a time, and once to see that there are no more
    assert sorted(rows(store, "idx_reference")) == kept


def test_numbers_do_not_meet_those_of_r4(store, do) -> None:
    """R4's have 31 bits (values.route_id)."""
    define(do, NICKNAME | {"base": ["Resource"], "expression": "Resource.id"})
    (made,) = Catalog(store.engine).current().parameters
    assert len(set(made.numbers())) == len(definitions.resource_types())
    assert min(made.numbers()) >= 1 << 31
    assert len(definitions.resource_types()) < 1024


@pytest.mark.parametrize(
    ("resource", "expression", "kind", "count"),
    [
        ({"name": [{"given": ["A", "B"]}]}, "Patient.name", "string", 2),
        ({"active": True}, "Patient.active", "token", 1),
        ({"birthDate": "1970"}, "Patient.birthDate", "date", 1),
        ({"multipleBirthInteger": 2}, "Patient.multipleBirth.as(integer)", "number", 1),
        ({"extension": [{"url": NICK, "valueMoney": {"value": 1, "currency": "EUR"}}]},
         "Patient.extension.value", "quantity", 1),
        ({"extension": [{"url": NICK, "valueCode": "a"}]}, "Patient.extension.value", "quantity", 0),
        ({"extension": [{"url": NICK, "valueUrl": "urn:a"}]}, "Patient.extension.value", "uri", 1),
        ({"link": [{"other": {"reference": "Patient/b"}, "type": "refer"}]}, "Patient.link.other", "reference", 1),
        ({"name": [{"text": "x"}]}, "Patient.name.exists()", "token", 1),
    ],
)  # fmt: skip
def test_each_kind_makes_rows_of_the_values_that_it_knows(
    store, do, resource, expression, kind, count
) -> None:
    define(do, parameter("it", kind, expression))
    put(do, {"resourceType": "Patient", "id": "p", **resource})
    assert len(rows(store, f"idx_{kind}")) == count
