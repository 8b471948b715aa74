"""What fuzzing found (bench/fuzz_dicom.py), each as a case; and five seconds of it in every run of the suite."""

from __future__ import annotations

import base64
from collections import Counter

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from bench import fuzz_dicom
from dicom_headers import code, content, obj, report
from hdg.errors import DicomError
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.dicom.convert import Converter
from hdg.ingestion.dicom.header import read_header

CONVERTER = Converter(id_key=PUBLIC_KEY)


@pytest.mark.parametrize("offset", ["Europe/Berlin", "../../x", "+2500", "-0000", "+0100Z", "A" * 70])
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


def test_values_without_end_are_cut_off_and_reported():
    many = [str(at) for at in range(50_000)]
    found = CONVERTER.convert(
        read_header(obj(transfer_syntax=ImplicitVRLittleEndian, OtherPatientIDs=many)), at_us=0
    )
    patient = next(one for one in found.resources if one["resourceType"] == "Patient")
    assert len(patient["identifier"]) == 1001
    assert ("too-long", "OtherPatientIDs") in {(issue.code, issue.place) for issue in found.issues}


def test_a_number_of_a_hundred_thousand_zeros_is_none():
    data = obj(PatientWeight="70").replace(b"DS\x02\x0070", b"DS\x60\xea" + b"0" * 59_999 + b"x")
    found = CONVERTER.convert(read_header(data), at_us=0)
    assert "PatientWeight" in {issue.place for issue in found.issues}


def test_a_report_whose_context_would_multiply_is_cut_off_and_its_text_has_the_rest():
    name = code("1", "99CITY", "Name")
    context = [
        content("TEXT", name, relation="HAS OBS CONTEXT", TextValue=f"context {at}") for at in range(600)
    ]
    items = [content("TEXT", name, TextValue=f"value {at}") for at in range(600)]
    found = CONVERTER.convert(read_header(report(name, *context, *items)), at_us=0)
    observations = [one for one in found.resources if one["resourceType"] == "Observation"]
    assert 100 < len(observations) < 200
    assert all(len(one["component"]) == 600 for one in observations)
    assert "too-long" in {issue.code for issue in found.issues}
    diagnostic = next(one for one in found.resources if one["resourceType"] == "DiagnosticReport")
    assert b"value 599" in base64.b64decode(diagnostic["presentedForm"][0]["data"])
