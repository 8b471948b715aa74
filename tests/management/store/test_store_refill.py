"""An index of other rules is made anew while the store is in use: nothing wrong is answered, nothing is lost; on both
databases (DESIGN §6).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text, true

from hdg.errors import IndexIncomplete
from hdg.management.consent import resource as consents
from hdg.management.store import Clause, SearchQuery, Store, meta
from hdg.management.store.custom_fill import Filler
from hdg.management.store.everything import Everything
from hdg.management.store.index_state import mark_of
from hdg.management.store.refill import Refill
from hdg.management.store.search import Include, Sort
from tests.management.store.hanging import kill_at, started
from tests.management.store.test_store_reindexing import change, filled, observation, over, put, rows
from tests.management.store.test_store_schema import derived

__all__ = ["filled"]
CODE = Clause("code", "token", "", ("urn:s|3",))
ID = Clause("_id", "token", "", ("o3",))
BY_CODE = SearchQuery("Observation", (CODE,))
DAMAGE = (
    "DELETE FROM compartment WHERE rkey <> 2",
    "UPDATE resource SET patients = 0, patient = NULL WHERE rkey > 2",
    "DELETE FROM consent_rule",
)


@pytest.fixture
def anew(monkeypatch):
    """From now on a store that is opened has other rules, and is not small."""

    def begin():
        monkeypatch.setattr(meta, "AT_ONCE", 0)
        monkeypatch.setattr(meta, "INDEX_VERSION", "next")

    return begin


def run(store, window=2):
    refill = Refill(store, store._shared.indexer, window=window)
    steps = 0
    while refill.step():
        steps += 1
    filler = Filler(store, store._shared.indexer.id_hash)
    while filler.step():
        pass
    return steps


def found(store, query):
    return sorted(version.id for version in store.reader.search(query, true()).versions)


def prepared(store):
    grant = consents.grant("p", ["Organization/x"], [], [], from_us=0, until_us=1)
    store.submit(lambda s: s.put(grant | {"id": "c"}, institution="s", patient="p")).result(120)
    put(store, observation("o1", "changed"))
    return rows(store), derived(store)


def test_it_is_the_same_in_the_end_as_if_it_had_been_made_so_from_the_start(
    filled, settings, keys, clock, anew
) -> None:
    before = prepared(filled)
    change(filled, *DAMAGE)
    filled.close()
    anew()
    with Store.open(settings, keys, clock) as store:
        assert derived(store)[3] == before[1][3]  # consents speak at once
        assert not any(rows(store).values())
        assert run(store) == 5
        assert (rows(store), derived(store)) == before
        assert over(store).verify().is_equal
        assert found(store, BY_CODE) == ["o3"]
    with Store.open(settings, keys, clock) as store:
        assert run(store) == 0
        assert found(store, BY_CODE) == ["o3"]


def test_until_then_what_needs_the_index_is_refused_and_the_rest_answered(
    filled, settings, keys, clock, anew
) -> None:
    filled.close()
    anew()
    with Store.open(settings, keys, clock) as store:
        refill = Refill(store, store._shared.indexer, window=2)
        told = []
        while refill.step():
            for query in (
                BY_CODE,
                SearchQuery("Observation", (ID, CODE)),
                SearchQuery("Observation", sort=(Sort("date", "date"),)),
                SearchQuery("Observation", includes=(Include("Observation", "subject"),)),
                SearchQuery("Observation", compartment="Patient/p"),
            ):
                if told and told[-1] is None:
                    break
                try:
                    store.reader.search(query, true())
                    told.append(None)
                except IndexIncomplete as error:
                    told.append(error.done)
            assert found(store, SearchQuery("Observation", (ID,))) == ["o3"]
            assert len(found(store, SearchQuery("Observation", sort=(Sort("_lastUpdated"),)))) == 6
            assert store.reader.read("Observation", "o3", true()) is not None
            if told[-1] is not None:
                with pytest.raises(IndexIncomplete):
                    store.reader.everything(Everything("Patient", "p"), true())
        assert told[-1] is None
        assert told[:-1] == sorted(told[:-1])
        assert 0 < told[0] < 100


def test_what_is_written_meanwhile_is_neither_lost_nor_doubled(
    filled, settings, keys, clock, anew, monkeypatch
) -> None:
    prepared(filled)
    filled.close()
    anew()
    with Store.open(settings, keys, clock) as store:
        refill = Refill(store, store._shared.indexer, window=2)
        read, number = refill._last, 0

        def changing(connection, mark):
            last = read(connection, mark)
            if number < 8 and number % 2 == 0:  # the window is being read
                put(store, observation(f"o{number % 6}", f"meanwhile{number}"), observation(f"n{number}"))
            return last

        monkeypatch.setattr(refill, "_last", changing)
        while refill.step():
            number += 1
            if number == 3:
                store.submit(lambda s: s.delete("Observation", "o5", institution="s")).result(120)
        run(store)
        assert over(store).verify().is_equal
        assert found(store, SearchQuery("Observation", (Clause("code", "token", "", ("meanwhile4",)),))) == [
            "o4"
        ]


def test_another_work_of_the_same_transaction_is_not_interfered_with(
    filled, settings, keys, clock, anew
) -> None:
    filled.close()
    anew()
    with Store.open(settings, keys, clock) as store:
        refill = Refill(store, store._shared.indexer, window=3)
        with store.engine.connect() as connection:
            mark = mark_of(connection)
            pages = list(store.reader.derived(connection, store._shared.indexer, 0, 3))

        def both(session):
            session.put(observation("o1", "first"), institution="s")
            refill._write(session, mark, [made for page in pages for made in page], 3)

        store.submit(both).result(120)
        with store.engine.connect() as connection:
            assert mark_of(connection) == mark  # it was left for the next step
        run(store)
        assert over(store).verify().is_equal


def test_two_at_it_do_it_once(filled, settings, keys, clock, anew) -> None:
    before = prepared(filled)
    filled.close()
    anew()
    with Store.open(settings, keys, clock) as store, Store.open(settings, keys, clock) as other:
        one = Refill(store, store._shared.indexer, window=2)
        two = Refill(other, other._shared.indexer, window=2)
        while one.step() and two.step():
            pass
        run(store)
        assert (rows(store), derived(store)) == before
        assert found(other, BY_CODE) == ["o3"]


def test_rules_that_change_once_more_begin_it_anew(filled, settings, keys, clock, anew, monkeypatch) -> None:
    filled.close()
    anew()
    with Store.open(settings, keys, clock) as store:
        refill = Refill(store, store._shared.indexer, window=2)
        refill.step()
        refill.step()
    monkeypatch.setattr(meta, "INDEX_VERSION", "the one after")
    with Store.open(settings, keys, clock) as store:
        with store.engine.connect() as connection:
            mark = mark_of(connection)
        assert mark is not None
        assert mark.position == 0
        run(store)
        assert over(store).verify().is_equal


PROCESS = Path(__file__).with_name("refill_process.py")


@pytest.mark.parametrize("windows", [0, 2])
def test_it_goes_on_where_it_was_after_a_kill(filled, settings, keys, clock, anew, windows) -> None:
    before = prepared(filled)
    change(filled, *DAMAGE)
    filled.close()
    kill_at(started(PROCESS, settings, windows), "hangs" if windows else "1")
    anew()
    with Store.open(settings, keys, clock) as store:
        with store.engine.connect() as connection:
            mark = mark_of(connection)
        if windows:
            assert mark is not None
            assert mark.position == 4  # two windows, and not the one that was open
        if mark is not None:
            with pytest.raises(IndexIncomplete):
                store.reader.search(BY_CODE, true())
        run(store)
        assert (rows(store), derived(store)) == before
        assert found(store, BY_CODE) == ["o3"]


def test_a_body_that_does_not_open_keeps_nothing_from_its_end(filled, settings, keys, clock, anew) -> None:
    change(filled, "UPDATE version SET body = '' WHERE rkey = 3")
    filled.close()
    anew()
    with Store.open(settings, keys, clock) as store:
        run(store)
        assert found(store, BY_CODE) == ["o3"]
        with store.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM compartment WHERE rkey = 3")).scalar() == 1


def test_other_rules_about_consents_are_made_anew_at_start(
    filled, settings, keys, clock, monkeypatch
) -> None:
    before = prepared(filled)
    gone = consents.grant("p", ["Organization/x"], [], [], from_us=0, until_us=1) | {"id": "gone"}
    filled.submit(lambda s: s.put(gone, institution="s", patient="p")).result(120)
    filled.submit(lambda s: s.delete("Consent", "gone", institution="s")).result(120)
    change(filled, "UPDATE consent_rule SET kind = 'root-permit', end_us = 9")
    assert derived(filled)[3] != before[1][3]
    filled.close()
    with Store.open(settings, keys, clock) as store:
        assert derived(store)[3] != before[1][3]
    monkeypatch.setattr(meta, "RULES_VERSION", "next")
    with Store.open(settings, keys, clock) as store:
        assert derived(store)[3] == before[1][3]
        assert found(store, BY_CODE) == ["o3"]  # the index was not touched
    with Store.open(settings, keys, clock) as store:
        change(store, "DELETE FROM consent_rule")
    with Store.open(settings, keys, clock) as store:
        assert derived(store)[3] == []
