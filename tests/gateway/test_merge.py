"""A34, A40, A45, A47: records are linked and stay what they are; a consent shows what it showed before."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import true

from hdg import operator
from hdg.gateway import Gateway
from hdg.management.consent.decide import AccessRequest
from hdg.management.consent.policy import load_policy
from hdg.management.consent.sql import predicate
from hdg.management.store.search import SearchQuery
from hdg.settings import Settings
from messages import adt, oru
from stored import all_of, send

AUTHORITY = "^^^NORTHGEN&2.999.1.1&ISO"


def merge(control: str, event: str, pairs: list[tuple[str, str]], at: str = "20260314180000") -> bytes:
    structure = {"A40": "ADT_A39"}.get(event, "ADT_A30")
    segments = [
        f"MSH|^~\\&|LAB|NORTHGEN|HDG|REGION|{at}-0500||ADT^{event}^{structure}|{control}|P|2.5.1",
        f"EVN|{event}|{at}-0500",
    ]
    for number, prior in pairs:
        segments += [f"PID|1||{number}{AUTHORITY}^MR||Example^Ada||19610412|F", f"MRG|{prior}{AUTHORITY}^MR"]
    return "\r".join(segments).encode() + b"\r"


def move(control: str, number: str, prior: str, visit: str, at: str = "20260314180000") -> bytes:
    segments = [
        f"MSH|^~\\&|LAB|NORTHGEN|HDG|REGION|{at}-0500||ADT^A45^ADT_A45|{control}|P|2.5.1",
        f"EVN|A45|{at}-0500",
        f"PID|1||{number}{AUTHORITY}^MR||Example^Ada||19610412|F",
        f"MRG|{prior}{AUTHORITY}^MR||||{visit}{AUTHORITY}^VN",
        f"PV1|1|I|3W^310^1^NORTHGEN|||||||||||||||||{visit}{AUTHORITY}^VN",
    ]
    segments[-1] = "PV1|1|I|3W^310^1^NORTHGEN" + "|" * 16 + f"{visit}{AUTHORITY}^VN"
    return "\r".join(segments).encode() + b"\r"


def patients(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """By record number."""
    return {each["identifier"][0]["value"]: each for each in all_of(gateway, "Patient")}


def links(patient: dict[str, Any]) -> set[tuple[str, str]]:
    return {(link["type"], link["other"]["reference"]) for link in patient.get("link", ())}


@pytest.mark.parametrize("event", ["A34", "A40", "A47"])
def test_the_records_are_linked_both_ways_and_keep_what_is_in_them(gateway: Gateway, event: str) -> None:
    send(gateway, oru("R1", "1"), oru("R2", "2"), merge("M1", event, [("1", "2")]))
    found = patients(gateway)
    assert len(found) == 2
    assert links(found["1"]) == {("replaces", f"Patient/{found['2']['id']}")}
    assert links(found["2"]) == {("replaced-by", f"Patient/{found['1']['id']}")}
    assert found["2"]["active"] is False
    assert found["2"]["name"][0]["family"] == "Example"
    assert found["2"]["birthDate"] == "1961-04-12"
    assert {each["subject"]["reference"] for each in all_of(gateway, "Observation")} == {
        f"Patient/{each['id']}" for each in found.values()
    }


def test_a_merge_tells_the_old_record_only_what_is_not_known_about_it(gateway: Gateway) -> None:
    known = adt("A1", "2").replace(b"ISO^MR|", b"ISO^MR~999^^^SSA^SS|")
    send(gateway, known, merge("M1", "A40", [("1", "2")]))
    old = next(each for each in all_of(gateway, "Patient") if each.get("active") is False)
    assert [item["value"] for item in old["identifier"]] == ["2", "999"]


def test_records_that_come_after_their_merge_are_linked_all_the_same(tmp_path: Path) -> None:
    def records(folder: str, messages) -> list[Any]:
        with Gateway.open(Settings(data=tmp_path / folder)) as gateway:
            send(gateway, *messages)
            found = patients(gateway)
            names = {each["id"]: number for number, each in found.items()}
            for each in found.values():
                del each["meta"], each["id"]
                each["link"] = sorted((kind, names[other[8:]]) for kind, other in links(each))
            return sorted(found.items())

    messages = [adt("A1", "1"), adt("A2", "2"), merge("M1", "A40", [("1", "2")])]
    expected = records("0", messages)
    for number, order in enumerate(itertools.permutations(messages), 1):
        assert records(str(number), order) == expected


def test_a_second_merge_and_a_later_update_keep_the_first_link(gateway: Gateway) -> None:
    later = adt("A9", "1", event="A08").replace(b"20260314113000", b"20260315113000")
    send(gateway, merge("M1", "A40", [("1", "2")]), merge("M2", "A40", [("1", "3")]), later)
    found = patients(gateway)
    assert links(found["1"]) == {("replaces", f"Patient/{found[number]['id']}") for number in ("2", "3")}


def test_several_pairs_in_one_message(gateway: Gateway) -> None:
    send(gateway, merge("M1", "A40", [("1", "2"), ("3", "4")]))
    found = patients(gateway)
    assert links(found["3"]) == {("replaces", f"Patient/{found['4']['id']}")}
    assert links(found["2"]) == {("replaced-by", f"Patient/{found['1']['id']}")}


def test_a_merge_without_a_prior_record_or_with_itself_is_an_error(gateway: Gateway) -> None:
    nobody = merge("M1", "A40", [("1", "2")]).replace(b"MRG|2" + AUTHORITY.encode() + b"^MR", b"MRG|")
    assert b"|AE|" in gateway.receive_now(nobody)
    assert b"|AE|" in gateway.receive_now(merge("M2", "A40", [("1", "1")]))
    assert all_of(gateway, "Patient") == []


@pytest.mark.parametrize("structure", ["", "^ADT_A39"])
@pytest.mark.parametrize("number", [18, 30, *range(34, 37), *range(39, 52)])
def test_an_event_about_an_earlier_number_without_mrg_is_an_error(
    gateway: Gateway, number: int, structure: str
) -> None:
    """MRG is required in all of them: acknowledged without it, the merge would be lost."""
    raw = merge("M1", f"A{number}", [("1", "2")])
    head, _, rest = raw.partition(b"\r")
    head = head.replace(b"^ADT_A39" if number == 40 else b"^ADT_A30", structure.encode())
    raw = head + b"\r" + rest.partition(b"MRG|")[0] + b"PV1|1|I|||||||||||||||||V-1\r"
    answer = gateway.receive_now(raw)
    assert b"\rMSA|AE|" in answer
    assert b"\rERR||MRG^1|100^" in answer
    assert all_of(gateway, "Patient") == []


def test_each_of_several_pairs_needs_its_mrg(gateway: Gateway) -> None:
    raw = merge("M1", "A40", [("1", "2"), ("3", "4")])
    assert b"\rMSA|AE|" in gateway.receive_now(raw.rpartition(b"MRG|")[0])
    assert b"\rMSA|AE|" in gateway.receive_now(raw.replace(b"MRG|2" + AUTHORITY.encode() + b"^MR\r", b""))
    assert b"\rMSA|AA|" in gateway.receive_now(raw)


def owner(gateway: Gateway, resource: dict[str, Any]) -> str:
    """The code of the patient under whose key it lies."""
    version = gateway.store.reader.read(resource["resourceType"], resource["id"], true())
    assert version is not None
    return version.patient_code


def encounters(gateway: Gateway) -> dict[str, dict[str, Any]]:
    return {("moved" if "partOf" in each else "new"): each for each in all_of(gateway, "Encounter")}


def test_a_moved_visit_takes_all_that_is_known_of_it_to_the_right_patient(gateway: Gateway) -> None:
    send(gateway, adt("A1", "2"), move("M1", "1", "2", "V-1"))
    found, visits = patients(gateway), encounters(gateway)
    right = {"reference": f"Patient/{found['1']['id']}"}
    assert visits["moved"]["subject"] == visits["new"]["subject"] == right
    assert visits["moved"]["partOf"] == {"reference": f"Encounter/{visits['new']['id']}"}
    assert (visits["moved"]["status"], visits["moved"]["class"]["code"]) == ("in-progress", "IMP")
    assert "link" not in found["1"]
    assert owner(gateway, visits["moved"]) == owner(gateway, found["1"])


def test_an_older_move_does_not_undo_a_newer_one(gateway: Gateway) -> None:
    send(gateway, adt("A1", "2"), move("M2", "3", "2", "V-1", "20260314200000"))
    send(gateway, move("M1", "1", "2", "V-1", "20260314180000"))
    found = patients(gateway)
    [moved] = [each for each in all_of(gateway, "Encounter") if "partOf" in each]
    assert moved["subject"] == {"reference": f"Patient/{found['3']['id']}"}
    assert owner(gateway, moved) == owner(gateway, found["3"])


# --- consent: a merge widens nothing ---------------------------------------------------------------


def seen(gateway: Gateway, user: str) -> set[str]:
    """Type/id of all that a clinician of another institution may read."""
    request = AccessRequest("clinician", user, "elsewhere", "", "TREAT", "access", gateway.clock())
    readable = predicate(request, load_policy())
    kinds = ("Patient", "Observation", "Encounter", "DiagnosticReport", "Provenance", "MessageHeader")
    found = set()
    for kind in kinds:
        page = gateway.store.reader.search(SearchQuery(kind, (), 100), readable)
        found |= {f"{version.type}/{version.id}" for version in page.versions}
    return found


@pytest.mark.parametrize("consented", ["1", "2"])
def test_a_consent_on_one_of_two_merged_records_shows_that_record_and_no_more(
    gateway: Gateway, consented: str
) -> None:
    send(gateway, oru("R1", "1"), oru("R2", "2"))
    found = patients(gateway)
    operator.grant(gateway, found[consented]["id"], ["Practitioner/dr"], ["TREAT"], [], days=1)
    before = seen(gateway, "dr")
    assert f"Patient/{found[consented]['id']}" in before
    send(gateway, merge("M1", "A40", [("1", "2")]))
    after = seen(gateway, "dr")
    headers = {each for each in after - before if each.startswith("MessageHeader/")}
    assert after - headers == before
    assert len(headers) == (1 if consented == "1" else 0)  # of the merge itself: the survivor's message
    other = {"1": "2", "2": "1"}[consented]
    assert f"Patient/{found[other]['id']}" not in after
    theirs = {
        each["id"]
        for each in all_of(gateway, "Observation")
        if found[other]["id"] in each["subject"]["reference"]
    }
    assert not {f"Observation/{each}" for each in theirs} & after


def test_a_denial_on_one_record_still_denies_after_the_merge(gateway: Gateway) -> None:
    send(gateway, oru("R1", "1"), oru("R2", "2"))
    found = patients(gateway)
    consent = operator.grant(gateway, found["2"]["id"], ["Practitioner/dr"], ["TREAT"], [], days=1)
    operator.revoke(gateway, consent)
    operator.grant(gateway, found["1"]["id"], ["Practitioner/dr"], ["TREAT"], [], days=1)
    send(gateway, merge("M1", "A40", [("1", "2")]))
    assert f"Patient/{found['2']['id']}" not in seen(gateway, "dr")


def test_a_moved_visit_is_no_longer_shown_by_the_wrong_patients_consent(gateway: Gateway) -> None:
    send(gateway, adt("A1", "2"), adt("A2", "1").replace(b"V-1^^^", b"V-9^^^"))
    found = patients(gateway)
    [visit] = [
        each for each in all_of(gateway, "Encounter") if found["2"]["id"] in each["subject"]["reference"]
    ]
    operator.grant(gateway, found["2"]["id"], ["Practitioner/wrong"], ["TREAT"], [], days=1)
    operator.grant(gateway, found["1"]["id"], ["Practitioner/right"], ["TREAT"], [], days=1)
    assert f"Encounter/{visit['id']}" in seen(gateway, "wrong")
    send(gateway, move("M1", "1", "2", "V-1"))
    assert f"Encounter/{visit['id']}" not in seen(gateway, "wrong")
    assert f"Encounter/{visit['id']}" in seen(gateway, "right")
