"""Connections that reads keep: what PostgreSQL has prepared for them stays, and a lost one is replaced."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, true

from hdg.errors import BadRequest
from hdg.management.store import Clause, SearchQuery, Store
from hdg.management.store.connections import BY_VALUES
from hdg.settings import Settings

END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ended'"
PATIENT = {"resourceType": "Patient", "id": "p1", "birthDate": "1970"}
BORN = SearchQuery("Patient", (Clause("birthdate", "date", "", ("1970",)),))


def opened(store: Store) -> list[object]:
    """What will name each connection that the store's readers open from now on."""
    found: list[object] = []
    event.listen(store.engine, "connect", lambda connection, _record: found.append(connection))
    return found


def test_searches_one_after_another_share_their_connections(store: Store) -> None:
    store.reader.search(BORN, true())
    connections = opened(store)
    for _ in range(5):
        store.reader.search(BORN, true())
    assert not connections


def test_a_search_that_is_refused_leaves_its_connection_for_the_next(store: Store) -> None:
    store.reader.search(BORN, true())
    connections = opened(store)
    for _ in range(3):
        with pytest.raises(BadRequest):
            store.reader.search(SearchQuery("Patient", (Clause("birthdate", "date", "", ("x",)),)), true())
    assert store.reader.search(BORN, true()).versions == ()
    assert not connections


def test_a_search_sees_what_was_committed_before_it(store: Store) -> None:
    assert store.reader.search(BORN, true()).total == 0
    store.submit(lambda session: session.put(PATIENT, institution="s")).result()
    assert store.reader.search(BORN, true()).total == 1


def test_postgresql_keeps_what_it_prepared_for_searches(postgres_uri: str, keys, tmp_path: Path) -> None:
    with _store_of(postgres_uri, keys, tmp_path) as store:

        def prepared(connection) -> int:
            query = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%idx_date%%'"
            return int(connection.exec_driver_sql(query).scalar())

        for _ in range(12):
            store.reader.search(BORN, true())
        assert store.reader._connections.once(prepared, BY_VALUES) >= 1


def test_a_search_is_answered_although_its_connection_was_lost(
    postgres_uri: str, keys, tmp_path: Path
) -> None:
    with _store_of(postgres_uri, keys, tmp_path) as store:
        store.submit(lambda session: session.put(PATIENT, institution="s")).result()
        assert store.reader.search(BORN, true()).total == 1
        with psycopg.connect(postgres_uri, autocommit=True) as connection:
            connection.execute(END)
        assert store.reader.search(BORN, true()).total == 1


def _store_of(postgres_uri: str, keys, folder: Path) -> Store:
    with psycopg.connect(postgres_uri, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS ended WITH (FORCE)")
        connection.execute("CREATE DATABASE ended")
    url = postgres_uri.replace("/postgres?", "/ended?").replace("postgresql://", "postgresql+psycopg://")
    return Store.open(Settings(data=folder, database_url=url), keys, lambda: 1_780_000_000_000_000)
