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


class TestRepeatedAndMissing:
    """Equal segments in one message, and what a message leaves unsaid (HL7 v2.9 §7.3.1, §4.5.1.1)."""

    head = "MSH|^~\\&|A|B|C|D|20260101||{}|1|P|2.5.1\rPID|1||7^^^N^MR\r"
    result = "OBX|1|NM|4^S||3|u|||||F\r"

    def resources(self, kind: str, body: str, of: str) -> list[dict[str, Any]]:
        data = (self.head.format(kind) + body).encode()
        converted = Converter(id_key=PUBLIC_KEY).convert(data, at_us=0)
        return [item for item in converted.resources if item["resourceType"] == of]

    def test_an_equal_result_is_one_and_any_difference_makes_two(self) -> None:
        order = "OBR|1||F1|4^S\r"
        for second, count in (
            (self.result, 1),
            (self.result + "NTE|1||x\r", 2),
            (self.result.replace("|3|", "|3.0|"), 2),
            (self.result.replace("|F", "|C"), 2),
        ):
            body = order + self.result + second
            assert len(self.resources("ORU^R01^ORU_R01", body, "Observation")) == count

    def test_an_equal_result_of_another_specimen_is_another_result(self) -> None:
        body = "".join(f"OBR|1||F1|4^S\r{self.result}SPM|1|S{number}\r" for number in (1, 2))
        found = self.resources("ORU^R01^ORU_R01", body, "Observation")
        assert len({item["specimen"]["reference"] for item in found}) == 2
        (report,) = self.resources("ORU^R01^ORU_R01", body, "DiagnosticReport")
        assert (len(report["specimen"]), len(report["result"])) == (2, 2)

    def test_an_order_without_specimen_does_not_take_another_orders(self) -> None:
        body = f"OBR|1||F1|4^S\r{self.result}SPM|1|S1\rOBR|2||F2|5^T\r{self.result}"
        found = self.resources("ORU^R01^ORU_R01", body, "Observation")
        assert ["specimen" in item for item in found] == [True, False]
        reports = self.resources("ORU^R01^ORU_R01", body, "DiagnosticReport")
        assert ["specimen" in item for item in reports] == [True, False]

    @pytest.mark.parametrize(
        "kind, body",
        [
            ("OML^O21^OML_O21", "ORC|RE|A1\rOBR|1|A1||4^S\r"),
            ("RDE^O11^RDE_O11", "ORC|SC|A1\rRXE|^^^20260101|1^M|1||T\r"),
            ("RDS^O13^RDS_O13", "ORC|RE|A1\rRXE|^^^20260101|1^M|1||T\rRXD|1|1^M||1\r"),
            ("RAS^O17^RAS_O17", "ORC|RE|A1\rRXO|1^M\rRXA|0|1|20260101||1^M|1\r"),
            ("RGV^O15^RGV_O15", "ORC|RE|A1\rRXE|^^^20260101|1^M|1||T\rRXG|1|||1^M|1||T\r"),
        ],
    )
    def test_a_status_that_nothing_states_only_fills_a_gap(self, kind: str, body: str) -> None:
        converted = Converter(id_key=PUBLIC_KEY).convert((self.head.format(kind) + body).encode(), at_us=0)
        unknown = {item["id"] for item in converted.resources if item.get("status") == "unknown"}
        assert unknown
        assert unknown <= {gap.resource_id for gap in converted.defaulted if gap.element == "status"}
