"""Named converters of orders, answers and medication, one by one. HL7 v2.9 §2.A.69 (SN), §2.A.28 (ERL)."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.groups import group
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.sender import Sender
from hdg.mapping.compile import Compiler
from hdg.mapping.library import Library

RAS = "MSH|^~\\&|APP|FAC|||20240101||RAS^O17^RAS_O17|1|P|2.5\rPID|1||4711\r"


def at(message: str, name: str) -> State:
    """The state of a conversion that stands at the first segment of that name."""
    parsed = parse(message.encode())
    made = State(parsed, Sender("APP|FAC", "house"), Compiler(Library("hl7v2"), V2Grammar()), b"key", None)
    placed = group(parsed.segments, parsed.message_type[2], []).placed
    made.segment, made.group = next((item, where) for item, where in placed if item.name == name)
    return made


def convert(name: str, text: str, state: State) -> Any:
    named = CONVERTERS.get(name)
    if named is None:
        raise LookupError(name)
    return named.convert(text, state)


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("hl7v2.structured_text", "^1^:^10", "1:10"),
        ("hl7v2.structured_text", ">^5", ">5"),
        ("hl7v2.structured_text", "", None),
        ("hl7v2.error_location", "PID^1^3^2^1", "PID-3[2].1"),
        ("hl7v2.error_location", "OBX^4^5^1^1^2", "OBX[4]-5.1.2"),
        ("hl7v2.error_location", "PID", "PID"),
        ("hl7v2.error_location", "^1^3", None),
        ("hl7v2.error_code_location", "OBR^2^4^101&Required field missing", "OBR[2]-4"),
    ],
)
def test_places_and_numbers_read_as_people_write_them(name: str, text: str, expected: str | None) -> None:
    assert convert(name, text, at(RAS, "PID")) == expected


def test_an_index_carries_its_name_and_unit() -> None:
    sac = "SAC" + "|" * 32 + "3|mg/dL||2\r"
    state = at("MSH|^~\\&|APP|FAC|||20240101||OML^O21^OML_O21|1|P|2.5\rORC|NW\rOBR|1\rSPM|1\r" + sac, "SAC")
    assert convert("hl7v2.hemolysis_index", "3", state) == "Hemolysis index 3 mg/dL"
    assert convert("hl7v2.icterus_index", "2", state) == "Icterus index 2"


@pytest.mark.parametrize(
    "times, expected", [("20260304|", None), ("|20260304", None), ("soon|", "unknown"), ("|", "unknown")]
)
def test_a_dose_without_a_readable_time_says_so(times: str, expected: str | None) -> None:
    state = at(f"{RAS}ORC|RE|1\rRXA|0|1|{times}|X\r", "RXA")
    assert convert("hl7v2.administration_time_absent", "RXA", state) == expected
