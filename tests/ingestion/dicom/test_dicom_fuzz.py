"""What fuzzing found (bench/fuzz_dicom.py), each as a case; and five seconds of it in every run of the suite."""

from __future__ import annotations

from collections import Counter

import pytest

from bench import fuzz_dicom
from dicom_headers import obj
from hdg.errors import DicomError
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.dicom.convert import Converter
from hdg.ingestion.dicom.header import read_header

CONVERTER = Converter(id_key=PUBLIC_KEY)


@pytest.mark.parametrize("offset", ["Europe/Berlin", "../../x", "+2500", "-0000", "+01:00", "A" * 70])
def test_an_offset_from_utc_is_no_name_of_a_zone_or_file(offset):
    data = obj(TimezoneOffsetFromUTC="+0100").replace(b"+0100 ", (offset + " " * 6).encode()[:6])
    found = CONVERTER.convert(read_header(data), at_us=0)
    study = next(one for one in found.resources if one["resourceType"] == "ImagingStudy")
    assert study["started"] == "2026-01-02"
    assert "TimezoneOffsetFromUTC" in {issue.place for issue in found.issues}


@pytest.mark.parametrize("uid", [b"1..826.1.1.1", b"............", b"1.2.826.1.1."])
def test_a_uid_of_points_is_none(uid):
    data = obj(SOPInstanceUID="1.2.826.1.1.9").replace(b"1.2.826.1.1.9", uid.ljust(13, b"."))
    with pytest.raises(DicomError, match="not a UID"):
        CONVERTER.convert(read_header(data), at_us=0)


def test_five_seconds_of_fuzzing_find_nothing():
    findings, outcomes = fuzz_dicom.run(5.0, 3)
    assert [what for what, _ in findings] == []
    assert outcomes["converted"] > 20
    assert outcomes["refused"] > 20


def test_a_planted_defect_is_found(monkeypatch):
    def broken(header):
        raise KeyError("planted")

    monkeypatch.setattr(fuzz_dicom, "encapsulated", broken)
    assert "KeyError" in fuzz_dicom.problem(CONVERTER, obj(), Counter())
