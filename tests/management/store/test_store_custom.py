"""Search parameters beside R4's own: their rows while they are filled, when writes go on, after a crash; both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import text, true

from hdg.errors import ValidationFailed
from hdg.management.store import Clause, SearchQuery, Store
from hdg.management.store.custom import definition_of
from hdg.management.store.custom_fill import Filler
from hdg.management.store.custom_register import Catalog, save

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
