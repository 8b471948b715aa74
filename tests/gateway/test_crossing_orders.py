"""Orders, acceptances, results and cancellations that cross, or name less than an order. HL7 v2.9 §4.5.1, §4.4.7."""

from __future__ import annotations

import pytest

from hdg.gateway import Gateway
from hdg.management.store.inbox import work_items
from stored import all_of, send

PID = "PID|1||4711^^^NORTHGEN^MR||Example^Ada"
OLD = "PID|1||0815^^^NORTHGEN^MR||Example^Ada"
P1, P2, F1, G1 = (f"{number}^X^1.2.3^ISO" for number in ("P1", "P2", "F1", "G1"))
SERVICE = "CBC^Count^L"
DRUG = ("RXE|^^^20260304|D1^Drug^L|5||mg", "RXR|PO")


def message(hour: int, kind: str, *segments: str, sender: str = "OE") -> bytes:
    at = f"20260314{hour:02}0000+0100"
    head = [f"MSH|^~\\&|{sender}|NORTHGEN|HDG|REGION|{at}||{kind}|C{hour}|P|2.5.1"]
    if kind.startswith("ADT"):
        head.append(f"EVN|{kind[4:]}|{at}")
    return "\r".join([*head, *segments]).encode() + b"\r"


def ordered(hour: int, control: str = "NW", filler: str = "", pid: str = PID) -> bytes:
    return message(hour, "OML^O21", pid, f"ORC|{control}|{P1}|{filler}", f"OBR|1|{P1}|{filler}|{SERVICE}")


def resulted(hour: int, status: str = "F", placer: str = "") -> bytes:
    obr = f"OBR|1|{placer}|{F1}|{SERVICE}|||20260314{'|' * 18}{status}"
    return message(hour, "ORU^R01", PID, obr, "OBX|1|NM|WBC^Leukocytes^L||4|g/L|||||F", sender="LAB")


def statuses(gateway: Gateway, kind: str = "ServiceRequest") -> set[str]:
    return {one["status"] for one in all_of(gateway, kind)}


def told(gateway: Gateway) -> list[str]:
    return [item.place for item in work_items(gateway.store.engine)]


@pytest.mark.parametrize("patient", [(PID,), ()])
@pytest.mark.parametrize(
    ("control", "status"), [("CA", "revoked"), ("DC", "revoked"), ("HD", "on-hold"), ("NW", "active")]
)
def test_an_acceptance_starts_nothing_again_that_was_withdrawn_before_it(
    gateway: Gateway, control: str, status: str, patient: tuple[str, ...]
) -> None:
    """The filler accepts (OK) what the placer has cancelled or held since."""
    accepted = ("MSA|AA|C1", *patient, f"ORC|OK|{P1}|{F1}", f"OBR|1|{P1}|{F1}|{SERVICE}")
    send(gateway, ordered(1), ordered(2, control), message(3, "ORL^O22", *accepted, sender="LAB"))
    assert statuses(gateway) == {status}
    assert told(gateway) == []


def test_an_acceptance_of_a_cancelled_prescription_or_without_obr_changes_no_state(gateway: Gateway) -> None:
    send(
        gateway,
        *(message(at, "RDE^O11", PID, f"ORC|{code}|{P2}", *DRUG) for at, code in ((1, "NW"), (2, "CA"))),
    )
    send(gateway, message(3, "RDE^O11", PID, f"ORC|OK|{P2}|{F1}", *DRUG))
    assert statuses(gateway, "MedicationRequest") == {"cancelled"}
    send(gateway, ordered(4), ordered(5, "CA"), message(6, "ORM^O01", PID, f"ORC|OK|{P1}"))
    assert {one["status"] for one in all_of(gateway, "ServiceRequest") if "code" in one} == {"revoked"}
    assert told(gateway) == []


def test_an_order_that_is_known_by_its_acceptance_alone_is_active(gateway: Gateway) -> None:
    send(gateway, ordered(1, "OK", F1))
    assert statuses(gateway) == {"active"}


@pytest.mark.parametrize("sequence", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("status", "left"), [("F", "completed"), ("X", "revoked"), ("P", "active")])
def test_a_result_under_the_fillers_number_alone_tells_the_state_of_the_order_that_bears_it(
    gateway: Gateway, status: str, left: str, sequence: tuple[int, ...]
) -> None:
    sent = [ordered(1, "NW", F1), resulted(2, status)]
    send(gateway, *(sent[at] for at in sequence))
    placed = [one["status"] for one in all_of(gateway, "ServiceRequest") if len(one["identifier"]) == 2]
    assert placed == [left]


def test_a_result_of_another_service_under_that_number_ends_no_order(gateway: Gateway) -> None:
    send(gateway, ordered(1, "NW", F1), resulted(2).replace(b"CBC^Count", b"GLU^Sugar"))
    assert statuses(gateway) == {"active", "completed"}


def test_a_control_that_names_the_group_alone_reaches_all_of_it(gateway: Gateway) -> None:
    """HL7 v2.9 §4.5.1.4: ORC-4 without ORC-2 and ORC-3."""
    group = [line for at in (P1, P2) for line in (f"ORC|NW|{at}||{G1}", f"OBR|1|{at}||{SERVICE}")]
    alone = ("ORC|NW|P3^X^1.2.3^ISO", f"OBR|1|P3^X^1.2.3^ISO||{SERVICE}")
    send(gateway, message(1, "OML^O21", PID, *group, *alone))
    send(gateway, message(2, "RDE^O11", PID, f"ORC|NW|P4^X^1.2.3^ISO||{G1}", *DRUG))
    send(gateway, message(3, "OML^O21", PID, f"ORC|CA|||{G1}"))
    found = {
        one["identifier"][0]["value"]: one["status"]
        for one in all_of(gateway, "ServiceRequest")
        if "code" in one
    }
    assert found == {"P1": "revoked", "P2": "revoked", "P3": "active"}
    assert statuses(gateway, "MedicationRequest") == {"cancelled"}
    assert told(gateway) == []


def test_a_control_of_a_group_that_is_not_known_is_reported(gateway: Gateway) -> None:
    send(gateway, ordered(1), message(2, "OML^O21", PID, f"ORC|CA|||{G1}"))
    assert "active" in statuses(gateway)
    assert told(gateway) == ["ORC-1"]


@pytest.mark.parametrize("kind", ["ORM^O01", "OMG^O19", "OML^O21"])
def test_a_second_obr_under_one_control_is_reported(gateway: Gateway, kind: str) -> None:
    send(gateway, message(1, kind, PID, f"ORC|CA|{P1}", f"OBR|1|{P1}||{SERVICE}", f"OBR|2|{P1}||GLU^Sugar^L"))
    assert "OBR-4" in told(gateway)


def test_an_answer_without_pid_is_for_the_order_in_both_records_of_a_merged_person(gateway: Gateway) -> None:
    send(gateway, ordered(1, pid=OLD), message(2, "ADT^A40", PID, "MRG|0815^^^NORTHGEN^MR"), ordered(3, "XO"))
    said = (f"ORC|CR|{P1}|{F1}", f"OBR|1|{P1}|{F1}|{SERVICE}")
    send(gateway, message(4, "ORL^O22", "MSA|AA|C1", *said, sender="LAB"))
    assert [one["status"] for one in all_of(gateway, "ServiceRequest")] == ["revoked", "revoked"]
    assert told(gateway) == []
