"""A field that a message does not value keeps what it had stated, beside those that it values. HL7 v2.9 §2.5.3.

docs/hl7v2.md states the rule ("Several fields of one element").
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from hdg.gateway import Gateway
from hdg.management.store.inbox import work_items
from stored import all_of, send

NULL = '""'
HOME, WORK, OTHER = "^PRN^PH^^^^111", "^WPN^PH^^^^222", "^ORN^PH^^^^333"


def segment(name: str, values: dict[str, str], **fixed: str) -> str:
    """A segment; ``f13="…"`` sets its field 13."""
    fields = {int(key[1:]): text for key, text in {**fixed, **values}.items()}
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


def pid(**fields: str) -> str:
    return segment("PID", fields, f3="4711^^^NORTHGEN^MR")


def pv1(**fields: str) -> str:
    return segment("PV1", fields, f2="I", f19="V1^^^NORTHGEN^VN")


def message(
    control: str, *segments: str, hour: int, event: str = "A08", sender: str = "ADT|NORTHGEN"
) -> bytes:
    at = f"20260314{hour:02}0000+0100"
    head = (f"MSH|^~\\&|{sender}|HDG|REGION|{at}||ADT^{event}|{control}|P|2.5.1", f"EVN|{event}|{at}")
    return "\r".join([*head, *segments]).encode() + b"\r"


def only(gateway: Gateway, kind: str) -> dict[str, Any]:
    [found] = all_of(gateway, kind)
    return found


def numbers(gateway: Gateway) -> list[str]:
    return [one["value"] for one in only(gateway, "Patient").get("telecom", ())]


def reported(gateway: Gateway) -> list[tuple[str, str]]:
    return [(item.place, item.text) for item in work_items(gateway.store.engine)]


@pytest.mark.parametrize(
    "second, left",
    [
        ({"f13": "^PRN^PH^^^^9"}, ["9", "222", "333"]),
        ({"f14": "^WPN^PH^^^^9"}, ["111", "9", "333"]),
        ({"f40": "^ORN^PH^^^^9"}, ["111", "222", "9"]),
        ({"f13": "^PRN^PH^^^^9", "f14": NULL}, ["9", "333"]),
        ({"f13": "^PRN^PH^^^^9~^PRN^CP^^^^8"}, ["9", "8", "222", "333"]),
        ({"f13": HOME, "f14": WORK}, ["111", "222", "333"]),
        ({"f13": "^PRN^PH^^^^9", "f14": "^WPN^PH^^^^8", "f40": "^ORN^PH^^^^7"}, ["9", "8", "7"]),
    ],
)
def test_a_valued_field_takes_the_place_of_what_it_had_stated_itself(
    gateway: Gateway, second: dict[str, str], left: list[str]
) -> None:
    send(gateway, message("C1", pid(f13=HOME, f14=WORK, f40=OTHER), hour=10))
    send(gateway, message("C2", pid(**second), hour=11))
    assert numbers(gateway) == left
    assert reported(gateway) == []


def test_each_field_keeps_what_it_said_last_over_many_messages(gateway: Gateway) -> None:
    send(
        gateway,
        message("C1", pid(f13=HOME, f14=WORK), hour=8),
        message("C2", pid(f13="^PRN^PH^^^^9"), hour=9),
    )
    send(gateway, message("C3", pid(f40=OTHER), hour=10), message("C4", pid(f13="^PRN^PH^^^^8"), hour=11))
    assert numbers(gateway) == ["8", "222", "333"]
    send(gateway, message("C5", pid(f14=NULL), hour=12))
    assert numbers(gateway) == ["8", "333"]
    send(gateway, message("C6", pid(f13="^PRN^PH^^^^7"), hour=13), message("C7", pid(f40=NULL), hour=14))
    assert numbers(gateway) == ["7"]
    assert reported(gateway) == []


ELEMENTS = [
    ("Patient", "name", pid(f5="Example^Ada", f9="Adie"), pid(f5="Example^Eva"), 2),
    ("Patient", "name", pid(f5="Example^Ada", f9="Adie"), pid(f9="Eve"), 2),
    ("Patient", "identifier", pid(f4="99^^^OLD^PI", f19="123"), pid(f4="98^^^OLD^PI"), 3),
    ("Patient", "extension", pid(f17="CAT", f23="Bath", f39="T"), pid(f17="JEW"), 3),
    ("Encounter", "participant", pv1(f7="1^A", f8="2^B", f9="3^C", f17="4^D"), pv1(f7="5^E"), 4),
    ("Encounter", "participant", pv1(f7="1^A", f8="2^B", f9="3^C", f17="4^D"), pv1(f9="5^E~6^F"), 5),
    ("Encounter", "type", pv1(f4="E", f18="OUT"), pv1(f4="R"), 2),
    ("Encounter", "extension", pv1(f20="FIN", f40="X") + "\rPV2|||||BOOK||X", pv1(f20="NEW"), 3),
    ("RelatedPerson", "telecom", "NK1|1|Kin^A|SPO||111|222", "NK1|1|Kin^A|SPO||333", 2),
    ("RelatedPerson", "relationship", "NK1|1|Kin^A|SPO||||EMC", "NK1|1|Kin^A|SPO||||FRD", 2),
]


@pytest.mark.parametrize("kind, element, first, second, count", ELEMENTS)
def test_every_list_of_several_fields_keeps_what_the_other_fields_said(
    gateway: Gateway, kind: str, element: str, first: str, second: str, count: int
) -> None:
    about = () if first.startswith("PID") else (pid(),)
    send(gateway, message("C1", *about, first, hour=10))
    before = [item for one in all_of(gateway, kind) for item in one[element]]
    send(gateway, message("C2", *about, second, hour=11))
    [found] = [one for one in all_of(gateway, kind) if element in one]
    assert len(found[element]) == count
    assert len([item for item in before if item not in found[element]]) == 1
    assert reported(gateway) == []


def test_a_county_that_went_into_the_address_of_another_field_stays(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(f11="1 Road^^Town", f12="NORTH"), hour=10))
    send(gateway, message("C2", pid(f11="2 Road^^Town"), hour=11))
    assert only(gateway, "Patient")["address"] == [
        {"line": ["2 Road"], "city": "Town"},
        {"district": "NORTH"},
    ]
    send(gateway, message("C3", pid(f11="3 Road^^Town"), hour=12))
    assert only(gateway, "Patient")["address"] == [
        {"line": ["3 Road"], "city": "Town"},
        {"district": "NORTH"},
    ]
    send(gateway, message("C4", pid(f12=NULL), hour=13))
    assert only(gateway, "Patient")["address"] == [{"line": ["3 Road"], "city": "Town"}]
    assert reported(gateway) == []


def test_a_stay_keeps_when_it_began(gateway: Gateway) -> None:
    begun = pv1(f44="20260310100000+0100", f14="2", f5="P9")
    send(gateway, message("C1", pid(), begun, hour=10, event="A01"))
    ended = pv1(f45="20260314100000+0100", f36="01")
    send(gateway, message("C2", pid(), ended, hour=11, event="A03"))
    found = only(gateway, "Encounter")
    assert found["period"] == {"start": "2026-03-10T10:00:00+01:00", "end": "2026-03-14T10:00:00+01:00"}
    assert sorted(found["hospitalization"]) == [
        "admitSource",
        "dischargeDisposition",
        "preAdmissionIdentifier",
    ]
    send(gateway, message("C3", pid(), pv1(f44="20260310100000+0100", f14="2"), hour=12, event="A13"))
    found = only(gateway, "Encounter")
    assert found["period"] == {"start": "2026-03-10T10:00:00+01:00"}
    assert sorted(found["hospitalization"]) == ["admitSource", "preAdmissionIdentifier"]


def test_a_place_that_was_left_does_not_stay_in_use(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(), pv1(f3="W1", f11="XRAY"), hour=10))
    send(gateway, message("C2", pid(), pv1(f3="W2", f6="W1"), hour=11, event="A02"))
    active = [one for one in only(gateway, "Encounter")["location"] if one.get("status") == "active"]
    assert len(active) == 1


def test_another_senders_items_are_no_neighbours(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(f13="^PRN^PH^^^^777"), hour=9, sender="REG|NORTHGEN"))
    send(
        gateway,
        message("C2", pid(f13=HOME, f14=WORK), hour=10),
        message("C3", pid(f13="^PRN^PH^^^^9"), hour=11),
    )
    assert sorted(numbers(gateway)) == ["222", "777", "9"]


def test_what_cannot_be_told_is_kept_and_reported(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(f13=HOME, f14=WORK), hour=10))
    gateway.store.submit(lambda session: session.change_later("UPDATE inbox SET blob = ?", ("",))).result()
    send(gateway, message("C2", pid(f13="^PRN^PH^^^^9"), hour=11))
    assert sorted(numbers(gateway)) == ["111", "222", "9"]
    [(place, text)] = reported(gateway)
    assert place == "PID-13"
    assert (
        text
        == "what other fields had stated of Patient.telecom cannot be told from what it replaces: both are kept"
    )


STATED = [
    message("C1", pid(f5="Example^Ada", f13=HOME, f14=WORK), hour=8, event="A01"),
    message("C2", pid(f13="^PRN^PH^^^^9"), hour=9),
    message("C3", pid(f14=NULL), hour=10),
    message("C4", pid(f40=OTHER, f14="^WPN^PH^^^^8"), hour=11),
]


@pytest.mark.parametrize(
    "order", [*itertools.permutations(range(4))], ids=lambda order: "".join(map(str, order))
)
def test_the_order_of_arrival_does_not_matter_field_by_field(
    gateway: Gateway, order: tuple[int, ...]
) -> None:
    for at in order:
        send(gateway, STATED[at])
    assert sorted(numbers(gateway)) == ["333", "8", "9"]
    assert only(gateway, "Patient")["name"][0]["family"] == "Example"
    assert reported(gateway) == []


@pytest.mark.parametrize(
    "field, element", [("f13", "telecom"), ("f11", "address"), ("f9", "name"), ("f8", "gender")]
)
def test_what_was_deleted_before_it_came_does_not_come_back(
    gateway: Gateway, field: str, element: str
) -> None:
    send(gateway, message("C2", pid(f7="19500101", **{field: NULL}), hour=11))
    value = {"f13": HOME, "f11": "1 Road", "f9": "Adie", "f8": "F"}[field]
    send(gateway, message("C1", pid(**{field: value}), hour=10, event="A01"))
    assert element not in only(gateway, "Patient")
    send(gateway, message("C0", pid(f14=WORK, **{field: value}), hour=9, event="A01"))
    assert numbers(gateway) == ["222"]  # nothing newer speaks of it
    assert reported(gateway) == []


def test_a_deleted_discharge_does_not_come_back(gateway: Gateway) -> None:
    send(gateway, message("C2", pid(), pv1(f45=NULL), hour=11))
    late = pv1(f44="20260310100000+0100", f45="20260314090000+0100")
    send(gateway, message("C1", pid(), late, hour=10))
    assert only(gateway, "Encounter")["period"] == {"start": "2026-03-10T10:00:00+01:00"}


def test_a_message_that_says_it_again_makes_no_new_version(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(f13=HOME, f14=WORK), hour=10), message("C2", pid(f13=HOME), hour=11))
    send(gateway, message("C3", pid(f13=HOME), hour=12), message("C4", pid(f13=HOME, f14=WORK), hour=13))
    assert only(gateway, "Patient")["meta"]["versionId"] == "1"


def test_a_place_that_is_named_again_stands_once_and_those_of_other_fields_stay(gateway: Gateway) -> None:
    send(
        gateway, message("C1", pid(), pv1(f3="WARD^1^A", f6="OLD^2^B", f42="NEXT^3^C"), hour=10, event="A01")
    )
    before = only(gateway, "Encounter")["location"]
    send(gateway, message("C2", pid(), pv1(f3="WARD^1^A"), hour=11))
    after = only(gateway, "Encounter")["location"]
    assert [one.get("status") for one in before] == ["active", "completed", "reserved"]
    assert [one["location"] for one in after] == [one["location"] for one in before]
    assert [one.get("status") for one in after][1:] == ["completed", "reserved"]
    assert reported(gateway) == []
