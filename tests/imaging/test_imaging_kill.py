"""kill -9 of ``hdg serve`` while objects arrive, on either database: what was answered is there, and no more."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset
from sqlalchemy import text

from bench.measure import Running, start_gateway
from dicom_objects import image, part10
from dicom_wire import connected, store_command
from hdg.gateway import Gateway
from hdg.imaging import Imaging
from hdg.ingestion.dicom import association_dimse as dimse
from hdg.ingestion.dicom import association_pdu as pdu
from hdg.management.store import imaging as rows
from hdg.settings import Settings
from stored import all_of

LARGE = 2_000_000
ANSWERED = 12


@dataclass
class Killed:
    """A served gateway and how its data are opened again."""

    running: Running
    settings: Settings

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.running.dicom)

    @property
    def incoming(self) -> list[Path]:
        folder = self.settings.data / "vault" / "incoming"
        return list(folder.iterdir()) if folder.exists() else []

    def kill(self) -> None:
        os.kill(self.running.process.pid, signal.SIGKILL)
        self.running.process.wait()


@pytest.fixture
def killed(tmp_path: Path, database_url: str | None) -> Iterator[Killed]:
    folder = tmp_path / "killed"
    environment = {} if database_url is None else {"HDG_DATABASE_URL": database_url}
    running = start_gateway(folder, **environment)
    yield Killed(running, Settings(data=folder, database_url=database_url))
    if running.process.poll() is None:
        running.process.kill()
    running.close()


def message(made: Dataset) -> bytes:
    """A C-STORE request with its object."""
    raw = part10(made)
    data = raw[144 + int.from_bytes(raw[140:144], "little") :]
    return pdu.data_pdus(1, store_command(made.SOPInstanceUID), data, 16384)


def is_success(answer: bytes) -> bool:
    return len(answer) > 12 and dimse.decode(answer[12:])[dimse.STATUS] == 0


def named(gateway: Gateway) -> set[str]:
    """The vault files that rows name."""
    with gateway.store.engine.connect() as connection:
        return set(connection.scalars(text("SELECT cid FROM blob WHERE data IS NULL")))


def lying(folder: Path) -> set[str]:
    return {path.name for path in (folder / "vault").glob("??/*")}


def test_what_was_answered_is_there_whole_after_kill_9(killed: Killed) -> None:
    answered: list[str] = []

    def send() -> None:
        with connected(killed.address) as association, suppress(OSError):
            for number in range(1, 10_000):
                made = image(number, pixels=bytes(LARGE if number % 4 == 0 else 512))
                association.sendall(message(made))
                if not is_success(association.recv(4096)):
                    return
                answered.append(made.SOPInstanceUID)

    sender = threading.Thread(target=send)
    sender.start()
    deadline = time.monotonic() + 300
    while len(answered) < ANSWERED and time.monotonic() < deadline:
        time.sleep(0.001)
    killed.kill()
    sender.join(300)
    assert len(answered) >= ANSWERED
    with Gateway.open(killed.settings) as gateway:
        assert killed.incoming == []
        imaging = Imaging(gateway)
        imaging.studies.make_due()
        (study,) = all_of(gateway, "ImagingStudy")
        kept = list(rows.instances(gateway.store.engine, study["id"]))
        assert study["numberOfInstances"] == len(kept)
        assert {rows.open_facts(gateway.store.reader, row)["sop_uid"] for row in kept} >= set(answered)
        for row in kept:
            with gateway.store.reader.blob_open(row.blob) as source:
                assert len(source.read()) == row.size
        assert named(gateway) <= lying(killed.settings.data)
        gateway.store.files.collect(lambda: named(gateway), 0, time.time() + 60)
        assert named(gateway) == lying(killed.settings.data)


def test_of_an_object_that_was_arriving_nothing_is_left_after_kill_9(killed: Killed) -> None:
    with connected(killed.address) as association:
        association.sendall(message(image(pixels=bytes(5_000_000)))[:3_000_000])
        deadline = time.monotonic() + 300
        while not killed.incoming and time.monotonic() < deadline:
            time.sleep(0.001)
        assert killed.incoming
        killed.kill()
    with Gateway.open(killed.settings) as gateway:
        Imaging(gateway).studies.make_due()
        assert killed.incoming == []
        assert lying(killed.settings.data) == named(gateway) == set()
        assert [all_of(gateway, kind) for kind in ("ImagingStudy", "Patient")] == [[], []]
