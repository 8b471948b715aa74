"""Retention: what is old and handled goes, with a leaf; what is needed to keep the promises never does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from bench.promise import findings
from hdg import outbox as operator
from hdg import retention
from hdg.cli import app
from hdg.errors import VaultError
from hdg.gateway import Gateway
from hdg.management.store import keep, outbox
from hdg.management.store.inbox import close_item, entry, work_items
from hdg.replay import raw_of, replay
from hdg.settings import Settings
from messages import adt, oru
from receiver import until

DAY_US = retention.DAY_US
START_US = 1_800_000_000_000_000
UNKNOWN = oru("Q1").replace(b"ORU^R01^ORU_R01", b"ZZZ^Z99^ZZZ_Z99")


class Site:
    """A gateway whose clock is moved by hand."""

    def __init__(self, settings: Settings) -> None:
        self.now_us = START_US
        self.gateway = Gateway.open(settings, clock=lambda: self.now_us)
        self.settings = settings
        retention.prune(self.gateway)

    def pass_days(self, days: float) -> retention.Removed:
        """A day after the other, with the daily look of each; what the looks removed together."""
        total = [0, 0, 0, 0]
        for _ in range(int(days)):
            self.now_us += DAY_US
            removed = retention.prune(self.gateway)
            assert not removed.is_held
            found = (removed.messages, removed.outbox, removed.work, removed.files)
            total = [a + b for a, b in zip(total, found, strict=True)]
        return retention.Removed(*total)

    def rows(self, query: str) -> list[Any]:
        with self.gateway.store.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def leaves(self) -> list[str]:
        entries = self.rows("SELECT entry FROM ledger_leaf ORDER BY leaf_index")
        found = [bytes(entry).decode() for (entry,) in entries]
        return [each.split('"key":"')[1].split('"')[0] for each in found if '"kind":"policy"' in each]


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    is_postgresql = request.param == "postgresql"
    short = {"keep_messages_days": 3, "keep_outbox_days": 2, "keep_work_days": 4}
    with request.getfixturevalue("postgres_schemas").one() if is_postgresql else nullcontext() as url:
        made = Site(Settings(data=tmp_path / "data", database_url=url, inline_blob_bytes=1_000, **short))
        yield made
        made.gateway.close()


only_sqlite = pytest.mark.parametrize("site", ["sqlite"], indirect=True)


def test_old_bytes_go_and_the_message_is_known_as_before(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "PAGE", 2)
    messages = [oru(f"C{number}", value="9" * 900 if number == 3 else "1") for number in range(5)]
    answers = [site.gateway.receive_now(raw) for raw in messages]
    site.gateway.receive_now(UNKNOWN)
    versions = site.rows("SELECT count(*) FROM version")
    files = list((site.settings.data / "vault").glob("??/*"))
    assert files
    for file in files:
        os.utime(file, (0, 0))
    assert site.pass_days(3) == retention.Removed()
    removed = site.pass_days(1)
    assert (removed.messages, removed.files) == (5, len(files))
    assert not list((site.settings.data / "vault").glob("??/*"))
    assert site.rows("SELECT status, count(*) FROM inbox WHERE blob <> '' GROUP BY status") == [
        ("quarantined", 1)
    ]
    assert [key.split(";")[0] for key in site.leaves()] == [f"Retention/messages={n}" for n in (2, 2, 1)]
    assert [site.gateway.receive_now(raw) for raw in messages] == answers
    assert b"|AR|" in site.gateway.receive_now(oru("C1", value="2"))
    assert site.rows("SELECT count(*) FROM version") == versions
    assert site.pass_days(1) == retention.Removed()
    url = site.settings.database_url
    assert findings(site.settings.data, [f"C{number}" for number in range(5)], url=url, is_exact=True) == []


@only_sqlite
def test_replay_and_show_say_that_retention_removed_the_bytes(site: Site) -> None:
    site.gateway.receive_now(adt("A1"))
    site.pass_days(4)
    lines = list(replay(site.settings, since=0, until=site.now_us))
    assert lines[0].is_failure
    assert "not replayed: its bytes were removed by retention (keep_messages_days)" in lines[0].text
    assert lines[-1].text.endswith(" refused, 1 not replayed")
    with pytest.raises(VaultError, match="removed by retention"):
        raw_of(site.settings, 1)


@only_sqlite
def test_quarantine_stays_until_it_is_handled_and_its_bytes_then_as_long_as_others(site: Site) -> None:
    site.gateway.receive_now(UNKNOWN)
    assert site.pass_days(10).messages == 0
    assert raw_of(site.settings, 1) == UNKNOWN
    number = site.gateway.keep_edited(entry(site.gateway.store.engine, 1), oru("Q1"))
    site.gateway.replay(entry(site.gateway.store.engine, number), oru("Q1"))
    statuses = "SELECT status FROM inbox WHERE blob <> '' ORDER BY ikey"
    assert site.pass_days(1).messages == 1  # as received, ten days ago: its correction is accepted
    assert site.rows(statuses) == [("replayed",), ("accepted",)]
    site.pass_days(4)
    assert site.rows(statuses) == []


@only_sqlite
def test_what_waits_to_be_sent_on_keeps_its_bytes(site: Site) -> None:
    (site.settings.data / "destinations.toml").write_text(
        '[destinations.hub]\naddress = "mllp://localhost:1"\nmessages = ["*"]\n'
    )
    until(lambda: bool(site.gateway.destinations.current().tables))
    site.gateway.receive_now(oru("W1"))
    site.gateway.receive_now(oru("W2", number="2"))
    operator.drop(site.settings, [1])
    site.gateway.store.submit(
        lambda s: s.change_later("UPDATE outbox SET changed_us = created_us WHERE okey = 1", ())
    ).result()
    removed = site.pass_days(10)
    assert (removed.messages, removed.outbox) == (1, 1)
    assert site.rows("SELECT control_id FROM inbox WHERE blob <> ''") == [("W2",)]
    assert [row.status for row in outbox.rows(site.gateway.store.engine, outbox.STATUSES)] == ["queued"]


@only_sqlite
def test_what_was_queued_by_hand_takes_its_bytes_along(site: Site, tmp_path: Path) -> None:
    (site.settings.data / "destinations.toml").write_text(
        '[destinations.hub]\naddress = "mllp://localhost:1"\n'
    )
    (tmp_path / "one.hl7").write_bytes(oru("H1"))
    operator.queue_files(site.settings, "hub", [tmp_path / "one.hl7"])

    def deliver(session: Any) -> None:
        outbox.noted(session, 1, "done", "AA")
        session.change_later("UPDATE outbox SET created_us = ?", (START_US,))

    site.gateway.store.submit(deliver).result()
    site.gateway.store.submit(lambda s: outbox.prune(s, "hub", site.now_us + 9 * DAY_US)).result()
    assert site.rows("SELECT count(*) FROM blob") == [(1,)]
    site.gateway.store.submit(
        lambda s: s.change_later("UPDATE outbox SET changed_us = ?", (START_US,))
    ).result()
    assert site.pass_days(3).outbox == 1
    assert site.rows("SELECT count(*) FROM blob") == [(0,)]


@only_sqlite
def test_closed_work_items_go_and_open_and_ignored_ones_stay(site: Site) -> None:
    odd = adt("W1").replace(b"|19610412|F", b"|19610412|Q")
    site.gateway.receive_now(odd)
    items = work_items(site.gateway.store.engine, status=None)
    close = items[0].id
    site.gateway.store.submit(lambda s: close_item(s, close, is_ignored=False)).result()
    assert site.pass_days(5).work == 1
    assert close not in {item.id for item in work_items(site.gateway.store.engine, status=None)}
    assert len(work_items(site.gateway.store.engine, status=None)) == len(items) - 1


@only_sqlite
def test_a_clock_that_leaps_removes_nothing_before_a_day_has_passed(site: Site) -> None:
    site.gateway.receive_now(adt("A1"))
    site.now_us += 4_000 * DAY_US
    assert retention.is_due(site.gateway)
    assert retention.prune(site.gateway).is_held
    assert not retention.is_due(site.gateway)
    site.now_us -= 4_000 * DAY_US  # the clock is set right
    assert retention.is_due(site.gateway)
    assert retention.prune(site.gateway) == retention.Removed()
    assert len(site.rows("SELECT * FROM inbox WHERE blob <> ''")) == 1
    site.now_us += 4_000 * DAY_US
    assert retention.prune(site.gateway).is_held
    assert site.pass_days(1).messages == 1  # it stayed so


@only_sqlite
def test_nought_keeps_for_ever(site: Site) -> None:
    for_ever = site.settings.model_copy(
        update={"keep_messages_days": 0, "keep_outbox_days": 0, "keep_work_days": 0}
    )
    site.gateway.receive_now(adt("A1"))
    site.gateway.settings = for_ever
    assert site.pass_days(9) == retention.Removed()


@only_sqlite
def test_the_command_says_first_what_it_would_remove(site: Site) -> None:
    site.gateway.receive_now(adt("A1"))
    site.gateway.receive_now(adt("A2", "2"))
    hdg = ["prune", "--data", str(site.settings.data)]
    (site.settings.data / "hdg.toml").write_text("keep_messages_days = 0.000001\n")
    site.gateway.store.submit(lambda s: s.change_later("UPDATE inbox SET received_us = 1", ())).result()
    site.gateway.store.submit(lambda s: s.change_later("UPDATE blob SET created_us = 1", ())).result()
    dry = CliRunner().invoke(app, [*hdg, "--dry-run"])
    assert (dry.exit_code, "would remove raw bytes of 2 messages" in dry.output) == (0, True)
    held = CliRunner().invoke(app, hdg)
    known = CliRunner().invoke(app, [*hdg, "--trust-clock"])
    outputs = [held.output, known.output]
    assert any("removed raw bytes of 2 messages" in each for each in outputs)


@only_sqlite
def test_the_server_looks_by_itself_until_it_stops(site: Site) -> None:
    site.gateway.receive_now(adt("A1"))
    site.now_us += 4 * DAY_US

    async def run() -> None:
        stopping = asyncio.Event()
        task = asyncio.create_task(retention.daily(site.gateway, stopping))
        while site.rows("SELECT blob FROM inbox") != [("",)]:
            await asyncio.sleep(0.01)
        stopping.set()
        await task

    asyncio.run(run())
