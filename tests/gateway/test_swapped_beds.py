"""Two patients who change beds, in one message. HL7 v2.9 §3.3.17 (A17)."""

from __future__ import annotations

import itertools

import pytest

from hdg.gateway import Gateway
from hdg.management.store.inbox import work_items
from stored import all_of, send

ADA, BOB = (f"PID|1||{number}^^^NORTHGEN^MR||Example^{name}" for number, name in ((1, "Ada"), (2, "Bob")))


def visit(number: int, bed: str, prior: str = "") -> str:
    fields = ["PV1", "1", "I", bed and f"W^1^{bed}", "", "", prior and f"W^1^{prior}", *[""] * 13]
    fields[19] = f"V{number}^^^NORTHGEN^VN"
    return "|".join(fields)


def message(hour: int, event: str, *segments: str) -> bytes:
    at = f"20260314{hour:02}0000+0100"
    head = [f"MSH|^~\\&|ADT|NORTHGEN|HDG|REGION|{at}||ADT^{event}|C{hour}|P|2.5.1", f"EVN|{event}|{at}"]
    return "\r".join([*head, *segments]).encode() + b"\r"


def beds(gateway: Gateway) -> dict[str, list[tuple[str, str]]]:
    """Given name → bed and status of each place of the visit."""
    names = {f"Patient/{one['id']}": one["name"][0]["given"][0] for one in all_of(gateway, "Patient")}
    return {
        names[one["subject"]["reference"]]: sorted(
            (place["location"]["display"][-1], place["status"]) for place in one["location"]
        )
        for one in all_of(gateway, "Encounter")
    }


SWAP = message(10, "A17", ADA, visit(1, "2", "1"), BOB, visit(2, "1", "2"))


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_each_patient_is_in_the_bed_of_the_other_in_whatever_order_they_come(
    gateway: Gateway, order: tuple[int, ...]
) -> None:
    sent = [message(8, "A01", ADA, visit(1, "1")), message(9, "A01", BOB, visit(2, "2")), SWAP]
    send(gateway, *(sent[at] for at in order))
    assert beds(gateway) == {
        "Ada": [("1", "completed"), ("2", "active")],
        "Bob": [("1", "active"), ("2", "completed")],
    }
    assert work_items(gateway.store.engine) == []


@pytest.mark.parametrize("who", ["Ada", "Bob"])
@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_a_late_swap_brings_nobody_back_into_a_bed_that_was_left(
    gateway: Gateway, order: tuple[int, ...], who: str
) -> None:
    """What the sender had said of the second visit is found with the second patient."""
    pid, number = {"Ada": (ADA, 1), "Bob": (BOB, 2)}[who]
    sent = [
        SWAP,
        message(11, "A02", pid, visit(number, "3")),
        message(12, "A08", pid, visit(number, "3"), "PV2||" + "|" * 20 + "x"),
    ]
    send(gateway, *(sent[at] for at in order))
    assert beds(gateway)[who] == [("3", "active")]


def test_an_observation_of_a_swap_is_that_of_the_patient_before_it(gateway: Gateway) -> None:
    height = "OBX|1|NM|8302-2^Height^LN||{}|cm|||||F"
    segments = [ADA, visit(1, "2"), height.format(170), BOB, visit(2, "1"), height.format(180)]
    send(gateway, message(10, "A17", *segments))
    names = {f"Patient/{one['id']}": one["name"][0]["given"][0] for one in all_of(gateway, "Patient")}
    found = {
        names[one["subject"]["reference"]]: int(one["valueQuantity"]["value"])
        for one in all_of(gateway, "Observation")
    }
    assert found == {"Ada": 170, "Bob": 180}
