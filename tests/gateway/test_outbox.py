"""What is accepted is sent on: in order, at least once, whatever the other side and the machine do."""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy

from bench.measure import start_gateway
from certificates import Authority
from hdg import outbox as operator
from hdg.errors import BadRequest, NotFound, SettingsError
from hdg.forward import Forwarder, Lane
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.header import peek
from hdg.ingestion.hl7v2.mllp_client import MllpClient
from hdg.ingestion.hl7v2.mllp_tls import server_context
from hdg.management.store import WriteSession, outbox
from hdg.management.store.engine import NotCommitted
from hdg.management.store.inbox import work_items
from hdg.management.store.lane_lock import LaneLock
from hdg.settings import Settings
from messages import adt, oru
from receiver import Receiver, kept_port, says, silent, until

FAST = "backoff_s = 0.02\nbackoff_max_s = 0.05\ntimeout_s = 120\n"
ALL = 'messages = ["*"]\n'


def declare(data: Path, address: str, more: str = ALL, name: str = "hub") -> None:
    data.mkdir(exist_ok=True)
    text = f'[destinations.{name}]\naddress = "{address}"\n{FAST}{more}'
    partial = data / "destinations.part"
    partial.write_text(text)
    os.replace(partial, data / "destinations.toml")


class Site:
    """A gateway whose outbox goes to a receiver."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = settings.data
        self._kept = kept_port()
        self.receiver = Receiver(port=self._kept.__enter__())
        declare(self.data, self.receiver.address)
        self.gateway = Gateway.open(self.settings)
        self.forwarder: Forwarder | None = None

    def start(self) -> None:
        self.forwarder = Forwarder(self.gateway)
        self.forwarder.start()

    def stop(self) -> None:
        if self.forwarder is not None:
            self.forwarder.stop()
            self.forwarder = None

    def take(self, *messages: bytes) -> None:
        for raw in messages:
            assert b"MSA|AA|" in self.gateway.receive_now(raw)

    def rows(self) -> list[outbox.Row]:
        return list(outbox.rows(self.gateway.store.engine, outbox.STATUSES))

    def statuses(self) -> list[str]:
        return [row.status for row in self.rows()]

    def until_statuses(self, *expected: str) -> None:
        until(lambda: self.statuses() == list(expected))

    def close(self) -> None:
        self.stop()
        self.gateway.close()
        self.receiver.close()
        self._kept.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    url = None
    if request.param == "postgresql":
        url = _database(request.getfixturevalue("postgres_uri"), request.node.name)
    made = Site(Settings(data=tmp_path / "data", database_url=url, min_free_bytes=0))
    yield made
    made.close()


only_sqlite = pytest.mark.parametrize("site", ["sqlite"], indirect=True)


def _database(uri: str, test: str) -> str:
    name = "outbox_" + "".join(c if c.isalnum() else "_" for c in test)[-40:].lower()
    engine = sqlalchemy.create_engine(uri.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    url = engine.url.set(database=name).render_as_string(hide_password=False)
    engine.dispose()
    return url


def test_accepted_messages_go_out_as_received_in_order_and_are_marked_done(site: Site) -> None:
    messages = [oru(f"M{n}", number=str(n)) for n in range(20)]
    site.start()
    site.take(*messages)
    site.take(messages[3])  # a repeat is answered again, not sent on again
    assert site.receiver.wait_for(20) == [f"M{n}" for n in range(20)]
    assert site.receiver.got == messages
    site.until_statuses(*["done"] * 20)
    assert {row.reason for row in site.rows()} == {"AA"}


def test_what_is_in_quarantine_is_sent_on_once_it_is_accepted(site: Site, tmp_path: Path) -> None:
    wrong = oru("Q1").replace(b"ORU^R01^ORU_R01", b"ZZZ^Z99^ZZZ_Z99")
    site.gateway.receive_now(wrong)
    assert site.rows() == []
    from hdg.management.store.inbox import entries

    entry = next(entries(site.gateway.store.engine, status="quarantined"))
    assert site.gateway.replay(entry, oru("Q1"), is_dry=True).error is None
    assert site.rows() == []
    assert site.gateway.replay(entry, oru("Q1")).error is None
    assert [row.control_id for row in site.rows()] == ["Q1"]


def test_a_receiver_that_is_down_gets_everything_in_order_when_it_is_up(site: Site) -> None:
    port = site.receiver.port
    site.receiver.close()
    site.start()
    site.take(*(oru(f"D{n}", number=str(n)) for n in range(5)))
    until(lambda: site.rows()[0].tries >= 3)
    assert site.statuses() == ["queued"] * 5
    assert site.rows()[0].reason.startswith("no answer: ")
    site.receiver = Receiver(port=port)
    assert site.receiver.wait_for(5) == [f"D{n}" for n in range(5)]
    site.until_statuses(*["done"] * 5)


@pytest.mark.parametrize("code", ["AE", "AR"])
def test_a_negative_answer_is_tried_again_then_parked_with_a_work_item(site: Site, code: str) -> None:
    refuse = says(code)
    site.receiver.answer = lambda raw: (refuse if b"|BAD|" in raw else says("AA"))(raw)
    site.take(oru("G1", number="1"), oru("BAD", number="2"), oru("G2", number="3"))
    site.start()
    assert site.receiver.wait_for(5) == ["G1", "BAD", "BAD", "BAD", "G2"]
    site.until_statuses("done", "refused", "done")
    item = next(i for i in work_items(site.gateway.store.engine) if i.kind == "not forwarded")
    assert (item.sender, item.text) == ("LAB|NORTHGEN", f"destination hub: {code}")
    assert item.message == site.rows()[1].message
    site.receiver.answer = says("AA")
    assert operator.retry(site.settings, ()) == 1
    site.until_statuses("done", "done", "done")


@only_sqlite
def test_tries_count_over_restarts(site: Site) -> None:
    site.receiver.answer = says("AE")
    declare(site.data, site.receiver.address, 'messages = ["*"]\nattempts = 4\n')
    site.gateway.close()
    site.gateway = Gateway.open(site.settings)
    site.take(oru("T1"))
    for refusals in (1, 2):
        site.start()
        until(lambda least=refusals: site.rows()[0].refusals >= least)
        site.stop()
    site.start()
    site.until_statuses("refused")
    assert site.rows()[0].refusals == 4 == len(site.receiver.got)


@only_sqlite
def test_what_another_system_writes_into_an_error_is_not_kept(site: Site) -> None:
    def answer(raw: bytes) -> list[bytes]:
        msa = b"MSA|AE|P1|Ada Example is unknown\rERR||PID^1^3|204^Unknown key^HL70357|E||||Ada Example\r"
        return [acknowledge(raw, "AA", control_id="R", at_us=0).split(b"MSA")[0] + msa]

    site.receiver.answer = answer
    site.take(oru("P1"))
    site.start()
    site.until_statuses("refused")
    assert site.rows()[0].reason == "AE 204 at PID^1^3"


GARBAGE: dict[str, Callable[[bytes], list[bytes] | None]] = {
    "not HL7": lambda raw: [b"hello"],
    "no MSA": lambda raw: [raw],
    "another message's": lambda raw: [acknowledge(oru("OTHER"), "AA", control_id="R", at_us=0)],
    "an unknown code": lambda raw: [
        acknowledge(raw, "AA", control_id="R", at_us=0).replace(b"|AA|", b"|OK|")
    ],
    "hangs up": lambda raw: None,
}


@only_sqlite
@pytest.mark.parametrize("kind", GARBAGE)
def test_an_answer_that_is_none_holds_the_order_until_there_is_one(site: Site, kind: str) -> None:
    site.receiver.answer = GARBAGE[kind]
    site.take(oru("X1", number="1"), oru("X2", number="2"))
    site.start()
    assert set(site.receiver.wait_for(5)) == {"X1"}
    assert site.statuses() == ["queued", "queued"]
    site.receiver.answer = says("AA")
    site.until_statuses("done", "done")
    assert site.receiver.ids[-1] == "X2"


@only_sqlite
def test_no_answer_in_time_counts_as_no_connection(site: Site) -> None:
    site.stop()
    site.receiver.answer = silent
    declare(site.data, site.receiver.address, ALL)
    text = (site.data / "destinations.toml").read_text().replace("timeout_s = 120", "timeout_s = 0.1")
    (site.data / "destinations.toml").write_text(text)
    site.gateway.close()
    site.gateway = Gateway.open(site.settings)
    site.take(oru("N1", number="1"), oru("N2", number="2"))
    site.start()
    until(lambda: site.rows()[0].tries >= 4)
    assert site.rows()[0].reason == "no answer in time"
    assert site.rows()[0].refusals == 0
    assert set(site.receiver.ids) == {"N1"}
    site.receiver.answer = says("CA")
    site.until_statuses("done", "done")


@only_sqlite
def test_a_receiver_that_answers_twice_where_one_answer_was_asked_for_is_understood(site: Site) -> None:
    site.receiver.answer = lambda raw: [*says("CA")(raw), *says("AA")(raw)]  # type: ignore[misc]
    site.take(oru("C1", number="1"), oru("C2", number="2"), oru("C3", number="3"))
    site.start()
    site.until_statuses("done", "done", "done")
    assert list(dict.fromkeys(site.receiver.ids)) == ["C1", "C2", "C3"]


@only_sqlite
def test_a_connection_closed_while_idle_costs_no_pause_and_no_try(site: Site) -> None:
    site.start()
    site.take(oru("I1", number="1"))
    site.until_statuses("done")
    port = site.receiver.port
    site.receiver.close()
    site.receiver = Receiver(port=port)
    site.take(oru("I2", number="2"))
    site.until_statuses("done", "done")
    assert site.rows()[1].tries == 1


@only_sqlite
def test_tls_with_a_client_certificate_and_a_stranger_is_never_sent_to(site: Site, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    own, client = authority.issue("hub"), authority.issue("gateway")
    context = server_context(own.certificate, own.key, authority.ca)
    strange = Authority(tmp_path / "other").issue("hub")
    site.receiver.close()
    port = site.receiver.port
    stranger = Receiver(port=port, tls=server_context(strange.certificate, strange.key, None))
    files = f'ca = "{authority.ca}"\ncert = "{client.certificate}"\nkey = "{client.key}"\n'
    declare(site.data, stranger.address, ALL + files)
    site.gateway.close()
    site.gateway = Gateway.open(site.settings)
    site.take(oru("S1"))
    site.start()
    until(lambda: site.rows()[0].tries >= 2)
    assert "certificate" in site.rows()[0].reason.lower()
    stranger.close()
    site.receiver = Receiver(port=port, tls=context)
    assert site.receiver.wait_for(1) == ["S1"]
    site.until_statuses("done")
    assert stranger.got == []


@only_sqlite
@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", []),
        ('messages = ["*"]', ["A", "O"]),
        ('messages = ["ADT"]', ["A"]),
        ('messages = ["ADT^A03", "ORU^R01"]', ["O"]),
        ('messages = ["*"]\nsenders = ["LAB|*"]', ["A", "O"]),
        ('messages = ["*"]\nsenders = ["RIS|*", "X|Y"]', []),
        ('messages = ["*", "ACK"]', ["A", "O", "K"]),
    ],
)
def test_only_what_a_destination_asks_for_is_queued_for_it(
    site: Site, table: str, expected: list[str]
) -> None:
    declare(site.data, site.receiver.address, table)
    site.gateway.close()
    site.gateway = Gateway.open(site.settings)
    site.take(adt("A"), oru("O"), ACK)
    assert [row.control_id for row in site.rows()] == expected


ACK = b"MSH|^~\\&|LAB|NORTHGEN|HDG|REGION|20260314113000-0500||ACK^R01^ACK|K|P|2.5.1\rMSA|AA|OUR-1\r"


def test_an_acknowledgement_that_comes_in_is_stored_and_not_answered(tmp_path: Path) -> None:
    running = start_gateway(tmp_path / "data")
    try:
        with MllpClient(*running.mllp, timeout_s=120) as client:
            assert client.exchange(ACK) == ()
            broken = ACK.replace(b"|K|", b"|K2|").replace(b"MSA|AA|OUR-1\r", b"")
            assert client.exchange(broken) == ()
            late = ACK.replace(b"ACK^R01^ACK", b"MCF").replace(b"|K|", b"|K3|")
            assert client.exchange(late) == ()
            assert b"MSA|AA|M1" in client.send(oru("M1"))  # and nothing came before it
    finally:
        running.process.terminate()
        running.close()
    with Gateway.open(Settings(data=tmp_path / "data")) as gateway, gateway.store.engine.connect() as read:
        kept = read.exec_driver_sql("SELECT control_id FROM inbox ORDER BY ikey").scalars().all()
    assert kept == ["K", "K2", "K3", "M1"]


def test_destinations_are_read_again_while_running_and_a_wrong_file_changes_nothing(site: Site) -> None:
    site.start()
    site.take(oru("H1", number="1"))
    site.until_statuses("done")
    (site.data / "destinations.toml").write_text('[destinations.hub]\naddress = "ftp://x"\n')
    until(lambda: bool(site.gateway.destinations.current() and site.gateway.destinations.problem))
    site.take(oru("H2", number="2"))
    site.until_statuses("done", "done")
    second = Receiver()
    declare(site.data, second.address, name="lake")
    until(lambda: "lake" in site.gateway.destinations.current().tables)
    site.take(oru("H3", number="3"))
    assert second.wait_for(1) == ["H3"]
    site.until_statuses("done", "done", "done")
    declare(site.data, second.address, ALL + "paused = true\n", name="lake")
    until(lambda: site.gateway.destinations.current().tables["lake"].paused)
    until(lambda: not [lane for lane in _lanes() if lane.is_alive()])
    site.take(oru("H4", number="4"))
    assert site.statuses()[-1] == "queued"
    declare(site.data, second.address, name="lake")
    assert second.wait_for(2) == ["H3", "H4"]
    site.stop()
    second.close()


@only_sqlite
def test_a_lane_that_cannot_begin_is_begun_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    start, refused = Lane.start, []

    def failing(lane: Lane) -> None:
        if not refused:
            refused.append(lane)
            raise RuntimeError("can't start new thread")
        start(lane)

    monkeypatch.setattr(Lane, "start", failing)
    site.start()
    site.take(oru("N1"))
    site.until_statuses("done")
    assert refused


def _lanes() -> list[Lane]:
    return [thread for thread in threading.enumerate() if isinstance(thread, Lane)]


def test_of_two_gateways_on_one_folder_one_sends(site: Site) -> None:
    first = LaneLock(site.data, site.gateway.store.engine, "hub")
    second = LaneLock(site.data, site.gateway.store.engine, "hub")
    assert first.hold()
    assert not second.hold()
    elsewhere = site.data / "elsewhere"
    elsewhere.mkdir()
    other_machine = LaneLock(elsewhere, site.gateway.store.engine, "hub")
    is_shared = site.gateway.store.engine.dialect.name == "postgresql"
    assert other_machine.hold() is not is_shared
    other_machine.release()
    site.start()
    site.take(oru("L1"))
    assert site.statuses() == ["queued"]
    first.release()
    site.until_statuses("done")


@pytest.mark.parametrize("site", ["postgresql"], indirect=True)
def test_who_waits_for_the_lock_asks_on_one_connection_and_gets_it_when_the_other_ends(site: Site) -> None:
    made: list[object] = []
    engine = site.gateway.store.engine
    folders = [site.data / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    first, second = (LaneLock(folder, engine, "hub") for folder in folders)
    assert first.hold()
    assert first.hold()
    sqlalchemy.event.listen(engine, "connect", lambda *given: made.append(given))
    assert not any(second.hold() for _ in range(5))
    assert len(made) <= 1
    with engine.connect() as connection:  # the other's connection is lost
        here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        query = f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND {here}"
        assert connection.exec_driver_sql(query).scalar()
    until(second.hold)
    assert not first.hold()
    second.release()
    until(first.hold)
    first.release()


@only_sqlite
def test_the_operator_lists_drops_and_retries(site: Site) -> None:
    site.take(oru("O1", number="1"), oru("O2", number="2"))
    lines = list(operator.waiting(site.settings))
    assert [line.split("  ")[:3] for line in lines] == [["1", "queued", "hub"], ["2", "queued", "hub"]]
    assert "ORU^R01^ORU_R01  LAB|NORTHGEN  O1" in lines[0]
    assert operator.drop(site.settings, [1]) == 1
    with pytest.raises(BadRequest):
        operator.drop(site.settings, [1])
    with pytest.raises(NotFound):
        operator.retry(site.settings, [99])
    site.start()
    site.until_statuses("dropped", "done")
    assert list(operator.waiting(site.settings)) == []
    assert len(list(operator.waiting(site.settings, with_all=True))) == 2
    assert operator.retry(site.settings, [1]) == 1
    site.until_statuses("done", "done")
    assert site.receiver.ids == ["O2", "O1"]


def test_what_was_delivered_while_the_operator_dropped_it_stays_delivered(site: Site) -> None:
    site.take(oru("O3", number="3"))
    site.start()
    site.until_statuses("done")
    store = site.gateway.store
    for status in ("dropped", "queued"):
        store.submit(lambda session, status=status: outbox.change(session, 1, status, "")).result()
    assert [row.status for row in site.rows()] == ["done"]


@only_sqlite
def test_dropping_the_message_that_holds_up_all_others_lets_them_go(site: Site) -> None:
    site.receiver.answer = lambda raw: None if b"|POISON|" in raw else says("AA")(raw)
    site.take(oru("POISON", number="1"), oru("Y", number="2"))
    site.start()
    until(lambda: site.rows()[0].tries >= 3)
    operator.drop(site.settings, [1])
    site.until_statuses("dropped", "done")


@only_sqlite
def test_while_the_store_cannot_commit_nothing_is_sent_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.take(oru("W1", number="1"), oru("W2", number="2"))
    store, submit, refused = site.gateway.store, site.gateway.store.submit, []

    def full(work: object, **rest: object) -> object:
        if site.receiver.got and len(refused) < 4:
            refused.append(work)
            raise NotCommitted("disk full")
        return submit(work, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "submit", full)
    site.start()
    site.until_statuses("done", "done")
    assert len(refused) == 4
    assert site.receiver.ids == ["W1", "W2"]


@only_sqlite
def test_a_message_that_cannot_be_opened_or_framed_is_parked_and_the_next_goes_out(site: Site) -> None:
    def work(session: WriteSession) -> None:
        facts = {"sender": "A|B", "message_type": "ADT^A01", "control_id": "Z", "size": 1}
        framed = session.blob_put(b"MSH|^~\\&|\x1c\r", patient=None, institution="local")
        outbox.add(session, ("hub",), blob="none-such", **facts)  # type: ignore[arg-type]
        outbox.add(session, ("hub",), blob=framed, **facts)  # type: ignore[arg-type]

    site.gateway.store.submit(work).result()
    site.take(oru("Z1"))
    site.start()
    site.until_statuses("refused", "refused", "done")
    assert [row.reason for row in site.rows()][:2] == [
        "its bytes cannot be opened (erased?)",
        "it holds MLLP framing bytes",
    ]


@only_sqlite
def test_files_are_queued_all_or_none(site: Site, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.hl7", tmp_path / "bad.hl7"
    good.write_bytes(oru("F1") + oru("F2"))
    bad.write_bytes(b"PID|1\r")
    with pytest.raises(SettingsError, match="no destination nowhere"):
        operator.queue_files(site.settings, "nowhere", [good])
    with pytest.raises(BadRequest, match=r"bad\.hl7"):
        operator.queue_files(site.settings, "hub", [good, bad])
    assert site.rows() == []
    assert operator.queue_files(site.settings, "hub", [good]) == 2
    site.start()
    assert site.receiver.wait_for(2) == ["F1", "F2"]
    site.until_statuses("done", "done")
    with site.gateway.store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM inbox").scalar() == 0


@only_sqlite
def test_delivered_rows_are_forgotten_after_their_time(site: Site) -> None:
    site.start()
    site.take(oru("R1", number="1"))
    site.until_statuses("done")
    site.stop()
    declare(site.data, site.receiver.address, ALL + "keep_days = 0\n")
    site.gateway.close()
    site.gateway = Gateway.open(site.settings)
    site.take(oru("R2", number="2"))
    site.start()
    site.until_statuses("done")
    assert site.rows()[0].control_id == "R2"
    assert site.rows()[0].okey == 2


def test_a_gateway_killed_in_the_middle_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Order holds over kill -9; at most the one message that was under way comes twice."""
    killed = {f"K{life}-6": threading.Event() for life in range(2)}

    def answer(raw: bytes) -> Sequence[bytes]:
        if (is_killed := killed.get(peek(raw).control_id)) is not None:
            is_killed.wait(120)
        return says("AA")(raw) or ()

    receiver = Receiver(answer)
    declare(tmp_path / "data", receiver.address)
    expected: list[str] = []
    for life in range(3):
        running = start_gateway(tmp_path / "data")
        with MllpClient(*running.mllp) as client:
            for number in range(12):
                control = f"K{life}-{number}"
                assert b"MSA|AA|" in client.send(oru(control, number=str(number)))
                expected.append(control)
        if life < 2:
            until(lambda control=f"K{life}-6": control in receiver.ids)
            running.kill()
            assert len(receiver.got) < len(expected)  # the rest is still in the outbox
            killed[f"K{life}-6"].set()
    receiver.wait_for(36)
    until(lambda: receiver.ids[-1] == expected[-1])
    host, port = running.http
    with urllib.request.urlopen(f"http://{host}:{port}/readyz") as answer:
        text = answer.read().decode()
    assert "hdg_outbox_refused 0\n" in text
    running.process.terminate()
    running.close()
    assert running.process.returncode == 0
    doubled = [a for a, b in zip(receiver.ids, receiver.ids[1:], strict=False) if a == b]
    assert len(doubled) <= 2
    assert list(dict.fromkeys(receiver.ids)) == expected
    without_repeats = [b for a, b in zip(["", *receiver.ids], receiver.ids, strict=False) if a != b]
    assert without_repeats == expected
    receiver.close()


def test_a_message_killed_between_answer_and_commit_comes_again(tmp_path: Path) -> None:
    receiver = Receiver(silent)
    declare(tmp_path / "data", receiver.address)
    running = start_gateway(tmp_path / "data")
    with MllpClient(*running.mllp) as client:
        client.send(oru("B1", number="1"))
        client.send(oru("B2", number="2"))
    assert receiver.wait_for(1) == ["B1"]
    host, port = running.http
    with urllib.request.urlopen(f"http://{host}:{port}/readyz") as answer:
        assert "hdg_outbox_queued 2\n" in answer.read().decode()
    running.kill()
    receiver.answer = says("AA")
    running = start_gateway(tmp_path / "data")
    try:
        assert receiver.wait_for(3) == ["B1", "B1", "B2"]
    finally:
        running.process.terminate()
        running.close()
        receiver.close()
