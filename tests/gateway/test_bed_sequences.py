"""Random stays of a patient: where the visit is, is the same in every order of arrival, and what the events say.

HL7 v2.9 §3.3 (ADT); docs/hl7v2.md, "Where a visit is". Each stay is drawn as a hospital would send it (nobody is
transferred who was discharged), with and without the fields that an event may leave out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdg.gateway import Gateway
from hdg.settings import Settings
from stored import all_of, send

BEDS = ("W1", "W2", "W3")
STAYS, ORDERS = 8, 5
UNSAID = -6
"""The place that was left, where PV1-6 does not say it."""
Step = tuple[str, dict[int, str]]
Place = tuple[str, str]

INSIDE = ("A02", "A02", "A17", "A17", "A03", "A06", "A07", "A08", "A08", "A10", "A12", "A16", "A21")
EVENTS = {"in": INSIDE, "out": ("A13", "A13", "A08"), "away": ("A22", "A08"), "off": ("A08",)}
BECOMES = {"A03": "out", "A13": "in", "A21": "away", "A22": "in", "A11": "off"}
STATUS = {"in": "in-progress", "away": "onleave", "out": "finished", "off": "cancelled"}


class Stay:
    """One drawn stay: what is sent (``steps``), and where the patient then is."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.beds = [draw.choice(BEDS)]
        self.state = "in"
        self.steps: list[Step] = []
        if draw.random() < 0.2:
            self.steps.append(("A05", {3: self.beds[-1]}))
        self.steps.append(("A01", {3: self.beds[-1]}))
        for _ in range(draw.randint(2, 5)):
            self.go_on(draw.choice(EVENTS[self.state]))
        if self.state == "in" and draw.random() < 0.1:
            self.go_on("A11")

    def go_on(self, event: str) -> None:
        """Something that may happen now."""
        if event == "A12" and len(self.beds) < 2:
            return
        left = self.beds.pop() if event == "A12" else self.beds[-1]
        if event in ("A02", "A17"):
            self.beds.append(self.draw.choice([bed for bed in BEDS if bed != left]))
        fields = dict(self.fields(event, left))
        self.steps.append((event, fields))
        self.state = BECOMES.get(event, self.state)

    def fields(self, event: str, left: str) -> Iterator[tuple[int, str]]:
        """Of PV1: what the event must say, and perhaps what it may."""
        if event in ("A02", "A12", "A17") or (event not in ("A10", "A16") and self.draw.random() < 0.6):
            yield 3, self.beds[-1]
        if event in ("A02", "A12", "A17"):
            yield (6 if self.draw.random() < 0.7 else UNSAID), left
        if event in ("A03", "A16"):
            yield 45, f"202603{14 if event == 'A03' else 20}{8 + len(self.steps):02}0000+0100"
        if event == "A10":
            yield 11, "X"


def about(visit: str, fields: dict[int, str]) -> list[str]:
    """PID and PV1 of a visit."""
    values = ["PV1", "1", "I", *[""] * 48]
    values[19] = f"V{visit}^^^NORTHGEN^VN"
    for place, text in fields.items():
        if place != UNSAID:
            values[place] = text
    return [f"PID|1||{visit}^^^NORTHGEN^MR||Example^Ada", "|".join(values).rstrip("|")]


def message(visit: str, number: int, step: Step) -> bytes:
    event, fields = step
    at = f"20260314{8 + number:02}0000+0100"
    segments = [
        f"MSH|^~\\&|ADT|NORTHGEN|HDG|REGION|{at}||ADT^{event}|C{visit}x{number}|P|2.5.1",
        f"EVN|{event}|{at}",
        *about(visit, fields),
    ]
    if event == "A17":  # who changes places with the patient comes before or after
        left = fields.get(6) or fields[UNSAID]
        other = about(f"{visit}b", {3: left, **({6: fields[3]} if 6 in fields else {})})
        segments[2:2] = other if number % 2 else []
        segments += [] if number % 2 else other
    return "\r".join(segments).encode() + b"\r"


