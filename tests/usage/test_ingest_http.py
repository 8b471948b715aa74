"""POST /ingest/hl7v2: messages and batches over HTTP, answered as ACK or OperationOutcome."""

from __future__ import annotations

import asyncio

import pytest

from hdg import ingest_api, intake
from hdg.ingestion.hl7v2.ack_mode import code_of
from hdg.ingestion.hl7v2.batch import split_messages
from messages import adt, oru

ER7 = {"content-type": "x-application/hl7-v2+er7"}
TEXT = {"content-type": "text/plain; charset=utf-8"}
OUTCOME = {**ER7, "accept": "application/fhir+json"}


def post(world, content, headers=ER7, role="sender", institution="northgen"):
    token = world.token(role, institution=institution) if role else None
    return world.client.request("POST", ingest_api.PATH, token, headers=headers, content=content)


def codes(answer):
    return [code_of(piece) for piece in split_messages(answer.content)]


@pytest.mark.parametrize("headers", [ER7, TEXT, {**ER7, "accept": "*/*"}, {**ER7, "accept": "text/plain"}])
def test_a_message_is_acknowledged_once_it_is_stored(world, headers):
    answer = post(world, oru(), headers)
    assert (answer.status_code, codes(answer)) == (200, ["AA"])
    assert answer.headers["content-type"] == ingest_api.ER7
    with world.store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT status FROM inbox").all() == [("accepted",)]


def test_the_same_message_again_gets_the_same_acknowledgement(world):
    assert post(world, oru()).content == post(world, oru()).content


def test_by_accept_the_answer_is_an_operation_outcome(world):
    answer = post(world, oru(), OUTCOME)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/fhir+json")
    [issue] = answer.json()["issue"]
    assert (issue["severity"], issue["diagnostics"]) == ("information", "message 1: AA")


def test_a_message_that_is_not_accepted_is_422_with_its_place_and_kept(world):
    wrong = oru().replace(b"ORU^R01^ORU_R01", b"ZZZ^Z99^ZZZ_Z99")
    answer = post(world, wrong)
    assert (answer.status_code, codes(answer)) == (422, ["AR"])
    [issue] = post(world, wrong, OUTCOME).json()["issue"]
    assert issue["severity"] == "error"
    assert issue["code"] == "not-supported"
    assert "MSH^1^9" in issue["diagnostics"]


def test_a_batch_is_answered_by_a_batch_with_an_outcome_for_each_message(world):
    data = b"BHS|^~\\&|LAB\r" + oru("C1") + b"MSH|^~\\&|bad\r" + adt("A1") + b"BTS|3\r"
    answer = post(world, data)
    assert answer.status_code == 422
    assert codes(answer) == ["AA", "AR", "AA"]
    assert answer.content.startswith(b"BHS|")
    outcome = post(world, data, OUTCOME).json()
    assert [issue["severity"] for issue in outcome["issue"]] == ["information", "error", "information"]


def test_a_count_that_does_not_agree_is_named_and_the_messages_are_stored(world):
    answer = post(world, b"BHS|^~\\&|LAB\r" + oru("C1") + b"BTS|2\r")
    assert (answer.status_code, codes(answer)) == (422, ["AA"])
    assert b"BTS|1|BTS-1: 2 messages announced, 1 found" in answer.content


def test_messages_of_one_patient_in_one_batch_keep_their_order(world):
    batch = b"".join(adt(f"A{n}", family=f"Name{n}", event="A08") for n in range(40))
    assert post(world, batch).status_code == 200
    search = world.client.get(
        "/fhir/Patient?identifier=10042", world.token("clinician", institution="northgen")
    )
    assert [entry["resource"]["name"][0]["family"] for entry in search.json()["entry"]] == ["Name39"]


def test_what_asks_for_no_acknowledgement_gets_none(world):
    silent = oru().replace(b"|P|2.5.1", b"|P|2.5.1|||NE|NE")
    answer = post(world, silent)
    assert (answer.status_code, answer.content) == (204, b"")
    both = oru("C2").replace(b"|P|2.5.1", b"|P|2.5.1|||AL|NE")
    assert codes(post(world, both)) == ["CA"]


@pytest.mark.parametrize("role", ["clinician", "researcher", "patient"])
def test_other_roles_may_not_send(world, role):
    token = world.token(role, institution="northgen", patient="ann" if role == "patient" else "", project="p")
    answer = world.client.request("POST", ingest_api.PATH, token, headers=ER7, content=oru())
    assert answer.status_code == 403
    assert post(world, oru(), role=None).status_code == 401


def test_a_sender_speaks_for_its_institution_only_and_an_operator_for_any(world):
    assert codes(post(world, oru("C1"), institution="elsewhere")) == ["AR"]
    assert codes(post(world, oru("C1"), role="operator")) == ["AA"]


def test_a_sender_reads_nothing(world):
    world.grant("ann", "Organization/northgen", purposes=())
    token = world.token("sender", institution="northgen")
    assert world.client.get("/fhir/Patient/ann", token).status_code == 404
    assert world.client.get("/fhir/Patient", token).json().get("entry", []) == []


def test_sizes_types_and_empty_bodies_are_refused(world, monkeypatch):
    assert post(world, oru(), {"content-type": "application/json"}).status_code == 415
    assert post(world, oru(), {**ER7, "content-encoding": "gzip"}).status_code == 415
    refused = post(world, oru(), {**ER7, "accept": "image/png"})
    assert refused.status_code == 406
    assert refused.json()["issue"][0]["diagnostics"] == "no media type that Accept names is offered here"
    assert post(world, b"\r\n").status_code == 400

    async def endless():
        for _ in range(10):
            yield b"x" * 1000

    monkeypatch.setattr(
        world.gateway, "settings", world.settings.model_copy(update={"ingest_max_bytes": 5000})
    )
    world.app.router.routes.pop(0)
    ingest_api.mount(world.app, world.gate, world.gateway)
    assert post(world, b"x" * 5001).status_code == 413
    assert post(world, endless()).status_code == 413


def test_a_message_over_the_limit_is_rejected_and_the_rest_of_the_batch_taken(world, monkeypatch):
    small = world.settings.model_copy(update={"max_message_bytes": 2000})
    monkeypatch.setattr(world.gateway, "settings", small)
    answer = post(world, oru("C1") + oru("C2", family="A" * 3000) + adt("A1"))
    assert (answer.status_code, codes(answer)) == (422, ["AA", "AR", "AA"])


def test_what_cannot_be_kept_is_503_and_never_accepted(world, monkeypatch):
    async def broken(raw, origin):
        raise OSError("disk full")

    monkeypatch.setattr(world.gateway, "exchange", broken)
    answer = post(world, oru())
    assert (answer.status_code, codes(answer)) == (503, ["AE"])
    assert answer.headers["retry-after"]
    assert post(world, oru().replace(b"|P|2.5.1", b"|P|2.5.1|||AL|AL")).content.count(b"MSA|CE|") == 1


def test_a_commit_that_takes_too_long_is_503(world, monkeypatch):
    async def stuck(raw, origin):
        await asyncio.sleep(60)

    monkeypatch.setattr(world.gateway, "exchange", stuck)
    monkeypatch.setattr(intake, "WAIT_S", 0.05)
    assert post(world, oru()).status_code == 503


def test_too_many_requests_at_once_are_told_to_come_again(world, monkeypatch):
    monkeypatch.setattr(ingest_api, "REQUESTS_MAX", 0)
    answer = post(world, oru())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["issue"][0]["code"] == "transient"
