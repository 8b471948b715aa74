"""One unit of work per message: stored, acknowledged, answered again, quarantined."""

from __future__ import annotations

import sqlite3

import pytest

from hdg import operator
from hdg.errors import NotFound
from hdg.gateway import Gateway
from hdg.ingestion.received import institution_id
from hdg.ingestion.sender import Origin
from messages import adt, oru


def rows(gateway: Gateway, query: str) -> list[tuple]:
    database = sqlite3.connect(gateway.settings.data / "hdg.db")
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def test_an_accepted_message_is_stored_with_its_inbox_row_before_the_ack(gateway: Gateway) -> None:
    ack = gateway.receive_now(oru())
    assert b"\rMSA|AA|C1" in ack
    assert rows(gateway, "SELECT control_id, status FROM inbox") == [("C1", "accepted")]
    types = {row[0] for row in rows(gateway, "SELECT DISTINCT type FROM resource")}
    assert {"Patient", "Observation", "DiagnosticReport", "MessageHeader", "Provenance"} <= types


def test_a_second_message_without_a_control_id_is_told_just_that(gateway: Gateway) -> None:
    first = oru("", value="1.1")
    assert b"\rMSA|AA|\r" in gateway.receive_now(first)
    assert b"\rMSA|AA|\r" in gateway.receive_now(first)
    refused = gateway.receive_now(oru("", value="2.2"))
    assert b"\rMSA|AR||the control id is empty" in refused
    assert b"\rERR||MSH^1^10^1|101^" in refused


def test_the_same_message_again_gets_the_same_ack_and_changes_nothing(gateway: Gateway) -> None:
    first = gateway.receive_now(oru())
    before = rows(gateway, "SELECT count(*), (SELECT count(*) FROM ledger_leaf) FROM version")
    assert gateway.receive_now(oru()) == first
    assert rows(gateway, "SELECT count(*), (SELECT count(*) FROM ledger_leaf) FROM version") == before
    assert rows(gateway, "SELECT count(*) FROM inbox") == [(1,)]


def test_line_ends_behind_the_last_segment_do_not_make_another_message(gateway: Gateway) -> None:
    first = gateway.receive_now(oru())
    assert gateway.receive_now(oru().rstrip(b"\r")) == first
    assert gateway.receive_now(oru() + b"\n") == first


def test_the_same_control_id_with_other_bytes_is_rejected_and_kept(gateway: Gateway) -> None:
    gateway.receive_now(oru())
    ack = gateway.receive_now(oru(value="9.9"))
    assert b"\rMSA|AR|C1" in ack
    assert b"MSH^1^10" in ack
    assert rows(gateway, "SELECT status, place FROM inbox ORDER BY ikey") == [
        ("accepted", ""),
        ("quarantined", "MSH-10"),
    ]


def test_a_message_that_cannot_be_converted_is_quarantined_with_its_bytes(gateway: Gateway) -> None:
    ack = gateway.receive_now(oru().replace(b"ORU^R01^ORU_R01", b"ZZZ^Z99^ZZZ_Z99"))
    assert b"\rMSA|AR|C1" in ack
    [(status, blob)] = rows(gateway, "SELECT status, blob FROM inbox")
    assert status == "quarantined"
    assert blob


def test_a_quarantined_message_may_be_sent_again(gateway: Gateway) -> None:
    assert b"\rMSA|AR|C1" in gateway.receive_now(oru().replace(b"|2.5.1", b"|9.9"))
    assert b"\rMSA|AA|C1" in gateway.receive_now(oru())


def test_bytes_that_are_no_message_are_answered_and_kept(gateway: Gateway) -> None:
    ack = gateway.receive_now(b"\x00\x01garbage")
    assert ack.startswith(b"MSH|")
    assert b"\rMSA|AR|" in ack
    assert rows(gateway, "SELECT status FROM inbox") == [("quarantined",)]


def test_a_second_statement_makes_a_second_version_of_what_changed_only(gateway: Gateway) -> None:
    gateway.receive_now(adt("A1"))
    gateway.receive_now(adt("A2", family="Changed", event="A08"))
    versions = dict(
        rows(
            gateway,
            "SELECT type, max(version) FROM resource WHERE type IN ('Patient','Encounter') GROUP BY type",
        )
    )
    assert versions["Patient"] == 2
    assert rows(gateway, "SELECT count(*) FROM resource WHERE type='Patient'") == [(1,)]


def test_consent_needs_a_patient_that_is_there(gateway: Gateway) -> None:
    with pytest.raises(NotFound):
        operator.grant(gateway, "nobody", ["Organization/x"], [], [], days=1)
    with pytest.raises(NotFound):
        operator.revoke(gateway, "nothing")


def test_institutions_get_ids_that_references_can_hold() -> None:
    assert institution_id("NORTHGEN") == "northgen"
    assert institution_id("") == ""
    spaced, dashed = institution_id("North Gen"), institution_id("North-Gen")
    assert spaced.startswith("facility-")
    assert spaced != dashed


def test_a_credential_bound_to_an_institution_cannot_speak_for_another(gateway: Gateway) -> None:
    assert b"\rMSA|AA|C1" in gateway.receive_now(oru(), Origin("http", institution="northgen"))
    ack = gateway.receive_now(oru("C2"), Origin("http", institution="elsewhere"))
    assert b"\rMSA|AR|C2" in ack
    assert b"MSH^1^4" in ack
    assert rows(gateway, "SELECT status FROM inbox ORDER BY ikey") == [("accepted",), ("quarantined",)]
