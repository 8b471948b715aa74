"""A charge or a credit (FT1) that is taken in again counts as it did. HL7 v2.9 §6.5.1."""

from __future__ import annotations

import pytest

from hdg.gateway import Gateway
from hdg.management.store.inbox import Entry, entries, work_items
from stored import all_of, send

PID = "PID|1||4711^^^NORTHGEN^MR||Example^Ada"
FT1 = "FT1|{0}|{1}||20260314|20260314|{2}|99213^Visit^C4|||{3}|{4}&USD"


@pytest.fixture
def gateway(on_either: Gateway) -> Gateway:
    """On either database."""
    return on_either


def charged(number: int, at: str, *lines: str, pid: str = PID) -> bytes:
    """``T1 CG 1 100``: number, type, quantity, amount. ``at``: the hour of MSH-7, '' for none."""
    time = f"20260314{at}0000+0100" if at else ""
    head = f"MSH|^~\\&|RX|NORTHGEN|HDG|REGION|{time}||DFT^P03|C{number}|P|2.5.1"
    ft1 = [FT1.format(each, *line.split()) for each, line in enumerate(lines, 1)]
    return "\r".join([head, pid, *ft1]).encode() + b"\r"


def charges(gateway: Gateway) -> list[tuple[str, str]]:
    """Amount and status of what was charged and credited."""
    return sorted(
        (str(one["priceOverride"]["value"]), one["status"]) for one in all_of(gateway, "ChargeItem")
    )


def again(gateway: Gateway, found: Entry) -> None:
    assert gateway.replay(found, gateway.store.reader.blob(found.blob)).error is None


@pytest.mark.parametrize("is_timed", [True, False])
@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(
    ("sent", "left"),
    [
        (["CG 1 100", "CD 1 100"], [("-100", "aborted"), ("100", "aborted")]),
        (["CG 1 100", "CD 1 40"], [("-40", "billable"), ("100", "billable")]),
        (
            ["CG 2 100", "CD 1 50.00", "CD 1 50.0"],
            [("-50.0", "aborted"), ("-50.00", "aborted"), ("100", "aborted")],
        ),
        (["CG 1 100", "CD 1 100", "CG 1 90"], [("-100", "aborted"), ("90", "billable")]),
        (
            ["CG 1 100", "CD 1 100", "CG 1 90", "CD 1 90"],
            [("-100", "aborted"), ("-90", "aborted"), ("90", "aborted")],
        ),
    ],
)
def test_what_is_replayed_is_not_counted_twice(
    gateway: Gateway, sent: list[str], left: list[tuple[str, str]], is_reversed: bool, is_timed: bool
) -> None:
    for hour, line in enumerate(sent, 1):
        send(gateway, charged(hour, f"{hour:02}" if is_timed else "", f"T1 {line}"))
    assert charges(gateway) == left
    found = list(entries(gateway.store.engine, status="accepted"))
    for one in reversed(found) if is_reversed else found:
        again(gateway, one)
        assert charges(gateway) == left
    assert not work_items(gateway.store.engine)


def test_a_credit_that_comes_out_of_quarantine_counts_once(gateway: Gateway) -> None:
    wrong = charged(2, "02", "T1 CD 1 100").replace(b"|DFT^P03|", b"|XXX^X99|")
    send(gateway, charged(1, "01", "T1 CG 1 100"))
    assert b"\rMSA|AR|" in gateway.receive_now(wrong)
    [held] = entries(gateway.store.engine, status="quarantined")
    gateway.keep_edited(held, charged(2, "02", "T1 CD 1 100"))
    [mended] = entries(gateway.store.engine, status="quarantined")
    again(gateway, mended)
    assert charges(gateway) == [("-100", "aborted"), ("100", "aborted")]
    send(gateway, charged(3, "03", "T1 CG 1 90"))
    again(gateway, mended)
    assert charges(gateway) == [("-100", "aborted"), ("90", "billable")]


def test_a_credit_of_the_same_second_as_another_is_counted_whichever_came_first(gateway: Gateway) -> None:
    """All that take back a charge are ended with it, also one that was told again since."""
    send(gateway, charged(1, "18", "T1 CD 1 50"), charged(2, "02", "T1 CD 1 90"))
    send(gateway, charged(3, "18", "T1 CD 1 90"), charged(4, "10", "T1 CG 1 90"))
    assert charges(gateway) == [("-50", "aborted"), ("-90", "aborted"), ("90", "aborted")]


def test_a_credit_that_is_older_than_a_new_charge_of_its_number_is_reported(gateway: Gateway) -> None:
    send(gateway, charged(1, "01", "T1 CG 1 100"), charged(3, "03", "T1 CG 1 90"))
    send(gateway, charged(2, "02", "T1 CD 1 100"))
    assert charges(gateway) == [("-100", "billable"), ("90", "billable")]
    text = "a credit is older than what the charge of its number says: which one it took back cannot be told; both stay"
    assert [(one.place, one.text) for one in work_items(gateway.store.engine)] == [("FT1-6", text)]


def test_a_type_that_no_table_has_is_reported_and_not_billable(gateway: Gateway) -> None:
    """Table 0017: a sender may call a credit CR."""
    send(gateway, charged(1, "01", "T1 CR 1 100"))
    assert charges(gateway) == [("100", "unknown")]
    text = "not a type of table 0017: it was taken for a charge of which the status is not known"
    assert [(one.place, one.text) for one in work_items(gateway.store.engine)] == [("FT1-6", text)]
