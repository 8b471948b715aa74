"""What is told under an order's number, or of something told before: doses, corrections, credits, answers.

HL7 v2.9 §4A.4 (pharmacy), §6.5.1 (FT1), §8.5 (master files), §11.6.3 (RF1).
"""

from __future__ import annotations

import itertools

import pytest

from hdg.gateway import Gateway
from hdg.management.store.inbox import work_items
from stored import all_of, send

PID = "PID|1||4711^^^NORTHGEN^MR||Example^Ada"
ORDER = "ORC|{control}|P1^EHR|F1^RX"
DRUG = "RXE||A1^Amoxicillin^LOC|500||mg"
DOSE = "RXG|{number}||^^^20260314200000+0100|A1^Amoxicillin^LOC|500||mg"
GIVEN = "RXA|{give}|1|{at}||A1^Amoxicillin^LOC|500|mg|||||||||||||CP|{action}"
VACCINE = "RXA|0|1|20260301||{code}^Vaccine^CVX|0.5|mL||00|||||||||||CP|{action}"
UNKNOWN = "the update or deletion is of something that is not known: what is known under this number stays as it was"

NOBODYS = "an answer without PID, and no order is known under its number: it was attached to none"
WHOSE = "an answer without PID, and orders of several patients are known under its number: it was attached to none"


def message(hour: int, kind: str, *segments: str) -> bytes:
    at = f"20260314{hour:02}0000+0100"
    head = [f"MSH|^~\\&|RX|NORTHGEN|HDG|REGION|{at}||{kind}|C{hour}|P|2.5.1"]
    return "\r".join([*head, *segments]).encode() + b"\r"


def order(hour: int, control: str, *rest: str) -> bytes:
    return message(hour, "RDE^O11", PID, ORDER.format(control=control), *rest)


def dose(hour: int, number: int = 1) -> bytes:
    return message(hour, "RGV^O15", PID, ORDER.format(control="RE"), DOSE.format(number=number), "RXR|PO")


def told(gateway: Gateway) -> list[tuple[str, str]]:
    return [(item.place, item.text) for item in work_items(gateway.store.engine)]


def doses(gateway: Gateway) -> list[str]:
    return [
        one["status"] for one in all_of(gateway, "MedicationRequest") if one["intent"] == "instance-order"
    ]


@pytest.mark.parametrize("detail", [(), (DRUG,)])
@pytest.mark.parametrize(
    ("controls", "status"),
    [(("DC",), "stopped"), (("CA",), "cancelled"), (("HD",), "on-hold"), (("HD", "RL"), "active")],
)
def test_a_dose_that_is_due_ends_waits_and_goes_on_with_its_order(
    gateway: Gateway, detail: tuple[str, ...], controls: tuple[str, ...], status: str
) -> None:
    send(gateway, order(1, "NW", DRUG), dose(2), dose(3, 2))
    send(gateway, *(order(hour, control, *detail) for hour, control in enumerate(controls, 4)))
    assert doses(gateway) == [status, status]
    assert told(gateway) == []


@pytest.mark.parametrize("sequence", [*itertools.permutations(range(3))])
def test_a_dose_of_an_order_that_ended_is_not_due_in_whatever_order_they_come(
    gateway: Gateway, sequence: tuple[int, ...]
) -> None:
    sent = [order(1, "NW", DRUG), dose(2), order(3, "DC", DRUG)]
    send(gateway, *(sent[at] for at in sequence))
    assert doses(gateway) == ["stopped"]


def test_a_dose_of_another_order_or_person_stays_due(gateway: Gateway) -> None:
    other = message(3, "RGV^O15", PID, "ORC|RE|P2^EHR|F2^RX", DOSE.format(number=1), "RXR|PO")
    person = dose(4).replace(b"4711", b"4712")
    send(gateway, order(1, "NW", DRUG), dose(2), other, person, order(5, "DC"))
    assert sorted(doses(gateway)) == ["active", "active", "stopped"]


