"""Bed status: ADT^A20. HL7 v2.9 §3.3.20, §3.4.8 (NPU)."""

from __future__ import annotations

from typing import Any

from hdg.gateway import Gateway
from hdg.management.store.inbox import work_items
from stored import all_of, send

PID = "PID|1||4711^^^NORTHGEN^MR||Example^Ada"
VISIT = "PV1|1|I|W1^1^2^NORTHGEN||||||||||||||||V1^^^NORTHGEN^VN"


def message(hour: int, event: str, *segments: str) -> bytes:
    at = f"20260314{hour:02}0000+0100"
    head = [f"MSH|^~\\&|ADT|NORTHGEN|HDG|REGION|{at}||ADT^{event}|C{hour}|P|2.5.1", f"EVN|{event}|{at}"]
    return "\r".join([*head, *segments]).encode() + b"\r"


def beds(gateway: Gateway) -> list[dict[str, Any]]:
    return [one for one in all_of(gateway, "Location") if "partOf" in one]


def test_the_status_is_that_of_the_bed_that_a_visit_names(gateway: Gateway) -> None:
    send(gateway, message(8, "A01", PID, VISIT))
    [before] = beds(gateway)
    send(gateway, message(9, "A20", "NPU|W1^1^2^NORTHGEN|H"), message(10, "A08", PID, VISIT))
    [after] = beds(gateway)
    system = "http://terminology.hl7.org/CodeSystem/v2-0116"
    assert after["operationalStatus"] == {"system": system, "code": "H"}
    kept = {name: value for name, value in after.items() if name not in ("meta", "operationalStatus")}
    assert kept == {name: value for name, value in before.items() if name != "meta"}
    [visit] = all_of(gateway, "Encounter")
    assert visit["location"][0]["location"]["reference"] == f"Location/{after['id']}"
    assert not work_items(gateway.store.engine)


def test_a_status_may_come_before_the_visit_late_or_go(gateway: Gateway) -> None:
    bed = "NPU|W1^1^2^NORTHGEN|"
    send(gateway, message(10, "A20", bed + "U"), message(9, "A20", bed + "K"), message(11, "A01", PID, VISIT))
    [found] = beds(gateway)
    assert found["operationalStatus"]["code"] == "U"
    assert found["physicalType"]["coding"][0]["code"] == "bd"
    send(gateway, message(12, "A20", bed + '""'))
    [found] = beds(gateway)
    assert "operationalStatus" not in found


def test_a_status_without_a_bed_is_reported(gateway: Gateway) -> None:
    send(gateway, message(8, "A20", "NPU||K"))
    assert [item.text.partition(":")[0] for item in work_items(gateway.store.engine)] == [
        "a bed status without a bed"
    ]


def test_a_bed_is_one_place_whatever_is_said_of_it(gateway: Gateway) -> None:
    """HL7 v2.9 §2.A.53: PL.5, PL.6 and PL.9 tell of a place, not which one it is."""
    bed = "W1^1^2^NORTHGEN"
    visits = [
        VISIT.replace(bed, one) for one in (f"{bed}^U^N", f"{bed}^O", bed, f"{bed}^O^N^B1^^at the door")
    ]
    send(gateway, message(8, "A01", PID, visits[0]), message(9, "A08", PID, visits[1]))
    send(gateway, message(10, "A20", f"NPU|{bed}^H|H"), message(11, "A08", PID, visits[2]))
    [found] = beds(gateway)
    assert found["operationalStatus"]["code"] == "H"
    [visit] = all_of(gateway, "Encounter")
    assert [place["status"] for place in visit["location"]] == ["active"]
    send(gateway, message(12, "A08", PID, visits[3]))  # in another building
    assert len(beds(gateway)) == 2


def test_places_that_nothing_but_their_type_tells_apart_are_two(gateway: Gateway) -> None:
    for hour, place in ((8, "^^^NORTHGEN^^C"), (9, "^^^NORTHGEN^^N")):
        send(gateway, message(hour, "A08", PID, VISIT.replace("W1^1^2^NORTHGEN", place)))
    assert len({one["id"] for one in all_of(gateway, "Location") if "type" in one}) == 2
