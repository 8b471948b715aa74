"""OBX-5 by every value type of OBX-2, units and reference ranges. HL7 v2.9 §7.4.2; R4 observation.html."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import dumps
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender

HEAD = (
    "MSH|^~\\&|LAB|NORTH|HDG|REGION|20260314113000-0500||ORU^R01^ORU_R01|C1|P|2.5.1\r"
    "PID|1||10042^^^NORTH^MR||Example\rOBR|1|P-1|F-1|24323-8^Panel^LN\r"
)
UCUM = {"unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"}


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


def convert(
    converter: Converter, kind: str, value: str, *, units: str = "", reference: str = ""
) -> Converted:
    data = f"{HEAD}OBX|1|{kind}|1-8^Thing^LN||{value}|{units}|{reference}||||F\r".encode()
    return converter.convert(data, Sender("LAB|NORTH", "NORTH", zone="-05:00"), at_us=0)


def observation(converted: Converted) -> dict[str, Any]:
    (found,) = (item for item in converted.resources if item["resourceType"] == "Observation")
    return found


def values(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name.startswith("value")}


QUANTITY, RANGE, RATIO, TEXT = "valueQuantity", "valueRange", "valueRatio", "valueString"


@pytest.mark.parametrize(
    "kind, value, expected",
    [
        ("NM", "12", {QUANTITY: {"value": 12}}),
        ("NM", "+7", {QUANTITY: {"value": 7}}),
        ("NM", "-3", {QUANTITY: {"value": -3}}),
        ("NM", "007", {QUANTITY: {"value": 7}}),
        ("SI", "3", {QUANTITY: {"value": 3}}),
        ("SN", "^10", {QUANTITY: {"value": 10}}),
        ("SN", "=^10", {QUANTITY: {"value": 10}}),
        ("SN", ">^10", {QUANTITY: {"value": 10, "comparator": ">"}}),
        ("SN", "<=^10", {QUANTITY: {"value": 10, "comparator": "<="}}),
        ("SN", "^10^-^20", {RANGE: {"low": {"value": 10}, "high": {"value": 20}}}),
        ("SN", "^1^:^128", {RATIO: {"numerator": {"value": 1}, "denominator": {"value": 128}}}),
        ("SN", "^1^/^128", {RATIO: {"numerator": {"value": 1}, "denominator": {"value": 128}}}),
        ("NR", "1^5", {RANGE: {"low": {"value": 1}, "high": {"value": 5}}}),
        ("ST", "yes\\T\\no ^ really", {TEXT: "yes&no ^ really"}),
        ("TX", "line 1~line 2~~line 4", {TEXT: "line 1\nline 2\n\nline 4"}),
        ("FT", "a\\.br\\b", {TEXT: "a\nb"}),
        ("DT", "202603", {"valueDateTime": "2026-03"}),
        ("TS", "20260314101500+0100", {"valueDateTime": "2026-03-14T10:15:00+01:00"}),
        ("DTM", "202603141015", {"valueDateTime": "2026-03-14T10:15:00-05:00"}),
        ("TM", "1015", {"valueTime": "10:15:00"}),
        ("DR", "20260101^20260131", {"valuePeriod": {"start": "2026-01-01", "end": "2026-01-31"}}),
        (
            "CWE",
            "A^Alpha^LN",
            {
                "valueCodeableConcept": {
                    "coding": [{"code": "A", "display": "Alpha", "system": "http://loinc.org"}]
                }
            },
        ),
        ("CE", "^only text", {"valueCodeableConcept": {"text": "only text"}}),
        ("IS", "POS", {"valueCodeableConcept": {"coding": [{"code": "POS"}]}}),
        ("ID", "Y", {"valueCodeableConcept": {"coding": [{"code": "Y"}]}}),
    ],
)
def test_a_value_type_becomes_its_fhir_type(
    converter: Converter, kind: str, value: str, expected: Any
) -> None:
    assert values(observation(convert(converter, kind, value))) == expected


@pytest.mark.parametrize(
    "value, literal",
    [("1.50", "1.50"), (".5", "0.5"), ("5.", "5"), ("+0.10", "0.10"), ("00.10", "0.10"), ("-.5", "-0.5")],
)
def test_a_number_keeps_its_digits_and_is_legal_json(converter: Converter, value: str, literal: str) -> None:
    item = observation(convert(converter, "NM", value))
    assert dumps(item[QUANTITY]["value"]).decode() == literal


@pytest.mark.parametrize(
    "kind, value, text",
    [
        ("NM", "<>0.1", "<>0.1"),
        ("NM", "~<0.1 to 3", "<0.1 to 3"),
        ("NM", "<0,1", "<0,1"),
        ("NM", "3^mg", "3 mg"),
        ("NM", "1,5", "1,5"),
        ("NM", "1e5", "1e5"),
        ("NM", "9" * 5000, "9" * 5000),
        ("SN", "<>^10", "<> 10"),
        ("SN", ">^10^-^20", "> 10 - 20"),
        ("SN", "^2^+", "2 +"),
        ("DT", "20261399", "20261399"),
        ("TM", "9 am", "9 am"),
        ("XPN", "Doe^Jane", "Doe Jane"),
        ("XX", "what^ever", "what ever"),
        ("", "no type", "no type"),
        ("DR", "x^y", "x y"),
    ],
)
def test_a_value_that_has_no_fhir_form_is_kept_as_text_and_reported(
    converter: Converter, kind: str, value: str, text: str
) -> None:
    converted = convert(converter, kind, value)
    assert values(observation(converted)) == {TEXT: text}
    assert [issue.place for issue in converted.issues if "kept as text" in issue.text] == ["OBX-5"]


def test_units_go_into_the_quantity_with_ucum_where_it_is_named(converter: Converter) -> None:
    item = observation(convert(converter, "NM", "7", units="mg/dL^^UCUM"))
    assert item[QUANTITY] == {"value": 7, **UCUM}
    other = observation(convert(converter, "NM", "7", units="bottles^Bottles^L"))
    assert other[QUANTITY] == {"value": 7, "unit": "Bottles"}


def test_units_of_a_text_are_not_lost(converter: Converter) -> None:
    item = observation(convert(converter, "ST", "many", units="mg/dL"))
    assert item["note"] == [{"text": "Units: mg/dL"}]


def test_repeated_values_become_components(converter: Converter) -> None:
    item = observation(convert(converter, "CWE", "A^Alpha^LN~B^Beta^LN"))
    assert values(item) == {}
    codes = [part["valueCodeableConcept"]["coding"][0]["code"] for part in item["component"]]
    assert codes == ["A", "B"]


@pytest.mark.parametrize(
    "text, low, high",
    [
        ("3.5-5.10", "3.5", "5.10"),
        ("3 - 5", "3", "5"),
        ("-5--2", "-5", "-2"),
        ("<5", None, "5"),
        (">= 10", "10", None),
        ("5-3", None, None),
        ("Negative", None, None),
        ("1-2-3", None, None),
    ],
)
def test_a_reference_range_keeps_its_text_and_is_read_when_plain(
    converter: Converter, text: str, low: str | None, high: str | None
) -> None:
    (found,) = observation(convert(converter, "NM", "4", units="mg/dL^^UCUM", reference=text))[
        "referenceRange"
    ]
    assert found["text"] == text
    for name, expected in (("low", low), ("high", high)):
        if expected is None:
            assert name not in found
        else:
            assert dumps(found[name]["value"]).decode() == expected
            assert found[name]["unit"] == "mg/dL"


@pytest.mark.parametrize("comparator", ["<", ">", "<=", ">="])
def test_a_number_with_a_comparator_is_a_quantity_with_it_and_keeps_its_digits(
    converter: Converter, comparator: str
) -> None:
    """HL7 v2.9 §2.A.47 has no comparator in NM; R4 datatypes.html#Quantity has."""
    converted = convert(converter, "NM", f"{comparator} 2.0")
    quantity = observation(converted)["valueQuantity"]
    assert (quantity["comparator"], quantity["value"].literal) == (comparator, "2.0")
    assert [(issue.severity, issue.place) for issue in converted.issues if "comparator" in issue.text] == [
        ("information", "OBX-5")
    ]