def given(hour: int, at: str, action: str, give: int = 1) -> bytes:
    text = GIVEN.format(give=give, at=at, action=action)
    return message(hour, "RAS^O17", PID, ORDER.format(control="RE"), text, "RXR|PO")


@pytest.mark.parametrize("action", ["U", "D"])
def test_a_correction_of_an_administration_under_another_time_is_reported(
    gateway: Gateway, action: str
) -> None:
    send(gateway, given(1, "202603140800+0100", "A"), given(2, "202603140815+0100", action))
    assert len(all_of(gateway, "MedicationAdministration")) == 2
    assert told(gateway) == [("RXA-21", UNKNOWN)]


@pytest.mark.parametrize(("at", "give"), [("202603140800+0100", 1), ("202603140815+0100", 2)])
def test_a_correction_of_what_is_known_and_one_of_another_dose_are_not(
    gateway: Gateway, at: str, give: int
) -> None:
    send(gateway, given(1, "202603140800+0100", "A"), given(2, at, "U", give))
    assert told(gateway) == []


@pytest.mark.parametrize(("code", "action", "items"), [("03", "D", 0), ("94", "D", 1), ("94", "U", 1)])
def test_a_correction_of_a_vaccination_under_another_code_is_reported(
    gateway: Gateway, code: str, action: str, items: int
) -> None:
    head = (PID, "ORC|RE||V1^EHR")
    send(
        gateway,
        message(1, "VXU^V04", *head, VACCINE.format(code="03", action="A")),
        message(2, "VXU^V04", *head, VACCINE.format(code=code, action=action)),
    )
    assert told(gateway) == [("RXA-21", UNKNOWN)] * items


def charges(gateway: Gateway) -> list[tuple[str, str, str]]:
    """Number, amount and status of what was charged and credited."""
    return sorted(
        (one["identifier"][0]["value"], str(one["priceOverride"]["value"]), one["status"])
        for one in all_of(gateway, "ChargeItem")
    )


def charged(hour: int, *lines: str, kind: str = "DFT^P03") -> bytes:
    """``T1 CG 1 100``: number, type, quantity, amount."""
    ft1 = "FT1|{0}|{1}||20260314|20260314|{2}|99213^Visit^C4|||{3}|{4}&USD"
    return message(hour, kind, PID, *(ft1.format(at, *line.split()) for at, line in enumerate(lines, 1)))


