"""Where a visit is, when messages name its place again: how it stands to the place is lost by none. HL7 v2.9 §3.4.9.3.

docs/hl7v2.md states the rule ("Where a visit is"). Each sequence gives the same in every order of arrival.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from hdg.gateway import Gateway
from hdg.management.store.inbox import work_items
from hdg.settings import Settings
from stored import all_of, send

PID = "PID|1||4711^^^NORTHGEN^MR||Example^Ada"
Place = tuple[str, str]
Step = tuple[str, dict[int, str]]


def message(number: int, event: str, fields: dict[int, str], sender: str = "ADT|NORTHGEN") -> bytes:
    at = f"20260314{10 + number:02}0000+0100"
    values = ["PV1", "1", "I", *[""] * 48]
    values[19] = "V1^^^NORTHGEN^VN"
    for place, text in fields.items():
        values[place] = text
    segments = [PID, "|".join(values).rstrip("|")]
    kind = f"ADT^{event}"
    if event == "R01":
        kind = "ORU^R01"
        segments += ["OBR|1|P1|F1|2345-7^Glucose^LN", "OBX|1|NM|2345-7^Glucose^LN||5.0|mmol/L|||||F"]
    head = [f"MSH|^~\\&|{sender}|HDG|REGION|{at}||{kind}|C{number}|P|2.5.1"]
    head += [] if event == "R01" else [f"EVN|{event}|{at}"]
    return "\r".join([*head, *segments]).encode() + b"\r"


def places(gateway: Gateway) -> list[Place]:
    """Of the one visit: bed (PL.3) and status ('' without) of each place, in order of their names."""
    [visit] = all_of(gateway, "Encounter")
    names = {f"Location/{one['id']}": one["identifier"][0]["value"] for one in all_of(gateway, "Location")}
    return sorted(
        (names[one["location"]["reference"]], one.get("status", "")) for one in visit.get("location", ())
    )


SEQUENCES: list[tuple[list[Step], list[Place]]] = [
    ([("A01", {3: "W1"}), ("A08", {3: "W1"})], [("W1", "active")]),
    ([("A01", {3: "W1"}), ("A31", {3: "W1"}), ("R01", {3: "W1"})], [("W1", "active")]),
    ([("A05", {3: "W1"}), ("A08", {3: "W1"})], [("W1", "planned")]),
    ([("A01", {3: "W1"}), ("A08", {3: "W2"})], [("W2", "")]),
    ([("A01", {3: "W1"}), ("A08", {3: "W2"}), ("A08", {3: "W1"})], [("W1", "active")]),
    ([("A01", {3: "W1"}), ("A02", {3: "W2"}), ("A08", {3: "W1"})], [("W1", "")]),
    ([("A01", {3: "W1"}), ("A02", {3: "W2"}), ("A08", {3: "W2"})], [("W2", "active")]),
    (
        [("A01", {3: "W1"}), ("A02", {3: "W2", 6: "W1"}), ("A08", {3: "W2"})],
        [("W1", "completed"), ("W2", "active")],
    ),
    (
        [("A01", {3: "W1", 42: "W9"}), ("A08", {3: "W1"}), ("A31", {3: "W1"})],
        [("W1", "active"), ("W9", "reserved")],
    ),
    ([("A01", {3: "W1"}), ("A03", {3: "W1"}), ("A08", {3: "W1"})], [("W1", "completed")]),
    ([("A01", {3: "W1"}), ("A08", {3: "W1"}), ("A03", {})], [("W1", "completed")]),
    ([("A01", {3: "W1"}), ("A03", {}), ("A08", {3: "W1"})], [("W1", "completed")]),
    ([("A01", {3: "W1"}), ("A11", {3: "W1"}), ("A08", {3: "W1"})], [("W1", "")]),
    ([("A01", {3: "W1"}), ("A21", {3: "W1"}), ("A08", {3: "W1"})], [("W1", "active")]),
    ([("A08", {3: "W1"}), ("A08", {3: "W1"})], [("W1", "")]),
    (
        [("A01", {3: "W1"}), ("A08", {3: "W1", 42: "W9"}), ("A08", {3: "W1"})],
        [("W1", "active"), ("W9", "reserved")],
    ),
    (
        [("A05", {3: "W1"}), ("A08", {3: "W2", 42: "W9"}), ("A08", {3: "W1"})],
        [("W1", "planned"), ("W9", "reserved")],
    ),
    ([("A01", {3: "W1"}), ("A10", {11: "X"}), ("A08", {3: "W1"})], [("W1", "active"), ("X", "active")]),
    ([("A01", {3: "W1"}), ("A02", {11: "X"})], [("W1", "active"), ("X", "active")]),
    ([("A01", {3: "W1"}), ("A15", {42: "W9"})], [("W1", "active"), ("W9", "reserved")]),
    ([("A01", {3: "W1"}), ("A02", {6: "W1"})], [("W1", "completed")]),
    ([("A31", {3: "W1", 11: "X"}), ("A08", {3: "W1"}), ("A02", {3: "W2"})], [("W2", "active")]),
]


@pytest.mark.parametrize(("steps", "expected"), SEQUENCES)
def test_an_update_that_names_the_place_again_leaves_how_the_visit_stands_to_it(
    tmp_path: Path, steps: list[Step], expected: list[Place]
) -> None:
    sent = [message(number, *step) for number, step in enumerate(steps)]
    for at, order in enumerate(itertools.permutations(range(len(sent)))):
        with Gateway.open(Settings(data=tmp_path / str(at))) as gateway:
            send(gateway, *(sent[number] for number in order))
            assert places(gateway) == expected, order
            version = all_of(gateway, "Encounter")[0]["meta"]["versionId"]
            send(gateway, *(sent[number] for number in order))
            assert all_of(gateway, "Encounter")[0]["meta"]["versionId"] == version
            about = [one.place for one in work_items(gateway.store.engine) if one.place.startswith("PV1")]
            assert about == [], order


def test_an_update_of_a_stay_that_says_nothing_new_makes_no_version(gateway: Gateway) -> None:
    send(gateway, message(0, "A01", {3: "W1"}))
    send(gateway, *(message(number, "A08", {3: "W1"}) for number in range(1, 4)))
    [visit] = all_of(gateway, "Encounter")
    assert visit["meta"]["versionId"] == "1"
    assert places(gateway) == [("W1", "active")]


def test_another_sender_takes_nothing_from_the_place_and_keeps_nobody_in_it(gateway: Gateway) -> None:
    lab = "LAB|NORTHGEN"
    send(gateway, message(0, "A01", {3: "W1"}), message(1, "R01", {3: "W1"}, lab))
    assert ("W1", "active") in places(gateway)
    send(gateway, message(2, "A02", {3: "W2"}), message(3, "R01", {3: "W2"}, lab))
    assert [one for one in places(gateway) if one[1] == "active"] == [("W2", "active")]
    assert "W1" not in dict(places(gateway))
