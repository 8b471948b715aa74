"""C-FIND and C-MOVE as pynetdicom asks them: what is found and sent, and for whom nothing is there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_objects import image, part10, uid
from hdg.errors import SettingsError
from hdg.imaging_query import MODELS, QueryRetrieve
from hdg.ingestion.dicom.scp import Listener
from hdg.settings import load
from hdg.usage.access import Gate

READS = {"user": "pacs", "institution": "north"}
PEERS = {
    "READER": {"reads": READS, "from_address": "127.0.0.1", "institution": "north"},
    "STRANGER": {"reads": {"user": "x", "institution": "east"}, "from_address": "127.0.0.1"},
    "FAR": {"reads": READS, "from_address": "192.0.2.7"},
    "SENDER": {"institution": "north"},
}


class Station:
    """A storage provider that C-MOVE sends to."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.entity = AE(ae_title="READER")
        self.entity.add_supported_context(CTImageStorage)
        self.server = self.entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.address = f"127.0.0.1:{self.server.socket.getsockname()[1]}"

    def _store(self, event: evt.Event) -> int:
        self.received.append(event.dataset)
        return 0x0000


class Asking:
    """A gateway with two studies of north, and its listener with query and retrieve."""

    def __init__(self, make_site, station: Station) -> None:
        peers = {
            **PEERS,
            "READER": {**PEERS["READER"], "address": station.address},
            "OTHER": {"address": station.address},
        }
        self.site = make_site(dicom_peers=peers)
        for one in (image(1), image(2), image(1, series=2, Modality="MR"), image(1, study=2, patient="9")):
            self.site.take(part10(one), "north")
        self.site.imaging.studies.make_due()
        gateway = self.site.gateway
        gate = Gate.open(gateway.settings, gateway.keys, gateway.store, gateway.clock)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        service = QueryRetrieve(gate, gateway.settings, self.loop)
        self.listener = Listener(
            "127.0.0.1", 0, self.site.imaging, services=dict.fromkeys(MODELS, service), associations=4
        )
        self.listener.start()

    def close(self) -> None:
        self.listener.close(2)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()

    @contextmanager
    def associated(self, title: str, *models: str) -> Iterator[Any]:
        entity = AE(ae_title=title)
        for model in models:
            entity.add_requested_context(model)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
        host, _, port = self.listener.address.rpartition(":")
        association = entity.associate(host, int(port), ae_title="HDG")
        assert association.is_established
        yield association
        association.release()

    def find(
        self, title: str, level: str, model: Any = StudyRootQueryRetrieveInformationModelFind, **keys: Any
    ):
        asked = Dataset()
        asked.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(asked, keyword, value)
        with self.associated(title, model) as association:
            answers = list(association.send_c_find(asked, model))
        return [one for _, one in answers if one is not None], answers[-1][0].Status

    def move(self, title: str, destination: str, **keys: Any):
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        for keyword, value in keys.items():
            setattr(asked, keyword, value)
        model = StudyRootQueryRetrieveInformationModelMove
        with self.associated(title, model) as association:
            return [status for status, _ in association.send_c_move(asked, destination, model)]


@pytest.fixture
def station() -> Iterator[Station]:
    made = Station()
    yield made
    made.server.shutdown()


@pytest.fixture
def asking(make_site, station) -> Iterator[Asking]:
    made = Asking(make_site, station)
    yield made
    made.close()


def test_studies_series_and_images_are_found(asking) -> None:
    found, status = asking.find(
        "READER",
        "STUDY",
        PatientID="4711",
        PatientName="",
        StudyInstanceUID="",
        NumberOfStudyRelatedInstances="",
    )
    assert status == 0x0000
    (one,) = found
    assert (one.StudyInstanceUID, str(one.PatientName), one.QueryRetrieveLevel) == (
        uid(1),
        "Doe^Jane",
        "STUDY",
    )
    assert (one.NumberOfStudyRelatedInstances, one.RetrieveAETitle) == (3, "HDG")
    assert "Modality" not in one
    found, _ = asking.find("READER", "SERIES", StudyInstanceUID=uid(1), SeriesInstanceUID="", Modality="MR")
    assert [(one.SeriesInstanceUID, one.Modality) for one in found] == [(uid(1, 2), "MR")]
    found, _ = asking.find(
        "READER",
        "IMAGE",
        StudyInstanceUID=uid(1),
        SeriesInstanceUID=uid(1, 1),
        SOPInstanceUID="",
        InstanceNumber="",
    )
    assert sorted(one.InstanceNumber for one in found) == [1, 2]


