"""Two gateway processes on one PostgreSQL, as on two machines: what each sender was promised holds across both."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from bench.fault_crash import CHILD
from bench.measure import Running, start_gateway
from bench.promise import findings
from bench.sender import code_of, control_id
from hdg.fhir.json import loads
from hdg.gateway import Gateway
from hdg.management.keys import KeyRing
from hdg.management.ledger.verify import SealedVersion
from hdg.management.store import Store, WriteSession
from hdg.management.store.stale import Stamp
from hdg.settings import Settings
from receiver import Receiver, until

PATIENTS, ROUNDS = 8, 10
AUTHORITY = "^^^NORTHGEN&2.999.1.1&ISO"
HEAD = "MSH|^~\\&|REG{sender}|NORTHGEN|HDG|R|{at}||ADT^{kind}|{control}|P|2.5.1\rEVN|{event}|{at}\r"
AT = "20260314120000+0000"
"""Every message is stated in the same second: only the order in which they come tells which is the newer one."""


def update(patient: int, number: int) -> bytes:
    head = HEAD.format(
        sender=patient % 3, at=AT, kind="A08^ADT_A01", event="A08", control=f"U{patient}-{number}"
    )
    return (
        f"{head}PID|1||{patient}{AUTHORITY}^MR||Example^Ada||19610412|F|||Apt {number}^^Town\r"
        "PV1|1|I|3W^310^1^NORTHGEN\r"
    ).encode()


def merge(patient: int) -> bytes:
    """The record 1000 + n is merged into n."""
    head = HEAD.format(sender=patient % 3, at=AT, kind="A40^ADT_A39", event="A40", control=f"M{patient}")
    pid = f"PID|1||{patient}{AUTHORITY}^MR||Example^Ada||19610412|F\r"
    return f"{head}{pid}MRG|{1000 + patient}{AUTHORITY}^MR\r".encode()


@pytest.fixture
def url(postgres_uri: str, request: pytest.FixtureRequest) -> str:
    """A database of its own."""
    engine = sqlalchemy.create_engine(postgres_uri.replace("postgresql://", "postgresql+psycopg://"))
    name = f"two_{abs(hash(request.node.name)):x}"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    made = engine.url.set(database=name).render_as_string(hide_password=False)
    engine.dispose()
    return made


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two data folders with the same keys."""
    one, two = tmp_path / "one", tmp_path / "two"
    KeyRing.open(one / "keys")
    shutil.copytree(one, two)
    return one, two


class Site:
    """Both gateways; the second one's clock is behind."""

    def __init__(self, folders: tuple[Path, Path], url: str) -> None:
        self._folders, self._url = folders, url
        self.running: list[Running | None] = [self._start(0), self._start(1)]

    def _start(self, which: int) -> Running:
        fault = {"module": CHILD, "BENCH_FAULT": "clock:-90"} if which else {}
        return start_gateway(self._folders[which], HDG_DATABASE_URL=self._url, **fault)

    def kill(self) -> None:
        """kill -9 of the second one; it is started again."""
        second, self.running[1] = self.running[1], None
        assert second is not None
        second.kill()
        self.running[1] = self._start(1)

    def close(self) -> None:
        for each in self.running:
            if each is not None:
                each.process.terminate()
                each.close()

    async def send(self, message: bytes, which: int) -> bytes:
        """Until it is answered: whenever the connection is lost, to the other gateway."""
        while True:
            running = self.running[which]
            if running is not None:
                try:
                    return await asyncio.wait_for(_exchange(running, message), 300)
                except (OSError, asyncio.IncompleteReadError):
                    pass
            which = 1 - which
            await asyncio.sleep(0.02)


async def _exchange(running: Running, message: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*running.mllp)
    try:
        writer.write(b"\x0b" + message + b"\x1c\r")
        return await reader.readuntil(b"\x1c\r")
    finally:
        writer.close()


@contextmanager
def site_of(folders: tuple[Path, Path], url: str) -> Iterator[Site]:
    site = Site(folders, url)
    try:
        yield site
    finally:
        site.close()


