"""The watch folder: single objects, and a DICOMDIR with the files that it names."""

from __future__ import annotations

import asyncio
import io

import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_objects import image, part10, uid
from hdg.fhir.json import loads
from hdg.watch import Watch


@pytest.fixture
def watch(make_site, tmp_path):
    site = make_site()
    made = Watch(site.gateway, tmp_path / "inbox", 0.01, site.imaging)
    made.prepare()
    made.site = site
    return made


def look(watch, times=2):
    async def looks():
        return sum([await watch.look() for _ in range(times)])

    return asyncio.run(looks())


def dicomdir(*files):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.1.3.10", uid(99)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.FileSetID = "TEST"
    made.DirectoryRecordSequence = []
    for file in files:
        record = Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", file.split("/")
        made.DirectoryRecordSequence.append(record)
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_an_object_is_stored_whatever_its_name_and_size(watch) -> None:
    (watch.folder / "IM0001").write_bytes(part10(image(1)))
    (watch.folder / "large.dcm").write_bytes(part10(image(2, pixels=bytes(3_000_000))))
    (watch.folder / "cut.dcm").write_bytes(part10(image(3))[:500])
    assert look(watch) == 3
    folder = watch.folder / "processed"
    assert sorted(path.name for path in folder.iterdir()) == [
        "IM0001",
        "IM0001.ack",
        "large.dcm",
        "large.dcm.ack",
    ]
    assert (watch.folder / "failed" / "cut.dcm.ack").exists()
    assert watch.site.study()["numberOfInstances"] == 2


def test_a_dicomdir_brings_the_files_that_it_names(watch) -> None:
    files = [f"DICOM/S{series}/I{number}" for series in (1, 2) for number in (1, 2, 3)]
    for file in files:
        path = watch.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part10(image(int(file[-1]), series=int(file[7]))))
    (watch.folder / "DICOMDIR").write_bytes(dicomdir(*files))
    assert look(watch, 4) == 1
    study = watch.site.study()
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (2, 6)
    answer = loads((watch.folder / "processed" / "DICOMDIR.ack").read_bytes())
    assert answer["issue"][0]["diagnostics"] == "6 objects stored"
    assert (watch.folder / "processed" / "DICOM" / "S2" / "I3").exists()
    assert not (watch.folder / "DICOM" / "S2" / "I3").exists()


def test_a_dicomdir_waits_for_files_that_still_change_and_tells_of_missing_ones(watch) -> None:
    (watch.folder / "DICOM").mkdir()
    file = watch.folder / "DICOM" / "I1"
    (watch.folder / "DICOMDIR").write_bytes(dicomdir("DICOM/I1", "DICOM/I2"))
    data = part10(image(1))
    file.write_bytes(data[:400])
    assert look(watch, 2) == 0
    file.write_bytes(data)
    assert look(watch, 1) == 0
    assert look(watch, 1) == 1
    assert watch.site.study()["numberOfInstances"] == 1
    answer = loads((watch.folder / "failed" / "DICOMDIR.ack").read_bytes())
    assert [issue["severity"] for issue in answer["issue"]] == ["error", "information"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_reaches_no_file_outside_of_the_folder(watch, tmp_path) -> None:
    (tmp_path / "secret").write_bytes(part10(image(1)))
    (watch.folder / "link").symlink_to(tmp_path)
    for name, file in (("A", "../secret"), ("B", "link/secret")):
        (watch.folder / name).write_bytes(dicomdir(file))
    assert look(watch, 4) == 2
    assert watch.site.all_of("Patient") == []
    assert (tmp_path / "secret").exists()
