"""AuditEvents in the shape of IHE BALP, sealed, with a leaf that commits to them (R4 auditevent.html)."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

import orjson
import pytest

from hdg.fhir.validate import validate
from hdg.management.audit import Access, Event, audit_event, audit_events, instant, seal_event
from hdg.management.audit_text import whole
from hdg.management.identity import Principal
from hdg.management.ledger.leaf import commit, decode

NOW_US = 1_714_564_800_000_001
CLINICIAN = Principal("clinician", "u1", "i1", "", "TREAT", "", "token-id", NOW_US + 1)
PATIENT = Principal("patient", "", "", "p1", "PATRQT", "", "token-id", NOW_US + 1)
OPERATOR = Principal("operator", "", "", "", "HSYSADMIN", "", "token-id", NOW_US + 1)
SERVER = "http://127.0.0.1:8080/fhir"

ACCESSES = [
    Access("read", "0", "Patient/p1", patients=("p1",), client="192.0.2.7"),
    Access("vread", "0", "Observation/o1/_history/2", patients=("p1", "p2")),
    Access("history", "4", "Observation/o1"),
    Access("search", "0", query="Observation?patient=p1&code=http://loinc.org|718-7", patients=("p1",)),
    Access("search", "8", query="Patient?name=Ärger"),
    Access("create", "0", "Consent/c1", patients=("p1",)),
    Access("update", "0", "Consent/c1", patients=("p1",)),
    Access("delete", "4", "Consent/c1"),
]


@pytest.mark.parametrize("principal", [CLINICIAN, PATIENT, OPERATOR])
@pytest.mark.parametrize("access", ACCESSES)
def test_every_event_is_valid_r4(principal: Principal, access: Access) -> None:
    assert validate(audit_event(principal, access, at_us=NOW_US, server=SERVER)) == []


def codes(event: dict[str, Sequence[dict[str, object]]]) -> list[str]:
    return [agent["type"]["coding"][0]["code"] for agent in event["agent"]]  # type: ignore[index]


def test_a_read_names_client_server_and_user_and_what_was_read() -> None:
    event = audit_event(CLINICIAN, ACCESSES[0], at_us=NOW_US, server=SERVER)
    assert (event["type"]["code"], event["subtype"][0]["code"], event["action"]) == ("rest", "read", "R")
    assert (event["recorded"], event["outcome"]) == ("2024-05-01T12:00:00.000001Z", "0")
    # BALP: in a read data flows from the server (source) to the client (destination).
    assert codes(event) == ["110152", "110153", "IRCP"]
    assert [agent["requestor"] for agent in event["agent"]] == [False, False, True]
    assert event["agent"][2]["who"]["identifier"]["value"] == "u1"
    assert "i1" in event["agent"][2]["who"]["display"]
    assert event["agent"][0]["network"] == {"address": "192.0.2.7", "type": "2"}
    assert [entity["role"]["code"] for entity in event["entity"]] == ["1", "4"]
    assert event["entity"][0]["what"]["reference"] == "Patient/p1"


def test_a_search_keeps_the_query_as_it_was_asked() -> None:
    event = audit_event(PATIENT, ACCESSES[4], at_us=NOW_US, server=SERVER)
    assert (event["subtype"][0]["code"], event["action"]) == ("search", "E")
    # BALP: in a query the parameters flow from the client (source) to the server (destination).
    assert codes(event) == ["110153", "110152", "IRCP"]
    assert base64.b64decode(event["entity"][0]["query"]).decode() == "Patient?name=Ärger"
    assert event["agent"][2]["who"]["reference"] == "Patient/p1"


def test_the_row_shows_no_query_text_and_the_leaf_commits_to_the_body() -> None:
    sealed: list[bytes] = []

    def seal(data: bytes, key: str) -> tuple[str, bytes, bytes]:
        sealed.append(data)
        return "code", b"s" * 32, b"sealed " + key.encode()

    event = audit_event(CLINICIAN, ACCESSES[4], at_us=NOW_US, server=SERVER)
    whole = Event(event["id"], "", json.dumps(event).encode())
    made = seal_event(whole, seal, at_us=NOW_US, principal=CLINICIAN, institution="home")
    key = f"AuditEvent/{event['id']}"
    assert made.row == (event["id"], NOW_US, "", "u1", b"sealed " + key.encode())
    assert json.loads(sealed[0]) == event
    leaf = decode(made.leaf)
    assert leaf.commitment == commit(b"s" * 32, sealed[0])
    assert (leaf.kind, leaf.key, leaf.subject) == ("access", key, "code")
    assert (leaf.version, leaf.institution, leaf.at_us) == (0, "home", NOW_US)
    assert b"Patient?" not in made.leaf


@pytest.mark.parametrize("principal", [CLINICIAN, PATIENT, OPERATOR])
@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize(
    "patients", [(), ("p1",), ("",), ("p1", "p2", "p3"), ("p1", "", "p2"), ('a"b\\c\n', "Ärger", "p1p1")]
)
def test_events_of_many_patients_are_each_as_if_made_alone(
    principal: Principal, access: Access, patients: tuple[str, ...]
) -> None:
    access = replace(access, patients=())
    made = audit_events(principal, access, patients, at_us=NOW_US, server=SERVER)
    assert [event.patient for event in made] == list(patients or ("",))
    assert len({event.id for event in made}) == len(made)
    for event in made:
        about = replace(access, patients=(event.patient,) if event.patient else ())
        alone = audit_event(principal, about, at_us=NOW_US, server=SERVER)
        assert json.loads(event.data) == {**alone, "id": event.id}
        assert list(json.loads(event.data)) == list(alone)
        assert event.data == orjson.dumps({**alone, "id": event.id})
        assert whole(event.kept) == event.data


def test_ids_are_in_order_of_time_and_as_r4_wants_them() -> None:
    ids = [
        audit_events(CLINICIAN, ACCESSES[3], ("p1",), at_us=NOW_US + step, server=SERVER)[0].id
        for step in range(0, 10**15, 10**14)
    ]
    assert ids == sorted(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", id_) for id_ in ids)


@pytest.mark.parametrize("at_us", [0, 1, 999_999, NOW_US, 253_402_300_799_999_999])
def test_instants_keep_microseconds(at_us: int) -> None:
    text = instant(at_us)
    assert len(text) == 27
    assert text.endswith(f".{at_us % 1_000_000:06d}Z")


def test_building_an_event_takes_few_calls() -> None:
    """25 of them, some microseconds; what it takes on this machine just now says nothing."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        audit_event(CLINICIAN, ACCESSES[3], at_us=NOW_US, server=SERVER)
    finally:
        sys.setprofile(None)
    assert 0 < calls < 60


@pytest.mark.parametrize("access", ACCESSES)
def test_an_event_about_nobody_in_particular_names_whom_its_access_does(access: Access) -> None:
    (made,) = audit_events(CLINICIAN, access, (), at_us=NOW_US, server=SERVER)
    alone = audit_event(CLINICIAN, access, at_us=NOW_US, server=SERVER)
    assert made.data == orjson.dumps({**alone, "id": made.id})
    assert (made.patient, whole(made.kept)) == ("", made.data)
