"""``""`` in one of several fields that feed one element: only what that field had said goes. HL7 v2.9 §2.5.3.2.

docs/hl7v2.md states the rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hdg.gateway import Gateway
from hdg.ingestion.sender import LOCAL
from hdg.management.store.inbox import entries, work_items
from hdg.management.store.index import Indexer
from hdg.management.store.meta import index_key
from hdg.management.store.ready import ready
from hdg.management.store.values import hasher
from hdg.outcomes import opened, packed
from hdg.replay import replay_quarantined
from hdg.settings import Settings
from stored import all_of, send

NULL = '""'


@pytest.fixture
def gateway(on_either: Gateway) -> Gateway:
    """On either database."""
    return on_either


def pid(**fields: str) -> str:
    """PID with a number; ``f13="…"`` sets PID-13."""
    values = ["PID", "1", "", "4711^^^NORTHGEN^MR", *[""] * 37]
    for name, text in fields.items():
        values[int(name[1:])] = text
    return "|".join(values)


def message(
    control: str, *segments: str, at: str = "", event: str = "A08", sender: str = "ADT|NORTHGEN"
) -> bytes:
    made = at or f"202603141{int(control[1:]) % 10}0000+0100"
    head = (f"MSH|^~\\&|{sender}|HDG|REGION|{made}||ADT^{event}|{control}|P|2.5.1", f"EVN|{event}|{made}")
    return "\r".join([*head, *segments]).encode() + b"\r"


def patient(gateway: Gateway) -> dict[str, Any]:
    [found] = all_of(gateway, "Patient")
    return found


def numbers(gateway: Gateway) -> list[str]:
    return [one["value"] for one in patient(gateway).get("telecom", ())]


def open_items(gateway: Gateway) -> list[tuple[str, str]]:
    return [(item.place, item.text) for item in work_items(gateway.store.engine)]


HOME, WORK, OTHER = "^PRN^PH^^^^111", "^WPN^PH^^^^222", "^ORN^PH^^^^333"


@pytest.mark.parametrize(
    "emptied, left",
    [
        ({"f13": NULL}, ["222", "333"]),
        ({"f14": NULL}, ["111", "333"]),
        ({"f40": NULL}, ["111", "222"]),
        ({"f13": NULL, "f40": NULL}, ["222"]),
        ({"f13": NULL, "f14": NULL, "f40": NULL}, []),
        ({"f13": NULL, "f14": "^WPN^PH^^^^9"}, ["9", "333"]),
        ({}, ["111", "222", "333"]),
    ],
)
def test_a_deleted_number_goes_and_those_of_other_fields_stay(
    gateway: Gateway, emptied: dict[str, str], left: list[str]
) -> None:
    send(gateway, message("C1", pid(f13=HOME, f14=WORK, f40=OTHER)), message("C2", pid(**emptied)))
    assert numbers(gateway) == left
    assert open_items(gateway) == []


def test_an_address_of_two_fields_loses_the_one_that_is_deleted(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(f11="1 Road^^Town^^12345", f12="NORTH")), message("C2", pid(f12=NULL)))
    assert patient(gateway)["address"] == [{"line": ["1 Road"], "city": "Town", "postalCode": "12345"}]
    send(gateway, message("C3", pid(f11="1 Road^^Town^^12345", f12="NORTH")), message("C4", pid(f11=NULL)))
    assert patient(gateway)["address"] == [{"district": "NORTH"}]
    assert open_items(gateway) == []


def test_an_alias_a_religion_and_a_discharge_go_alone(gateway: Gateway) -> None:
    first = pid(f5="Example^Ada", f9="Adie", f17="CAT", f23="Bath")
    visit = "PV1|1|I|W" + "|" * 16 + "V1^^^NORTHGEN^VN" + "|" * 25 + "{}|{}"
    send(gateway, message("C1", first, visit.format("20260310100000+0100", "20260312100000+0100")))
    send(gateway, message("C2", pid(f9=NULL, f17=NULL), visit.format("", NULL)))
    found = patient(gateway)
    assert [name["family"] for name in found["name"]] == ["Example"]
    assert [one["url"].rpartition("/")[2] for one in found["extension"]] == ["patient-birthPlace"]
    [encounter] = all_of(gateway, "Encounter")
    assert encounter["period"] == {"start": "2026-03-10T10:00:00+01:00"}
    assert open_items(gateway) == []


def test_fields_that_are_deleted_one_after_the_other_all_go(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(f13=HOME, f14=WORK, f40=OTHER)))
    send(gateway, message("C2", pid(f40=NULL)), message("C3", pid(f8="F")), message("C4", pid(f13=NULL)))
    assert numbers(gateway) == ["222"]
    send(gateway, message("C5", pid(f14=NULL)), message("C6", pid(f14=NULL)))
    assert numbers(gateway) == []
    assert open_items(gateway) == []


def test_several_messages_of_one_transaction_see_each_other(gateway: Gateway) -> None:
    raws = [message("C1", pid(f13=HOME, f14=WORK)), message("C2", pid(f13=NULL))]
    received = [gateway._received(raw, LOCAL, gateway.store.now_us()) for raw in raws]
    works = [*map(gateway._work_for, received)]
    gateway.store.submit(lambda session: [work(session) for work in works]).result()
    assert numbers(gateway) == ["222"]


def test_what_a_helper_process_converted_is_carried_out_too(gateway: Gateway) -> None:
    indexer = Indexer(hasher(index_key(gateway.keys.root)))
    send(gateway, message("C1", pid(f13=HOME, f14=WORK)))
    received = gateway._received(message("C2", pid(f13=NULL)), LOCAL, gateway.store.now_us())
    converted = gateway._converted(received)
    made = [ready(resource, indexer) for resource in converted.resources]
    passed, again = opened(packed(converted, made))
    ack = gateway.store.submit(
        lambda session: gateway._accepting.accept(session, received, passed, again)
    ).result()
    assert b"|AA|" in ack
    assert numbers(gateway) == ["222"]


def test_another_senders_part_stays(gateway: Gateway) -> None:
    theirs = message("C1", pid(f13="^PRN^PH^^^^777", f14="^WPN^PH^^^^888"), sender="REG|NORTHGEN")
    send(gateway, theirs, message("C2", pid(f13=HOME, f14=WORK)), message("C3", pid(f13=NULL)))
    assert sorted(numbers(gateway)) == ["222", "777", "888"]
    send(gateway, message("C4", pid(f13=NULL), sender="NEW|NORTHGEN"))  # it had said nothing
    assert sorted(numbers(gateway)) == ["222", "777", "888"]
    assert open_items(gateway) == []


def test_what_cannot_be_told_apart_stays_and_is_reported(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(f13=HOME, f14=WORK)))
    [entry] = entries(gateway.store.engine, status="accepted")
    gateway.store.submit(
        lambda session: session.change_later("UPDATE inbox SET blob = ? WHERE ikey = ?", ("", entry.ikey))
    ).result()
    send(gateway, message("C2", pid(f13=NULL)))
    assert numbers(gateway) == ["111", "222"]
    text = "what it had contributed to Patient.telecom cannot be told: the delete was not carried out"
    assert open_items(gateway) == [("PID-13", text)]


def test_a_strict_sender_is_refused_what_cannot_be_carried_out(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "senders.toml").write_text('[senders."ADT|NORTHGEN"]\nstrict = true\n')
    with Gateway.open(Settings(data=folder)) as gateway:
        send(gateway, message("C1", pid(f13=HOME, f14=WORK)))
        gateway.store.submit(
            lambda session: session.change_later("UPDATE inbox SET blob = ?", ("",))
        ).result()
        ack = gateway.receive_now(message("C2", pid(f13=NULL)))
        assert b"|AE|" in ack
        assert b"PID^1^13" in ack
        assert numbers(gateway) == ["111", "222"]
    [line] = replay_quarantined(
        Settings(data=folder), ()
    )  # as long as it cannot be carried out it stays there
    assert line.is_failure
    assert "strict: " in line.text
    with Gateway.open(Settings(data=folder)) as gateway:
        assert [each.control_id for each in entries(gateway.store.engine, status="quarantined")] == ["C2"]


def test_a_late_delete_takes_nothing_from_what_was_said_since(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(f13=HOME, f14=WORK), at="20260314100000+0100"))
    send(gateway, message("C3", pid(f13=HOME, f14=OTHER), at="20260314120000+0100"))
    send(gateway, message("C2", pid(f13=NULL), at="20260314110000+0100"))
    assert numbers(gateway) == ["111", "333"]


def test_a_replay_of_the_delete_changes_nothing(gateway: Gateway) -> None:
    send(gateway, message("C1", pid(f13=HOME, f14=WORK)), message("C2", pid(f13=NULL)))
    raws = {"C1": None, "C2": message("C2", pid(f13=NULL))}
    for entry in entries(gateway.store.engine, status="accepted"):
        if raws[entry.control_id]:
            replayed = gateway.replay(entry, gateway.store.reader.blob(entry.blob))
            assert (replayed.error, replayed.changes) == (None, ())
    assert numbers(gateway) == ["222"]


def test_a_field_that_another_one_had_hidden_counts_when_that_one_is_emptied(gateway: Gateway) -> None:
    """PID-25 (birth order) goes before PID-24 (multiple birth); what PID-24 had said was never taken back."""
    send(gateway, message("C1", pid(f24="Y", f25="2")))
    assert patient(gateway)["multipleBirthInteger"] == 2
    send(gateway, message("C2", pid(f25=NULL)))
    assert patient(gateway)["multipleBirthBoolean"] is True
    assert "multipleBirthInteger" not in patient(gateway)
