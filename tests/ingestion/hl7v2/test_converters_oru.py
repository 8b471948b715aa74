"""Named converters of the ORU and VXU tables, one by one. HL7 v2.5.1 §7.4, §2.15.10, §4.14.7."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.ingestion.hl7v2 import converters_oru
from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.groups import group
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.sender import Sender
from hdg.mapping.compile import Compiler
from hdg.mapping.context import Choice, Facts
from hdg.mapping.library import Library

ORU = "MSH|^~\\&|APP|FAC|||20240101||ORU^R01^ORU_R01|1|P|2.5\rPID|1||4711\r"
VXU = "MSH|^~\\&|APP|FAC|||20240101||VXU^V04^VXU_V04|1|P|2.5\rPID|1||4711\r"


def at(message: str, name: str, occurrence: int = 1) -> State:
    """The state of a conversion that stands at a segment."""
    parsed = parse(message.encode())
    compiler = Compiler(Library("hl7v2"), V2Grammar())
    made = State(parsed, Sender("APP|FAC", "house"), compiler, b"key", None)
    placed = group(parsed.segments, parsed.message_type[2], []).placed
    found = [(segment, where) for segment, where in placed if segment.name == name]
    made.segment, made.group = found[occurrence - 1]
    return made


def convert(name: str, text: str, state: State) -> Any:
    named = CONVERTERS.get(name)
    if named is None:
        raise LookupError(name)
    return named.convert(text, state)


def test_the_converters_of_the_module_are_registered() -> None:
    own = [named for named in CONVERTERS if named.convert.__module__ == converters_oru.__name__]
    assert {
        "hl7v2.order_effective",
        "hl7v2.order_category",
        "hl7v2.order_without_detail",
        "hl7v2.comment_text",
        "hl7v2.occurrence_text",
        "hl7v2.administration_note",
        "hl7v2.education_document",
        "hl7v2.protocol_applied",
        "identity.ordering_role",
    } <= {named.name for named in own}


@pytest.mark.parametrize(
    "times, expected",
    [
        ("20260304", Choice("dateTime", "2026-03-04")),
        ("20260304081500+0100", Choice("dateTime", "2026-03-04T08:15:00+01:00")),
        ("20260304|20260305", Choice("Period", {"start": "2026-03-04", "end": "2026-03-05"})),
        ("|20260305", Choice("Period", {"end": "2026-03-05"})),
        ("202603040815", Choice("dateTime", "2026-03-04")),  # no offset, no declared zone: the date
        ("", None),
        ('""', None),
        ("soon", None),
    ],
)
def test_an_observation_takes_the_time_of_its_order(times: str, expected: Choice | None) -> None:
    state = at(f"{ORU}OBR|1||F|X|||{times}\rOBX|1|ST|A||a\r", "OBX")
    assert convert("hl7v2.order_effective", "OBX", state) == expected


def test_an_observation_about_the_patient_takes_nothing_from_a_later_order() -> None:
    message = f"{ORU}OBX|1|ST|A||a\rORC|RE\rOBR|1||F|X|||20260304|||||||||||||||||CH\rOBX|1|ST|B||b\r"
    assert convert("hl7v2.order_effective", "OBX", at(message, "OBX")) is None
    assert convert("hl7v2.order_category", "OBX", at(message, "OBX")) is None
    assert convert("hl7v2.order_effective", "OBX", at(message, "OBX", 2)) == Choice("dateTime", "2026-03-04")


@pytest.mark.parametrize("section, code", [("CH", "laboratory"), ("RAD", "imaging"), ("EC", "procedure")])
def test_the_section_of_the_order_gives_a_category(section: str, code: str) -> None:
    state = at(f"{ORU}OBR|1||F|X||||||||||||||||||||{section}\rOBX|1|ST|A||a\r", "OBX")
    found = convert("hl7v2.order_category", "OBX", state)
    assert found["coding"][0]["system"] == "http://terminology.hl7.org/CodeSystem/observation-category"
    assert found["coding"][0]["code"] == code


def test_an_unknown_section_gives_no_category() -> None:
    state = at(f"{ORU}OBR|1||F|X||||||||||||||||||||ZZ\rOBX|1|ST|A||a\r", "OBX")
    assert convert("hl7v2.order_category", "OBX", state) is None


def test_repetitions_of_a_comment_are_its_lines() -> None:
    state = at(f"{ORU}OBR|1||F|X\rNTE|1||a~~b \\T\\ c\r", "NTE")
    assert convert("hl7v2.comment_text", "a~~b \\T\\ c", state) == "a\n\nb & c"
    assert convert("hl7v2.comment_text", '""', state) is None


@pytest.mark.parametrize(
    "when, expected",
    [("20260304", None), ("2026", None), ("", "unknown"), ('""', "unknown"), ("someday", "someday")],
)
def test_a_time_of_administration_that_cannot_be_read_stays_as_text(when: str, expected: str | None) -> None:
    state = at(f"{VXU}ORC|RE\rRXA|0|1|{when}||08^Hep B^CVX\r", "RXA")
    assert convert("hl7v2.occurrence_text", "RXA", state) == expected


@pytest.mark.parametrize(
    "note, expected",
    [
        ("00^New immunization record^NIP001", None),
        ("01", None),
        ("^left arm sore", "left arm sore"),
        ("01^Local meaning^99X", "Local meaning"),
    ],
)
def test_an_information_source_is_no_note(note: str, expected: str | None) -> None:
    state = at(f"{VXU}ORC|RE\rRXA|0|1|2026||08^Hep B^CVX||||{note}\r", "RXA")
    assert convert("hl7v2.administration_note", note, state) == expected


STATEMENTS = (
    f"{VXU}ORC|RE\rRXA|0|1|2026||08^Hep B^CVX\r"
    "OBX|1|CE|30956-7^Vaccine type^LN|1|45^Hep B^CVX\rOBX|2|TS|29768-9^Published^LN|1|20220315\r"
    "OBX|3|CE|30956-7^Vaccine type^LN|2|10^IPV^CVX\rNTE|1||x\rOBX|4|TS|29769-7^Presented^LN|2|20260304\r"
    "ORC|RE\rRXA|0|1|2026||10^IPV^CVX\rOBX|1|TS|29769-7^Presented^LN|1|20200101\r"
)


def test_dates_of_an_information_statement_are_those_with_its_sub_id() -> None:
    first = convert("hl7v2.education_document", "45^Hep B^CVX", at(STATEMENTS, "OBX", 1))
    assert first == {"documentType": "Hep B", "publicationDate": "2022-03-15"}
    second = convert("hl7v2.education_document", "10^IPV^CVX", at(STATEMENTS, "OBX", 3))
    assert second == {"documentType": "IPV", "presentationDate": "2026-03-04"}


@pytest.mark.parametrize(
    "beside",
    [
        "OBX|2|NM|30973-2^Dose number^LN|1|1\r",
        "OBX|2|TS|29769-7^Presented^LN|2|20260304\r",
        "OBX|2|CE|69764-9^Document type^LN|1|5^MMR VIS^cdcgs1vis\rOBX|3|TS|29769-7^Presented^LN|1|20260304\r",
    ],
)
def test_a_vaccine_type_alone_is_no_information_statement_that_somebody_was_given(beside: str) -> None:
    message = (
        f"{VXU}ORC|RE\rRXA|0|1|2026||94^MMRV^CVX\rOBX|1|CE|30956-7^Vaccine type^LN|1|03^MMR^CVX\r{beside}"
    )
    assert convert("hl7v2.education_document", "03^MMR^CVX", at(message, "OBX")) is None


def test_a_dose_number_of_a_combined_vaccine_says_of_which_vaccine() -> None:
    def dose(number: str) -> str:
        kinds = {"1": "03^MMR^CVX", "2": "21^^CVX"}
        return (
            f"OBX|{number}1|CE|30956-7^Vaccine type^LN|{number}|{kinds[number]}\r"
            f"OBX|{number}2|NM|30973-2^Dose number^LN|{number}|{number}\r"
        )

    message = f"{VXU}ORC|RE\rRXA|0|1|2026||94^MMRV^CVX\r{dose('1')}{dose('2')}"
    first = convert("hl7v2.protocol_applied", "1", at(message, "OBX", 2))
    assert first == {"series": "MMR", "doseNumberPositiveInt": 1}
    second = convert("hl7v2.protocol_applied", "2", at(message, "OBX", 4))
    assert second == {"series": "21", "doseNumberPositiveInt": 2}


@pytest.mark.parametrize(
    "dose, doses, expected",
    [
        ("2", "3", {"doseNumberPositiveInt": 2, "seriesDosesPositiveInt": 3}),
        ("2", "", {"doseNumberPositiveInt": 2}),
        ("booster", "3+", {"doseNumberString": "booster", "seriesDosesString": "3+"}),
        ("0", "", {"doseNumberString": "0"}),
    ],
)
def test_a_dose_number_takes_the_length_of_its_series(dose: str, doses: str, expected: Any) -> None:
    message = (
        f"{VXU}ORC|RE\rRXA|0|1|2026||08^Hep B^CVX\rOBX|1|NM|30973-2^Dose number^LN|1|{dose}\r"
        f"OBX|2|NM|59782-3^Doses^LN|1|{doses}\rOBX|3|NM|59782-3^Doses^LN|2|9\r"
    )
    assert convert("hl7v2.protocol_applied", dose, at(message, "OBX")) == expected


def test_who_ordered_is_told_apart_by_facility() -> None:
    def facts(facility: str) -> Facts:
        state = at(f"{ORU}ORC|RE|||||||||||5^Order|||||||||{facility}\rOBR|1||F|X\r", "ORC")
        found = convert("identity.ordering_role", "ORC", state)
        assert isinstance(found, Facts)
        return found

    assert facts("Nord").is_thing
    assert facts("Nord") == facts("Nord")
    assert facts("Nord") != facts("Sued")
