"""AuditEvents are kept in short, and come back byte for byte (DESIGN §6; R4 auditevent.html)."""

from __future__ import annotations

import hashlib

import orjson
from hypothesis import given
from hypothesis import strategies as st

from hdg.management import audit_text
from hdg.management.audit import Access, audit_events, refusal_event
from hdg.management.audit_text import shortened, whole
from hdg.management.identity import Principal

NOW_US = 1_714_564_800_000_001
SERVER = "http://127.0.0.1:8080/fhir"
TEXT = st.text(max_size=40)
PRINCIPALS = st.builds(
    Principal,
    st.sampled_from(["clinician", "patient", "operator", "researcher"]),
    *[TEXT] * 6,
    st.just(NOW_US + 1),
)
ACCESSES = st.builds(
    Access,
    st.sampled_from(["read", "vread", "search", "create", "operation", "history-type"]),
    st.sampled_from(["0", "4", "8"]),
    resource=TEXT,
    query=TEXT,
    client=TEXT,
    resources=st.lists(TEXT, max_size=3),
)


@given(PRINCIPALS, ACCESSES, st.lists(TEXT, max_size=4))
def test_every_event_comes_back_byte_for_byte(
    principal: Principal, access: Access, patients: list[str]
) -> None:
    for event in audit_events(principal, access, patients, at_us=NOW_US, server=SERVER):
        assert whole(event.kept) == event.data
        assert orjson.loads(event.data)["id"] == event.id


@given(st.lists(st.sampled_from([*audit_text._PHRASES_1, b'"', b"x", b"{", '"Ä"'.encode()]), max_size=12))
def test_any_text_of_phrases_and_parts_of_them_comes_back(parts: list[bytes]) -> None:
    for text in (
        b"".join(parts),
        b"".join(part[:-1] for part in parts),
        b"".join(part[1:] for part in parts),
    ):
        assert whole(shortened(text)[0]) == text
        assert whole(b"".join(shortened(text[:9], text[9:30], text[30:]))) == text


def test_an_event_of_a_search_takes_a_fifth_of_its_room() -> None:
    principal = Principal("clinician", "u1", "i1", "", "TREAT", "", "token-id", NOW_US + 1)
    access = Access("search", "0", query="Observation?code=718-7&date=ge2024", client="192.0.2.7")
    for event in audit_events(principal, access, ["p" * 32, "q" * 32], at_us=NOW_US, server=SERVER):
        assert 5 * len(event.kept) < len(event.data)


def test_what_was_kept_as_it_is_is_read_as_it_is() -> None:
    event = orjson.dumps(refusal_event(3, {"": 3}, at_us=NOW_US, server=SERVER))
    assert whole(event) == event


def test_the_list_of_phrases_is_the_one_that_events_were_kept_with() -> None:
    digest = hashlib.sha256(b"\n".join(audit_text._PHRASES_1)).hexdigest()
    assert digest == "d8b410df75c8b8b06adbb3a4e541bc7c1903deae068e4e3da7a631c2ddc3f9f4"
    assert len(audit_text._MARKS_1) == len(audit_text._PHRASES_1)
    assert not any(byte < 32 for phrase in audit_text._PHRASES_1 for byte in phrase)
