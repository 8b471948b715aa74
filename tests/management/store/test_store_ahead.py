"""Works that tell what they will look up: the same outcome, in fewer questions; rows as arrays say what they said."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future
from typing import Any

import psycopg
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as hypothesis_settings

from hdg.errors import HdgError
from hdg.management.audit import AuditEventRow
from hdg.management.store import InboxRow, Store, WriteSession, schema
from hdg.management.store.ahead import Expected, Planned
from hdg.management.store.batch import table_of
from hdg.management.store.engine import RowsRefused
from hdg.management.store.prepared import Prepared
from hdg.management.store.unit import inbox_key
from hdg.management.store.versions import current

AUDIT = AuditEventRow.__table__
LONG = "x" * 300
"""A control id that the inbox keeps by its digest."""


def basic(id_: str, text: str = "x") -> dict[str, Any]:
    return {"resourceType": "Basic", "id": id_, "code": {"text": text}}


def together(store: Store, works: list[Any]) -> list[Future[Any]]:
    """Submits all works so that they share a transaction."""
    held = threading.Event()
    store.submit(lambda _: held.wait(120))
    futures = [store.submit(work) for work in works]
    held.set()
    for future in futures:
        future.exception(20)
    return futures


def asks(control: str, keys: list[tuple[str, str]]) -> Planned[Any]:
    """A message's work: whether it came before, else what is stored under ``keys``, which it then writes."""

    def work(session: WriteSession) -> Any:
        known = session.inbox_find("A|B", control)
        if known is not None:
            return known.ack
        session.prefetch(keys)
        found = [session.current(*key) for key in keys]
        for _, id_ in keys:
            session.put(basic(id_, control[:5]), institution="s")
        session.inbox_add(InboxRow("A|B", control, "00", "accepted", session.at_us, "", b"ACK"))
        return [None if each is None else each["code"]["text"] for each in found]

    return Planned(work, Expected(keys, [inbox_key("A|B", control)]))


@pytest.mark.parametrize("is_told", [True, False])
def test_works_see_what_is_stored_and_what_the_group_wrote_before_them(store: Store, is_told: bool) -> None:
    store.submit(lambda s: s.put(basic("b1", "old"), institution="s")).result(120)
    works: list[Any] = [
        asks("m1", [("Basic", "b1"), ("Basic", "b2")]),
        asks("m2", [("Basic", "b2"), ("Basic", "b3")]),
        asks("m1", [("Basic", "b9")]),
        asks(LONG, [("Basic", "b1")]),
    ]
    works += [asks(LONG, [])]
    if not is_told:
        works = [work.work for work in works]
    found = [future.result(120) for future in together(store, works)]
    assert found == [["old", None], ["m1", None], b"ACK", ["m1"], b"ACK"]
    assert store.submit(works[0]).result(120) == b"ACK"
    assert store.reader.read("Basic", "b9", sqlalchemy.true()) is None


def test_what_does_not_open_fails_the_work_that_needs_it_and_no_other(store: Store) -> None:
    for id_ in ("good", "bad"):
        store.submit(lambda s, id_=id_: s.put(basic(id_), institution="s")).result(120)
    spoil = "UPDATE version SET body = ? WHERE rkey = (SELECT rkey FROM resource WHERE id = ?)"
    store.submit(lambda s: s.change_later(spoil, (b"\x01" * 200, "bad"))).result(120)
    store.submit(lambda s: s.forget()).result(120)
    good, bad = together(store, [asks("m1", [("Basic", "good")]), asks("m2", [("Basic", "bad")])])
    assert good.result(120) == ["x"]
    with pytest.raises(HdgError, match="does not open"):
        bad.result(120)


def test_a_question_that_the_database_refuses_fails_its_work_alone(store: Store) -> None:
    if store.engine.dialect.name != "postgresql":
        return  # nothing is asked beforehand there
    refused = asks("m2", [("Basic", "no\0text")])
    good, bad = together(store, [asks("m1", [("Basic", "good")]), refused])
    assert good.result(120) == [None]
    with pytest.raises(RowsRefused):
        bad.result(120)


def test_an_id_drawn_at_random_is_not_looked_up_and_never_overwrites(store: Store) -> None:
    def create(session: WriteSession) -> None:
        session.expect_none("Basic", "drawn")
        session.put(basic("drawn", "second"), institution="s")

    store.submit(lambda s: s.put(basic("drawn", "first"), institution="s")).result(120)
    store.submit(lambda s: s.forget()).result(120)
    with pytest.raises(RowsRefused):
        store.submit(create).result(120)
    read = store.reader.read("Basic", "drawn", sqlalchemy.true())
    assert read is not None
    assert b"first" in store.reader.body(read)


