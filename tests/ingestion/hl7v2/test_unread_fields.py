"""No field of a segment vanishes without a word: what no row of the message reads is reported (DESIGN §3)."""

from __future__ import annotations

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.coverage import coverage

HEAD = "MSH|^~\\&|A|B|C|D|20240102030405+0000||{}|1|P|2.8\rPID|1||4711^^^B^MR||Example^Ada\r"


def reported(message: str) -> list[str]:
    found = Converter(id_key=PUBLIC_KEY).convert(message.encode(), at_us=0)
    return [one.place for one in found.issues if one.code == "incomplete"]


def test_a_field_that_no_row_of_the_message_reads_is_reported_with_its_place() -> None:
    person = "PRT|1|AD||AT^Attending^HL70912|7^Who|||||||||||||20^Batch|N1"
    message = HEAD.format("ORU^R01") + "OBR|1||F1|X^X^LN|||20240101\r" + person
    assert reported(message) == ["PRT-18", "PRT-19"]


def test_a_field_that_a_note_speaks_of_or_that_is_empty_is_not_reported() -> None:
    message = HEAD.format("ADT^A01") + 'PV1|1|I\rROL|1|AD|AT|7^Who||||||||||""\r'
    assert reported(message) == []


@pytest.mark.parametrize(
    "trigger", ["ADT^A01", "ADT^A03", "ADT^A31", "BAR^P01", "DFT^P03", "SIU^S12", "REF^I12"]
)
def test_who_performed_an_observation_is_kept_in_every_message(trigger: str) -> None:
    body = {"DFT": "FT1|1|||20240101|20240101|CG|X\r", "SIU": "", "REF": "RF1|A\r"}.get(
        trigger[:3], "PV1|1|I\r"
    )
    head = HEAD.format(trigger).replace("PID", "SCH|1|2\rPID" if trigger == "SIU^S12" else "PID")
    row = "OBX|1|NM|8302-2^Height^LN||180|cm|||||F|||20240101|||||||||Good Lab^L|1 Way^^Town\r"
    found = Converter(id_key=PUBLIC_KEY).convert((head + body + row).encode(), at_us=0)
    labs = [one["id"] for one in found.resources if one.get("name") == "Good Lab"]
    (observation,) = (one for one in found.resources if one["resourceType"] == "Observation")
    assert [one["reference"] for one in observation["performer"]] == [f"Organization/{one}" for one in labs]
    assert len(labs) == 1


@pytest.mark.parametrize(
    "kind, segments, expected",
    [
        ("RDE^O11", "RXE||D1^Drug^L|||TAB^tablet^L", ["RXE-5"]),  # a unit, and no amount
        ("RDE^O11", "RXE||D1^Drug^L|1||TAB", []),
        (
            "VXU^V04",
            "PRT|1|AD||AP\rRXA|0|1|20240101|20240101|08^X^CVX|1",
            ["PRT-4"],
        ),  # a role, and nobody who has it
        ("ADT^A31", "PV1|1|I\rOBX|1|ED|X^Y^L||no document||||||F", ["OBX-5"]),
        ("ADT^A31", 'NK1|1|""|MTH' + "|" * 27 + "Example^Eve|^PRN^PH^^^^1", ["NK1-30", "NK1-31"]),
        ("ADT^A31", "PD1|||Praxis^^77^^^^XX^^^A77", ["PD1-3.3"]),  # a part: XON.10 took the place of XON.3
    ],
)
def test_a_field_whose_rows_all_ask_for_something_else_is_reported(
    kind: str, segments: str, expected: list[str]
) -> None:
    assert reported(HEAD.format(kind) + segments + "\r") == expected


def test_a_relationship_that_in1_tells_too_is_left_out_with_its_reason() -> None:
    """IN2-72 is IN1-17 seen from the other side."""
    insurance = "IN1|1|P1^Plan|C1|Insurer" + "|" * 13 + "SEL\rIN2" + "|" * 72 + "18^Self^HL70344"
    message = HEAD.format("ADT^A01") + f"PV1|1|I\r{insurance}\r"
    notes = [one for one in coverage(message.encode()).places if one.place.startswith("IN2-72")]
    assert [(one.status, one.note) for one in notes if one.place == "IN2-72.1"] == [
        ("unmapped", "IN1-17 says it from the other side")
    ]


def test_alternate_codes_of_race_are_not_lost() -> None:
    message = HEAD.format("ADT^A31").replace(
        "Example^Ada", "Example^Ada||||||2106-3^White^HL70005^C^Caucasian^L"
    )
    assert coverage(message.encode()).lost == ()


@pytest.mark.parametrize(
    ("message", "is_reported"),
    [
        ("ADT^A01\rPV1|1|I||||||||||||||||||V1", True),
        ("ORU^R01\rOBR|1||F1|X^X^LN\rOBX|1|ST|Y^Y^LN||a||||||F", True),
        ("ORU^R01\rPID|1||1^^^B^MR\rOBR|1||F1|X^X^LN", False),
        ("ACK\rMSA|AA|1", False),
        ("ORR^O02\rMSA|AA|1\rORC|OK|1", False),
    ],
)
def test_a_message_that_names_no_patient_is_reported(message: str, is_reported: bool) -> None:
    kind, _, rest = message.partition("\r")
    data = f"MSH|^~\\&|A|B|C|D|20240102030405+0000||{kind}|1|P|2.5.1\r{rest}\r"
    found = Converter(id_key=PUBLIC_KEY).convert(data.encode(), at_us=0)
    assert [one.place for one in found.issues if one.code == "required" and one.place == "PID"] == [
        "PID"
    ] * is_reported
