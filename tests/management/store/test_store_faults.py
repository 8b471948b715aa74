"""The store when its database goes away, its clock is set back, or another process writes beside it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select, text, true

from hdg.errors import SettingsError
from hdg.management.keys import KeyRing
from hdg.management.store import Store, schema
from hdg.management.store.batch import table_of
from hdg.management.store.stale import Stamp
from hdg.management.store.writer import NotCommitted, RowsRefused
from hdg.settings import Settings

END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'lost'"
START_US = 1_780_000_000_000_000
HOUR_US = 3_600_000_000
PATIENT = {"resourceType": "Patient", "id": "p1", "birthDate": "1970"}


@pytest.fixture
def own_database(postgres_uri: str, tmp_path: Path) -> tuple[Settings, str]:
    """A database of its own, whose connections may be ended; its settings and URI."""
    with psycopg.connect(postgres_uri, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS lost")
        connection.execute("CREATE DATABASE lost")
    uri = postgres_uri.replace("/postgres?", "/lost?")
    assert uri != postgres_uri
    url = uri.replace("postgresql://", "postgresql+psycopg://")
    return Settings(data=tmp_path, database_url=url), postgres_uri


def test_reads_and_writes_go_on_after_the_database_ended_every_connection(own_database, keys) -> None:
    settings, uri = own_database
    with Store.open(settings, keys, lambda: START_US) as store:
        store.submit(lambda s: s.put(PATIENT, institution="s")).result()
        assert store.reader.read("Patient", "p1", true()) is not None
        assert len(store.reader.history("Patient", "p1", true()).versions) == 1
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute(END)
        assert store.reader.read("Patient", "p1", true()) is not None
        assert len(store.reader.history("Patient", "p1", true()).versions) == 1
        changed = {**PATIENT, "birthDate": "1971"}
        with pytest.raises(NotCommitted):
            store.submit(lambda s: s.put(changed, institution="s")).result()
        assert store.submit(lambda s: s.put(changed, institution="s")).result().version == 2


def test_versions_stay_in_order_when_the_clock_is_set_back_between_two_starts(settings, keys) -> None:
    times = []
    for number, at_us in enumerate((START_US, START_US - HOUR_US, START_US - 2 * HOUR_US)):
        with Store.open(settings, keys, lambda at_us=at_us: at_us) as store:
            assert store.now_us() >= START_US or not times
            changed = {**PATIENT, "birthDate": str(1970 + number)}
            store.submit(lambda s, r=changed: s.put(r, institution="s")).result()
            times += [v.updated_us for v in store.reader.history("Patient", "p1", true()).versions[:1]]
    assert times == sorted(set(times))


def test_what_another_process_noted_at_the_same_version_is_not_overlooked(settings, keys) -> None:
    def state(sender: str, at: int, year: str = "1970"):
        resource = {**PATIENT, "birthDate": year}
        stamp = Stamp(START_US + at, START_US + at)
        return lambda s: s.statement(resource, sender=sender, institution="s", patient="p1", stamp=stamp)

    other = {"resourceType": "Patient", "id": "p2"}
    with (
        Store.open(settings, keys, lambda: START_US) as here,
        Store.open(settings, keys, lambda: START_US) as there,
    ):
        here.submit(state("A", 1)).result()
        there.submit(state("B", 5)).result()  # the same again, later: no new version, but it was said
        there.submit(lambda s: s.put(other, institution="s")).result()
        assert not here.submit(state("A", 3, "1999")).result().is_changed  # older than what B said


def test_a_row_that_the_database_refuses_is_told_from_a_database_that_is_not_there(settings, keys) -> None:
    def refused(session) -> None:
        session.change_later("UPDATE store_meta SET value = NULL WHERE 1 = ?", (1,))

    with Store.open(settings, keys, lambda: START_US) as store, pytest.raises(RowsRefused):
        store.submit(refused).result()


@pytest.mark.parametrize("count", [1, 9, 70, 200])
def test_of_many_rows_whose_last_is_refused_none_stays_and_the_others_of_the_group_are_kept(
    settings, keys, count
) -> None:
    """SQLite inserts them with OR FAIL, which leaves the rows before it (lang_conflict.html) to the transaction."""
    held = threading.Event()
    meta = table_of(schema.StoreMeta)

    def refused(session) -> None:
        session.put({"resourceType": "Basic", "id": "bad", "code": {"text": "x"}}, institution="s")
        for number in range(count):
            session.insert_later(meta, (f"row{number}", "x"))
        session.insert_later(meta, ("row0", "again"))

    with Store.open(settings, keys, lambda: START_US) as store:
        store.submit(lambda _: held.wait(120))
        futures = [store.submit(lambda s: s.put(PATIENT, institution="s"))]
        futures.append(store.submit(refused))
        held.set()
        assert futures[0].result(120).version == 1
        with pytest.raises(RowsRefused):
            futures[1].result(120)
        with store.engine.connect() as connection:
            assert connection.execute(select(meta).where(meta.c.name.startswith("row"))).all() == []
            assert connection.scalars(text("SELECT id FROM version")).all() == ["p1"]


def test_a_first_start_that_was_killed_while_it_made_the_keys_is_finished_by_the_next(tmp_path) -> None:
    first = KeyRing.open(tmp_path / "keys")
    (tmp_path / "keys" / "operator.key").rename(tmp_path / "keys" / "operator.key.new")
    assert KeyRing.open(tmp_path / "keys").operator_credential == first.operator_credential
    assert not list((tmp_path / "keys").glob("*.new"))
    (tmp_path / "keys" / "operator.key").unlink()
    with pytest.raises(SettingsError, match=r"operator\.key"):
        KeyRing.open(tmp_path / "keys")


def test_a_database_that_stays_away_is_logged_once_a_second(own_database, keys, caplog) -> None:
    settings, uri = own_database
    with Store.open(settings, keys, lambda: START_US) as store, caplog.at_level(logging.ERROR):
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("ALTER DATABASE lost ALLOW_CONNECTIONS false")
            connection.execute(END)
            for _ in range(20):
                with pytest.raises(NotCommitted):
                    store.submit(lambda s: s.put(PATIENT, institution="s")).result()
            connection.execute("ALTER DATABASE lost ALLOW_CONNECTIONS true")
        assert store.submit(lambda s: s.put(PATIENT, institution="s")).result().is_created
    assert len([m for m in caplog.messages if "not committed" in m]) <= 3
