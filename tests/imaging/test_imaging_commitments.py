"""Reports of storage commitment that their association did not take: kept over kill -9, sent again, bounded."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from bench.measure import start_gateway
from dicom_objects import associated, image, uid
from hdg import imaging_commitments
from hdg.gateway import Gateway
from hdg.ingestion.dicom.association import Peer
from hdg.ingestion.dicom.scp_commitment import Request
from hdg.management.store import imaging_commitment as rows
from hdg.settings import DicomPeer, Settings
from receiver import kept_port

PUSH_INSTANCE = "1.2.840.10008.1.20.1.1"
SOON_S = 180


class Modality:
    """What asked for a commitment, waiting for reports. ``statuses``: what it answers, one after the other."""

    def __init__(self, *statuses: int, port: int = 0, pause_s: float = 0.0) -> None:
        self._pause_s = pause_s
        self.reports: list[tuple[int, Any]] = []
        self._statuses = list(statuses)
        entity = AE(ae_title="CT1")
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        self.server = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._reported)]
        )
        self.address = "{}:{}".format(*self.server.socket.getsockname())

    def _reported(self, event: evt.Event) -> tuple[int, None]:
        time.sleep(self._pause_s)
        status = self._statuses.pop(0) if self._statuses else 0
        self.reports.append((event.event_type, event.event_information))
        return status, None

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def ask(address: str, *instances: str, transaction: int = 78) -> None:
    """Stores an object, asks for a commitment and does not take the report."""
    request = Dataset()
    request.TransactionUID = uid(transaction)
    request.ReferencedSOPSequence = [reference(one) for one in instances or (uid(1, 1, 1),)]
    handlers = [(evt.EVT_N_EVENT_REPORT, lambda _: (0x0110, None))]
    classes = (CTImageStorage, StorageCommitmentPushModel)
    with associated(address, *classes, evt_handlers=handlers) as association:
        assert association.send_c_store(image()).Status == 0
        status, _ = association.send_n_action(request, 1, StorageCommitmentPushModel, PUSH_INSTANCE)
        assert status.Status == 0


def reference(instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, instance
    return item


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_so()


def waiting(site) -> int:
    return rows.count(site.gateway.store.engine, "CT1")


def test_a_report_that_its_association_did_not_take_comes_on_another_and_is_owed_no_more(site_of) -> None:
    modality = Modality()
    site = site_of(dicom_peers={"CT1": DicomPeer(address=modality.address)})
    site.imaging.start()
    ask(site.address, uid(1, 1, 1), uid(9, 9, 9))
    wait_for(lambda: bool(modality.reports) and waiting(site) == 0)
    modality.close()
    ((event, report),) = modality.reports
    assert (event, report.TransactionUID) == (2, uid(78))
    assert [one.ReferencedSOPInstanceUID for one in report.ReferencedSOPSequence] == [uid(1, 1, 1)]
    assert [one.ReferencedSOPInstanceUID for one in report.FailedSOPSequence] == [uid(9, 9, 9)]


def test_a_report_that_was_taken_on_its_association_is_owed_no_more(site_of) -> None:
    site = site_of(dicom_peers={"CT1": DicomPeer(address="127.0.0.1:9")})
    request = Dataset()
    request.TransactionUID, request.ReferencedSOPSequence = uid(78), [reference(uid(1, 1, 1))]
    reports = []

    def reported(event: evt.Event) -> tuple[int, None]:
        reports.append(waiting(site))
        return 0, None

    handlers = [(evt.EVT_N_EVENT_REPORT, reported)]
    with associated(site.address, StorageCommitmentPushModel, evt_handlers=handlers) as association:
        association.send_n_action(request, 1, StorageCommitmentPushModel, PUSH_INSTANCE)
        wait_for(lambda: bool(reports) and waiting(site) == 0)
    assert reports == [1]


def test_a_report_is_sent_again_until_it_is_taken(site_of, monkeypatch) -> None:
    monkeypatch.setattr(imaging_commitments, "PAUSES_S", (0.05, 0.1))
    modality = Modality(0x0110, 0x0110)
    site = site_of(dicom_peers={"CT1": DicomPeer(address=modality.address)})
    site.imaging.start()
    ask(site.address)
    wait_for(lambda: len(modality.reports) == 3 and waiting(site) == 0)
    modality.close()


def test_of_two_gateways_on_one_database_one_sends(site_of) -> None:
    modality = Modality(pause_s=0.5)
    peers = {"CT1": DicomPeer(address=modality.address)}
    site = site_of(dicom_peers=peers)
    other = site_of(folder=site.folder, dicom_peers=peers)
    request = Request(uid(78), ((CTImageStorage, uid(1, 1, 1)),))
    site.imaging.untaken(site.imaging.promise(Peer("CT1", "HDG", ""), request))
    for one in (site, other):
        one.imaging.start()
    wait_for(lambda: waiting(site) == 0)
    modality.close()
    assert len(modality.reports) == 1


def test_what_is_told_is_what_is_so_when_it_is_told(site_of, monkeypatch) -> None:
    modality = Modality()
    site = site_of(dicom_peers={"CT1": DicomPeer(address=modality.address)}, inline_blob_bytes=100)
    ask(site.address)
    wait_for(lambda: waiting(site) == 1)
    for path in site.vault_files():
        path.unlink()
    site.imaging.start()
    wait_for(lambda: bool(modality.reports))
    modality.close()
    assert modality.reports[0][0] == 2


def test_promises_are_bounded_and_without_an_address_none_is_kept(make_site, monkeypatch) -> None:
    monkeypatch.setattr(imaging_commitments, "_PROMISES_MAX", 3)
    site = make_site(dicom_peers={"CT1": DicomPeer(address="127.0.0.1:9"), "CT2": DicomPeer()})
    request = Request(uid(78), ((CTImageStorage, uid(1, 1, 1)),))
    for _ in range(3):
        assert site.imaging.promise(Peer("CT1", "HDG", ""), request)
    with pytest.raises(imaging_commitments.TooMany):
        site.imaging.promise(Peer("CT1", "HDG", ""), request)
    assert site.imaging.promise(Peer("CT2", "HDG", ""), request) == 0
    asked = Dataset()
    asked.TransactionUID, asked.ReferencedSOPSequence = uid(78), [reference(uid(1, 1, 1))]
    with associated(site.address, StorageCommitmentPushModel) as association:
        status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, PUSH_INSTANCE)
    assert status.Status == 0x0213


def test_a_promise_that_nobody_took_for_a_week_is_given_up(make_site, monkeypatch) -> None:
    monkeypatch.setattr(imaging_commitments, "_GIVE_UP_US", -1)
    modality = Modality(0x0110)
    site = make_site(dicom_peers={"CT1": DicomPeer(address=modality.address)})
    request = Request(uid(78), ((CTImageStorage, uid(1, 1, 1)),))
    site.imaging.start()
    site.imaging.untaken(site.imaging.promise(Peer("CT1", "HDG", ""), request))
    wait_for(lambda: waiting(site) == 0)
    modality.close()
    assert len(modality.reports) == 1


@pytest.fixture
def port() -> Iterator[int]:
    with kept_port() as kept:
        yield kept


def test_what_a_killed_gateway_owed_is_sent_by_the_next(
    tmp_path: Path, database_url: str | None, port: int
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "hdg.toml").write_text(f'dicom_idle_s = 1.0\n[dicom_peers.CT1]\naddress = "127.0.0.1:{port}"\n')
    environment = {} if database_url is None else {"HDG_DATABASE_URL": database_url}
    first = start_gateway(data, **environment)
    ask("{}:{}".format(*first.dicom))
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    first.close()
    with Gateway.open(Settings(data=data, database_url=database_url)) as gateway:
        assert rows.count(gateway.store.engine, "CT1") == 1
    modality = Modality(port=port)
    second = start_gateway(data, **environment)
    try:
        wait_for(lambda: bool(modality.reports))
    finally:
        second.process.terminate()
        second.process.wait()
        second.close()
        modality.close()
    ((event, report),) = modality.reports
    assert (event, report.TransactionUID) == (1, uid(78))
    with Gateway.open(Settings(data=data, database_url=database_url)) as gateway:
        assert rows.count(gateway.store.engine, "CT1") == 0
