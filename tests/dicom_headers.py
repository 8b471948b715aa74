"""DICOM objects for tests, written by pydicom: no real people, no pixels to speak of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom.data
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
BASIC_TEXT = "1.2.840.10008.5.1.4.1.1.88.11"
COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.33"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
DOSE = "1.2.840.10008.5.1.4.1.1.88.67"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
CDA = "1.2.840.10008.5.1.4.1.1.104.2"
PYDICOM = Path(pydicom.data.__file__).parent
"""The folder of the files that come with pydicom."""
STUDY, SERIES, SOP = "1.2.826.1", "1.2.826.1.1", "1.2.826.1.1.1"


def part10_files() -> Iterator[Path]:
    """Every DICOM file that comes with pydicom."""
    for path in sorted(PYDICOM.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    yield path


def item(**attributes: Any) -> Dataset:
    """An item of a sequence, or a data set."""
    made = Dataset()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def code(value: str, scheme: str, meaning: str, **more: Any) -> Dataset:
    """An item of a code sequence."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning, **more)


def dataset(sop_class: str = CT, **attributes: Any) -> Dataset:
    """A data set of a patient's study; attributes replace or, with None, leave out what is usual."""
    usual: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": sop_class,
        "SOPInstanceUID": SOP,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "Modality": "CT",
        "PatientName": "Muster^Anna",
        "PatientID": "4711",
        "StudyDate": "20260102",
        "StudyTime": "030405",
        "TimezoneOffsetFromUTC": "+0100",
    }
    usual |= attributes
    return item(**{name: value for name, value in usual.items() if value is not None})


def written(data: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A DICOM file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data.get("SOPClassUID", CT)
    meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID", SOP)
    meta.TransferSyntaxUID = transfer_syntax
    made = FileDataset(None, data, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]  # None is a file
    stream = BytesIO()
    dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()


def obj(sop_class: str = CT, transfer_syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> bytes:
    """A DICOM file of a patient's study."""
    return written(dataset(sop_class, **attributes), transfer_syntax)


def content(
    kind: str,
    name: Dataset | None,
    *children: Dataset,
    relation: str = "CONTAINS",
    **attributes: Any,
) -> Dataset:
    """A content item of a structured report."""
    made = item(RelationshipType=relation, ValueType=kind, **attributes)
    if name is not None:
        made.ConceptNameCodeSequence = [name]
    if children:
        made.ContentSequence = list(children)
    return made


def number(name: Dataset, value: str, unit: Dataset, *children: Dataset, **more: Any) -> Dataset:
    """A NUM item."""
    measured = item(NumericValue=value, MeasurementUnitsCodeSequence=[unit])
    return content("NUM", name, *children, MeasuredValueSequence=[measured], **more)


def report(title: Dataset, *children: Dataset, sop_class: str = COMPREHENSIVE, **attributes: Any) -> bytes:
    """A structured report, complete and verified unless told otherwise."""
    usual: Mapping[str, Any] = {
        "Modality": "SR",
        "ValueType": "CONTAINER",
        "CompletionFlag": "COMPLETE",
        "VerificationFlag": "VERIFIED",
        "ContentDate": "20260102",
        "ContentTime": "040506",
        "ConceptNameCodeSequence": [title],
        "ContentSequence": list(children),
    }
    return obj(sop_class, **{**usual, **attributes})
