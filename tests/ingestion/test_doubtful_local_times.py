"""Local times that a zone's clocks pass twice or skip are reported, whatever the format (HL7 v2.9 §2.A.22)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from cda_documents import CONVERTER as CDA
from cda_documents import LN, T, document
from dicom_headers import obj
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.converted import Converted
from hdg.ingestion.device.convert import Converter, Input
from hdg.ingestion.dicom.convert import Converter as DicomConverter
from hdg.ingestion.dicom.header import read_header
from hdg.ingestion.hl7v3.convert import Converter as V3Converter
from hdg.ingestion.sender import Sender
from hdg.ingestion.times import DOUBLED, SKIPPED
from registry_messages import message, registration

BERLIN = Sender("p", "c", zone="Europe/Berlin")
TWICE, NEVER, ONCE = "20261025023000", "20260329023000", "20261025033000"
DOUBTS = [(TWICE, "+02:00", DOUBLED), (NEVER, "+01:00", SKIPPED), (ONCE, "+01:00", "")]


def told(found: Converted) -> list[str]:
    return [issue.text for issue in found.issues if issue.text in (DOUBLED, SKIPPED)]


def of(found: Converted, kind: str) -> dict:
    return next(one for one in found.resources if one["resourceType"] == kind)


@pytest.mark.parametrize(("text", "offset", "why"), DOUBTS)
def test_a_cda_document_reports_it(text: str, offset: str, why: str) -> None:
    result = f'''<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/><id root="2.999.6"/>
      <code code="718-7" {LN}/><statusCode code="completed"/><effectiveTime value="{text}"/>
      <value xsi:type="PQ" value="1" unit="g"/></observation></entry>'''
    found = CDA.convert(document(result), BERLIN, at_us=0)
    assert of(found, "Observation")["effectiveDateTime"][-6:] == offset
    assert set(told(found)) == ({why} if why else set())


@pytest.mark.parametrize(("text", "offset", "why"), DOUBTS)
def test_a_dicom_object_reports_it(text: str, offset: str, why: str) -> None:
    data = obj(TimezoneOffsetFromUTC=None, StudyDate=text[:8], StudyTime=text[8:])
    found = DicomConverter(id_key=PUBLIC_KEY).convert(read_header(data), BERLIN, at_us=0)
    assert of(found, "ImagingStudy")["started"][-6:] == offset
    assert set(told(found)) == ({why} if why else set())


@pytest.mark.parametrize(("text", "offset", "why"), DOUBTS)
def test_a_file_of_home_measurements_reports_it(text: str, offset: str, why: str) -> None:
    when = datetime.strptime(text, "%Y%m%d%H%M%S").isoformat(" ")
    data = f"date,weight (kg)\n{when},71\n".encode()
    given = Input.of_bytes(data, name="diary.csv", patient="p1", kind="csv")
    (found,) = Converter(id_key=PUBLIC_KEY).pieces(given, BERLIN, at_us=1)
    assert of(found, "Observation")["effectiveDateTime"][-6:] == offset
    assert told(found) == ([why] if why else [])


def stated(text: str) -> int | None:
    raw = message(registration(), created=text)
    return V3Converter(id_key=PUBLIC_KEY).convert(raw, BERLIN, at_us=0).source.stated_us


def test_of_two_equal_hours_the_later_one_is_when_it_was_stated() -> None:
    second = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    assert stated(TWICE) == int(second.timestamp()) * 1_000_000
    assert stated("20260329023000") == stated("20260329033000")
