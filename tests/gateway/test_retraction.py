"""A23, A24, A29, A35 to A37, A41 to A44: what is taken back, linked or merged besides whole records."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, true

from hdg.gateway import Gateway
from hdg.ingestion.converted import Converted, Source
from hdg.management.store.inbox import work_items
from hdg.management.store.session import WriteSession
from hdg.retraction import left_behind
from hdg.settings import Settings
from messages import adt, oru
from stored import all_of, send

AUTHORITY = "^^^NORTHGEN&2.999.1.1&ISO"
ABOUT = text(
    "SELECT r.type, r.id FROM compartment c JOIN resource r ON r.rkey = c.rkey WHERE c.patient = :patient "
    "AND r.type NOT IN ('Patient', 'MessageHeader', 'Provenance')"
)


def person(number: str, account: str = "") -> str:
    return f"PID|1||{number}{AUTHORITY}^MR||Example^Ada||19610412|F" + "|" * 10 + account


def account(number: str) -> str:
    return f"{number}{AUTHORITY}^AN"


def visit(number: str) -> str:
    return "PV1|1|I|3W^310^1^NORTHGEN" + "|" * 16 + f"{number}{AUTHORITY}^VN"


def event(trigger: str, control: str, *segments: str, at: str = "20260314180000") -> bytes:
    head = [
        f"MSH|^~\\&|LAB|NORTHGEN|HDG|REGION|{at}-0500||ADT^{trigger}|{control}|P|2.5.1",
        f"EVN|{trigger}|{at}-0500",
    ]
    return "\r".join([*head, *segments]).encode() + b"\r"


def by_number(gateway: Gateway, kind: str) -> dict[str, dict[str, Any]]:
    return {each["identifier"][0]["value"]: each for each in all_of(gateway, kind) if "identifier" in each}


def links(patient: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((link["type"], link["other"]["reference"]) for link in patient.get("link", ()))


# --- A24 and A37 ---------------------------------------------------------------------------------------


def link(control: str, at: str = "20260314180000") -> bytes:
    return event("A24", control, person("1"), person("2"), at=at)


def unlink(control: str, at: str = "20260314190000") -> bytes:
    return event("A37", control, person("2"), person("1"), at=at)


def test_linked_records_both_stay_in_use_and_an_unlink_undoes_the_link(gateway: Gateway) -> None:
    send(gateway, oru("R1", "1"), oru("R2", "2"), link("L1"))
    found = by_number(gateway, "Patient")
    assert links(found["1"]) == [("seealso", f"Patient/{found['2']['id']}")]
    assert links(found["2"]) == [("seealso", f"Patient/{found['1']['id']}")]
    assert "active" not in found["2"]
    send(gateway, unlink("U1"))
    found = by_number(gateway, "Patient")
    assert links(found["1"]) == links(found["2"]) == []
    assert found["1"]["birthDate"] == "1961-04-12"
    send(gateway, link("L2", at="20260314200000"))
    assert len(links(by_number(gateway, "Patient")["1"])) == 1


def test_an_unlink_keeps_the_links_of_a_merge(gateway: Gateway) -> None:
    merged = event("A40", "M1", person("1"), f"MRG|3{AUTHORITY}^MR")
    send(gateway, merged, link("L1"), unlink("U1"))
    found = by_number(gateway, "Patient")
    assert links(found["1"]) == [("replaces", f"Patient/{found['3']['id']}")]


def test_link_and_unlink_count_by_their_times_and_not_by_their_arrival(tmp_path: Path) -> None:
    messages = [adt("A1", "1"), link("L1"), unlink("U1"), adt("A2", "2")]
    for number, order in enumerate(itertools.permutations(messages)):
        with Gateway.open(Settings(data=tmp_path / str(number))) as gateway:
            send(gateway, *order)
            assert [links(each) for each in by_number(gateway, "Patient").values()] == [[], []]
            [linkage] = all_of(gateway, "Linkage")
            assert linkage["active"] is False


def test_what_a_link_says_of_the_second_record_leaves_its_account_as_it_was(gateway: Gateway) -> None:
    opened = event("P01", "B1", person("2", account("AC2")), at="20260313180000").replace(
        b"ADT^P01", b"BAR^P01"
    )
    send(gateway, opened)
    assert by_number(gateway, "Account")["AC2"]["status"] == "active"
    send(gateway, event("A24", "L1", person("1"), person("2", account("AC2"))))
    assert by_number(gateway, "Account")["AC2"]["status"] == "active"


@pytest.mark.parametrize("people", [["1"], ["1", "1"], ["1", "2", "3"]])
def test_a_link_is_between_two_records(gateway: Gateway, people: list[str]) -> None:
    assert b"\rMSA|AE|" in gateway.receive_now(event("A24", "L1", *map(person, people)))


# --- accounts and visits -------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["A35", "A41", "A49"])
def test_a_merged_account_is_inactive_and_part_of_the_one_that_is_used(
    gateway: Gateway, trigger: str
) -> None:
    opened = event("P01", "B1", person("1", account("OLD")), at="20260313180000").replace(
        b"ADT^P01", b"BAR^P01"
    )
    send(
        gateway,
        opened,
        event(trigger, "M1", person("1", account("NEW")), f"MRG|1{AUTHORITY}^MR||{account('OLD')}"),
    )
    found = by_number(gateway, "Account")
    assert found["OLD"]["status"] == "inactive"
    assert found["OLD"]["partOf"] == {"reference": f"Account/{found['NEW']['id']}"}
    assert found["OLD"]["subject"] == found["NEW"]["subject"]
    assert "partOf" not in found["NEW"]


def test_merging_record_and_account_links_both_and_keeps_what_is_known_of_the_account(
    gateway: Gateway,
) -> None:
    opened = event("P01", "B1", person("2", account("OLD")), at="20260313180000").replace(
        b"ADT^P01", b"BAR^P01"
    )
    merged = event("A36", "M1", person("1", account("NEW")), f"MRG|2{AUTHORITY}^MR||{account('OLD')}")
    send(gateway, opened, merged)
    accounts, patients = by_number(gateway, "Account"), by_number(gateway, "Patient")
    assert accounts["OLD"]["partOf"] == {"reference": f"Account/{accounts['NEW']['id']}"}
    assert accounts["OLD"]["subject"] == [{"reference": f"Patient/{patients['2']['id']}"}]
    assert patients["2"]["active"] is False
    assert links(patients["1"]) == [("replaces", f"Patient/{patients['2']['id']}")]
    version = gateway.store.reader.read("Account", accounts["OLD"]["id"], true())
    assert version is not None
    assert version.patients == (patients["2"]["id"],)


@pytest.mark.parametrize("trigger", ["A42", "A50"])
def test_a_merged_visit_keeps_what_is_known_and_is_part_of_the_one_that_is_used(
    gateway: Gateway, trigger: str
) -> None:
    first = adt("A1", "1").replace(b"V-1^^^", b"OLD^^^")
    send(
        gateway,
        first,
        event(trigger, "M1", person("1"), f"MRG|1{AUTHORITY}^MR||||OLD{AUTHORITY}^VN", visit("NEW")),
    )
    found = by_number(gateway, "Encounter")
    assert found["OLD"]["partOf"] == {"reference": f"Encounter/{found['NEW']['id']}"}
    assert (found["OLD"]["status"], found["OLD"]["class"]["code"]) == ("in-progress", "IMP")


def test_a_moved_account_goes_to_the_right_patient_and_its_visits_are_work_for_people(
    gateway: Gateway,
) -> None:
    opened = event("P01", "B1", person("2", account("AC")), at="20260313180000").replace(
        b"ADT^P01", b"BAR^P01"
    )
    send(
        gateway,
        opened,
        event("A44", "M1", person("1", account("AC")), f"MRG|2{AUTHORITY}^MR||{account('AC')}"),
    )
    patients = by_number(gateway, "Patient")
    right = [{"reference": f"Patient/{patients['1']['id']}"}]
    accounts = all_of(gateway, "Account")
    assert [each["subject"] for each in accounts] == [right, right]
    [moved] = [each for each in accounts if "partOf" in each]
    assert moved["status"] == "active"
    assert [item.text for item in work_items(gateway.store.engine)] == [
        "visits of the account stay with the earlier patient until A45 names them"
    ]


def test_a_moved_identifier_list_changes_the_list_or_replaces_the_record(gateway: Gateway) -> None:
    first = adt("A1", "1").replace(b"PID|1||", b"PID|1|E1|")
    send(
        gateway,
        first,
        event("A43", "M1", person("1").replace("PID|1||", "PID|1|E2|"), f"MRG|1{AUTHORITY}^MR|||E1"),
    )
    [patient] = all_of(gateway, "Patient")
    assert [item["value"] for item in patient["identifier"]] == ["E2", "1"]
    assert "link" not in patient
    send(gateway, event("A43", "M2", person("7"), f"MRG|1{AUTHORITY}^MR", at="20260314200000"))
    new = by_number(gateway, "Patient")["7"]
    assert links(new) == [("replaces", f"Patient/{patient['id']}")]
    [old] = [each for each in all_of(gateway, "Patient") if each["id"] == patient["id"]]
    assert old["active"] is False
    assert [item["value"] for item in old["identifier"]] == ["E2", "1"]


@pytest.mark.parametrize(("kind", "field", "prior"), [("A46", 2, "|||E1"), ("A48", 4, "|E1")])
def test_one_changed_number_of_a_person_takes_the_place_of_the_earlier_one_in_the_same_record(
    gateway: Gateway, kind: str, field: int, prior: str
) -> None:
    def told(number: str) -> str:
        mark = f"1{AUTHORITY}^MR|" if field == 4 else "PID|1|"
        return person("1").replace(mark, mark + number, 1)

    send(gateway, event("A28", "A1", told("E1")))
    send(gateway, event(kind, "M1", told("E2"), f"MRG|1{AUTHORITY}^MR{prior}", at="20260314200000"))
    [patient] = all_of(gateway, "Patient")
    assert sorted(item["value"] for item in patient["identifier"]) == ["1", "E2"]
    assert "link" not in patient
    assert patient.get("active") is not False


def test_a_changed_alternate_visit_number_stays_with_its_visit(gateway: Gateway) -> None:
    pv1 = visit("V1") + "|" * 31
    send(
        gateway,
        event("A01", "A1", person("1"), f"{pv1}ALT1"),
        event(
            "A51",
            "M1",
            person("1"),
            f"MRG|1{AUTHORITY}^MR||||V1{AUTHORITY}^VN|ALT1",
            f"{pv1}ALT2",
            at="20260314200000",
        ),
    )
    [encounter] = all_of(gateway, "Encounter")
    assert [item["value"] for item in encounter["identifier"]] == ["V1", "ALT2"]
    assert encounter["status"] == "in-progress"


@pytest.mark.parametrize(
    "wrong",
    [
        event("A46", "X", person("1"), f"MRG|2{AUTHORITY}^MR|||E1"),
        event("A46", "X", "PID|1||", "MRG|||E1"),
        event("A51", "X", person("1"), f"MRG|1{AUTHORITY}^MR", "PV1|1|I"),
        event("A51", "X", person("1"), f"MRG|1{AUTHORITY}^MR||||OLD{AUTHORITY}^VN", visit("NEW")),
        event("A51", "X", person("1"), f"MRG|2{AUTHORITY}^MR", visit("NEW")),
        event("A35", "X", person("1", account("A")), f"MRG|1{AUTHORITY}^MR"),
        event("A41", "X", person("1"), f"MRG|1{AUTHORITY}^MR||{account('A')}"),
        event("A41", "X", person("1", account("A")), f"MRG|1{AUTHORITY}^MR||{account('A')}"),
        event("A41", "X", person("1", account("A")), f"MRG|2{AUTHORITY}^MR||{account('B')}"),
        event("A42", "X", person("1"), f"MRG|2{AUTHORITY}^MR||||OLD{AUTHORITY}^VN", visit("NEW")),
        event("A42", "X", person("1"), f"MRG|1{AUTHORITY}^MR||||NEW{AUTHORITY}^VN", visit("NEW")),
        event("A43", "X", person("1"), "MRG|"),
        event("A44", "X", person("1", account("A")), f"MRG|1{AUTHORITY}^MR||{account('A')}"),
        event("A44", "X", person("1", account("A")), f"MRG|2{AUTHORITY}^MR"),
        event("A23", "X", person("1"), "PV1|1|I"),
        event("A29", "X", "PID|1||"),
    ],
)
def test_an_event_that_does_not_name_what_it_is_about_is_an_error(gateway: Gateway, wrong: bytes) -> None:
    assert b"\rMSA|AE|" in gateway.receive_now(wrong)
    assert all_of(gateway, "Patient") == []


# --- A23 and A29 ---------------------------------------------------------------------------------------


def test_a_deleted_visit_is_entered_in_error_and_keeps_what_was_in_it(gateway: Gateway) -> None:
    send(gateway, adt("A1", "1"), event("A23", "D1", person("1"), visit("V-1")))
    [encounter] = all_of(gateway, "Encounter")
    assert (encounter["status"], encounter["class"]["code"]) == ("entered-in-error", "IMP")
    assert encounter["location"]


def test_a_visit_is_deleted_also_when_its_admission_comes_later(gateway: Gateway) -> None:
    send(gateway, event("A23", "D1", person("1"), visit("V-1")), adt("A1", "1"))
    [encounter] = all_of(gateway, "Encounter")
    assert encounter["status"] == "entered-in-error"


def delete(control: str, number: str, at: str = "20260314180000", institution: str = "NORTHGEN") -> bytes:
    return event("A29", control, person(number), "PV1|1|N", at=at).replace(
        b"|LAB|NORTHGEN|", b"|LAB|%s|" % institution.encode()
    )


def add(control: str, number: str, at: str) -> bytes:
    return event("A28", control, person(number), "PV1|1|N", at=at)


def versions(gateway: Gateway, patient: str) -> list[bool]:
    page = gateway.store.reader.history("Patient", patient, true())
    return [version.deleted for version in page.versions]


def test_a_deleted_person_is_gone_and_the_history_stays(gateway: Gateway) -> None:
    send(gateway, add("A1", "1", "20260313180000"))
    [patient] = all_of(gateway, "Patient")
    send(gateway, delete("D1", "1"))
    assert all_of(gateway, "Patient") == []
    assert versions(gateway, patient["id"]) == [True, False]
    assert work_items(gateway.store.engine) == []


def test_a_newer_admission_brings_a_deleted_person_back_and_an_older_one_does_not(gateway: Gateway) -> None:
    send(gateway, delete("D1", "1"), add("A1", "1", "20260313180000"))
    assert all_of(gateway, "Patient") == []
    send(gateway, add("A2", "1", "20260315180000"))
    assert len(all_of(gateway, "Patient")) == 1
    send(gateway, delete("D2", "1", "20260314200000"))
    assert len(all_of(gateway, "Patient")) == 1


def test_a_second_deletion_makes_no_version_but_its_time_counts(gateway: Gateway) -> None:
    send(gateway, delete("D1", "1"), delete("D2", "1", "20260316180000"))
    send(gateway, add("A1", "1", "20260315180000"))
    assert all_of(gateway, "Patient") == []


def test_a_deletion_that_is_replayed_changes_nothing(gateway: Gateway) -> None:
    from hdg.management.store.inbox import entries

    send(gateway, add("A1", "1", "20260313180000"), delete("D1", "1"), add("A2", "1", "20260315180000"))
    [patient] = all_of(gateway, "Patient")
    for entry, raw in zip(
        list(entries(gateway.store.engine, status="accepted")),
        [add("A1", "1", "20260313180000"), delete("D1", "1"), add("A2", "1", "20260315180000")],
        strict=True,
    ):
        gateway.replay(entry, raw)
    assert all_of(gateway, "Patient") == [patient]


def test_what_a_deleted_person_leaves_behind_is_work_for_people(gateway: Gateway) -> None:
    send(gateway, oru("R1", "1"), delete("D1", "1"))
    assert len(all_of(gateway, "Observation")) == 1
    [item] = work_items(gateway.store.engine)
    assert (item.kind, item.place) == ("left behind", "PID-3")


def test_another_institutions_record_of_that_number_stays(gateway: Gateway) -> None:
    send(gateway, add("A1", "1", "20260313180000"), delete("D1", "1", institution="SOUTHGEN"))
    assert len(all_of(gateway, "Patient")) == 1


def test_what_the_same_transaction_deletes_is_not_left_behind(gateway: Gateway) -> None:
    send(gateway, oru("R1"))
    (patient,) = (each["id"] for each in all_of(gateway, "Patient"))
    with gateway.store.engine.connect() as connection:
        about = [tuple(row) for row in connection.execute(ABOUT, {"patient": patient})]
    converted = Converted(
        Source("hl7v2", "LAB", "x", "C", "ADT^A29", ""), (), deleted=(("Patient", patient),)
    )

    def work(session: WriteSession) -> list[list[str]]:
        session.delete("Patient", patient, institution="x")
        found = [list(left_behind(session, converted))]
        for type_, id_ in about:
            session.delete(type_, id_, institution="x")
        return [*found, list(left_behind(session, converted))]

    (some,), none = gateway.store.submit(work).result()
    assert "other resources" in some
    assert none == []
