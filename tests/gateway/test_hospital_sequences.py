"""Sequences as hospitals send them: nothing is lost, doubled, or left in use when it has ended. HL7 v2.9 §3.3, §7.4."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from hdg.gateway import Gateway
from hdg.management.store.inbox import work_items
from stored import all_of, send

PID = "PID|1||4711^^^NORTHGEN^MR||Example^Ada"
ORDER = "OBR|1|P1|F1|24323-8^CMP^LN|||20260301100000+0100|||||||||||||||20260301110000+0100||LAB|"


def message(control: str, kind: str, *segments: str, hour: int) -> bytes:
    at = f"20260314{hour:02}0000+0100"
    head = [f"MSH|^~\\&|ADT|NORTHGEN|HDG|REGION|{at}||{kind}|{control}|P|2.5.1"]
    if kind.startswith("ADT"):
        head.append(f"EVN|{kind[4:]}|{at}")
    return "\r".join([*head, *segments]).encode() + b"\r"


def pv1(**fields: str) -> str:
    values = ["PV1", "1", "I", *[""] * 48]
    values[19] = "V1^^^NORTHGEN^VN"
    for name, text in fields.items():
        values[int(name[1:])] = text
    return "|".join(values).rstrip("|")


def obx(number: int, code: str, status: str) -> str:
    return f"OBX|{number}|NM|{code}^x^LN||5.0|mmol/L|||||{status}|||20260301100000+0100"


def only(gateway: Gateway, kind: str) -> dict[str, Any]:
    [found] = all_of(gateway, kind)
    return found


ADMITTED = pv1(f3="W1^1^1", f11="XRAY", f14="2", f20="FIN", f44="20260310100000+0100")


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_results_that_come_one_by_one_are_all_in_their_report(
    gateway: Gateway, order: tuple[int, ...]
) -> None:
    """HL7 v2.9 §7.4.1: OBR-25 A or P, some results are there."""
    codes = (("2345-7", "P"), ("2160-0", "P"), ("2951-2", "F"))
    parts = [
        message(f"C{hour}", "ORU^R01", PID, ORDER + status, obx(hour, code, "F"), hour=hour)
        for hour, (code, status) in enumerate(codes, 1)
    ]
    send(gateway, *(parts[at] for at in order))
    report = only(gateway, "DiagnosticReport")
    made = {f"Observation/{one['id']}" for one in all_of(gateway, "Observation")}
    assert len(made) == 3
    assert {one["reference"] for one in report["result"]} == made
    assert report["status"] == "final"


def test_a_discharge_leaves_no_place_in_use_that_it_does_not_name(gateway: Gateway) -> None:
    send(gateway, message("C1", "ADT^A01", PID, ADMITTED, hour=10))
    send(gateway, message("C2", "ADT^A03", PID, pv1(f45="20260314110000+0100"), hour=11))
    found = only(gateway, "Encounter")
    assert found["status"] == "finished"
    assert [place["status"] for place in found["location"]] == ["completed", "completed"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_admission_that_comes_after_its_discharge_puts_nobody_into_a_bed(
    gateway: Gateway, order: tuple[int, int]
) -> None:
    sent = [
        message("C1", "ADT^A01", PID, ADMITTED, hour=10),
        message("C2", "ADT^A03", PID, pv1(f45="20260314110000+0100"), hour=11),
    ]
    send(gateway, *(sent[at] for at in order))
    found = only(gateway, "Encounter")
    assert found["status"] == "finished"
    assert found["period"] == {"start": "2026-03-10T10:00:00+01:00", "end": "2026-03-14T11:00:00+01:00"}
    assert {place["status"] for place in found["location"]} == {"completed"}


def test_a_cancelled_admission_has_nobody_in_its_bed(gateway: Gateway) -> None:
    send(
        gateway,
        message("C1", "ADT^A01", PID, ADMITTED, hour=10),
        message("C2", "ADT^A11", PID, pv1(), hour=11),
    )
    found = only(gateway, "Encounter")
    assert found["status"] == "cancelled"
    assert [place.get("status") for place in found["location"]] == [None, None]


@pytest.mark.parametrize(
    "entry, emptied, kind",
    [
        ("AL1|1|DA|PEN^Penicillin", 'AL1|1|""|""', "AllergyIntolerance"),
        ("AL1|1|DA|PEN^Penicillin", 'AL1|1|DA|""', "AllergyIntolerance"),
        ("IAM|1|DA|PEN^Penicillin|SV||A", 'IAM|1||""|||A', "AllergyIntolerance"),
        ("DG1|1||I10^Hypertension^I10|||W", 'DG1|1||""|||""', "Condition"),
        ("PR1|1||47.0^Appendectomy^I9C||20260310", 'PR1|1||""||""', "Procedure"),
    ],
)
def test_an_entry_about_nothing_is_none_and_is_reported(
    gateway: Gateway, entry: str, emptied: str, kind: str
) -> None:
    event = "A60" if entry.startswith("IAM") else "A08"
    send(gateway, message("C1", f"ADT^{event}", PID, pv1(), entry, hour=10))
    before = only(gateway, kind)
    send(gateway, message("C2", f"ADT^{event}", PID, pv1(), emptied, hour=11))
    assert only(gateway, kind) == before
    text = "a delete that does not say of which entry was not carried out"
    assert [(item.place, item.text) for item in work_items(gateway.store.engine)] == [(entry[:3], text)]


def test_leaves_of_absence_and_their_cancels_follow_each_other(gateway: Gateway) -> None:
    send(gateway, message("C0", "ADT^A01", PID, ADMITTED, hour=8))
    said = []
    for hour, event in enumerate(("A21", "A52", "A21", "A22", "A53", "A22"), 9):
        send(gateway, message(f"C{hour}", f"ADT^{event}", PID, pv1(), hour=hour))
        said.append(only(gateway, "Encounter")["status"])
    assert said == ["onleave", "in-progress", "onleave", "in-progress", "onleave", "in-progress"]
    assert only(gateway, "Encounter")["period"] == {"start": "2026-03-10T10:00:00+01:00"}


def test_a_pre_admission_that_is_cancelled_is_none(gateway: Gateway) -> None:
    send(gateway, message("C1", "ADT^A05", PID, pv1(f3="W1^1^1"), hour=8))
    send(gateway, message("C2", "ADT^A38", PID, pv1(), hour=9))
    found = only(gateway, "Encounter")
    assert found["status"] == "cancelled"
    assert [place.get("status") for place in found["location"]] == [None]


def test_a_cancelled_discharge_takes_the_end_back_and_keeps_the_beginning(gateway: Gateway) -> None:
    send(gateway, message("C1", "ADT^A01", PID, ADMITTED, hour=10))
    send(gateway, message("C2", "ADT^A03", PID, pv1(f36="01", f45="20260314110000+0100"), hour=11))
    send(gateway, message("C3", "ADT^A13", PID, pv1(), hour=12))
    found = only(gateway, "Encounter")
    assert found["status"] == "in-progress"
    assert found["period"] == {"start": "2026-03-10T10:00:00+01:00"}
    assert sorted(found["hospitalization"]) == ["admitSource"]


@pytest.mark.parametrize("event", ["A25", "A13", "A03"])
def test_a_pending_discharge_is_over_when_it_is_cancelled_or_done(gateway: Gateway, event: str) -> None:
    send(gateway, message("C1", "ADT^A01", PID, ADMITTED, hour=10))
    send(gateway, message("C2", "ADT^A16", PID, pv1(f45="20260315110000+0100"), hour=11))
    urls = [one["url"].rpartition("/")[2] for one in only(gateway, "Encounter")["extension"]]
    assert sorted(urls) == ["financial-class", "pending-discharge-time"]
    send(gateway, message("C3", f"ADT^{event}", PID, pv1(), hour=12))
    assert [one["url"].rpartition("/")[2] for one in only(gateway, "Encounter")["extension"]] == [
        "financial-class"
    ]


def test_of_a_merge_that_is_turned_round_the_later_survivor_is_in_use(gateway: Gateway) -> None:
    other = PID.replace("4711", "4712")
    send(gateway, message("C1", "ADT^A40", other, "MRG|4711^^^NORTHGEN^MR", hour=10))
    send(gateway, message("C2", "ADT^A40", PID, "MRG|4712^^^NORTHGEN^MR", hour=11))
    active = {one["identifier"][0]["value"]: one.get("active", True) for one in all_of(gateway, "Patient")}
    assert active == {"4711": True, "4712": False}


@pytest.mark.parametrize(("action", "is_told"), [("CA", True), ("UP", False), ("", False)])
def test_a_problems_action_that_nobody_knows_is_reported(
    gateway: Gateway, action: str, is_told: bool
) -> None:
    problem = f"PRB|{action}|20260302|I10^Hypertension^I10|PR1^NORTHGEN"
    send(gateway, message("C1", "PPR^PC2", PID, problem, hour=10))
    places = [item.place for item in work_items(gateway.store.engine)]
    assert places == (["PRB-1"] if is_told else [])


BED = "W1^1^1"
PRIOR = "W0^1^1"
MOVED = [
    ("ADT^A01", pv1(f3=PRIOR)),
    ("ADT^A02", pv1(f3=BED, f6=PRIOR)),
    ("ADT^A03", pv1(f3=BED, f6=PRIOR, f45="20260314110000+0100")),
    ("ADT^A13", pv1()),
]


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))][::3])
def test_a_discharge_that_is_taken_back_without_naming_a_place_leaves_the_patient_in_the_bed(
    gateway: Gateway, order: tuple[int, ...]
) -> None:
    sent = [message(f"C{hour}", kind, PID, visit, hour=hour) for hour, (kind, visit) in enumerate(MOVED, 8)]
    send(gateway, *(sent[at] for at in order))
    wards = {f"Location/{one['id']}": one["identifier"][0]["value"] for one in all_of(gateway, "Location")}
    found = only(gateway, "Encounter")
    places = {wards[place["location"]["reference"]]: place["status"] for place in found["location"]}
    assert (found["status"], places) == ("in-progress", {"W0": "completed", "W1": "active"})
    assert work_items(gateway.store.engine) == []
