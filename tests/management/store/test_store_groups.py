"""The works of a group run while the group before them commits, and nothing of them counts before that commit does.

On SQLite. On PostgreSQL groups follow each other; what comes out must be the same.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any

import pytest
from sqlalchemy import text, true
from sqlalchemy.exc import OperationalError

from hdg.errors import NotFound
from hdg.fhir.json import loads
from hdg.management.keys import KeyRing
from hdg.management.store import InboxRow, Store, WriteSession, groups
from hdg.management.store.ahead import Expected, Planned
from hdg.management.store.custom_register import VERSION
from hdg.management.store.engine import NotCommitted
from hdg.management.store.prepared import Prepared
from hdg.management.store.unit import inbox_key
from hdg.management.store.versions import current
from hdg.settings import Settings

START_US = 1_780_000_000_000_000
Fault = Callable[[], None]
COMMIT = groups._Transaction.commit


def full() -> None:
    raise OperationalError("COMMIT", None, Exception("database or disk is full"))


def is_beside() -> bool:
    return threading.current_thread().name.startswith("hdg-commit")


class Gate:
    """Where the COMMIT of a group stands that others run behind; ``before`` and ``after``: what happens around it."""

    def __init__(self) -> None:
        self.is_reached, self.is_open = threading.Event(), threading.Event()
        self.before: Fault = lambda: None
        self.after: Fault = lambda: None

    def commit(self, transaction: Any) -> None:
        if not is_beside():
            COMMIT(transaction)
            return
        self.is_reached.set()
        assert self.is_open.wait(120)
        self.before()
        COMMIT(transaction)
        self.after()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(groups._Transaction, "commit", lambda transaction: made.commit(transaction))
    yield made
    made.is_open.set()


@pytest.fixture
def lite(tmp_path: Any, keys: KeyRing, gate: Gate) -> Iterator[Store]:
    """SQLite, where commits stand at the gate."""
    with Store.open(Settings(data=tmp_path), keys, lambda: START_US) as opened:
        yield opened
        gate.is_open.set()


def basic(id_: str, said: str, patient: str = "") -> dict[str, Any]:
    about = {"subject": {"reference": f"Patient/{patient}"}} if patient else {}
    return {"resourceType": "Basic", "id": id_, "code": {"text": said}, **about}


def planned(work: Callable[[WriteSession], Any], *ids: str, patients: tuple[str, ...] = ()) -> Planned[Any]:
    keys = [("Basic", id_) for id_ in ids]
    owners = [("institution", "s"), *(("patient", patient) for patient in patients)]
    return Planned(work, Expected(keys, [inbox_key("A|B", "c")], owners=owners))


def two_groups(
    store: Store, first: Callable[[WriteSession], Any], *second: Callable[[WriteSession], Any]
) -> tuple[Future[Any], list[Future[Any]]]:
    """The futures of a group of one work and of those behind it, which have queued up when it is written."""
    held, is_running = threading.Event(), threading.Event()

    def work(session: WriteSession) -> Any:
        is_running.set()
        assert held.wait(120)
        return first(session)

    before = store.submit(work)
    assert is_running.wait(120)
    behind = [store.submit(each) for each in second]
    held.set()
    return before, behind


def content(store: Store, id_: str) -> dict[str, Any] | None:
    read = store.reader.read("Basic", id_, true())
    return None if read is None else loads(store.reader.body(read))


def test_works_run_while_the_group_before_commits_and_are_told_after_it(lite: Store, gate: Gate) -> None:
    has_run = threading.Event()

    def behind(session: WriteSession) -> tuple[Any, int]:
        known = session.current("Basic", "b")
        put = session.put(basic("b", "second", "p"), institution="s", patient="p")
        session.inbox_add(InboxRow("A|B", "c", "00", "accepted", 1, "", b""))
        has_run.set()
        return known, put.version

    first, [second] = two_groups(
        lite,
        lambda s: s.put(basic("b", "first", "p"), institution="s", patient="p"),
        planned(behind, "b", patients=("p",)),
    )
    assert gate.is_reached.wait(120)
    assert has_run.wait(120)
    assert not first.done()
    assert not second.done()
    assert content(lite, "b") is None
    gate.is_open.set()
    assert first.result(120).version == 1
    known, version = second.result(120)
    assert (known["code"]["text"], version) == ("first", 2)
    found = content(lite, "b")
    assert found is not None
    assert found["code"]["text"] == "second"


def test_who_asks_for_more_than_was_looked_up_waits_for_the_commit(lite: Store, gate: Gate) -> None:
    is_asking, has_asked = threading.Event(), threading.Event()

    def behind(session: WriteSession) -> Any:
        is_asking.set()
        found = (
            session.connection.execute(text("SELECT id FROM resource WHERE type = 'Basic'")).scalars().all()
        )
        has_asked.set()
        return found

    first, [second, third] = two_groups(
        lite,
        lambda s: s.put(basic("b", "first"), institution="s"),
        behind,
        lambda s: s.put(basic("b", "second"), institution="s").version,
    )
    assert gate.is_reached.wait(120)
    assert is_asking.wait(120)
    assert not has_asked.wait(0.05)
    gate.is_open.set()
    assert (first.result(120).version, second.result(120), third.result(120)) == (1, ["b"], 2)


def test_when_a_commit_fails_the_works_behind_it_run_again_on_what_is_stored(
    lite: Store, gate: Gate, keys: KeyRing, tmp_path: Any
) -> None:
    runs: list[int | None] = []
    gate.before = full

    def behind(session: WriteSession) -> int:
        runs.append(session.version("Basic", "b"))
        session.seal(b"x", "k", patient="new", institution="s")
        return session.put(basic("b", "second", "new"), institution="s", patient="new").version

    first, [second] = two_groups(
        lite,
        lambda s: s.put(basic("b", "first", "new"), institution="s", patient="new"),
        planned(behind, "b", patients=("new",)),
    )
    assert gate.is_reached.wait(120)
    gate.is_open.set()
    with pytest.raises(NotCommitted):
        first.result(120)
    assert second.result(120) == 1
    assert runs == [1, None]
    lite.close()
    with Store.open(
        Settings(data=tmp_path), keys, lambda: START_US
    ) as again:  # with the keys that are stored
        found = content(again, "b")
        assert found is not None
        assert found["code"]["text"] == "second"
        with again.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM ledger_leaf")).scalar() == 1
            assert connection.execute(text("SELECT count(*) FROM owner_key")).scalar() == 1


def test_a_refusal_that_only_a_lost_group_gave_reason_for_is_forgotten(lite: Store, gate: Gate) -> None:
    lite.submit(lambda s: s.put(basic("b", "x"), institution="s")).result(120)
    gate.before = full

    def behind(session: WriteSession) -> tuple[str, int]:
        found = session.current("Basic", "b")
        if found is None:
            raise NotFound("deleted")
        return str(found["code"]["text"]), session.in_order(5)

    first, [second] = two_groups(
        lite, lambda s: s.delete("Basic", "b", institution="s"), planned(behind, "b")
    )
    gate.is_open.set()
    with pytest.raises(NotCommitted):
        first.result(120)
    assert second.result(120) == ("x", 5)  # nobody else has written: it counts as received when it was


@pytest.mark.parametrize("is_lost", [False, True])
def test_places_and_keys_of_patients_are_looked_up_for_the_works_behind_a_commit(
    lite: Store, gate: Gate, is_lost: bool
) -> None:
    """As the group that commits leaves them, and anew if it is not committed."""
    visible = Prepared(current(), true(), lite.engine.dialect)
    runs: list[str | None] = []
    has_run = threading.Event()
    gate.before = full if is_lost else lambda: None
    lite.submit(lambda s: s.put(basic("a", "x", "p"), institution="s", patient="p")).result(120)
    lite._shared.owners.clear()

    def behind(session: WriteSession) -> int:
        row = session.place(visible, "Basic", "b")
        runs.append(None if row is None else row[2])
        assert session.place(visible, "Basic", "none") is None
        session.seal(b"x", "k", patient="p", institution="s")
        has_run.set()
        return session.put(basic("c", "second", "p"), institution="s", patient="p").version

    first, [second] = two_groups(
        lite,
        lambda s: s.put(basic("b", "first"), institution="s"),
        Planned(
            behind,
            Expected(
                keys=[("Basic", "c")],
                places=[(visible, "Basic", "b"), (visible, "Basic", "none")],
                owners=[("patient", "p"), ("institution", "s")],
            ),
        ),
    )
    assert gate.is_reached.wait(120)
    assert has_run.wait(120)
    assert not first.done()
    gate.is_open.set()
    assert isinstance(first.exception(120), NotCommitted if is_lost else type(None))
    assert second.result(120) == 1
    assert runs == (["b", None] if is_lost else ["b"])
    with lite.engine.connect() as connection:
        query = text("SELECT count(*) FROM owner_key WHERE kind = 'patient'")
        assert connection.execute(query).scalar() == 1


@pytest.mark.parametrize("has_leaf", [True, False])
def test_when_another_process_writes_between_the_works_run_again(
    lite: Store, gate: Gate, keys: KeyRing, tmp_path: Any, has_leaf: bool
) -> None:
    runs: list[tuple[int | None, bool]] = []

    def foreign(session: WriteSession) -> None:
        if has_leaf:
            session.put(basic("b", "foreign"), institution="s")
        session.inbox_add(InboxRow("A|B", "c", "00", "quarantined", 1, "", b"AE"))

    def between() -> None:
        gate.after = lambda: None
        with Store.open(Settings(data=tmp_path), keys, lambda: START_US) as other:
            other.submit(foreign).result(120)

    def behind(session: WriteSession) -> int:
        runs.append((session.version("Basic", "b"), session.inbox_find("A|B", "c") is not None))
        session.inbox_add(InboxRow("A|B", "d", "00", "accepted", 1, "", b"AA"))
        return session.put(basic("b", "second"), institution="s").version

    gate.after = between
    first, [second] = two_groups(
        lite, lambda s: s.put(basic("b", "first"), institution="s"), planned(behind, "b")
    )
    gate.is_open.set()
    assert first.result(120).version == 1
    assert second.result(120) == (3 if has_leaf else 2)
    assert runs == [(1, False), (2 if has_leaf else 1, True)]
    with lite.engine.connect() as connection:
        rows = connection.execute(text("SELECT control_id FROM inbox ORDER BY ikey")).scalars().all()
    assert rows == ["c", "d"]


def test_search_parameters_that_the_group_before_brings_into_use_are_in_use(lite: Store, gate: Gate) -> None:
    seen: list[str] = []
    put = "INSERT INTO store_meta (name, value) VALUES (?, ?)"
    first, [second] = two_groups(
        lite,
        lambda s: s.change_later(put, (VERSION, "7")),
        lambda s: seen.append(s.custom.version),
    )
    gate.is_open.set()
    first.result(120)
    second.result(120)
    assert seen == ["", "7"]


def test_a_work_that_loses_the_disk_fails_its_group_and_not_the_one_before(lite: Store, gate: Gate) -> None:
    has_failed = threading.Event()

    def behind(session: WriteSession) -> None:
        has_failed.set()
        raise OSError("no space left")

    first, [second] = two_groups(lite, lambda s: s.put(basic("b", "x"), institution="s"), behind)
    assert has_failed.wait(120)
    gate.is_open.set()
    assert first.result(120).version == 1
    with pytest.raises(NotCommitted):
        second.result(120)
    assert lite.submit(lambda s: s.version("Basic", "b")).result(120) == 1


def test_what_the_database_refuses_behind_a_commit_fails_alone(lite: Store, gate: Gate) -> None:
    def refused(session: WriteSession) -> None:
        session.change_later("UPDATE store_meta SET value = NULL WHERE 1 = ?", (1,))

    first, [good, bad] = two_groups(
        lite,
        lambda s: s.put(basic("b", "x"), institution="s"),
        lambda s: s.put(basic("b", "y"), institution="s").version,
        refused,
    )
    gate.is_open.set()
    assert (first.result(120).version, good.result(120)) == (1, 2)
    with pytest.raises(NotCommitted):
        bad.result(120)


def test_a_transaction_that_the_database_has_ended_is_no_commit(lite: Store) -> None:
    def ended(session: WriteSession) -> None:
        session.put(basic("b", "x"), institution="s")
        session.change_later("ROLLBACK", ())

    with pytest.raises(NotCommitted):
        lite.submit(ended).result(120)
    assert content(lite, "b") is None
    assert lite.submit(lambda s: s.put(basic("b", "y"), institution="s").version).result(120) == 1


def test_works_that_queue_up_behind_the_end_of_the_store_are_refused_and_those_before_it_are_kept(
    lite: Store, gate: Gate
) -> None:
    first, [second] = two_groups(
        lite,
        lambda s: s.put(basic("b", "x"), institution="s"),
        lambda s: s.put(basic("b", "y"), institution="s").version,
    )
    assert gate.is_reached.wait(120)
    closing = threading.Thread(target=lite.close)
    closing.start()
    gate.is_open.set()
    closing.join(120)
    assert (first.result(120).version, second.result(120)) == (1, 2)
    with pytest.raises(NotCommitted):
        lite.submit(lambda s: None)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_commits_fail_what_is_told_is_stored_once_and_in_order(
    settings: Settings, keys: KeyRing, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)

    def faulty(transaction: Any) -> None:
        if is_beside() and rng.random() < 0.3:
            full()
        COMMIT(transaction)

    def say(number: int) -> Callable[[WriteSession], int]:
        def work(session: WriteSession) -> int:
            if number % 7 == 0:
                session.connection.execute(text("SELECT count(*) FROM resource")).scalar()
            if number % 11 == 0:
                raise NotFound("nothing to do")
            known = session.current("Basic", f"b{number % 3}") or basic(f"b{number % 3}", "")
            known["code"]["text"] += f" {number}"
            patient = f"p{number % 5}"
            session.seal(b"x", "k", patient=patient, institution="s")
            session.inbox_add(InboxRow("A", str(number), "00", "accepted", number, "", b""))
            return session.put(known, institution="s").version

        return planned(work, f"b{number % 3}", patients=(f"p{number % 5}",)) if number % 2 else work

    monkeypatch.setattr(groups._Transaction, "commit", faulty)
    settings = settings.model_copy(update={"group_commit_max": 4})
    with Store.open(settings, keys, lambda: START_US) as store:
        futures = [store.submit(say(number)) for number in range(240)]
        wait_for(futures, 300)
        told = [number for number, future in enumerate(futures) if future.exception() is None]
        refused = {type(future.exception()) for future in futures if future.exception() is not None}
        assert refused == {NotFound, NotCommitted} if settings.database_url is None else {NotFound}
        with store.engine.connect() as connection:
            inbox = connection.execute(text("SELECT control_id FROM inbox ORDER BY ikey")).scalars().all()
            count = connection.execute(text("SELECT count(*) FROM version")).scalar()
            leaves = connection.execute(text("SELECT count(*) FROM ledger_leaf")).scalar()
    assert [int(each) for each in inbox] == told
    assert count == leaves == len(told)
    with Store.open(settings, keys, lambda: START_US) as again:
        for third in range(3):
            found = content(again, f"b{third}")
            assert found is not None
            assert [int(each) for each in found["code"]["text"].split()] == [
                n for n in told if n % 3 == third
            ]


def test_on_postgresql_what_queues_up_until_a_commit_is_over_shares_the_next(
    settings: Settings, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings.database_url is None:
        return  # there the works behind a commit do not wait for it
    is_committing, is_open, held = threading.Event(), threading.Event(), threading.Event()
    commits: list[str] = []

    def slow(transaction: Any) -> None:
        commits.append("one")
        is_committing.set()
        assert is_open.wait(120)
        COMMIT(transaction)

    monkeypatch.setattr(groups._Transaction, "commit", slow)
    with Store.open(settings, keys, lambda: START_US) as store:
        first = store.submit(lambda s: held.wait(120) and s.put(basic("b0", "x"), institution="s"))
        early = store.submit(lambda s: s.put(basic("b1", "x"), institution="s"))
        held.set()
        assert is_committing.wait(120)
        late = store.submit(lambda s: s.put(basic("b2", "x"), institution="s"))
        is_open.set()
        assert [future.result(120).version for future in (first, early, late)] == [1, 1, 1]
    assert len(commits) == 2
