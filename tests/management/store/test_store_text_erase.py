"""Words go with an erasure, in its own transaction, and their traces from the disk, whoever is killed meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import text, true

from hdg.management.store import Clause, SearchQuery, Store
from hdg.management.store.custom import TEXTS
from hdg.management.store.text_check import put_right
from hdg.management.store.text_erase import MARK, Sweep, is_guarded, unguard
from hdg.management.store.text_fill import TextFill
from hdg.management.store.text_words import symbols_of
from tests.management.store.hanging import kill_at, started

PROCESS = Path(__file__).with_name("text_sweep_process.py")
ERASE = (
    "UPDATE owner_key SET wrapped_kek = NULL, wrapped_private_key = NULL, destroyed_us = 1 WHERE owner = '{}'"
)
SECRET = "metastasierend"


def about(patient, id_, words=SECRET):
    return {
        "resourceType": "Basic",
        "id": id_,
        "code": {"text": words},
        "subject": {"reference": f"Patient/{patient}"},
    }


def write(store, patient, *ids, words=SECRET, owner=None):
    for id_ in ids:
        content = about(patient, id_, words)
        store.submit(
            lambda session, content=content: session.put(content, institution="s", patient=owner)
        ).result(120)


def erase(store, patient):
    store.submit(lambda session: session.connection.execute(text(ERASE.format(patient))) and None).result(120)


def filling(store):
    return TextFill(store, store._shared.indexer.id_hash, is_on=True)


def filled(store):
    made = filling(store)
    while made.step():
        pass
    return made


def rows(store):
    with store.engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM text_index")).scalar()


def found(store, word=SECRET):
    clauses = (Clause("_content", "text", "", (word,)),)
    return store.reader.search(SearchQuery("Basic", clauses, 50, custom=(TEXTS,)), true()).total


def mark(store):
    with store.engine.connect() as connection:
        return connection.execute(text("SELECT value FROM store_meta WHERE name = :n"), {"n": MARK}).scalar()


def traces(store):
    """Whether FTS5 still has SECRET among its segments (all but what other words may begin with, too)."""
    symbol = symbols_of(store._shared.indexer.id_hash)(SECRET).encode()
    with store.engine.connect() as connection:
        blocks = connection.execute(text("SELECT block FROM text_index_data")).scalars()
        return any(symbol[4:] in bytes(block) for block in blocks)


@pytest.fixture
def ward(store: Store) -> Store:
    filled(store)
    write(store, "p", "p1", "p2")
    write(store, "q", "q1", words="other words")
    return store


def test_words_are_gone_with_the_commit_of_the_erasure(ward) -> None:
    assert found(ward) == 2
    erase(ward, "p")
    assert found(ward) == 0
    assert rows(ward) == 1
    assert found(ward, "other") == 1


def test_an_erasure_that_is_not_committed_takes_nothing(ward) -> None:
    def work(session):
        session.connection.execute(text(ERASE.format("p")))
        raise ValueError

    with pytest.raises(ValueError):
        ward.submit(work).result(120)
    assert found(ward) == 2


def test_a_key_that_is_removed_takes_them_too(ward) -> None:
    ward.submit(
        lambda s: s.connection.execute(text("DELETE FROM owner_key WHERE owner = 'p'")) and None
    ).result(120)
    assert rows(ward) == 1


def test_what_lies_under_the_key_outside_the_compartment_is_found_by_the_sweep(ward) -> None:
    plain = {"resourceType": "Basic", "id": "doc", "code": {"text": SECRET}}
    ward.submit(lambda session: session.put(plain, institution="s", patient="p")).result(120)
    with ward.engine.connect() as connection:
        is_apart = text("SELECT count(*) FROM compartment c JOIN resource r USING (rkey) WHERE r.id = 'doc'")
        outside = connection.execute(is_apart).scalar() == 0
    erase(ward, "p")
    assert found(ward) == (1 if outside else 0)
    filled(ward)
    assert (rows(ward), mark(ward)) == (1, None)


def test_traces_leave_the_disk_and_other_words_stay(ward, settings) -> None:
    erase(ward, "p")
    is_sqlite = ward.engine.dialect.name == "sqlite"
    assert not is_sqlite or traces(ward)
    filled(ward)
    assert mark(ward) is None
    assert not is_sqlite or not traces(ward)
    assert (found(ward), found(ward, "other")) == (0, 1)
    write(ward, "q", "q2")
    assert found(ward) == 1


def test_what_was_read_before_an_erasure_is_not_written_after_it(store) -> None:
    write(store, "p", "p1", "p2")
    write(store, "q", "q1", words="other words")
    made = filling(store)
    before = made._write

    def late(session, *given):
        if any(version.id == "p1" for version in given[2]):
            session.connection.execute(text(ERASE.format("p")))
        before(session, *given)

    made._write = late
    while made.step():
        pass
    assert (rows(store), found(store)) == (1, 0)
    put_right(store, store._shared.indexer.id_hash)  # with the key that this process still remembers
    assert rows(store) == 1


def test_an_index_of_a_release_without_it_is_guarded_and_swept(ward, settings, keys, clock) -> None:
    ward.submit(lambda session: unguard(session.connection)).result(120)
    erase(ward, "p")
    assert rows(ward) == 3
    filled(ward)
    with ward.engine.connect() as connection:
        assert is_guarded(connection)
    assert rows(ward) == 1


def test_turned_off_nothing_is_left_of_it_and_an_erasure_goes_on(ward) -> None:
    off = TextFill(ward, ward._shared.indexer.id_hash, is_on=False)
    while off.step():
        pass
    erase(ward, "p")
    with ward.engine.connect() as connection:
        assert not is_guarded(connection)
    assert mark(ward) is None


def test_a_second_erasure_while_the_first_is_swept_is_not_forgotten(ward) -> None:
    erase(ward, "p")
    sweep = Sweep(ward)
    assert sweep.step()
    erase(ward, "q")
    while sweep.step():
        pass
    assert (rows(ward), mark(ward)) == (0, None)


def test_a_sweep_that_is_killed_is_done_by_the_next_process(settings, keys) -> None:
    def now():
        return time.time_ns() // 1000

    with Store.open(settings, keys, now) as store:
        filled(store)
        for number in range(6):
            plain = {"resourceType": "Basic", "id": f"d{number}", "code": {"text": SECRET}}
            store.submit(
                lambda session, plain=plain: session.put(plain, institution="s", patient="p")
            ).result(120)
        write(store, "q", "q1", words="other words")
        erase(store, "p")
        assert mark(store) is not None
    kill_at(started(PROCESS, settings))
    with Store.open(settings, keys, now) as store:
        assert mark(store) is not None
        filled(store)
        assert (rows(store), mark(store), found(store)) == (1, None, 0)
        assert store.engine.dialect.name != "sqlite" or not traces(store)
