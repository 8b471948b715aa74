"""ORU and VXU messages and everything they become, pair by pair (tests/cases/hl7v2/oru and vxu).

HL7 v2.5.1 §7.3.1, §4.14. The expected file holds the resources with readable ids (``Observation-1``), the
deletions and the issues; numbers are compared digit for digit. The gateway's Provenance is left out, as it
names the digest of the tables.
"""

from __future__ import annotations

from typing import Any

import pytest

from case_pairs import convert, expected, names_of, of_type, readable
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter

NAMES = names_of("oru", "vxu")


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


@pytest.mark.parametrize("name", NAMES)
def test_a_message_becomes_exactly_what_its_case_says(converter: Converter, name: str) -> None:
    assert readable(convert(converter, name)) == expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_resource_of_a_case_is_valid(converter: Converter, name: str) -> None:
    converted = convert(converter, name)
    assert [issue for item in converted.resources for issue in validate(item)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_case_sent_twice_becomes_the_same_twice(converter: Converter, name: str) -> None:
    assert convert(converter, name) == convert(Converter(id_key=PUBLIC_KEY), name)


def test_a_dose_that_was_not_given_never_comes_out_as_given(converter: Converter) -> None:
    doses = of_type(convert(converter, "vxu/not-given"), "Immunization")
    status = {dose["identifier"][0]["value"]: dose["status"] for dose in doses}
    assert status == {
        "F20": "not-done",  # refused
        "F21": "not-done",  # "complete", with a reason for refusal
        "F22": "not-done",  # CVX 998
        "F23": "not-done",  # a completion status that table 0322 does not have
        "F24": "entered-in-error",  # action code D
        "F25": "completed",  # RXA-20 absent
        "F26": "completed",  # a part was given
        "F27": "completed",  # the refusal reason was deleted ("")
        "F28": "not-done",
    }


def test_every_value_of_an_observation_is_kept(converter: Converter) -> None:
    """OBX-5 that holds anything shows up as a value, a component or a document (HL7 v2.5.1 §7.4.2.5)."""
    without = []
    for name in ("oru/panel", "oru/value-types", "oru/orders", "oru/document"):
        for item in of_type(convert(converter, name), "Observation"):
            held = [key for key in item if key.startswith("value") or key in ("component", "derivedFrom")]
            if not held:
                without.append(item["code"]["coding"][0]["code"])
    assert without == ["A29", "A31", "GLU3", "GLU6"]  # the cases where OBX-5 is empty or deleted


CONTEXT = (
    "MSH|^~\\&|LAB|LABFAC|||20260304103000+0100||ORU^R01^ORU_R01|1|P|2.5.1\rPID|1||4711^^^HOSP^MR||Probe^Petra\r"
    "OBR|1||F1^LAB|GLU^Glucose^L|||20260304||||||||||||||||||{report}\r"
    "OBX|1|NM|GLU^Glucose^L||5.1|{unit}|||||{status}\r"
)


def result(converter: Converter, **fields: str) -> Converted:
    given = {"report": "F", "status": "F", "unit": "mmol/L^^UCUM", **fields}
    return converter.convert(CONTEXT.format(**given).encode(), at_us=0)


@pytest.mark.parametrize(
    "sent, status",
    [
        ("F", "final"),
        ("P", "preliminary"),
        ("C", "corrected"),
        ("A", "amended"),
        ("D", "entered-in-error"),
        ("W", "entered-in-error"),
        ("X", "cancelled"),
        ("N", "cancelled"),
        ("I", "registered"),
        ("U", "final"),
        ("", "unknown"),
        ("?", "unknown"),
        ('""', "unknown"),
    ],
)
def test_the_status_of_a_result_is_always_told(converter: Converter, sent: str, status: str) -> None:
    assert of_type(result(converter, status=sent), "Observation")[0]["status"] == status


@pytest.mark.parametrize(
    "sent, report, order",
    [
        ("F", "final", "completed"),
        ("C", "corrected", "completed"),
        ("P", "preliminary", "active"),
        ("A", "partial", "active"),
        ("X", "cancelled", "revoked"),
        ("", "unknown", "unknown"),
        ("Z", "unknown", "unknown"),
        ('""', "unknown", "unknown"),
    ],
)
def test_the_status_of_a_report_tells_that_of_its_request(
    converter: Converter, sent: str, report: str, order: str
) -> None:
    converted = result(converter, report=sent)
    assert of_type(converted, "DiagnosticReport")[0]["status"] == report
    assert of_type(converted, "ServiceRequest")[0]["status"] == order


UCUM = "http://unitsofmeasure.org"


@pytest.mark.parametrize(
    "sent, unit",
    [
        (
            "mmol/L^millimole per liter^UCUM",
            {"unit": "millimole per liter", "system": UCUM, "code": "mmol/L"},
        ),
        ("mmol/L^^2.16.840.1.113883.6.8", {"unit": "mmol/L", "system": UCUM, "code": "mmol/L"}),
        ("mmol/L", {"unit": "mmol/L", "system": UCUM, "code": "mmol/L"}),  # plainly a UCUM code
        ("mmol/l", {"unit": "mmol/l"}),  # not one of the registered units: text
        ("mmol/L^^99LAB", {"unit": "mmol/L"}),  # another system's code of the same looks
        ("MML^^99LAB^mmol/L^^UCUM", {"unit": "MML", "system": UCUM, "code": "mmol/L"}),
        ("", {}),
    ],
)
def test_a_unit_is_ucum_only_when_the_source_says_so(converter: Converter, sent: str, unit: Any) -> None:
    quantity = of_type(result(converter, unit=sent), "Observation")[0]["valueQuantity"]
    assert {key: value for key, value in quantity.items() if key != "value"} == unit
