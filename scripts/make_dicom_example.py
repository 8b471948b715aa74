"""Writes examples/ct-chest-slice.dcm: one made-up CT slice of a made-up patient, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

_TARGET = Path(__file__).resolve().parents[1] / "examples" / "ct-chest-slice.dcm"
_ROOT = "2.999.42.1"
"""Below the arc that is for examples."""
_SIZE = 64


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def _issuer(oid: str) -> Dataset:
    made = Dataset()
    made.UniversalEntityID, made.UniversalEntityIDType = oid, "ISO"
    return made


def slice_() -> FileDataset:
    """The object."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{_ROOT}.1.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(str(_TARGET), {}, file_meta=meta, preamble=bytes(128))
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"{_ROOT}.1.1"
    made.StudyInstanceUID, made.SeriesInstanceUID = _ROOT, f"{_ROOT}.1"
    made.StudyDate, made.StudyTime, made.TimezoneOffsetFromUTC = "20260312", "081530", "+0100"
    made.SeriesDate, made.SeriesTime = "20260312", "081642"
    made.Modality, made.StudyID, made.SeriesNumber, made.InstanceNumber = "CT", "1", 1, 17
    made.StudyDescription, made.SeriesDescription = "CT chest", "Lung 1.0"
    made.AccessionNumber = "RAD-2026-0312"
    made.IssuerOfAccessionNumberSequence = [_issuer("2.999.1.2")]
    made.PatientName = "Hong^Gildong=洪^吉洞=홍^길동"
    made.PatientID = "MRN-0042"
    made.IssuerOfPatientIDQualifiersSequence = [_issuer("2.999.1.1")]
    made.PatientBirthDate, made.PatientSex, made.PatientAge = "19680412", "M", "057Y"
    made.PatientSize, made.PatientWeight = "1.74", "70.5"
    made.ReferringPhysicianName = "Lee^Dana^^Dr."
    made.ProcedureCodeSequence = [_code("24627-2", "LN", "CT Chest")]
    made.BodyPartExamined = "CHEST"
    made.Manufacturer, made.ManufacturerModelName = "Example Imaging", "Scan One"
    made.DeviceSerialNumber, made.StationName = "EX-100-7", "CT1"
    made.InstitutionName = "City Clinic"
    made.Rows = made.Columns = _SIZE
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelData = b"".join(
        (2000 if (x - 32) ** 2 + (y - 32) ** 2 < 600 else 100).to_bytes(2, "little")
        for y in range(_SIZE)
        for x in range(_SIZE)
    )
    made["PixelData"].VR = "OW"
    return made


if __name__ == "__main__":
    slice_().save_as(_TARGET, enforce_file_format=True)