@pytest.mark.parametrize("sequence", [(0, 1), (1, 0)])
@pytest.mark.parametrize("kind", ["DFT^P03", "DFT^P11"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_charge_that_is_credited_under_its_number_is_not_billable(
    gateway: Gateway, kind: str, sign: str, sequence: tuple[int, int]
) -> None:
    sent = [charged(1, "T1 CG 1 100", kind=kind), charged(2, f"T1 CD {sign}1 {sign}100", kind=kind)]
    send(gateway, *(sent[at] for at in sequence))
    assert charges(gateway) == [("T1", "-100", "aborted"), ("T1", "100", "aborted")]


@pytest.mark.parametrize("sequence", [*itertools.permutations(range(3))])
@pytest.mark.parametrize(
    ("first", "second", "status"), [("2 40.00", "3 60.00", "aborted"), ("1 40.50", "3 40.50", "billable")]
)
def test_a_charge_that_is_credited_in_parts_is_billable_until_all_of_it_is(
    gateway: Gateway, first: str, second: str, status: str, sequence: tuple[int, ...]
) -> None:
    """HL7 v2.9 §6.5.1.6: each credit is a transaction of its own."""
    sent = [charged(1, "T1 CG 5 100"), charged(2, f"T1 CD {first}"), charged(3, f"T1 CD {second}")]
    send(gateway, *(sent[at] for at in sequence))
    amounts = sorted(f"-{one.split()[1]}" for one in (first, second))
    assert charges(gateway) == [("T1", amount, status) for amount in (*amounts, "100")]
    items = [one for one in all_of(gateway, "ChargeItem") if one["quantity"]["value"] < 0]
    assert {one["quantity"]["value"] for one in items} == {-int(one.split()[0]) for one in (first, second)}


def test_a_charge_and_its_credit_may_stand_in_one_message(gateway: Gateway) -> None:
    send(gateway, charged(1, "T1 CG 1 100", "T1 CD 1 100", "T2 CG 1 100", "T2 CD 1 30"))
    assert charges(gateway) == [
        ("T1", "-100", "aborted"),
        ("T1", "100", "aborted"),
        ("T2", "-30", "billable"),
        ("T2", "100", "billable"),
    ]


@pytest.mark.parametrize("sequence", [*itertools.permutations(range(3))])
def test_what_is_charged_again_under_the_number_of_a_credited_charge_is_billable(
    gateway: Gateway, sequence: tuple[int, ...]
) -> None:
    sent = [charged(1, "T1 CG 1 100"), charged(2, "T1 CD 1 100"), charged(3, "T1 CG 1 90")]
    send(gateway, *(sent[at] for at in sequence))
    assert ("T1", "90", "billable") in charges(gateway)


def test_a_credit_without_an_amount_takes_back_all_and_one_in_another_currency_is_reported(
    gateway: Gateway,
) -> None:
    bare = "FT1|1|T1||20260314|20260314|CD|99213^Visit^C4"
    send(gateway, charged(1, "T1 CG 1 100", "T2 CG 1 100"), message(2, "DFT^P03", PID, bare))
    other = "FT1|1|T2||20260314|20260314|CD|99213^Visit^C4|||1|100&EUR"
    send(gateway, message(3, "DFT^P03", PID, other))
    found = {
        (one["identifier"][0]["value"], "priceOverride" in one): one["status"]
        for one in all_of(gateway, "ChargeItem")
    }
    assert found == {("T1", True): "aborted", ("T1", False): "aborted", ("T2", True): "billable"}
    text = "how much of the charge the credit takes back cannot be told: the charge stays billable beside it"
    assert told(gateway) == [("FT1-6", text)]


def test_a_credit_under_a_number_of_its_own_is_reported(gateway: Gateway) -> None:
    send(gateway, charged(1, "T1 CG 1 100"), charged(2, "T2 CD 1 100"))
    assert charges(gateway) == [("T1", "100", "billable"), ("T2", "-100", "billable")]
    text = "the credit is under a number that is not known: the charge that it takes back stays billable"
    assert told(gateway) == [("FT1-6", text)]


@pytest.mark.parametrize(
    "kind, detail",
    [
        ("ORL^O22", "OBR|1|P1^EHR|F1^LAB|CBC^Count"),
        ("ORG^O20", "OBR|1|P1^EHR|F1^LAB|XR^Chest"),
        ("ORR^O02", ""),
        ("ORL^O34", "SPM|1|S1||BLD"),
    ],
)
def test_an_answer_without_a_patient_makes_no_order_of_nobody(
    gateway: Gateway, kind: str, detail: str
) -> None:
    control = "ORC|OK|P1^EHR|F1^LAB||SC"
    segments = [detail, control] if kind == "ORL^O34" else [control, detail]
    send(gateway, message(1, kind, "MSA|AA|X1", *filter(None, segments)))
    assert not all_of(gateway, "ServiceRequest") + all_of(gateway, "Specimen")
    assert [item for item in told(gateway) if item[0] != "SPM"] == [("ORC-2", NOBODYS)]


EHR, LAB = "EHR^1.2.3^ISO", "LAB^1.2.4^ISO"


def ordered(hour: int, pid: str, number: str, *codes: str, sender: str = "RX") -> bytes:
    lines = [line for code in codes for line in (f"ORC|NW|{number}", f"OBR|1|{number}||{code}")]
    return message(hour, "OML^O21", pid, *lines).replace(b"|RX|", f"|{sender}|".encode(), 1)


def states(gateway: Gateway) -> dict[str, str]:
    return {one["code"]["coding"][0]["code"]: one["status"] for one in all_of(gateway, "ServiceRequest")}


@pytest.mark.parametrize("kind", ["ORL^O22", "ORG^O20", "ORL^O34", "ORR^O02"])
@pytest.mark.parametrize(("answer", "status"), [("UX|{}|{}||CA", "revoked"), ("SC|{}|{}||CM", "completed")])
def test_an_answer_without_a_patient_is_for_the_order_of_its_number(
    gateway: Gateway, kind: str, answer: str, status: str
) -> None:
    """HL7 v2.9 §4.4.7: PID may be left out of an answer."""
    send(gateway, ordered(1, PID, f"P1^{EHR}", "CBC^Count", "XR^Chest", sender="OE"))
    control = "ORC|" + answer.format(f"P1^{EHR}", f"F1^{LAB}")
    detail = f"OBR|1|P1^{EHR}|F1^{LAB}|CBC^Count"
    head = ("MSA|AA|X1", "SPM|1|S1||BLD") if kind == "ORL^O34" else ("MSA|AA|X1",)
    send(gateway, message(2, kind, *head, control, detail))
    assert states(gateway) == {"CBC": status, "XR": "active"}
    assert [place for place, _ in told(gateway)] == (["SPM"] if kind == "ORL^O34" else [])


def test_an_answer_without_a_patient_and_a_service_is_for_all_under_its_number(gateway: Gateway) -> None:
    send(gateway, ordered(1, PID, "P1^EHR", "CBC^Count", "XR^Chest"), ordered(2, PID, "P2^EHR", "GLU^Sugar"))
    send(gateway, message(3, "ORL^O22", "MSA|AA|X1", "ORC|CR|P1^EHR"))
    assert states(gateway) == {"CBC": "revoked", "XR": "revoked", "GLU": "active"}


def test_a_prescription_is_answered_without_a_patient(gateway: Gateway) -> None:
    send(gateway, order(1, "NW", DRUG))
    send(gateway, message(2, "ORR^O02", "MSA|AA|X1", "ORC|DR|P1^EHR|F1^RX", "RXO|A1^Amoxicillin^LOC"))
    assert [one["status"] for one in all_of(gateway, "MedicationRequest")] == ["stopped"]


@pytest.mark.parametrize(
    ("number", "sender", "text"),
    [
        (f"P1^{EHR}", "OE", "several"),  # one number for two patients
        ("P1^EHR", "OE", "none"),  # another sender's own number
        ("P1^OTHER", "RX", "none"),  # another authority without a system
        ("P9^EHR", "RX", "none"),
    ],
)
def test_an_answer_that_may_be_anothers_changes_nothing(
    gateway: Gateway, number: str, sender: str, text: str
) -> None:
    given = number if text == "several" else "P1^EHR"
    send(gateway, ordered(1, PID, given, "CBC^Count", sender=sender))
    if text == "several":
        send(gateway, ordered(2, PID.replace("4711", "4712"), given, "CBC^Count", sender=sender))
    send(gateway, message(3, "ORL^O22", "MSA|AA|X1", f"ORC|CR|{number}", f"OBR|1|{number}||CBC^Count"))
    assert {one["status"] for one in all_of(gateway, "ServiceRequest")} == {"active"}
    assert told(gateway) == [("ORC-2", WHOSE if text == "several" else NOBODYS)]


def test_an_answer_without_a_patient_starts_no_order_again_that_has_ended(gateway: Gateway) -> None:
    send(gateway, ordered(1, PID, "P1^EHR", "CBC^Count"))
    send(gateway, message(2, "OML^O21", PID, "ORC|CA|P1^EHR", "OBR|1|P1^EHR||CBC^Count"))
    send(gateway, message(3, "ORL^O22", "MSA|AA|X1", "ORC|OK|P1^EHR|F1^LAB", "OBR|1|P1^EHR|F1^LAB|CBC^Count"))
    assert states(gateway) == {"CBC": "revoked"}


def test_an_answer_that_is_an_acknowledgement_alone_is_no_loss(gateway: Gateway) -> None:
    send(gateway, message(1, "ORL^O22", "MSA|AA|X1"))
    assert told(gateway) == []


@pytest.mark.parametrize(("event", "status"), [("P05", "active"), ("P06", "inactive"), ("P02", "inactive")])
def test_an_account_is_opened_changed_and_ended(gateway: Gateway, event: str, status: str) -> None:
    account = PID + "|" * 13 + "ACC1^^^NORTHGEN^AN"
    visit = "PV1|1|I" + "|" * 17 + "V1^^^NORTHGEN^VN"
    send(gateway, message(1, "BAR^P01", account, visit), message(2, f"BAR^{event}", account, visit))
    [found] = all_of(gateway, "Account")
    assert found["status"] == status
    assert told(gateway) == []


def test_an_end_of_several_accounts_keeps_each_visit_with_its_own_patient(gateway: Gateway) -> None:
    each = []
    for number in ("4711", "4712"):
        each += [PID.replace("4711", number), "PV1|1|I" + "|" * 17 + f"V{number}^^^NORTHGEN^VN"]
    send(gateway, message(1, "BAR^P06", *each))
    numbers = {one["id"]: one["identifier"][0]["value"] for one in all_of(gateway, "Patient")}
    visits = {
        one["identifier"][0]["value"]: numbers[one["subject"]["reference"].removeprefix("Patient/")]
        for one in all_of(gateway, "Encounter")
    }
    assert visits == {"V4711": "4711", "V4712": "4712"}


@pytest.mark.parametrize(
    ("segments", "item"),
    [
        (("MFI|PRA||UPD", "MFE|MDL|1||K1"), ("MFE-1", "an entry without STF")),
        (
            ("MFI|PRA||REP", "MFE|MAD|1||K1", "STF|K1|K1^^^NORTHGEN^EI|Doe^Jane||||A"),
            ("MFI-3", "the file takes"),
        ),
    ],
)
def test_a_staff_file_that_ends_somebody_it_does_not_tell_is_reported(
    gateway: Gateway, segments: tuple[str, ...], item: tuple[str, str]
) -> None:
    send(gateway, message(1, "MFN^M02", *segments))
    assert [(place, text.startswith(item[1])) for place, text in told(gateway)] == [(item[0], True)]


def test_who_is_deactivated_has_no_role_in_use_until_activated_again(gateway: Gateway) -> None:
    seen = []
    for hour, action in enumerate(("MAD", "MDC", "MUP", "MAC"), 1):
        staff = "STF|K1|K1^^^NORTHGEN^EI|Doe^Jane|MD" + ("|||A" if action == "MAD" else "")
        send(gateway, message(hour, "MFN^M02", "MFI|PRA||UPD", f"MFE|{action}|1||K1", staff))
        [person], [role] = all_of(gateway, "Practitioner"), all_of(gateway, "PractitionerRole")
        seen.append((person["active"], role["active"]))
    assert seen == [(True, True), (False, False), (False, False), (True, True)]


def referral(hour: int, event: str, fields: str, status: str = "") -> bytes:
    return message(hour, f"REF^{event}", f"RF1|{status}|R|||{fields}", "PRD|RT|Doe^Jane", PID)


def test_a_referral_that_is_cancelled_under_its_other_number_alone_has_ended(gateway: Gateway) -> None:
    send(gateway, referral(1, "I12", "|R1^GP|||||X1^SPEC", "A"), referral(2, "I14", "||||||X1^SPEC"))
    assert [one["status"] for one in all_of(gateway, "ServiceRequest")] == ["revoked", "revoked"]


def test_a_referral_that_goes_on_under_its_other_number_alone_is_reported(gateway: Gateway) -> None:
    send(gateway, referral(1, "I12", "|R1^GP|||||X1^SPEC", "A"), referral(2, "I13", "||||||X1^SPEC", "A"))
    assert [place for place, _ in told(gateway)] == ["RF1-6"]


def test_a_referral_in_a_state_that_no_map_has_is_not_one_that_stands(gateway: Gateway) -> None:
    send(gateway, referral(1, "I12", "|R1^GP", "Rejected"))
    assert [one["status"] for one in all_of(gateway, "ServiceRequest")] == ["unknown"]
    assert [place for place, _ in told(gateway)] == ["RF1-1"]