def test_a_group_on_postgresql_asks_no_more_than_one_message_does(store: Store, monkeypatch) -> None:
    if store.engine.dialect.name != "postgresql":
        return
    asked: Counter[str] = Counter()
    execute = psycopg.Cursor.execute

    def counted(self: Any, query: Any, *given: Any, **more: Any) -> Any:
        if threading.current_thread().name == "hdg-writer":
            asked[str(query)] += 1
        return execute(self, query, *given, **more)

    def run(group: str, messages: int) -> int:
        works = [
            asks(f"{group}{n}", [("Basic", f"{group}{n}-{k}") for k in range(4)]) for n in range(messages)
        ]
        asked.clear()
        for future in together(store, works):
            future.result(120)
        return asked.total()

    run("warm", 1)  # makes the institution's keys
    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    assert run("b", 12) == run("c", 1)


def test_a_place_is_looked_up_once_for_all_that_ask_for_it(store: Store) -> None:
    if store.engine.dialect.name != "postgresql":
        return
    store.submit(lambda s: s.put(basic("b1"), institution="s")).result(120)
    visible = Prepared(current(), sqlalchemy.true(), store.engine.dialect)
    expected = Expected(places=[(visible, "Basic", "b1"), (visible, "Basic", "none")])
    known = store.submit(Planned(lambda s: s.ahead.places, expected)).result(120)
    assert known[visible, "Basic", "b1"][2] == "b1"
    assert known[visible, "Basic", "none"] is None


ANY_TEXT = strategies.text(
    strategies.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | strategies.sampled_from('"\\{},\n\tNUL')
)


@hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(strategies.lists(strategies.tuples(ANY_TEXT, ANY_TEXT, strategies.binary(max_size=40)), max_size=6))
def test_any_text_and_any_bytes_are_stored_as_they_are(store: Store, rows) -> None:
    def work(session: WriteSession) -> None:
        session.change_later("DELETE FROM audit_event WHERE 1 = ?", (1,))

    def fill(session: WriteSession) -> None:
        for number, (patient, agent, body) in enumerate(rows):
            session.insert_later(AUDIT, (f"e{number}", -number, patient, agent, body))

    store.submit(work).result(120)
    store.submit(fill).result(120)
    with store.engine.connect() as connection:
        found = connection.execute(sqlalchemy.select(AUDIT).order_by(AUDIT.c.id)).all()
    assert [(row.patient, row.agent, bytes(row.body)) for row in found] == rows
    assert [row.at_us for row in found] == [-number for number in range(len(rows))]


def test_every_kind_of_value_is_stored_as_it_is(store: Store) -> None:
    number, quantity, resource = (
        table_of(each) for each in (schema.IdxNumber, schema.IdxQuantity, schema.Resource)
    )
    values = [0.1, 1e-300, 1.7976931348623157e308, 5e-324, 123456789.123456789, 1 / 3]
    big = [2**63 - 1, -(2**63), 0, -1]

    def work(session: WriteSession) -> None:
        for value in values:
            session.insert_later(number, (1, value, value, 7))
        for each in big:
            session.insert_later(quantity, (1, 0.5, 0.5, each, each, 7))
        for rkey, (is_deleted, patient, hash_) in enumerate([(True, None, None), (False, "p", -5)], 900):
            row = (rkey, "Basic", f"i{rkey}", 1, 2, "s", is_deleted, patient, 0, hash_)
            session.insert_later(resource, row)

    store.submit(work).result(120)
    with store.engine.connect() as connection:
        stored = connection.execute(sqlalchemy.select(number.c.value)).scalars().all()
        codes = connection.execute(sqlalchemy.select(quantity.c.code)).scalars().all()
        query = sqlalchemy.select(resource.c.deleted, resource.c.patient, resource.c.id_hash)
        rows = connection.execute(query.where(resource.c.rkey >= 900).order_by(resource.c.rkey)).all()
    assert sorted(map(repr, stored)) == sorted(map(repr, values))
    assert sorted(codes) == sorted(big)
    assert [tuple(row) for row in rows] == [(True, None, None), (False, "p", -5)]