def visits(gateway: Gateway) -> dict[str, tuple[str, list[Place]]]:
    """Number of each visit → its status, and its wards with their status; without the temporary ones. ``b``: of who
    changed places with the patient.
    """
    names = {f"Location/{one['id']}": one["identifier"][0]["value"] for one in all_of(gateway, "Location")}
    return {
        one["identifier"][0]["value"]: (
            one["status"],
            sorted(
                (names[place["location"]["reference"]], place.get("status", ""))
                for place in one.get("location", ())
                if "physicalType" not in place
            ),
        )
        for one in all_of(gateway, "Encounter")
    }


@pytest.mark.parametrize("seed", range(8))
def test_a_stay_is_where_its_events_say_in_every_order_of_arrival(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    stays = [Stay(draw) for _ in range(STAYS)]
    with Gateway.open(Settings(data=tmp_path / "data")) as gateway:
        for number, stay in enumerate(stays):
            at = range(len(stay.steps))
            for turn, order in enumerate([at, *(draw.sample(at, len(at)) for _ in range(ORDERS))]):
                send(gateway, *(message(f"{number}n{turn}", each, stay.steps[each]) for each in order))
        found = visits(gateway)
    for number, stay in enumerate(stays):
        first = found[f"V{number}n0"]
        assert first[0] == STATUS[stay.state], stay.steps
        swaps = [fields.get(6) or fields[UNSAID] for event, fields in stay.steps if event == "A17"]
        if swaps:
            other = found[f"V{number}n0b"]
            assert [bed for bed, status in other[1] if status == "active"] == swaps[-1:], stay.steps
        used = [bed for bed, status in first[1] if status == "active"]
        assert used == (stay.beds[-1:] if stay.state in ("in", "away") else []), stay.steps
        for turn in range(1, ORDERS + 1):
            assert found.get(f"V{number}n{turn}b") == found.get(f"V{number}n0b"), (turn, stay.steps)
            status, places = found[f"V{number}n{turn}"]
            if stay.state == "off":  # nobody was there: which of the beds it still names does not matter
                used = {one[1] for one in places} - {"", "completed"}
                assert (status, used) == (first[0], set()), stay.steps
            else:
                assert (status, places) == first, (turn, stay.steps)


LATE = [
    ("A01", {3: "W1"}),
    ("A03", {45: "20260314090000+0100"}),
    ("A13", {}),
]


@pytest.mark.parametrize("after", [("A16", {45: "20260320000000+0100"}), ("A10", {11: "X"}), ("A21", {})])
def test_a_cancelled_discharge_that_comes_after_what_came_after_it_gives_the_bed_back(
    gateway: Gateway, after: Step
) -> None:
    sent = [message("1", number, step) for number, step in enumerate([*LATE, after])]
    send(gateway, sent[0], sent[1], sent[3], sent[2])
    assert visits(gateway)["V1"][1] == [("W1", "active")]


def test_a_bed_that_a_cancelled_discharge_gave_back_stays_in_use_when_only_a_temporary_place_is_named(
    gateway: Gateway,
) -> None:
    """The admission is not known: it was before the interface."""
    steps = [LATE[1], LATE[2], ("A10", {11: "X"})]
    steps[0] = ("A03", {**LATE[1][1], 3: "W2"})
    send(gateway, *(message("1", number, step) for number, step in enumerate(steps)))
    assert visits(gateway)["V1"] == ("in-progress", [("W2", "active")])


def test_of_who_left_for_a_temporary_place_the_bed_stays_in_use_when_the_arrival_came_first(
    gateway: Gateway,
) -> None:
    """A09: PV1-3 is the place that the patient leaves for, unless PV1-11 is."""
    steps: list[Step] = [("A01", {3: "W2"}), ("A09", {11: "X", 3: "W2"}), ("A10", {11: "X"})]
    sent = [message("1", number, step) for number, step in enumerate(steps)]
    send(gateway, sent[0], sent[2], sent[1])
    assert visits(gateway)["V1"][1] == [("W2", "active")]


def test_an_update_that_names_the_bed_keeps_the_temporary_place_that_the_patient_left_for(
    gateway: Gateway,
) -> None:
    steps: list[Step] = [("A01", {3: "W1"}), ("A09", {11: "X", 3: "W1"}), ("A08", {3: "W1"})]
    send(gateway, *(message("1", number, step) for number, step in enumerate(steps)))
    [visit] = all_of(gateway, "Encounter")
    assert sorted(place["status"] for place in visit["location"]) == ["active", "planned"]
