"""What a cancellation, a hold or a discharge reaches under another id. HL7 v2.9 §4.5.1, §10.4, §3.3.40."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import pytest

from hdg.data import folder
from hdg.gateway import Gateway
from hdg.management.store.inbox import work_items
from hdg.order_states import STOPPED
from hdg.settings import Settings
from stored import all_of, send

PID = "PID|1||4711^^^NORTHGEN^MR||Example^Ada"
OLD = "PID|1||0815^^^NORTHGEN^MR||Example^Ada"
MERGED = ("ADT^A40", PID, "MRG|0815^^^NORTHGEN^MR")
HB = "OBR|1|{}|{}|718-7^Hb^LN"
GLUCOSE = "OBR|1|{}|{}|2345-7^Glucose^LN"
DRUG = ("RXE|^^^20260304|D1^Drug^L|5||mg", "RXR|PO")
WITHDRAWALS = ["CA", "OC", "CR", "DC", "OD", "DR", "DF"]


def message(hour: int, kind: str, *segments: str, sender: str = "ADT") -> bytes:
    at = f"20260314{hour:02}0000+0100"
    head = [f"MSH|^~\\&|{sender}|NORTHGEN|HDG|REGION|{at}||{kind}|C{hour}|P|2.5.1"]
    if kind.startswith("ADT"):
        head.append(f"EVN|{kind[4:]}|{at}")
    return "\r".join([*head, *segments]).encode() + b"\r"


def states(gateway: Gateway, kind: str) -> dict[str, str]:
    """Code (or drug) → status, of what has one."""
    found = {}
    for one in all_of(gateway, kind):
        name = one.get("code") or one.get("medicationCodeableConcept")
        if name:
            found[name["coding"][0]["code"]] = one["status"]
    return found


def told(gateway: Gateway) -> list[tuple[str, str]]:
    return [
        (item.place, item.text.partition(",")[0].partition(":")[0])
        for item in work_items(gateway.store.engine)
    ]


@pytest.mark.parametrize("control", WITHDRAWALS)
def test_an_order_control_without_obr_reaches_all_that_was_ordered_under_its_number(
    gateway: Gateway, control: str
) -> None:
    kind = "OML^O21"
    send(
        gateway,
        message(8, kind, PID, "ORC|NW|P1", HB.format("P1", ""), "ORC|NW|P1", GLUCOSE.format("P1", "")),
    )
    send(gateway, message(9, kind, PID, "ORC|NW|P2", "OBR|1|P2||2951-2^Sodium^LN"))
    send(gateway, message(10, kind, PID, f"ORC|{control}|P1"))
    assert states(gateway, "ServiceRequest") == {"718-7": "revoked", "2345-7": "revoked", "2951-2": "active"}
    assert told(gateway) == []


def test_a_hold_and_its_release_reach_an_order_without_obr_and_no_ended_one(gateway: Gateway) -> None:
    both = ("ORC|NW|P1", HB.format("P1", ""), "ORC|NW|P1", GLUCOSE.format("P1", ""))
    send(gateway, message(8, "OML^O21", PID, *both))
    send(gateway, message(9, "OML^O21", PID, "ORC|CA|P1", GLUCOSE.format("P1", "")))
    send(gateway, message(10, "OML^O21", PID, "ORC|HD|P1", HB.format("P1", "")))
    send(gateway, message(11, "OML^O21", PID, "ORC|RL|P1"))
    assert states(gateway, "ServiceRequest") == {"718-7": "active", "2345-7": "revoked"}


def test_what_is_done_is_not_withdrawn_with_the_rest(gateway: Gateway) -> None:
    both = ("ORC|NW|P1", HB.format("P1", ""), "ORC|NW|P1", GLUCOSE.format("P1", ""))
    send(gateway, message(8, "OML^O21", PID, *both))
    send(gateway, message(9, "OML^O21", PID, "ORC|SC|P1|||CM", HB.format("P1", "")))
    send(gateway, message(10, "OML^O21", PID, "ORC|CA|P1"))
    assert states(gateway, "ServiceRequest") == {"718-7": "completed", "2345-7": "revoked"}


def test_an_order_control_that_finds_no_order_is_reported_and_a_strict_sender_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "senders.toml").write_text('[senders.strict]\napplication = "STRICT"\nstrict = true\n')
    with Gateway.open(Settings(data=data)) as gateway:
        send(gateway, message(8, "OML^O21", PID, "ORC|CA|P1"))
        assert told(gateway) == [("ORC-1", "an order control without OBR")]
        unknown = message(9, "OML^O21", PID, "ORC|CA|P1", sender="STRICT")
        assert b"\rMSA|AE|" in gateway.receive_now(unknown)
        send(
            gateway,
            message(10, "OML^O21", PID, "ORC|NW|P2^STRICT", HB.format("P2^STRICT", ""), sender="STRICT"),
        )
        send(gateway, message(11, "OML^O21", PID, "ORC|CA|P2^STRICT", sender="STRICT"))
        assert states(gateway, "ServiceRequest") == {"718-7": "revoked"}


def test_a_control_for_a_service_that_was_not_ordered_is_reported(gateway: Gateway) -> None:
    send(gateway, message(8, "OML^O21", PID, "ORC|NW|P1", HB.format("P1", "")))
    send(gateway, message(9, "OML^O21", PID, "ORC|CA|P1", GLUCOSE.format("P1", "")))
    send(gateway, message(10, "OML^O21", PID, "ORC|NW|P2", HB.format("P2", "")))
    send(gateway, message(11, "OML^O21", PID, "ORC|XO|P2", GLUCOSE.format("P2", "")))
    assert [place for place, _ in told(gateway)] == ["ORC-1", "ORC-1"]
    assert {text for _, text in told(gateway)} == {
        "the control names a service that is not known under this number",
        "the order is for another service now",
    }


PHONE = "|" * 8 + "^WPN^PH^^1^555^1234"
REASON = "|" * 13 + "ERR^Wrong^L"


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
@pytest.mark.parametrize("phone", ["", PHONE])
def test_a_new_order_under_a_stopped_number_has_nothing_of_the_stop(
    gateway: Gateway, phone: str, order: tuple[int, ...]
) -> None:
    """HL7 v2.9 §4.5.1.1, §4.5.1.16: ORC-16 says why the control of its own message was given."""
    sent = [
        message(8, "ORM^O01", PID, f"ORC|NW|P1||||{phone}", HB.format("P1", "")),
        message(9, "ORM^O01", PID, f"ORC|DC|P1|{REASON}", HB.format("P1", "")),
        message(10, "ORM^O01", PID, f"ORC|NW|P1||||{phone}", HB.format("P1", "")),
    ]
    send(gateway, *(sent[at] for at in order))
    (one,) = all_of(gateway, "ServiceRequest")
    urls = [extension["url"].rpartition("/")[2] for extension in one.get("extension", ())]
    assert (one["status"], urls) == (
        "active",
        ["servicerequest-order-callback-phone-number"] if phone else [],
    )
    assert told(gateway) == []


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_a_prescription_that_is_ordered_anew_has_no_reason_for_its_stop(
    gateway: Gateway, order: tuple[int, ...]
) -> None:
    sent = [
        message(8, "RDE^O11", PID, "ORC|NW|P1", *DRUG),
        message(9, "RDE^O11", PID, f"ORC|DC|P1|{REASON}", *DRUG),
        message(10, "RDE^O11", PID, "ORC|NW|P1", *DRUG),
    ]
    send(gateway, *(sent[at] for at in order))
    (one,) = all_of(gateway, "MedicationRequest")
    assert (one["status"], "statusReason" in one, "extension" in one) == ("active", False, False)
    assert told(gateway) == []


def test_a_new_order_keeps_its_own_reason_and_what_another_control_says_later(gateway: Gateway) -> None:
    for hour, control in ((8, "DC"), (9, "NW"), (10, "XO")):
        reason = "|" * 13 + f"{control}R^Why^L"
        send(gateway, message(hour, "ORM^O01", PID, f"ORC|{control}|P1|{reason}", HB.format("P1", "")))
        (one,) = all_of(gateway, "ServiceRequest")
        codes = {item["valueCodeableConcept"]["coding"][0]["code"] for item in one["extension"]}
        assert codes == ({f"{control}R"} if control == "NW" else {control, f"{control}R"})


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("control, status", [("CA", "revoked"), ("DC", "revoked"), ("HD", "on-hold")])
@pytest.mark.parametrize("detail", ["", GLUCOSE.format("P1", "")])
@pytest.mark.parametrize("kind", ["OML^O21", "ORM^O01"])
def test_a_control_that_comes_before_its_order_counts_all_the_same(
    gateway: Gateway, kind: str, detail: str, control: str, status: str, order: tuple[int, ...]
) -> None:
    sent = [
        message(8, kind, PID, "ORC|NW|P1", GLUCOSE.format("P1", "")),
        message(9, kind, PID, f"ORC|{control}|P1", *filter(None, [detail])),
    ]
    send(gateway, *(sent[at] for at in order))
    assert states(gateway, "ServiceRequest") == {"2345-7": status}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_cancellation_by_the_fillers_number_alone_or_of_a_prescription_may_come_first(
    gateway: Gateway, order: tuple[int, ...]
) -> None:
    drawn = [
        message(8, "ORM^O01", PID, "ORC|NW|P1|F1", HB.format("P1", "F1")),
        message(9, "ORM^O01", PID, "ORC|OC||F1", HB.format("", "F1")),
    ]
    taken = [
        message(10, "RDE^O11", PID, "ORC|NW|P2", *DRUG),
        message(11, "RDE^O11", PID, "ORC|DC|P2"),
    ]
    send(gateway, *(drawn[at] for at in order), *(taken[at] for at in order))
    assert {one["status"] for one in all_of(gateway, "ServiceRequest")} == {"revoked"}
    assert states(gateway, "MedicationRequest") == {"D1": "stopped"}


def test_a_number_that_is_ordered_under_again_after_a_cancellation_is_a_running_order(
    gateway: Gateway,
) -> None:
    send(gateway, message(8, "OML^O21", PID, "ORC|CA|P1"))
    send(gateway, message(9, "OML^O21", PID, "ORC|NW|P1", HB.format("P1", "")))
    assert states(gateway, "ServiceRequest") == {"718-7": "active"}


def test_a_filler_that_gives_its_own_number_alone_ends_the_order(gateway: Gateway) -> None:
    send(gateway, message(8, "OML^O21", PID, "ORC|NW|P1", HB.format("P1", "")))
    send(gateway, message(9, "OML^O21", PID, "ORC|SC|P1|F1||IP", HB.format("P1", "F1")))
    send(gateway, message(10, "OML^O21", PID, "ORC|OC||F1", HB.format("", "F1")))
    assert {one["status"] for one in all_of(gateway, "ServiceRequest")} == {"revoked"}


@pytest.mark.parametrize("kind", ["RDE^O11", "ORM^O01"])
@pytest.mark.parametrize("control", ["CA", "DC", "HD"])
def test_a_prescription_is_reached_without_rxe(gateway: Gateway, kind: str, control: str) -> None:
    detail = DRUG if kind == "RDE^O11" else ("RXO|D1^Drug^L|5||mg",)
    send(gateway, message(8, kind, PID, "ORC|NW|P1", *detail))
    send(gateway, message(9, kind, PID, f"ORC|{control}|P1"))
    [found] = all_of(gateway, "MedicationRequest")
    assert found["status"] == {"CA": "cancelled", "DC": "stopped", "HD": "on-hold"}[control]
    assert told(gateway) == []


def test_a_stop_of_the_encoded_order_stops_the_original_one(gateway: Gateway) -> None:
    send(gateway, message(8, "ORM^O01", PID, "ORC|NW|P1", "RXO|D1^Drug^L|5||mg"))
    send(gateway, message(9, "RDE^O11", PID, "ORC|DC|P1", *DRUG))
    found = all_of(gateway, "MedicationRequest")
    assert sorted((one["intent"], one["status"]) for one in found) == [
        ("order", "stopped"),
        ("original-order", "stopped"),
    ]


def test_a_number_of_another_sender_or_patient_is_another_order(gateway: Gateway) -> None:
    send(gateway, message(8, "OML^O21", PID, "ORC|NW|P1", HB.format("P1", ""), sender="RIS"))
    send(gateway, message(9, "OML^O21", OLD, "ORC|NW|P1", HB.format("P1", "")))
    send(gateway, message(10, "OML^O21", PID, "ORC|CA|P1"))
    assert [one["status"] for one in all_of(gateway, "ServiceRequest") if "code" in one] == [
        "active",
        "active",
    ]


def test_a_prescription_stops_by_the_controls_that_the_map_says() -> None:
    with (folder("terminology") / "maps" / "medication-order-control.csv").open(newline="") as file:
        rows = [(row["source_code"], row["target_code"]) for row in csv.DictReader(file)]
    assert {code for code, status in rows if status == "stopped"} | {"DF"} == STOPPED


# --- appointments -------------------------------------------------------------------------------------------


def booking(event: str, hour: int, numbers: str, status: str = "") -> bytes:
    timing = "^^30^20260320090000+0100"
    fields = ["SCH", *numbers.split("|"), *[""] * 8, timing, *[""] * 13, status]
    return message(hour, f"SIU^{event}", "|".join(fields), PID, "RGS|1", "AIP|1|A|D1^Doctor^One")


@pytest.mark.parametrize(
    "event, status", [("S15", "cancelled"), ("S26", "noshow"), ("S17", "entered-in-error")]
)
def test_an_appointment_ends_by_either_number(gateway: Gateway, event: str, status: str) -> None:
    send(gateway, booking("S12", 8, "A1|F1", "Booked"), booking(event, 9, "A1|"))
    assert {one["status"] for one in all_of(gateway, "Appointment")} == {status}
    assert told(gateway) == []


def test_of_a_series_under_one_number_none_is_cancelled_by_it_alone(gateway: Gateway) -> None:
    send(gateway, booking("S12", 8, "A1|F1", "Booked"), booking("S12", 9, "A1|F2", "Booked"))
    send(gateway, booking("S15", 10, "A1|F3"))
    assert sorted(one["status"] for one in all_of(gateway, "Appointment")) == [
        "booked",
        "booked",
        "cancelled",
    ]
    send(gateway, booking("S15", 11, "A1|"))
    assert [one["status"] for one in all_of(gateway, "Appointment")].count("booked") == 2
    assert told(gateway) == [("SCH-1", "several appointments are known under this number")]


def test_an_appointment_under_one_of_its_numbers_alone_is_reported(gateway: Gateway) -> None:
    send(gateway, booking("S12", 8, "A1|", "Booked"), booking("S13", 9, "A1|F1", "Booked"))
    assert told(gateway) == [("SCH-1", "the appointment is known under one of its numbers alone as well")]


@pytest.mark.parametrize(
    "event, status", [("S15", "cancelled"), ("S26", "noshow"), ("S17", "entered-in-error")]
)
def test_a_change_without_a_status_brings_no_ended_appointment_back(
    gateway: Gateway, event: str, status: str
) -> None:
    send(
        gateway, booking("S12", 8, "A1|F1", "Booked"), booking(event, 9, "A1|F1"), booking("S14", 10, "A1|F1")
    )
    [found] = all_of(gateway, "Appointment")
    assert found["status"] == status
    send(gateway, booking("S13", 11, "A1|F1"))
    [found] = all_of(gateway, "Appointment")
    assert found["status"] == "booked"


def participants(gateway: Gateway) -> set[str]:
    [found] = all_of(gateway, "Appointment")
    return {one["actor"]["display"] for one in found["participant"] if "display" in one["actor"]}


@pytest.mark.parametrize(
    "event, segments, left",
    [
        ("S20", ["AIP|2|D|D2^Doctor^Two"], {"One Doctor", "R1 1"}),
        ("S22", ["AIP|2|D|D2^Doctor^Two"], {"One Doctor", "R1 1"}),
        ("S19", ["AIP|2|U|D2^Doctor^Two"], {"One Doctor", "Two Doctor", "R1 1"}),
        ("S14", ["AIP|2|D|D2^Doctor^Two", "AIP|3|A|D3^Doctor^Three"], {"One Doctor", "Three Doctor", "R1 1"}),
        ("S18", ["AIP|3|A|D3^Doctor^Three"], {"One Doctor", "Two Doctor", "Three Doctor", "R1 1"}),
        ("S13", ["AIP|1|A|D3^Doctor^Three"], {"Three Doctor", "R1 1"}),
        ("S13", ["AIL|1|D|R1^1^1", "AIL|2|A|R2^2^2"], {"One Doctor", "Two Doctor", "R2 2"}),
    ],
)
def test_a_resource_that_is_taken_out_of_an_appointment_takes_no_other_with_it(
    gateway: Gateway, event: str, segments: list[str], left: set[str]
) -> None:
    booked = booking("S12", 8, "A1|F1", "Booked") + b"AIP|2|A|D2^Doctor^Two\rAIL|1|A|R1^1^1\r"
    send(
        gateway,
        booked,
        booking(event, 9, "A1|F1", "Booked").replace(b"AIP|1|A|D1^Doctor^One", "\r".join(segments).encode()),
    )
    assert participants(gateway) == left


@pytest.mark.parametrize("event", ["S20", "S21", "S22"])
def test_what_is_taken_out_without_an_action_code_is_not_guessed(gateway: Gateway, event: str) -> None:
    """HL7 v2.9 §10.6.4.2: the code is required. Neither does the one that is named stay alone, nor does it go."""
    booked = booking("S12", 8, "A1|F1", "Booked") + b"AIP|2|A|D2^Doctor^Two\rAIL|1|A|R1^1^1\r"
    without = booking(event, 9, "A1|F1", "Booked").replace(b"AIP|1|A|D1^Doctor^One", b"AIP|2||D2^Doctor^Two")
    send(gateway, booked, without)
    assert participants(gateway) == {"One Doctor", "Two Doctor", "R1 1"}
    assert ("AIP-2", "something is taken out of the appointment and no action code says what") in told(
        gateway
    )


# --- after a merge ------------------------------------------------------------------------------------------


def visit(event: str, hour: int, pid: str, **fields: str) -> bytes:
    values = ["PV1", "1", "I", *[""] * 48]
    values[19] = "V1^^^NORTHGEN^VN"
    for name, text in fields.items():
        values[int(name[1:])] = text
    return message(hour, f"ADT^{event}", pid, "|".join(values).rstrip("|"))


def test_a_visit_that_ends_after_a_merge_leaves_nobody_in_bed_in_either_record(gateway: Gateway) -> None:
    send(gateway, visit("A01", 8, OLD, f3="W1^1^1", f44="20260314080000+0100"))
    send(gateway, message(9, *MERGED), visit("A03", 10, PID, f45="20260314100000+0100"))
    found = all_of(gateway, "Encounter")
    assert len(found) == 2
    for one in found:
        assert one["status"] == "finished"
        assert one["period"]["end"] == "2026-03-14T10:00:00+01:00"
        assert {place["status"] for place in one.get("location", ())} <= {"completed"}
    assert "2026-03-14T08:00:00+01:00" in {one["period"].get("start") for one in found}
    assert len({one["subject"]["reference"] for one in found}) == 2


def test_a_visit_goes_on_after_a_merge_in_one_bed(gateway: Gateway) -> None:
    send(gateway, visit("A01", 8, OLD, f3="W1^1^1"), message(9, *MERGED), visit("A02", 10, PID, f3="W2^2^2"))
    places = [
        [place["location"]["display"] for place in one["location"] if place["status"] == "active"]
        for one in all_of(gateway, "Encounter")
    ]
    assert places == [["W2 2"], ["W2 2"]]
    send(gateway, visit("A03", 11, PID))
    assert {one["status"] for one in all_of(gateway, "Encounter")} == {"finished"}


@pytest.mark.parametrize("merges", [1, 2])
def test_an_order_of_before_a_merge_is_withdrawn_or_done_after_it(gateway: Gateway, merges: int) -> None:
    kind = "OML^O21"
    send(
        gateway,
        message(8, kind, OLD, "ORC|NW|P1", HB.format("P1", ""), "ORC|NW|P2", GLUCOSE.format("P2", "")),
    )
    send(gateway, message(9, "RDE^O11", OLD, "ORC|NW|P3", *DRUG))
    if merges == 2:  # one after the other
        send(gateway, message(10, "ADT^A40", "PID|1||0816^^^NORTHGEN^MR||Example^Ada", MERGED[2]))
    number = {1: "0815", 2: "0816"}[merges]
    send(gateway, message(11, "ADT^A40", PID, f"MRG|{number}^^^NORTHGEN^MR"))
    send(gateway, message(12, kind, PID, "ORC|CA|P1"))
    send(
        gateway, message(13, "ORU^R01", PID, "ORC|RE|P2|F2||CM", GLUCOSE.format("P2", "F2") + "|" * 21 + "F")
    )
    send(gateway, message(14, "RDE^O11", PID, "ORC|DC|P3"))
    assert states(gateway, "ServiceRequest") == {"718-7": "revoked", "2345-7": "completed"}
    assert {one["status"] for one in all_of(gateway, "ServiceRequest")} == {"revoked", "completed"}
    assert states(gateway, "MedicationRequest") == {"D1": "stopped"}


ORDERS = [*itertools.permutations(range(3))]


@pytest.mark.parametrize("order", ORDERS)
def test_a_merge_may_come_after_what_went_on_and_before_what_began(
    gateway: Gateway, order: tuple[int, ...]
) -> None:
    """A40 by another way than the results: in whatever order they come, nobody is left in a bed."""
    sent = [
        visit("A01", 8, OLD, f3="W1^1^1", f44="20260314080000+0100"),
        message(9, *MERGED),
        visit("A03", 10, PID, f45="20260314100000+0100"),
    ]
    send(gateway, *(sent[at] for at in order))
    found = all_of(gateway, "Encounter")
    assert [one["status"] for one in found] == ["finished", "finished"]
    assert {one["period"]["end"] for one in found} == {"2026-03-14T10:00:00+01:00"}
    places = [place for one in found for place in one.get("location", ())]
    assert [place["status"] for place in places] == ["completed"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("began, ended", [(OLD, PID), (PID, OLD)])
def test_an_order_is_over_in_both_records_whichever_number_its_end_gives(
    gateway: Gateway, began: str, ended: str, order: tuple[int, ...]
) -> None:
    """A laboratory may go on with the number that was replaced."""
    kind = "OML^O21"
    sent = [
        message(8, kind, began, "ORC|NW|P1", HB.format("P1", ""), "ORC|NW|P2", GLUCOSE.format("P2", "")),
        message(9, *MERGED),
        message(
            10, kind, ended, "ORC|CA|P1", HB.format("P1", ""), "ORC|SC|P2|||CM", GLUCOSE.format("P2", "")
        ),
    ]
    send(gateway, *(sent[at] for at in order))
    found = [(one["code"]["coding"][0]["code"], one["status"]) for one in all_of(gateway, "ServiceRequest")]
    assert sorted(found) == [("2345-7", "completed")] * 2 + [("718-7", "revoked")] * 2


@pytest.mark.parametrize("order", ORDERS)
def test_a_visit_that_ends_under_the_replaced_number_is_over_in_the_record_that_is_used(
    gateway: Gateway, order: tuple[int, ...]
) -> None:
    sent = [message(8, *MERGED), visit("A02", 9, PID, f3="W2^2^2"), visit("A03", 10, OLD)]
    send(gateway, *(sent[at] for at in order))
    found = all_of(gateway, "Encounter")
    assert [one["status"] for one in found] == ["finished", "finished"]
    assert {place["status"] for one in found for place in one.get("location", ())} == {"completed"}


def test_a_referral_and_a_problem_of_before_a_merge_are_taken_back_after_it(gateway: Gateway) -> None:
    referral = "RF1||R|MED|||REF1|20260301"
    problem = "PRB|{}|20260301|I10^Hypertension^I10|PR1"
    send(gateway, message(8, "REF^I12", referral, OLD), message(9, "PPR^PC1", OLD, problem.format("AD")))
    send(gateway, message(10, *MERGED))
    send(gateway, message(11, "REF^I14", referral, PID), message(12, "PPR^PC3", PID, problem.format("DE")))
    assert {one["status"] for one in all_of(gateway, "ServiceRequest")} == {"revoked"}
    conditions = all_of(gateway, "Condition")
    assert len(conditions) == 2
    for one in conditions:
        assert one["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
        assert "clinicalStatus" not in one
    send(gateway, message(13, "PPR^PC1", PID, problem.format("AD")))
    assert not [one for one in all_of(gateway, "Condition") if "verificationStatus" in one]


# --- taken back, and stated again ---------------------------------------------------------------------------

ENTRIES: dict[str, tuple[str, str, str]] = {
    "AllergyIntolerance": ("ADT^A60", "IAM|1|DA|PEN^Penicillin|SV||{}|AA1", "AD"),
    "Condition": ("ADT^A08", "DG1|1||I10^Hypertension^I10||20260301|W||||||||||||||D1|{}", "AD"),
    "Procedure": ("ADT^A08", "PR1|1||47.0^Appendectomy^I9C||20260310||||||||||||||PI1|{}", "AD"),
    "Goal": ("PPR^PC1", "GOL|{}|20260301|G1^Walk^L|GI1", "ADDE"),
    "ServiceRequest": ("REF^I12", "RF1||R|MED|||REF1|20260301||||||||||||||||||{}", "AD"),
    "CarePlan": ("PPR^PC1", "PTH|{}|P1^Path^L|PI1", "ADDE"),
}


def entry(kind: str, action: int, hour: int) -> bytes:
    """``action``: 0 adds, 1 takes back."""
    event, text, actions = ENTRIES[kind]
    size = len(actions) // 2
    before = ["PRB|AD|20260301|I10^Hypertension^I10|PR1"] if kind == "CarePlan" else []
    segment = text.format(actions[action * size :][:size])
    segments = [segment, PID] if kind == "ServiceRequest" else [PID, *before, segment]
    return message(hour, event, *segments)


def is_withdrawn(one: dict[str, Any]) -> bool:
    said = [one.get("status"), one.get("lifecycleStatus")]
    said += [coding["code"] for coding in one.get("verificationStatus", {}).get("coding", ())]
    return "entered-in-error" in said


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_what_was_taken_back_and_is_stated_again_stands(
    gateway: Gateway, kind: str, order: tuple[int, ...]
) -> None:
    """A drug allergy that is on the list again must not stay hidden, in whatever order the messages come."""
    parts = [entry(kind, 0, 8), entry(kind, 1, 9), entry(kind, 0, 10)]
    send(gateway, *(parts[at] for at in order))
    [found] = all_of(gateway, kind)
    assert not is_withdrawn(found)
    if kind == "AllergyIntolerance":
        assert found["clinicalStatus"]["coding"][0]["code"] == "active"
    send(gateway, entry(kind, 1, 11))
    [found] = all_of(gateway, kind)
    assert is_withdrawn(found)
    assert "clinicalStatus" not in found