def test_patients_are_found_once_each(asking) -> None:
    model = PatientRootQueryRetrieveInformationModelFind
    found, _ = asking.find("READER", "PATIENT", model, PatientID="", PatientName="Doe*")
    assert sorted(one.PatientID for one in found) == ["4711", "9"]


def test_a_level_needs_the_levels_above_it(asking) -> None:
    assert asking.find("READER", "SERIES", SeriesInstanceUID="") == ([], 0xA900)
    assert asking.find("READER", "NOTHING", PatientID="") == ([], 0xA900)


def test_who_may_see_nothing_finds_nothing_and_who_is_not_proved_is_refused(asking) -> None:
    assert asking.find("STRANGER", "STUDY", StudyInstanceUID="") == ([], 0x0000)
    for title in ("FAR", "SENDER"):
        assert asking.find(title, "STUDY", StudyInstanceUID="") == ([], 0x0124)


def test_a_study_is_sent_to_the_station_that_asks(asking, station) -> None:
    answers = asking.move("READER", "READER", StudyInstanceUID=uid(1))
    last = answers[-1]
    assert (last.Status, last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations) == (0, 3, 0)
    assert [one.Status for one in answers[:-1]] == [0xFF00] * 2
    assert sorted(one.SOPInstanceUID for one in station.received) == [
        uid(1, 1, 1),
        uid(1, 1, 2),
        uid(1, 2, 1),
    ]
    station.received.clear()
    asking.move("READER", "READER", StudyInstanceUID=uid(1), SeriesInstanceUID=uid(1, 2))
    assert [one.SOPInstanceUID for one in station.received] == [uid(1, 2, 1)]


def test_nothing_is_sent_to_others_or_of_what_is_hidden(asking, station) -> None:
    assert asking.move("READER", "OTHER", StudyInstanceUID=uid(1))[-1].Status == 0xA801
    assert asking.move("READER", "NOBODY", StudyInstanceUID=uid(1))[-1].Status == 0xA801
    assert asking.move("STRANGER", "READER", StudyInstanceUID=uid(1))[-1].Status == 0xA801
    assert asking.move("READER", "READER", StudyInstanceUID=uid(9))[-1].Status == 0x0000
    assert asking.move("READER", "READER", PatientID="4711")[-1].Status == 0xA900
    assert station.received == []


def test_a_station_that_takes_nothing_is_told(asking, station) -> None:
    station.entity.require_calling_aet = ["SOMEBODY"]
    last = asking.move("READER", "READER", StudyInstanceUID=uid(1))[-1]
    assert last.NumberOfFailedSuboperations == 3
    assert last.Status != 0x0000


def test_a_peer_that_reads_must_be_provable(tmp_path) -> None:
    (tmp_path / "hdg.toml").write_text('[dicom_peers.PACS]\nreads = { user = "pacs" }\n')
    with pytest.raises(SettingsError, match="tls_subject or from_address"):
        load(data=tmp_path)


@pytest.mark.parametrize(
    "keyword", ["InstanceNumber", "SeriesNumber", "Rows", "PatientBirthDate", "StudyTime"]
)
def test_a_key_that_cannot_be_read_is_answered_and_logged_nowhere(asking, caplog, keyword) -> None:
    from pydicom.datadict import tag_for_keyword

    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", ""
    asked.add_new(tag_for_keyword(keyword), "LO", "Doe^Secret")
    model = StudyRootQueryRetrieveInformationModelFind
    with asking.associated("READER", model) as association:
        answers = list(association.send_c_find(asked, model))
        assert answers[-1][0].get("Status") in (0x0000, 0xA900, 0xA700)
    assert "Secret" not in caplog.text
