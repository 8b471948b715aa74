"""Status, start and end of an appointment by event, times and units. HL7 v2.9 §10.4, §10.6."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.errors import Hl7v2Error
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender

PATIENT = "PID|1||1^^^B^MR||X^Y\r"
START = "20240325090000+0100"


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


def message(event: str, rest: str = "", **fields: str) -> bytes:
    valued = {2: "F1^S"} | {int(name.removeprefix("f")): text for name, text in fields.items()}
    header = "|".join(valued.get(number, "") for number in range(1, max(valued) + 1))
    return (
        f"MSH|^~\\&|A|B|||20240320120000Z||SIU^{event}|1|P|2.5\rSCH|{header}\r{PATIENT}RGS|1\r{rest}".encode()
    )


def appointment(converter: Converter, event: str, rest: str = "", **fields: str) -> dict[str, Any]:
    converted = converter.convert(message(event, rest, **fields), at_us=0)
    return next(item for item in converted.resources if item["resourceType"] == "Appointment")


@pytest.mark.parametrize(
    ("event", "filler", "status"),
    [
        ("S12", "", "booked"),
        ("S12", "Pending", "pending"),
        ("S12", "WAITLIST", "waitlist"),
        ("S13", "booked", "booked"),
        ("S14", "Started", "checked-in"),
        ("S14", "Complete", "fulfilled"),
        ("S14", "Cancelled", "cancelled"),
        ("S15", "", "cancelled"),
        ("S15", "Booked", "cancelled"),
        ("S16", "", "cancelled"),
        ("S17", "", "entered-in-error"),
        ("S18", "Overbook", "booked"),
        ("S26", "Booked", "noshow"),
    ],
)
def test_the_status_of_an_appointment_follows_event_and_filler_status(
    converter: Converter, event: str, filler: str, status: str
) -> None:
    assert appointment(converter, event, f11=f"^^^{START}", f25=filler)["status"] == status


def test_an_unknown_filler_status_is_reported_and_kept(converter: Converter) -> None:
    converted = converter.convert(message("S14", f25="TENTATIVE^Pencilled in^L"), at_us=0)
    assert any(issue.place == "SCH-25" and issue.code == "not-found" for issue in converted.issues)
    found = next(item for item in converted.resources if item["resourceType"] == "Appointment")
    assert found["status"] == "booked"
    assert "TENTATIVE" in str(found["extension"])


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"f11": f"^^^{START}^20240325093000+0100"}, "2024-03-25T09:30:00+01:00"),
        ({"f11": f"^^^{START}", "f9": "90", "f10": "min"}, "2024-03-25T10:30:00+01:00"),
        ({"f11": f"^^^{START}", "f9": "2", "f10": "hr^hour^ISO+"}, "2024-03-25T11:00:00+01:00"),
        ({"f11": f"^^^{START}", "f9": "1800", "f10": "s"}, "2024-03-25T09:30:00+01:00"),
        ({"f11": f"^^M20^{START}"}, "2024-03-25T09:20:00+01:00"),
        ({"f11": "^^^20240331013000+0100", "f9": "60", "f10": "min"}, "2024-03-31T02:30:00+01:00"),
        ({"f11": "^^^20240325090000Z", "f9": "15", "f10": "MINUTES"}, "2024-03-25T09:15:00Z"),
    ],
)
def test_the_end_is_given_or_the_start_and_a_duration_of_known_unit(
    converter: Converter, fields: dict[str, str], end: str
) -> None:
    assert appointment(converter, "S12", **fields)["end"] == end


@pytest.mark.parametrize(
    "fields",
    [
        {"f11": f"^^^{START}", "f9": "30"},
        {"f11": f"^^^{START}", "f9": "30", "f10": "UNITS"},
        {"f11": f"^^^{START}", "f9": "half an hour", "f10": "min"},
        {"f11": f"^^^{START}"},
    ],
)
def test_an_end_that_nobody_states_is_said_to_be_unknown(
    converter: Converter, fields: dict[str, str]
) -> None:
    found = appointment(converter, "S12", **fields)
    assert "end" not in found
    assert found["_end"]["extension"][0]["valueCode"] == "unknown"


def test_a_local_time_is_no_instant_but_is_kept_as_sent(converter: Converter) -> None:
    found = appointment(converter, "S12", f11="^^^20240325090000", f9="30", f10="min")
    assert "start" not in found
    assert [item.get("valueString") for item in found["_start"]["extension"]] == [None, "20240325090000"]


def test_a_senders_zone_makes_its_local_times_instants() -> None:
    sender = Sender("A|B", "b", zone="Europe/Berlin")
    data = message("S12", f11="^^^202403250900", f9="30", f10="min")
    converted = Converter(id_key=PUBLIC_KEY).convert(data, sender, at_us=0)
    found = next(item for item in converted.resources if item["resourceType"] == "Appointment")
    assert (found["start"], found["end"]) == ("2024-03-25T09:00:00+01:00", "2024-03-25T09:30:00+01:00")


def test_a_cancellation_without_times_states_none(converter: Converter) -> None:
    found = appointment(converter, "S15", f6="ILL")
    assert not {"start", "end", "_start", "_end"} & found.keys()
    assert found["cancelationReason"]["coding"][0]["code"] == "ILL"


def test_a_resource_starts_at_its_offset_and_one_that_is_taken_out_is_left_out(converter: Converter) -> None:
    rest = "AIP|1|A|D1^Doe^Jane^^^^^^B|MD|||15|min|20|min\rAIP|2|D|D2^Roe^Rick^^^^^^B|MD\rAIL|1||W^1\r"
    found = appointment(converter, "S19", rest, f11=f"^^^{START}", f9="45", f10="min")
    kinds = [item["actor"]["reference"].partition("/")[0] for item in found["participant"]]
    assert kinds == ["Patient", "Practitioner", "Location"]
    assert found["participant"][1]["period"] == {
        "start": "2024-03-25T09:15:00+01:00",
        "end": "2024-03-25T09:35:00+01:00",
    }


def test_an_appointment_without_anybody_is_still_valid(converter: Converter) -> None:
    data = b"MSH|^~\\&|A|B|||20240320120000Z||SIU^S12|1|P|2.5\rSCH||F1^S\r"
    converted = converter.convert(data, at_us=0)
    found = next(item for item in converted.resources if item["resourceType"] == "Appointment")
    assert [item["status"] for item in found["participant"]] == ["needs-action"]


def test_every_event_of_an_appointment_speaks_of_one_resource(converter: Converter) -> None:
    first = appointment(converter, "S12")["id"]
    assert {appointment(converter, event)["id"] for event in ("S13", "S14", "S15", "S17", "S26")} == {first}


@pytest.mark.parametrize(("event", "status"), [("S23", "busy-unavailable"), ("S24", "free")])
def test_blocked_time_is_a_slot_and_never_passes_for_a_booking(
    converter: Converter, event: str, status: str
) -> None:
    data = message(event).replace(event.encode(), f"{event}^SIU_S12".encode())
    found = {item["resourceType"]: item for item in converter.convert(data, at_us=0).resources}
    assert "Appointment" not in found
    assert "Patient" not in found
    assert found["Slot"]["status"] == status
    assert found["Slot"]["schedule"] == {"reference": f"Schedule/{found['Schedule']['id']}"}


def test_what_is_blocked_is_opened_again_under_its_number(converter: Converter) -> None:
    def slot(event: str) -> str:
        items = converter.convert(message(event), at_us=0).resources
        return next(str(item["id"]) for item in items if item["resourceType"] == "Slot")

    assert slot("S23") == slot("S24")


@pytest.mark.parametrize("kind", ["SQM^S25", "REF^I15"])
def test_a_question_is_refused_and_never_passes_for_a_statement(converter: Converter, kind: str) -> None:
    data = message("S12").replace(b"SIU^S12", kind.encode())
    with pytest.raises(Hl7v2Error) as caught:
        converter.convert(data, at_us=0)
    assert caught.value.is_rejection
