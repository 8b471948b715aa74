"""What an answer without a patient (ORL, ORG, ORR without PID) says reaches the order. HL7 v2.9 §4.4.7."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.coverage import coverage
from hdg.management.store.inbox import entries, work_items
from stored import all_of, send

PID = "PID|1||4711^^^NORTHGEN^MR||Example^Ada"
OTHER = "PID|1||4712^^^NORTHGEN^MR||Example^Bea"
P1, P2 = "P1^EHR^1.2.3^ISO", "P2^EHR^1.2.3^ISO"
F1 = "F1^LAB^1.2.4^ISO"
CONTROL = "https://hdg.dev/fhir/StructureDefinition/order-control"
KINDS = ["ORL^O22", "ORG^O20", "ORL^O34", "ORR^O02"]
KEPT = "an answer without PID: the order's {} says otherwise, or has no place for it, and stays as it is"
DETAILS = (
    "an answer without PID: whose specimen, observation or medicine it is is not told; it was not stored"
)


@pytest.fixture
def gateway(on_either: Gateway) -> Gateway:
    """On either database."""
    return on_either


def message(hour: int, kind: str, *segments: str, sender: str = "OE") -> bytes:
    at = f"20260314{hour:02}0000+0100"
    head = f"MSH|^~\\&|{sender}|NORTHGEN|HDG|REGION|{at}||{kind}|C{hour}|P|2.5.1"
    return "\r".join([head, *segments]).encode() + b"\r"


def ordered(hour: int = 1, pid: str = PID, number: str = P1, obr: str = "") -> bytes:
    return message(hour, "OML^O21", pid, f"ORC|NW|{number}", f"OBR|1|{number}||CBC^Count^L{obr}")


def answer(hour: int, *segments: str, kind: str = "ORL^O22", sender: str = "LAB") -> bytes:
    return message(hour, kind, "MSA|AA|C1", *segments, sender=sender)


def told(gateway: Gateway) -> list[tuple[str, str]]:
    return [(item.place, item.text) for item in work_items(gateway.store.engine)]


def order(gateway: Gateway, kind: str = "ServiceRequest") -> dict[str, Any]:
    [found] = all_of(gateway, kind)
    return found


def numbers(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["type"]["coding"][0]["code"], one["value"]) for one in found["identifier"]]


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_answer_says_reaches_the_order(gateway: Gateway, kind: str) -> None:
    send(gateway, ordered())
    said = (
        f"ORC|SC|{P1}|{F1}||IP{'|' * 11}S1^Short of staff^L",
        f"OBR|1|{P1}|{F1}|CBC^Count^L{'|' * 32}20260315080000+0100",
        "NTE|1||drawn twice",
    )
    specimen = ("SPM|1|S1||BLD",) if kind == "ORL^O34" else ()
    send(gateway, answer(2, *specimen, *said, kind=kind))
    found = order(gateway)
    assert numbers(found) == [("PLAC", "P1"), ("FILL", "F1")]
    assert [one["text"] for one in found["note"]] == ["drawn twice"]
    assert found["occurrenceDateTime"] == "2026-03-15T08:00:00+01:00"
    extensions = [one["valueCodeableConcept"]["coding"][0]["code"] for one in found["extension"]]
    assert (found["status"], extensions) == ("active", ["SC", "S1"])
    assert told(gateway) == [("SPM", DETAILS)] * len(specimen)


def test_the_provenance_and_the_header_of_an_answer_name_the_order_and_are_its_patients(
    gateway: Gateway,
) -> None:
    send(gateway, ordered(), answer(2, f"ORC|OK|{P1}|{F1}"))
    found = {"reference": f"ServiceRequest/{order(gateway)['id']}"}
    [header] = [one for one in all_of(gateway, "MessageHeader") if one["source"]["name"] == "LAB"]
    assert header["focus"] == [found]
    own = {"reference": f"MessageHeader/{header['id']}"}
    [source] = [one for one in all_of(gateway, "Provenance") if own in one["target"]]
    assert found in source["target"]
    with gateway.store.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT count(*) FROM compartment c JOIN resource r ON r.rkey = c.rkey "
            "WHERE r.type IN ('MessageHeader', 'Provenance')"
        )
        assert rows.scalar() == 4


def test_an_answer_changes_nothing_of_the_order_that_it_repeats_or_contradicts(gateway: Gateway) -> None:
    send(gateway, ordered(obr="|S|||||||pregnant"), answer(2, f"ORC|OK|{P1}", f"OBR|1|{P1}||CBC^Count^L|S"))
    assert told(gateway) == []
    send(gateway, answer(3, f"ORC|OK|{P1}", f"OBR|1|{P1}||CBC^Count^L|R"))
    assert order(gateway)["priority"] == "stat"
    assert [one["text"] for one in order(gateway)["note"]] == ["pregnant"]
    assert told(gateway) == [("ORC", KEPT.format("priority"))]


def test_answers_of_one_order_add_up_and_a_control_takes_the_place_of_an_earlier_one(
    gateway: Gateway,
) -> None:
    send(gateway, ordered())
    send(gateway, answer(2, f"ORC|OK|{P1}|{F1}", "NTE|1||one"), answer(3, f"ORC|OC|{P1}|{F1}", "NTE|1||two"))
    found = order(gateway)
    assert [one["text"] for one in found["note"]] == ["one", "two"]
    assert [one["valueCodeableConcept"]["coding"][0]["code"] for one in found["extension"]] == ["OC"]
    assert found["status"] == "revoked"


def test_what_the_placer_had_said_in_its_own_list_stays(gateway: Gateway) -> None:
    """The sender of the order and of the answer may be one system."""
    send(gateway, ordered(obr="||||||||pregnant"))
    send(gateway, answer(2, f"ORC|OK|{P1}|{F1}", "NTE|1||drawn twice", sender="OE"))
    assert [one["text"] for one in order(gateway)["note"]] == ["pregnant", "drawn twice"]
    assert numbers(order(gateway)) == [("PLAC", "P1"), ("FILL", "F1")]


def test_an_answer_that_is_late_is_not_lost_in_silence(gateway: Gateway) -> None:
    send(gateway, ordered())
    send(gateway, answer(3, f"ORC|OC|{P1}", "NTE|1||two"), answer(2, f"ORC|OK|{P1}", "NTE|1||one"))
    assert [one["text"] for one in order(gateway)["note"]] == ["two"]
    assert order(gateway)["status"] == "revoked"
    assert told(gateway) == [("ORC", KEPT.format("note"))]


def test_of_a_prescription_what_it_has_no_place_for_is_reported(gateway: Gateway) -> None:
    drug = "RXE|^^^20260304|D1^Drug^L|5||mg"
    send(gateway, message(1, "RDE^O11", PID, f"ORC|NW|{P1}", drug, "RXR|PO"))
    said = (f"ORC|DR|{P1}|{F1}||||3|||||||||S1^Allergy^L", "NTE|1||as asked")
    send(gateway, answer(2, *said, kind="ORR^O02"))
    found = order(gateway, "MedicationRequest")
    assert (found["status"], found["statusReason"]["coding"][0]["code"]) == ("stopped", "S1")
    assert [one["text"] for one in found["note"]] == ["as asked"]
    assert numbers(found) == [("PLAC", "P1"), ("FILL", "F1")]
    assert told(gateway) == [("ORC", KEPT.format("quantity"))]


def test_one_answer_for_orders_of_two_patients_reaches_both(gateway: Gateway) -> None:
    send(gateway, ordered(), ordered(2, OTHER, P2))
    send(gateway, answer(3, f"ORC|OK|{P1}", "NTE|1||one", f"ORC|CR|{P2}", "NTE|1||two"))
    found = {one["identifier"][0]["value"]: one for one in all_of(gateway, "ServiceRequest")}
    assert {name: one["status"] for name, one in found.items()} == {"P1": "active", "P2": "revoked"}
    assert {name: one["note"][0]["text"] for name, one in found.items()} == {"P1": "one", "P2": "two"}


def test_an_observation_or_a_delete_in_an_answer_is_reported(gateway: Gateway) -> None:
    send(gateway, ordered())
    send(gateway, answer(2, "SPM|1|S1||BLD", "OBX|1|NM|K^Potassium^L||4", f"ORC|OK|{P1}", kind="ORL^O34"))
    send(gateway, answer(3, f"ORC|OK|{P1}", f'OBR|1|{P1}||CBC^Count^L|""'))
    gone = "a delete in an answer without PID was not carried out"
    assert told(gateway) == [("OBX", DETAILS), ("SPM", DETAILS), ("OBR-5", gone)]
    assert all_of(gateway, "Observation") == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_coverage_of_an_answer_loses_nothing_and_calls_no_field_mapped_that_is_not_kept(
    kind: str,
) -> None:
    specimen = ("SPM|1|S1||BLD", "OBX|1|NM|K^Potassium^L||4") if kind == "ORL^O34" else ()
    said = (f"ORC|OK|{P1}|{F1}|G1", f"OBR|1|{P1}|{F1}|CBC^Count^L|S", "NTE|1||drawn twice")
    found = coverage(answer(2, *specimen, *said, kind=kind))
    assert found.lost == ()
    fates: dict[str, str] = {place.place: place.status for place in found.places}
    mapped = {name for name, fate in fates.items() if fate == "mapped"}
    assert {"ORC-1", "ORC-3.1", "OBR-4.1", "OBR-5", "NTE-3"} <= mapped
    assert not {name for name in mapped if name[:3] in ("SPM", "OBX", "RXO")}


def test_a_replayed_answer_changes_nothing(gateway: Gateway) -> None:
    send(gateway, ordered(), answer(2, f"ORC|OK|{P1}|{F1}", "NTE|1||one"))
    before = order(gateway)
    for found in list(entries(gateway.store.engine, status="accepted")):
        assert gateway.replay(found, gateway.store.reader.blob(found.blob)).error is None
    assert order(gateway) == before
