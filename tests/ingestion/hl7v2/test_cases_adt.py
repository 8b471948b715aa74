"""ADT messages and everything they become, pair by pair (tests/cases/hl7v2/adt). HL7 v2.9 §3.3.

The expected file holds the resources with readable ids (``Patient-1``), the deletions and the issues. The
gateway's own Provenance is left out: it names the digest of the tables.
"""

from __future__ import annotations

from typing import Any

import pytest

from case_pairs import CASES, convert, expected, names_of, readable, references
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.hl7v2.convert import Converter

NAMES = names_of("adt")


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


@pytest.mark.parametrize("name", NAMES)
def test_an_adt_message_becomes_exactly_what_its_case_says(converter: Converter, name: str) -> None:
    assert readable(convert(converter, name)) == expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_resource_of_a_case_is_valid_and_every_reference_resolves(
    converter: Converter, name: str
) -> None:
    converted = convert(converter, name)
    assert [issue for item in converted.resources for issue in validate(item)] == []
    held = {f"{item['resourceType']}/{item['id']}" for item in converted.resources}
    assert set(references(list(converted.resources))) <= held


def test_each_case_has_both_of_its_files() -> None:
    assert NAMES
    assert {f"adt/{path.stem}" for path in (CASES / "adt").glob("*.json")} == set(NAMES)


HEADER = "MSH|^~\\&|A|B|||20240101120000Z||ADT^{event}|1|P|2.5\r"
PID = "PID|1||1^^^B^MR||X^Y\r"


def encounter(converter: Converter, event: str, segment: str) -> dict[str, Any]:
    data = (HEADER.format(event=event) + PID + segment).encode()
    found = [
        item for item in converter.convert(data, at_us=0).resources if item["resourceType"] == "Encounter"
    ]
    return found[0] if found else {}


def pv1(patient_class: str = "", admitted: str = "", discharged: str = "", visit: str = "V1") -> str:
    fields = {2: patient_class, 3: "W^1^1", 19: visit, 44: admitted, 45: discharged}
    return "PV1|1|" + "|".join(fields.get(number, "") for number in range(2, 46))


@pytest.mark.parametrize(
    ("event", "visit", "status"),
    [
        ("A01", pv1("I"), "in-progress"),
        ("A01", pv1(), "in-progress"),
        ("A01", pv1("P"), "planned"),
        ("A01", pv1("I", "20240101", "20240102"), "finished"),
        ("A03", pv1("I"), "finished"),
        ("A03", pv1("I", "20240101", '""'), "finished"),
        ("A04", pv1("O"), "in-progress"),
        ("A04", pv1("P"), "planned"),
        ("A04", pv1("LOCAL"), "unknown"),
        ("A04", pv1(), "unknown"),
        ("A08", pv1("I", "20240101"), "in-progress"),
        ("A08", pv1("I", "20240101", "20240102"), "finished"),
        ("A08", pv1("I", "20240101", '""'), "in-progress"),
        ("A08", pv1("I"), "unknown"),
        ("A08", pv1("", "20240101"), "unknown"),
        ("A31", pv1("I"), "unknown"),
    ],
)
def test_the_status_of_an_encounter_follows_event_class_and_dates(
    converter: Converter, event: str, visit: str, status: str
) -> None:
    assert encounter(converter, event, visit)["status"] == status


@pytest.mark.parametrize("segment", ["PV1|1", "PV1|1|N"])
def test_a_visit_segment_without_a_visit_makes_no_encounter(converter: Converter, segment: str) -> None:
    assert encounter(converter, "A31", segment) == {}


def test_a_class_that_is_absent_is_unknown_and_a_local_one_stays(converter: Converter) -> None:
    table = "http://terminology.hl7.org/CodeSystem/v2-0004"
    assert encounter(converter, "A01", pv1())["class"] == {"system": table, "code": "U"}
    assert encounter(converter, "A01", pv1("LOCAL"))["class"] == {"code": "LOCAL"}


def test_the_place_of_a_discharged_patient_is_completed(converter: Converter) -> None:
    def places(event: str, visit: str) -> list[str]:
        return [place["status"] for place in encounter(converter, event, visit)["location"]]

    assert places("A01", pv1("I")) == ["active"]
    assert places("A01", pv1("P")) == ["planned"]
    assert places("A03", pv1("I")) == ["completed"]
    assert places("A08", pv1("P", "20240101", "20240102")) == ["completed"]


def test_a_contact_person_beside_a_relative_is_not_taken_for_the_relative(converter: Converter) -> None:
    fields = {1: "1", 2: "Kin^Kim", 3: "SIS^Sister^HL70063", 30: "Other^Olga", 31: "555-0107", 37: "1"}
    segment = "NK1|" + "|".join(fields.get(number, "") for number in range(1, 38))
    data = (HEADER.format(event="A31") + PID + segment).encode()
    relatives = [
        item for item in converter.convert(data, at_us=0).resources if item["resourceType"] == "RelatedPerson"
    ]
    assert len(relatives) == 1
    assert [name["family"] for name in relatives[0]["name"]] == ["Kin"]
    assert "telecom" not in relatives[0]
    assert "identifier" not in relatives[0]
    urls = [extension["url"].rpartition("/")[2] for extension in relatives[0]["extension"]]
    assert urls == ["contact-person-name", "contact-person-telecom", "contact-person-identifier"]
