"""The write-ahead log is copied beside the writer, begins anew, and nothing rests on it (SQLite wal.html#ckpt)."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from hdg.management.store import Store, backfill
from hdg.settings import Settings


@pytest.fixture
def sqlite(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


def write(store: Store, first: int, count: int) -> None:
    """``count`` commits of one Basic of 20 KB each."""
    for number in range(first, first + count):
        text = f"{number} " + "x" * 20_000
        basic = {"resourceType": "Basic", "id": f"b{number}", "code": {"text": text}}
        store.submit(lambda session, basic=basic: session.put(basic, institution="s")).result(20)


def log_bytes(settings: Settings) -> int:
    return (settings.data / "hdg.db-wal").stat().st_size


def rows(settings: Settings) -> int:
    with closing(sqlite3.connect(settings.data / "hdg.db")) as database:
        return int(database.execute("SELECT count(*) FROM version").fetchone()[0])


def grown(settings: Settings, keys, clock) -> int:
    """How long the log becomes by 120 commits."""
    with Store.open(settings, keys, clock) as store:
        for first in range(0, 120, 10):
            write(store, first, 10)
            time.sleep(0.002)  # time for the thread, on a busy machine
        return log_bytes(settings)


def test_the_log_begins_anew_long_before_sqlites_own_checkpoint(sqlite, keys, clock, monkeypatch) -> None:
    monkeypatch.setattr(backfill, "LEAVES", 20)
    assert grown(sqlite, keys, clock) < 3_500_000  # of some 6 MB
    assert rows(sqlite) == 120


def test_what_the_thread_cannot_do_fails_no_write(sqlite, keys, clock, monkeypatch, caplog) -> None:
    monkeypatch.setattr(backfill, "LEAVES", 20)
    monkeypatch.setattr(backfill, "_COPY", "PRAGMA no such")
    grown(sqlite, keys, clock)
    assert rows(sqlite) == 120
    assert "the write-ahead log could not be copied: OperationalError" in caplog.text


def test_a_thread_without_a_connection_fails_no_write(sqlite, keys, clock, monkeypatch, caplog) -> None:
    monkeypatch.setattr(backfill, "LEAVES", 20)

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    with Store.open(sqlite, keys, clock) as store:
        monkeypatch.setattr(store.engine, "connect", refuse)
        write(store, 0, 60)
    assert rows(sqlite) == 60
    assert "is not copied beside the writer: OperationalError" in caplog.text


def test_a_store_that_was_never_written_to_closes_at_once(sqlite, keys, clock) -> None:
    Store.open(sqlite, keys, clock).close()
