"""Local times that a zone's clocks pass twice or skip: one offset is taken, and that is reported. HL7 v2.9 §2.A.22."""

from __future__ import annotations

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender
from hdg.ingestion.times import DOUBLED, SKIPPED, doubt, zone

BERLIN = zone("Europe/Berlin")
TWICE, NEVER, ONCE = "20261025023000", "20260329023000", "20261025033000"
CONVERTER = Converter(id_key=PUBLIC_KEY)


def convert(*segments: str, made: str = "20261025120000+0100", offset: str = "Europe/Berlin") -> Converted:
    head = f"MSH|^~\\&|A|B|||{made}||ORU^R01|1|P|2.5.1"
    data = "\r".join((head, "PID|1||4711^^^B^MR||Probe^Petra", "PV1|1|I", *segments)).encode()
    return CONVERTER.convert(data, Sender("A|B", "B", zone=offset), at_us=0)


def told(found: Converted) -> list[tuple[str, str]]:
    return [(issue.place, issue.text) for issue in found.issues if issue.text in (DOUBLED, SKIPPED)]


@pytest.mark.parametrize(
    "text, expected",
    [
        (TWICE, DOUBLED),
        (TWICE[:12], DOUBLED),
        (TWICE + ".5", DOUBLED),
        (NEVER, SKIPPED),
        (ONCE, ""),
        (TWICE + "+0100", ""),
        (TWICE + "Z", ""),
        (TWICE[:8], ""),
        (TWICE[:10], ""),
        ("20261399023000", ""),
        ("nonsense", ""),
    ],
)
def test_only_a_local_time_that_is_there_twice_or_never_is_in_doubt(text: str, expected: str) -> None:
    assert doubt(text, BERLIN) == expected
    assert doubt(text, zone("+01:00")) == doubt(text, None) == ""


@pytest.mark.parametrize("text, offset, why", [(TWICE, "+02:00", DOUBLED), (NEVER, "+01:00", SKIPPED)])
def test_the_offset_from_before_the_change_is_taken_and_every_place_reported(
    text: str, offset: str, why: str
) -> None:
    obr = f"OBR|1|P|F|718-7^Hb^LN|||{text}|||||||||||||||{text}|||F"
    found = convert(obr, f"OBX|1|DTM|1^x^L||{text}||||||F|||{text}", f"OBX|2|NM|2^x^L||1||||||F|||{text}")
    assert told(found) == [
        (place, why) for place in ("OBR-7", "OBR-22", "OBX-5", "OBX-14", "OBX[2]-5", "OBX[2]-14")
        if place != "OBX[2]-5"
    ]  # fmt: skip
    [report] = [one for one in found.resources if one["resourceType"] == "DiagnosticReport"]
    assert report["issued"][-6:] == report["effectiveDateTime"][-6:] == offset
    assert told(convert(obr.replace(text, ONCE))) == told(convert(obr, offset="+01:00")) == []


def test_a_result_that_takes_the_time_of_its_order_does_not_report_it_again() -> None:
    found = convert(f"OBR|1|P|F|718-7^Hb^LN|||{TWICE}||||||||||||||||||F", "OBX|1|NM|1^x^L||1||||||F")
    assert told(found) == [("OBR-7", DOUBLED)]


def test_the_time_of_birth_and_of_the_message_are_no_exceptions() -> None:
    assert told(convert(made=TWICE)) == [("MSH-7", DOUBLED)]
    pid = "PID|1||4711^^^B^MR||Probe^Petra||20251026023000"
    head = "MSH|^~\\&|A|B|||20261025120000+0100||ADT^A31|1|P|2.5.1\rEVN||20261025023000"
    for _ in range(3):  # the third time the field comes from what is remembered
        found = CONVERTER.convert(
            f"{head}\r{pid}".encode(), Sender("A|B", "B", zone="Europe/Berlin"), at_us=0
        )
        assert told(found) == [("EVN-2", DOUBLED), ("PID-7", DOUBLED)]


def stated(made: str, event: str = "") -> int:
    head = f"MSH|^~\\&|A|B|||{made}||ADT^A31|1|P|2.5.1\r" + (f"EVN||{event}\r" if event else "")
    data = f"{head}PID|1||4711^^^B^MR||Probe^Petra".encode()
    found = CONVERTER.convert(data, Sender("A|B", "B", zone="Europe/Berlin"), at_us=0).source.stated_us
    assert found is not None
    return found


def test_what_is_stated_in_the_second_of_two_equal_hours_is_not_older_than_the_first() -> None:
    later = stated("20261025023000+0100")
    assert stated(TWICE) == stated(ONCE, TWICE) == stated(TWICE, TWICE) == later
    assert stated(NEVER) == stated("20260329033000+0200")


def test_an_offset_of_the_header_holds_for_the_event_and_one_from_the_zone_does_not() -> None:
    assert stated("20260701120000+0100", "20260701100000") == stated("20260701100000+0100")
    assert stated("20260701120000", "20260110100000") == stated("20260110100000+0100")