async def sender(site: Site, patient: int, answers: dict[str, set[bytes]], rng: random.Random) -> None:
    """A patient's messages, each after the acknowledgement of the one before, by any gateway; some by both at once."""
    messages = [update(patient, number) for number in range(1, ROUNDS + 1)]
    messages.insert(ROUNDS // 2, update(1000 + patient, 1))
    messages.insert(ROUNDS // 2 + 2, merge(patient))
    for message in messages:
        ways = (0, 1) if rng.random() < 0.4 else (rng.randrange(2),)
        for answer in await asyncio.gather(*(site.send(message, way) for way in ways)):
            answers[control_id(message)].add(answer)


async def drive(site: Site) -> dict[str, set[bytes]]:
    answers: defaultdict[str, set[bytes]] = defaultdict(set)
    senders = [
        asyncio.create_task(sender(site, patient, answers, random.Random(patient)))
        for patient in range(PATIENTS)
    ]
    while len(answers) < PATIENTS * ROUNDS // 3:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(site.kill)
    await asyncio.gather(*senders)
    return answers


def histories(gateway: Gateway) -> dict[str, list[dict[str, Any]]]:
    """By record number: every version of each Patient, in order."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    query = (
        "SELECT type, id, version, patient_code, body FROM version WHERE type = 'Patient' ORDER BY version"
    )
    with gateway.store.engine.connect() as connection:
        for type_, id_, version, code, body in connection.execute(text(query)):
            opened = gateway.store.reader.opened(SealedVersion(type_, id_, version, code, bytes(body)))
            patient = loads(opened.body)
            found[patient["identifier"][0]["value"]].append(patient)
    return found


def test_two_gateways_keep_order_and_exactly_once_through_a_kill_9_and_a_wrong_clock(
    folders: tuple[Path, Path], url: str
) -> None:
    receiver = Receiver()
    for folder in folders:
        (folder / "destinations.toml").write_text(
            f'[destinations.hub]\naddress = "{receiver.address}"\nmessages = ["*"]\n'
        )
    with site_of(folders, url) as site:
        answers = asyncio.run(drive(site))
        count = PATIENTS * (ROUNDS + 2)
        until(lambda: len(set(receiver.ids)) == count)
    receiver.close()
    assert {name: len(each) for name, each in answers.items()} == dict.fromkeys(answers, 1)
    assert {code_of(answer) for each in answers.values() for answer in each} == {"AA"}
    assert findings(folders[0], answers.keys(), url=url, is_exact=True) == []
    with Gateway.open(Settings(data=folders[0], database_url=url)) as gateway:
        stored = histories(gateway)
        queued = [row[0] for row in _rows(gateway, "SELECT control_id FROM outbox ORDER BY okey")]
    for patient in range(PATIENTS):
        versions = stored[str(patient)]
        addresses = [each["address"][0]["line"][0] for each in versions if "address" in each]
        told = list(dict.fromkeys(addresses))
        assert told == [f"Apt {number}" for number in range(1, ROUNDS + 1)], patient
        assert [link["type"] for link in versions[-1]["link"]] == ["replaces"]
        [last] = [each["link"] for each in stored[str(1000 + patient)][-1:]]
        assert [link["type"] for link in last] == ["replaced-by"]
    once = list(dict.fromkeys(receiver.ids))
    assert once == queued
    assert len(receiver.ids) - len(once) <= 1  # the one under way when its sender was killed


def _rows(gateway: Gateway, query: str) -> list[Any]:
    with gateway.store.engine.connect() as connection:
        return list(connection.execute(text(query)))


def test_what_another_process_sealed_anew_without_a_leaf_is_seen(
    folders: tuple[Path, Path], url: str
) -> None:
    keys = KeyRing.open(folders[0] / "keys")
    settings = Settings(data=folders[0], database_url=url)

    def say(at_us: int, **content: Any) -> Any:
        def work(session: WriteSession) -> None:
            resource = {"resourceType": "Patient", "id": "p", **content}
            session.statement(resource, sender="A", institution="s", patient="p", stamp=Stamp(at_us, at_us))

        return work

    with Store.open(settings, keys, lambda: 10) as one, Store.open(settings, keys, lambda: 10) as two:
        one.submit(say(100, gender="female")).result()
        two.submit(say(300, gender="female")).result()  # nothing new but when it was said: no leaf
        one.submit(say(200, gender="male")).result()
        with one.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM version")).scalar() == 1


def test_a_message_after_an_acknowledgement_of_a_gateway_whose_clock_is_ahead_is_the_newer_one(
    folders: tuple[Path, Path], url: str
) -> None:
    settings = [Settings(data=folder, database_url=url) for folder in folders]
    with (
        Gateway.open(settings[0], clock=lambda: 2_000_000_000_000_000) as ahead,
        Gateway.open(settings[1], clock=lambda: 1_800_000_000_000_000) as behind,
    ):
        for number in range(1, 7):
            assert code_of((ahead, behind)[number % 2].receive_now(update(1, number))) == "AA"
        assert histories(ahead)["1"][-1]["address"][0]["line"] == ["Apt 6"]
        received = [row[0] for row in _rows(ahead, "SELECT received_us FROM inbox ORDER BY ikey")]
    assert received == sorted(set(received))
