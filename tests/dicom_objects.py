"""DICOM objects made for tests, and a storage user (pynetdicom) to send them with."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from hdg.ingestion.dicom.scu import own_handlers
from receiver import until

ROOT = "1.2.826.0.1.3680043.10.1234"
ADDRESS = ("127.0.0.1", 0)


def uid(*numbers: int) -> str:
    return ".".join([ROOT, *map(str, numbers)])


def image(
    number: int = 1,
    *,
    study: int = 1,
    series: int = 1,
    patient: str = "4711",
    pixels: bytes = bytes(512),
    sop_class: str = CTImageStorage,
    syntax: str = ExplicitVRLittleEndian,
    **elements: Any,
) -> FileDataset:
    """One slice; ``elements`` by keyword, None takes one away."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uid(study, series, number)
    meta.TransferSyntaxUID = syntax
    kind = UID(syntax)
    made = FileDataset(
        "",
        {},
        file_meta=meta,
        preamble=bytes(128),
        is_implicit_VR=kind.is_implicit_VR,
        is_little_endian=kind.is_little_endian,
    )
    made.SOPClassUID, made.SOPInstanceUID = sop_class, uid(study, series, number)
    made.StudyInstanceUID, made.SeriesInstanceUID = uid(study), uid(study, series)
    made.PatientID, made.PatientName, made.PatientSex = patient, "Doe^Jane", "F"
    made.PatientBirthDate, made.StudyDate, made.StudyTime = "19700101", "20240501", "101500"
    made.Modality, made.SeriesNumber, made.InstanceNumber = "CT", series, number
    made.AccessionNumber = made.StudyID = "A1"
    made.Rows = made.Columns = 16
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.PixelData = pixels
    made["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def part10(made: Dataset) -> bytes:
    """The file's bytes."""
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


class Refusals:
    """A-ASSOCIATE-RJ as they come in: (result, source, reason).

    pynetdicom tells of some as of an abort (``is_rejected`` is False): it has closed its socket already when its user's
    thread looks whether it was ever connected.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []
        self.handlers = [(evt.EVT_PDU_RECV, self._note)]

    def _note(self, event: evt.Event) -> None:
        if event.pdu.pdu_type == 3:
            self.seen.append((event.pdu.result, event.pdu.source, event.pdu.reason_diagnostic))


@contextmanager
def associated(
    address: str, *classes: str, title: str = "CT1", called: str = "HDG", **rest: Any
) -> Iterator[Any]:
    """An association of pynetdicom's; without classes with CT images and every transfer syntax of ours."""
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 120
    for one in classes or (CTImageStorage,):
        entity.add_requested_context(one)
    host, _, port = address.rpartition(":")
    handlers = [*own_handlers(), *rest.pop("evt_handlers", ())]
    association = entity.associate(host, int(port), ae_title=called, evt_handlers=handlers, **rest)
    try:
        yield association
    finally:
        if association.is_established:
            quiet(association)
            association.release()


def quiet(association: Any) -> None:
    """Until what the peer asked is answered: pynetdicom breaks off when it is to answer after it has released."""
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    until(lambda: checkpoint.is_waiting or not association.is_alive())
