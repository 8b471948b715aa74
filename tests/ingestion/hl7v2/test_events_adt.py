"""What each ADT event does to the visit, and which events are refused. HL7 v2.9 §3.3."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.errors import Hl7v2Error
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter

START, END = "20240311091500+0100", "20240315110500+0100"


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


def message(event: str, *, structure: str = "", **fields: str) -> bytes:
    valued = {2: "I", 3: "W3^312^1", 19: "V1", 44: START}
    valued |= {int(name.removeprefix("f")): text for name, text in fields.items()}
    visit = "|".join(valued.get(number, "") for number in range(1, 46))
    kind = f"ADT^{event}" + (f"^{structure}" if structure else "")
    return (
        f"MSH|^~\\&|A|B|||20240316120000Z||{kind}|1|P|2.5\rEVN||20240316120000Z\rPID|1||1^^^B^MR||X^Y\rPV1|{visit}\r"
    ).encode()


def convert(converter: Converter, event: str, **fields: str) -> Converted:
    return converter.convert(message(event, **fields), at_us=0)


def encounter(converted: Converted) -> dict[str, Any]:
    return next(item for item in converted.resources if item["resourceType"] == "Encounter")


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("A02", "in-progress"),
        ("A05", "planned"),
        ("A06", "in-progress"),
        ("A07", "in-progress"),
        ("A09", "in-progress"),
        ("A10", "in-progress"),
        ("A11", "cancelled"),
        ("A12", "in-progress"),
        ("A13", "in-progress"),
        ("A14", "planned"),
        ("A15", "in-progress"),
        ("A16", "in-progress"),
        ("A25", "in-progress"),
        ("A26", "in-progress"),
        ("A27", "cancelled"),
        ("A21", "onleave"),
        ("A22", "in-progress"),
        ("A32", "in-progress"),
        ("A33", "in-progress"),
        ("A38", "cancelled"),
        ("A52", "in-progress"),
        ("A53", "onleave"),
        ("A54", "in-progress"),
        ("A55", "in-progress"),
        ("A61", "in-progress"),
        ("A62", "in-progress"),
    ],
)
def test_each_event_says_the_status_of_the_visit(converter: Converter, event: str, status: str) -> None:
    converted = convert(converter, event)
    assert encounter(converted)["status"] == status
    assert converted.issues == ()


@pytest.mark.parametrize("event", ["A11", "A13", "A14", "A16", "A25", "A27", "A38"])
def test_a_discharge_time_does_not_end_a_visit_against_its_event(converter: Converter, event: str) -> None:
    assert encounter(convert(converter, event, f45=END))["status"] != "finished"


@pytest.mark.parametrize("event", ["A13", "A16", "A25"])
def test_a_discharge_that_is_pending_or_cancelled_gives_the_visit_no_end(
    converter: Converter, event: str
) -> None:
    found = encounter(convert(converter, event, f45=END, f36="01", f37="SNF"))
    assert "end" not in found["period"]
    assert ("hospitalization" in found) == (event == "A16")


def test_a_late_transfer_of_a_discharged_patient_leaves_the_visit_finished(converter: Converter) -> None:
    assert encounter(convert(converter, "A02", f45=END))["status"] == "finished"


def test_a_cancelled_discharge_takes_its_end_and_disposition_out_of_the_record(converter: Converter) -> None:
    gone = {item.element for item in convert(converter, "A13", f44="").deletions}
    assert gone == {"period", "hospitalization"}
    assert {item.element for item in convert(converter, "A13", f14="7").deletions} == set()


def places(converter: Converter, event: str, **fields: str) -> list[str]:
    return [place.get("status", "") for place in encounter(convert(converter, event, **fields))["location"]]


def test_the_places_of_a_visit_follow_its_event(converter: Converter) -> None:
    assert places(converter, "A02", f6="W4^1^1") == ["active", "completed"]
    assert places(converter, "A05") == ["planned"]
    assert places(converter, "A09", f6="W4^1^1") == ["planned", "completed"]
    assert places(converter, "A09", f11="RAD") == ["active", "planned"]
    assert places(converter, "A10", f11="RAD") == ["active", "active"]
    assert places(converter, "A11") == [""]
    assert places(converter, "A12", f6="W4^1^1") == ["active"]
    assert places(converter, "A13", f45=END) == ["active"]
    assert places(converter, "A15", f42="W4^1^1") == ["active", "reserved"]
    assert places(converter, "A26", f42="W4^1^1") == ["active"]
    assert places(converter, "A21") == places(converter, "A38") == places(converter, "A54") == [""]
    assert places(converter, "A22") == places(converter, "A32") == places(converter, "A33") == ["active"]


def test_a_visit_that_is_over_holds_no_place(converter: Converter) -> None:
    others = {"f11": "RAD", "f42": "W4^1^1"}
    assert places(converter, "A01", **others) == ["active", "active", "reserved"]
    assert places(converter, "A13", f45=END, **others) == ["active", "active", "reserved"]
    assert places(converter, "A03", **others) == ["completed", "completed", ""]
    assert places(converter, "A08", f45=END, **others) == ["completed", "completed", ""]
    assert places(converter, "A11", **others) == places(converter, "A27", **others) == ["", "", ""]
    assert places(converter, "A38", **others) == ["", "", ""]


@pytest.mark.parametrize("kind", ["REF^I15", "SQM^S25", "QBP^Q11"])
@pytest.mark.parametrize("structure", ["", "REF_I12", "SIU_S12", "ADT_A01"])
def test_an_event_whose_row_has_no_table_is_refused_whatever_structure_it_names(
    converter: Converter, kind: str, structure: str
) -> None:
    asked = message("A08").replace(b"ADT^A08", f"{kind}^{structure}".encode())
    with pytest.raises(Hl7v2Error) as caught:
        converter.convert(asked, at_us=0)
    assert (caught.value.condition, caught.value.is_rejection) == ("201", True)


@pytest.mark.parametrize("structure", ["", "ADT_A21", "ADT_A05"])
def test_a_deletion_never_passes_for_an_update(converter: Converter, structure: str) -> None:
    visit = encounter(converter.convert(message("A23", structure=structure), at_us=0))
    assert visit["status"] == "entered-in-error"
    assert "location" not in visit
    gone = converter.convert(message("A29", structure=structure), at_us=0)
    [patient] = [item for item in gone.resources if item["resourceType"] == "Patient"]
    assert gone.deleted == (("Patient", patient["id"]),)
    assert patient == {"resourceType": "Patient", "id": patient["id"], "active": False}


def test_an_update_that_does_not_say_the_status_of_the_visit_only_fills_a_gap(converter: Converter) -> None:
    def gaps(event: str, **fields: str) -> set[str]:
        found = convert(converter, event, **fields).defaulted
        return {item.element for item in found if item.resource_type == "Encounter"}

    assert gaps("A08") == {"status"}
    assert gaps("A08", f44="") == {"status"}
    assert gaps("A08", f45=END) == set()
    assert gaps("A02") == gaps("A11") == gaps("A13") == set()


def test_an_update_after_the_discharge_does_not_make_the_place_active_again(converter: Converter) -> None:
    def states(event: str) -> list[str | None]:
        found = encounter(convert(converter, event))
        return [item.get("status") for item in found["location"]]

    assert states("A01") == ["active"]
    assert states("A03") == ["completed"]
    assert states("A08") == [None]
