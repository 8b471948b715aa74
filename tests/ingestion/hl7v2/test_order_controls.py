"""What an order control alone says of an order: table 0119, HL7 v2.9 §4.5.1.1; docs/hl7v2.md says why."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter

HEAD = "MSH|^~\\&|A|B|||20260304103000+0100||{}|1|P|2.5.1\rPID|1||4711^^^B^MR||Probe^Petra\r"
CONVERTER = Converter(id_key=PUBLIC_KEY)


def order(control: str, status: str = "") -> Converted:
    segments = f"ORC|{control}|P1|||{status}\rOBR|1|P1||718-7^Hb^LN\r"
    return CONVERTER.convert((HEAD.format("OML^O21") + segments).encode(), at_us=0)


def prescription(control: str, status: str = "") -> Converted:
    segments = f"ORC|{control}|P1|||{status}\rRXE|^^^20260304|D1^Drug^L|5||mg\rRXR|PO\r"
    return CONVERTER.convert((HEAD.format("RDE^O11") + segments).encode(), at_us=0)


def status_of(found: Converted, kind: str) -> str:
    [status] = [item["status"] for item in found.resources if item["resourceType"] == kind]
    return str(status)


def told(found: Converted) -> list[str]:
    return [issue.text for issue in found.issues if issue.place.startswith("ORC")]


ENDED = ["CA", "OC", "CR", "DC", "OD", "DR", "RP", "RQ", "RU"]


@pytest.mark.parametrize("control", ENDED)
def test_an_order_that_is_withdrawn_discontinued_or_replaced_is_no_active_one(control: str) -> None:
    assert status_of(order(control), "ServiceRequest") == "revoked"
    assert status_of(prescription(control), "MedicationRequest") in ("cancelled", "stopped")
    assert told(order(control)) == told(prescription(control)) == []


@pytest.mark.parametrize("control", ["HD", "OH", "HR"])
def test_an_order_that_is_held_is_on_hold_and_goes_on_when_released(control: str) -> None:
    assert status_of(order(control), "ServiceRequest") == "on-hold"
    assert status_of(prescription(control), "MedicationRequest") == "on-hold"
    for release in ("RL", "OE", "OR"):
        assert status_of(order(release), "ServiceRequest") == "active"
        assert status_of(prescription(release), "MedicationRequest") == "active"


@pytest.mark.parametrize("control", ["UA", "UC", "UD", "UH", "UM", "UR"])
def test_a_request_that_comes_to_nothing_says_no_state_and_is_reported(control: str) -> None:
    for found in (order(control), prescription(control)):
        assert [item.element for item in found.defaulted if item.element == "status"]
        assert ["the control says that what was asked is not done" in text for text in told(found)] == [True]
        assert told(order(control, "IP")) == []  # ORC-5 says how it stands


@pytest.mark.parametrize("control", ENDED)
def test_an_order_that_ends_and_goes_on_at_once_is_reported(control: str) -> None:
    assert told(order(control, "CA")) == []
    for found, kind in (
        (order(control, "IP"), "ServiceRequest"),
        (prescription(control, "IP"), "MedicationRequest"),
    ):
        assert status_of(found, kind) == "active"
        assert told(found) == ["the control ends the order, and ORC-5 says that it goes on: ORC-5 counts"]


def replacing(kind: str, *segments: str) -> list[dict[str, Any]]:
    """The orders of a message with what they replace, by number."""
    found = CONVERTER.convert((HEAD.format(kind) + "\r".join(segments)).encode(), at_us=0)
    requests = [
        one for one in found.resources if one["resourceType"] in ("ServiceRequest", "MedicationRequest")
    ]
    number = {f"{one['resourceType']}/{one['id']}": one["identifier"][0]["value"] for one in requests}

    def name(reference: dict[str, Any]) -> str:
        if "identifier" in reference:
            return f"number {reference['identifier']['value']}"
        return number[reference["reference"]]

    return [
        {
            one["identifier"][0]["value"]: [
                name(each)
                for each in one.get(
                    "replaces", [one["priorPrescription"]] if "priorPrescription" in one else []
                )
            ]
        }
        for one in requests
    ]


def test_an_order_names_those_that_it_takes_the_place_of() -> None:
    old = [text for n in "12" for text in (f"ORC|RP|P{n}", f"OBR||P{n}||{n}^x^LN")]
    new = [text for n in "345" for text in (f"ORC|RO|P{n}", f"OBR||P{n}||{n}^x^LN")]
    other = ["ORC|NW|P6", "OBR||P6||6^x^LN", "ORC|RO|P7", "OBR||P7||7^x^LN"]
    both = ["P1", "P2"]
    assert replacing("OML^O21", *old, *new, *other) == [
        {"P1": []}, {"P2": []}, {"P3": both}, {"P4": both}, {"P5": both}, {"P6": []}, {"P7": []},
    ]  # fmt: skip


@pytest.mark.parametrize("control", ["RP", "RQ", "RU"])
def test_of_an_order_without_detail_the_number_is_named(control: str) -> None:
    assert replacing("ORM^O01", f"ORC|{control}|P1", "ORC|RO|P2", "OBR||P2||2^x^LN") == [
        {"P1": []},
        {"P2": ["number P1"]},
    ]
    assert replacing("RDE^O11", f"ORC|{control}|P1", "ORC|RO|P2", "RXE|^^^20260304|D1^Drug^L|5||mg") == [
        {"P1": []},
        {"P2": ["number P1"]},
    ]


def test_each_replacement_of_its_own_orders_names_its_own() -> None:
    segments = [
        text
        for control, number in (("RU", 1), ("RO", 2), ("RU", 3), ("RO", 4))
        for text in (f"ORC|{control}|P{number}", f"OBR||P{number}||{number}^x^LN")
    ]
    assert replacing("OMG^O19", *segments) == [{"P1": []}, {"P2": ["P1"]}, {"P3": []}, {"P4": ["P3"]}]


def test_a_prescription_names_the_one_before_it() -> None:
    drug = "RXE|^^^20260304|D{}^Drug^L|5||mg"
    segments = ["ORC|RP|P1", drug.format(1), "ORC|RO|P2", drug.format(2)]
    assert replacing("RDE^O11", *segments) == [{"P1": []}, {"P2": ["P1"]}]
    several = ["ORC|RP|P0", drug.format(0), *segments]
    assert replacing("RDE^O11", *several)[-1] == {"P2": ["P0"]}
    found = CONVERTER.convert((HEAD.format("RDE^O11") + "\r".join(several)).encode(), at_us=0)
    assert "several prescriptions are replaced by one" in " ".join(issue.text for issue in found.issues)
