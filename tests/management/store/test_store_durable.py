"""What must hold when things break.

Kill -9 in mid-write, a full disk, a locked or lost database, back-pressure.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, text, true

from hdg.management.keys import KeyRing
from hdg.management.ledger.verify import Trust, verify
from hdg.management.store import Store
from hdg.management.store import writer as writer_module
from hdg.management.store.writer import NotCommitted
from hdg.settings import Settings

WRITER = Path(__file__).with_name("store_writer_process.py")
OBSERVATIONS = 3
TRUE = true()


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


def killed(folder: Path, first: int, after_s: float) -> list[int]:
    """Runs the writer, kills it ``after_s`` seconds after its first acknowledgement.

    What it had acknowledged.
    """
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(folder), str(first)], stdout=subprocess.PIPE, text=True
    )
    lines = [process.stdout.readline(), process.stdout.readline()]
    time.sleep(after_s)
    process.kill()
    rest, _ = process.communicate(timeout=120)
    lines += rest.splitlines()
    return [int(line) for line in lines if line.strip().isdigit()]


def test_kill_9_leaves_whole_units_and_every_acknowledged_one(tmp_path: Path, keys: KeyRing, clock) -> None:
    dice = random.Random(9)
    settings = Settings(data=tmp_path, inline_blob_bytes=2000)
    acknowledged: list[int] = []
    for turn in range(3):
        acknowledged += killed(tmp_path, turn * 100_000, dice.uniform(0.02, 0.3))
        with Store.open(settings, keys, clock) as store:
            with store.engine.connect() as connection:
                counted = {
                    table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                    for table in ("version", "ledger_leaf", "resource", "inbox", "blob")
                }
                numbers = [int(n) for n in connection.execute(text("SELECT control_id FROM inbox")).scalars()]
                cids = connection.execute(text("SELECT cid FROM blob")).scalars().all()
                head = store.log.checkpoint(connection)
            units = len(numbers)
            assert len(set(numbers)) == units
            assert set(acknowledged) <= set(numbers)
            assert counted["blob"] == units
            assert (
                counted["version"]
                == counted["resource"]
                == counted["ledger_leaf"]
                == units * (1 + OBSERVATIONS)
            )
            assert head.size == counted["ledger_leaf"]
            for number in dice.sample(numbers, min(10, len(numbers))):
                for id_ in [f"o{number}-{n}" for n in range(OBSERVATIONS)]:
                    assert store.reader.body(store.reader.read("Observation", id_, TRUE))
            for cid in dice.sample(cids, min(20, len(cids))):
                assert store.reader.blob(cid).startswith(b"raw")

            def opened(version):
                found = store.reader.opened(version)
                return found.salt, found.body

            with store.engine.connect() as connection:
                trust = Trust(settings.log_origin, store.log.public_key)
                assert verify(connection, trust, opened).findings == ()
    with sqlite3.connect(tmp_path / "hdg.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def many_patients(session, prefix: str, count: int = 200) -> int:
    for number in range(count):
        session.put(
            {"resourceType": "Patient", "id": f"{prefix}{number}", "name": [{"text": "x" * 500}]},
            institution="s",
        )
    return count


def test_a_full_disk_fails_the_whole_group_and_the_writer_goes_on_when_there_is_room(
    sqlite_settings: Settings, keys: KeyRing, clock
) -> None:
    with Store.open(sqlite_settings, keys, clock) as store:
        pages = store.submit(lambda s: s.connection.exec_driver_sql("PRAGMA page_count").scalar_one()).result(
            20
        )
        is_full = threading.Event()
        is_full.set()

        @event.listens_for(store._writer_engine, "connect")
        def limit(connection, _record) -> None:
            if is_full.is_set():
                connection.execute(f"PRAGMA max_page_count = {pages + 10}")

        store.submit(lambda s: s.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 10}")).result(
            20
        )
        gate = threading.Event()
        store.submit(lambda s: gate.wait(120))
        group = [store.submit(lambda s, p=p: many_patients(s, p)) for p in "ab"]
        small = store.submit(lambda s: s.put({"resourceType": "Patient", "id": "small"}, institution="s"))
        gate.set()
        for future in (*group, small):
            with pytest.raises(NotCommitted, match="could not commit"):
                future.result(120)
        with pytest.raises(NotCommitted):
            store.submit(lambda s: many_patients(s, "c")).result(120)
        assert store.reader.read("Patient", "small", TRUE) is None
        is_full.clear()
        store.submit(lambda s: many_patients(s, "force a new connection", 5000)).exception(120)
        assert store.submit(lambda s: many_patients(s, "d")).result(120) == 200
        assert store.reader.read("Patient", "d199", TRUE).version == 1
        assert store.reader.read("Patient", "a0", TRUE) is None
        with store.engine.connect() as connection:
            leaves = connection.execute(text("SELECT count(*) FROM ledger_leaf")).scalar_one()
            versions = connection.execute(text("SELECT count(*) FROM version")).scalar_one()
            owners = connection.execute(text("SELECT count(*) FROM owner_key")).scalar_one()
        assert leaves == versions == owners


def test_a_locked_database_fails_loudly_and_the_writer_survives(
    sqlite_settings: Settings, keys: KeyRing, clock
) -> None:
    with Store.open(sqlite_settings, keys, clock) as store:
        store.submit(lambda s: s.connection.exec_driver_sql("PRAGMA busy_timeout = 50")).result(120)
        other = create_engine(f"sqlite:///{sqlite_settings.data / 'hdg.db'}")
        with other.connect() as connection:
            connection.connection.driver_connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(NotCommitted, match="OperationalError"):
                store.submit(lambda s: s.put({"resourceType": "Basic", "id": "x"}, institution="s")).result(
                    20
                )
            connection.connection.driver_connection.rollback()
        other.dispose()
        assert store.submit(lambda s: s.put({"resourceType": "Basic", "id": "x"}, institution="s")).result(
            120
        )


def test_a_lost_connection_fails_its_group_and_the_next_one_works(store: Store) -> None:
    def lose(session):
        session.put({"resourceType": "Basic", "id": "lost"}, institution="s")
        session.connection.connection.driver_connection.close()

    with pytest.raises(NotCommitted):
        store.submit(lose).result(120)
    assert store.submit(lambda s: s.put({"resourceType": "Basic", "id": "next"}, institution="s")).result(120)
    assert store.reader.read("Basic", "lost", TRUE) is None


def test_a_commit_that_fails_is_told_to_every_work(store: Store, monkeypatch) -> None:
    def broken(*_):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(store.log, "append", broken)
        with pytest.raises(NotCommitted, match="OSError"):
            store.submit(lambda s: s.put({"resourceType": "Basic", "id": "x"}, institution="s")).result(120)
    made = store.submit(lambda s: s.put({"resourceType": "Basic", "id": "x"}, institution="s")).result(120)
    assert (made.version, made.is_created) == (1, True)


def test_a_full_queue_pushes_back(sqlite_settings: Settings, keys: KeyRing, clock, monkeypatch) -> None:
    monkeypatch.setattr(writer_module, "QUEUE_MAX", 2)
    with Store.open(sqlite_settings, keys, clock) as store:
        gate, started = threading.Event(), threading.Event()
        first = store.submit(lambda s: (started.set(), gate.wait(120)))
        started.wait(120)
        queued = [store.submit(lambda s: None) for _ in range(2)]
        for wait_s in (0, 0.05):
            with pytest.raises(NotCommitted, match="too much"):
                store.submit(lambda s: None, wait_s=wait_s)

        async def several() -> list[int]:
            works = [store.perform(lambda s, n=n: n) for n in range(10)]
            asyncio.get_running_loop().call_later(0.05, gate.set)
            return await asyncio.gather(*works)

        assert asyncio.run(several()) == list(range(10))
        assert [future.result(120) for future in (first, *queued)][1:] == [None, None]


def test_works_that_queue_up_share_a_commit(sqlite_settings: Settings, keys: KeyRing, clock) -> None:
    with Store.open(sqlite_settings, keys, clock) as store:
        gate = threading.Event()
        store.submit(lambda s: gate.wait(120))
        futures = [
            store.submit(lambda s, n=n: s.put({"resourceType": "Basic", "id": f"b{n}"}, institution="s"))
            for n in range(100)
        ]
        gate.set()
        for future in futures:
            future.result(120)
        with store.engine.connect() as connection:
            checkpoints = connection.execute(text("SELECT count(*) FROM ledger_checkpoint")).scalar_one()
            times = connection.execute(text("SELECT count(DISTINCT updated_us) FROM version")).scalar_one()
    assert (checkpoints, times) == (2, 100)  # each work has its own time: versions keep their order


def test_sqlite_is_durable_by_its_settings(sqlite_settings: Settings, keys: KeyRing, clock) -> None:
    with Store.open(sqlite_settings, keys, clock) as store:
        pragmas = store.submit(
            lambda s: [
                s.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        ).result(120)
    assert pragmas == ["wal", 2, 1]
