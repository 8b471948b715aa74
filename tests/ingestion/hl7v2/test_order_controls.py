"""What an order control alone says of an order: table 0119, HL7 v2.9 §4.5.1.1; docs/hl7v2.md says why."""

from __future__ import annotations

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
