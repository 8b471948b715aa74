"""C-FIND and C-MOVE as pynetdicom asks them: what is found and sent, and for whom nothing is there."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, RLELossless
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_objects import image, part10, uid
from hdg.errors import SettingsError
from hdg.settings import load


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


def test_a_compressed_object_is_sent_as_it_is_or_unpacked_as_the_station_takes_it(asking, station) -> None:
    made = image(1, study=5)
    pixels = made.PixelData = bytes(range(256)) * 2
    made.compress(RLELossless, generate_instance_uid=False)
    asking.site.take(part10(made), "north")
    asking.site.imaging.studies.make_due()
    assert asking.move("READER", "READER", StudyInstanceUID=uid(5))[-1].Status == 0x0000
    station.entity.add_supported_context(CTImageStorage, RLELossless)
    assert asking.move("READER", "READER", StudyInstanceUID=uid(5))[-1].Status == 0x0000
    assert [one.PixelData for one in station.received] == [pixels, made.PixelData]


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
