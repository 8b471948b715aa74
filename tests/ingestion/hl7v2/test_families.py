"""Parents and children among results: OBR-26, OBR-29 and dotted OBX-4. HL7 v2.9 §7.4.1.26, §7.4.2.4."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.hl7v2.convert import Converter

MSH = "MSH|^~\\&|LAB|LABFAC|||20260304103000+0100||ORU^R01^ORU_R01|1|P|2.5.1"
PID = "PID|1||4711^^^HOSP^MR||Probe^Petra"
PARENT = "OBR|1|P1|F1|600-7^Culture^LN"
ORGANISM = "OBX|{0}|ST|600-7^Bacteria^LN|{0}|organism {0}||||||F"


def child(parent: str, number: str, universal: str = "") -> str:
    """An OBR with OBR-26, OBR-29 and OBR-50."""
    tail = "|" * 21 + universal if universal else ""
    return f"OBR|2|P1|F2|50545-3^Panel^LN{'|' * 22}{parent}|||{number}{tail}"


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


def members(converter: Converter, *segments: str) -> dict[str, list[str]]:
    """Text of each observation that has members → their texts."""
    converted = converter.convert("\r".join((MSH, PID, *segments)).encode(), at_us=0)
    found: dict[str, Any] = {
        f"Observation/{item['id']}": item
        for item in converted.resources
        if item["resourceType"] == "Observation"
    }
    assert [issue for item in found.values() for issue in validate(item)] == []
    return {
        item["valueString"]: [found[member["reference"]]["valueString"] for member in item["hasMember"]]
        for item in found.values()
        if "hasMember" in item
    }


RESULT = "OBX|1|ST|28-1^Ampicillin^LN||resistant||||||F"


@pytest.mark.parametrize(
    "parent, number, expected",
    [
        ("600-7&Bacteria&LN^2^organism 2", "P1^F1", {"organism 2": ["resistant"]}),
        ("600-7&Bacteria&LN^1", "^F1", {"organism 1": ["resistant"]}),
        ("600-7&Bacteria&LN", "^F1", {}),  # two organisms fit
        ("600-7&Bacteria&LN^3", "^F1", {}),  # none
        ("600-7&Bacteria&LN^2", "^F9", {}),  # another message's order
        ("600-7&Bacteria&LN^2", "", {}),
        ("", "^F1", {}),
    ],
)
def test_susceptibilities_belong_to_the_one_organism_that_obr_26_names(
    converter: Converter, parent: str, number: str, expected: dict[str, list[str]]
) -> None:
    segments = (PARENT, ORGANISM.format(1), ORGANISM.format(2), child(parent, number), RESULT)
    assert members(converter, *segments) == expected


def test_the_child_request_refers_to_the_parent_request(converter: Converter) -> None:
    text = "\r".join((MSH, PID, PARENT, ORGANISM.format(1), child("", "P1^F1"), RESULT))
    converted = converter.convert(text.encode(), at_us=0)
    first, second = (item for item in converted.resources if item["resourceType"] == "ServiceRequest")
    assert second["basedOn"][0]["reference"] == f"ServiceRequest/{first['id']}"
    assert "basedOn" not in first


@pytest.mark.parametrize(
    "places, expected",
    [
        (("1", "1.1", "1.2"), {"v1": ["v2", "v3"]}),
        (("1", "1.1", "1.1.1"), {"v1": ["v2"], "v2": ["v3"]}),
        (("1", "1", "1.1"), {}),  # two could be above
        (("1.1", "1.2"), {}),
        (("1", "2", "3"), {}),
        (("", "1.1"), {}),
        (("", "1"), {}),
        (("^1^1", "^1^2"), {}),
        (("1", "11", "1.x"), {"v1": ["v3"]}),
    ],
)
def test_a_dotted_sub_id_belongs_to_the_one_observation_above_it(
    converter: Converter, places: tuple[str, ...], expected: dict[str, list[str]]
) -> None:
    rows = [f"OBX|{n}|ST|C{n}^x^L|{place}|v{n}||||||F" for n, place in enumerate(places, 1)]
    assert members(converter, PARENT, *rows) == expected
