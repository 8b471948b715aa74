"""Conditional create, update and delete: decided inside the writer's transaction (R4 http.html#ccreate)."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hdg.fhir import json
from hdg.management.store import Store
from hdg.usage.access import Gate
from hdg.usage.fhir_api.app import create_app


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def tagged(either, value="A1", patient="ann"):
    made = either.observation("x", patient, "718-7", "2024-05-05")
    del made["id"]
    return {**made, "identifier": [{"system": "urn:example:order", "value": value}]}


CONDITION = "identifier=urn:example:order|A1"


def total(either, token, query=CONDITION):
    return either.client.get(f"/fhir/Observation?{query}", token).json()["total"]


def create(either, token, condition=CONDITION, **headers):
    return either.client.send(
        "POST", "/fhir/Observation", token, tagged(either), if_none_exist=condition, **headers
    )


def test_a_conditional_create_creates_once_and_then_shows_what_is_there(either, north):
    first = create(either, north)
    second = create(either, north, "?" + CONDITION)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.content == first.content
    assert second.headers["location"] == first.headers["location"]
    assert total(either, north) == 1


def test_a_condition_that_finds_several_or_asks_nothing_or_is_not_understood_writes_nothing(either, north):
    assert create(either, north, "code=718-7").status_code == 412
    assert create(either, north, "").status_code == 412
    assert create(either, north, "colour=red").status_code == 400
    assert create(either, north, "code=718-7&_count=1").status_code == 400
    assert create(either, north, "colour=red", prefer="handling=lenient").status_code == 400
    assert total(either, north) == 0


def test_a_condition_may_stand_behind_the_url_of_its_own_type_only(either, north):
    first = create(either, north, f"https://gateway.example/fhir/Observation?{CONDITION}")
    second = create(either, north, f"Observation?{CONDITION}")
    assert (first.status_code, second.status_code) == (201, 200)
    for other in ("Patient?", "https://elsewhere.example/fhir/Observation?"):
        assert create(either, north, other + CONDITION).status_code == 400


def test_a_condition_finds_nothing_that_is_hidden(either, north):
    either.put({**tagged(either, "A1", "bob"), "id": "bob-7"}, "south", "bob")
    assert create(either, north).status_code == 201
    path = f"/fhir/Observation?{CONDITION}"
    changed = either.client.send("PUT", path, north, tagged(either))
    assert changed.status_code == 200
    assert either.client.send("DELETE", path, north).status_code == 204
    assert either.client.send("DELETE", path, north).status_code == 204  # nothing that it may see is left
    south = either.token("clinician", institution="south")
    assert either.client.get("/fhir/Observation/bob-7", south).json()["meta"]["versionId"] == "1"


def test_of_many_equal_conditional_creates_at_once_one_creates(either, north):
    headers = {"content-type": "application/fhir+json", "if-none-exist": CONDITION}
    body = json.dumps(tagged(either))
    answers = either.client.gather_all(("POST", "/fhir/Observation", north, headers, body) for _ in range(8))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert total(either, north) == 1


def test_eight_threads_and_two_gateways_on_one_database_make_one_resource(either, north):
    """The second gateway is what another process is: its own store, writer thread and memory."""
    import httpx

    with Store.open(either.settings, either.keys, either.clock) as store:
        apps = [
            either.app,
            create_app(Gate.open(either.settings, either.keys, store, either.clock), either.settings),
        ]
        answers, start = [], threading.Barrier(8)

        def one(app):
            async def post():
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(
                    transport=transport, base_url="https://gateway.example"
                ) as client:
                    headers = {
                        "authorization": f"Bearer {north}",
                        "content-type": "application/fhir+json",
                        "if-none-exist": CONDITION,
                    }
                    return await client.post("/fhir/Observation", headers=headers, content=body)

            start.wait(120)
            answers.append(asyncio.run(post()))

        body = json.dumps(tagged(either))
        threads = [threading.Thread(target=one, args=(apps[number % 2],)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert total(either, north) == 1


def test_conditional_creates_of_different_things_in_one_group_do_not_disturb_each_other(either, north):
    requests = []
    for number in range(12):
        headers = {
            "content-type": "application/fhir+json",
            "if-none-exist": f"identifier=urn:example:order|B{number % 6}",
        }
        body = json.dumps(tagged(either, f"B{number % 6}"))
        requests.append(("POST", "/fhir/Observation", north, headers, body))
    answers = either.client.gather_all(requests)
    assert sorted(answer.status_code for answer in answers) == [200] * 6 + [201] * 6
    assert total(either, north, "identifier=urn:example:order|") == 6


def test_a_conditional_update_creates_updates_or_refuses(either, north):
    path = f"/fhir/Observation?{CONDITION}"
    created = either.client.send("PUT", path, north, tagged(either))
    assert created.status_code == 201
    changed = either.client.send("PUT", path, north, {**tagged(either), "status": "amended"})
    assert (changed.status_code, changed.json()["id"]) == (200, created.json()["id"])
    assert changed.headers["etag"] == 'W/"2"'
    assert either.client.send("PUT", "/fhir/Observation?code=718-7", north, tagged(either)).status_code == 412
    other = {**tagged(either), "id": "ann-0"}
    assert either.client.send("PUT", path, north, other).status_code == 400
    assert either.client.send("PUT", path, north, tagged(either), if_match='W/"1"').status_code == 412
    assert either.client.send("PUT", path, north, tagged(either), if_none_match="*").status_code == 412


def test_a_conditional_update_that_finds_nothing_takes_the_client_s_id_as_an_update_would(either, north):
    path = f"/fhir/Observation?{CONDITION}"
    refused = either.client.send("PUT", path, north, {**tagged(either), "id": "chosen"})
    assert refused.status_code == 405
    taken = either.client.send("PUT", path, north, {**tagged(either), "id": "north.chosen"})
    assert (taken.status_code, taken.json()["id"]) == (201, "north.chosen")


def test_a_conditional_delete_deletes_one(either, north):
    create(either, north)
    assert either.client.send("DELETE", "/fhir/Observation?code=718-7", north).status_code == 412
    path = f"/fhir/Observation?{CONDITION}"
    assert either.client.send("DELETE", path, north, if_match='W/"9"').status_code == 412
    assert either.client.send("DELETE", path, north).status_code == 204
    assert total(either, north) == 0


def test_a_conditional_delete_that_finds_nothing_has_nothing_to_do(either, north):
    path = f"/fhir/Observation?{CONDITION}"
    answer = either.client.send("DELETE", path, north)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not {"etag", "last-modified", "location"} & answer.headers.keys()
    assert either.client.send("DELETE", path, north, if_match='W/"1"').status_code == 412
    told = either.client.send("DELETE", path, north, prefer="return=OperationOutcome")
    assert told.json()["issue"][0]["diagnostics"] == "nothing was found to delete"
    patient = either.token("patient", user="ann", patient="ann")
    assert either.client.send("DELETE", path, patient).status_code == 403
    made = {"resource": tagged(either), "request": {"method": "POST", "url": "Observation"}}
    gone = {"request": {"method": "DELETE", "url": f"Observation?{CONDITION}"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [made, gone]}
    both = either.client.send("POST", "/fhir", north, bundle)
    assert [one["response"]["status"] for one in both.json()["entry"]] == ["201 Created", "204 No Content"]
    assert both.json()["entry"][1] == {"response": {"status": "204 No Content"}}
    assert total(either, north) == 1


CHAINED = "identifier=urn:example:order|A1&subject:Patient.identifier=urn:example:mrn|MRN-ann"


def test_a_condition_may_be_a_chain_over_what_the_caller_may_see(either, north):
    first = create(either, north, CHAINED)
    second = create(either, north, CHAINED)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.content == first.content
    reverse = "_has:Encounter:patient:status=finished&birthdate=1970"
    body = either.patient("ann", "Eve", "Featherstonehaugh")
    assert either.client.send("PUT", f"/fhir/Patient?{reverse}", north, body).status_code == 200
    other = {**tagged(either), "status": "amended", "id": first.json()["id"]}
    updated = either.client.send("PUT", f"/fhir/Observation?{CHAINED}", north, other)
    assert (updated.status_code, updated.json()["status"]) == (200, "amended")
    assert either.client.send("DELETE", f"/fhir/Observation?{CHAINED}", north).status_code == 204
    assert total(either, north) == 0


def test_what_is_hidden_at_the_far_end_decides_nothing(either, north):
    either.put(
        {**tagged(either), "id": "own", "subject": {"reference": "Patient/ann"},
         "performer": [{"reference": "Patient/bob"}]},
        "north", "ann",
    )  # fmt: skip
    hidden = "identifier=urn:example:order|A1&performer:Patient.identifier=urn:example:mrn|MRN-{}"
    assert create(either, north, hidden.format("bob")).status_code == 201
    assert create(either, north, hidden.format("nobody")).status_code == 201
    assert total(either, north) == 3


def test_equal_chained_conditions_at_once_create_one_resource(either, north):
    headers = {"content-type": "application/fhir+json", "if-none-exist": CHAINED}
    body = json.dumps(tagged(either))
    name = either.patient("ann", "Eve", "Other")
    change = ("PUT", "/fhir/Patient/ann", north, {"content-type": "application/fhir+json"}, json.dumps(name))
    asked = [("POST", "/fhir/Observation", north, headers, body)] * 8
    answers = either.client.gather_all(
        [change, *asked]
    )  # while it is written, the others gather to one group
    assert sorted(answer.status_code for answer in answers) == [200] * 8 + [201]
    assert total(either, north) == 1


UUID = "0b5fa2c1-9d3e-4f60-8a7b-1c2d3e4f5a6b"


@pytest.mark.parametrize(
    ("system", "value"),
    [
        (f"urn:uuid:{UUID.upper()}", "A1"),
        ("urn:ietf:rfc:3986", f"urn:uuid:{UUID.upper()}"),
        ("urn:ietf:rfc:3986", "URN:OID:2.999.1"),
    ],
)
def test_a_urn_of_a_uuid_or_an_oid_is_one_in_any_letter_case(either, north, system, value):
    sent = {**tagged(either), "identifier": [{"system": system, "value": value}]}
    lower = f"identifier={system}|{value}".replace(system, system.lower()).replace("URN:OID", "urn:oid")
    lower = lower.replace(UUID.upper(), UUID)
    first = either.client.send("POST", "/fhir/Observation", north, sent, if_none_exist=lower)
    assert first.json()["identifier"] == sent["identifier"]
    again = either.client.send(
        "POST", "/fhir/Observation", north, sent, if_none_exist=f"identifier={system}|{value}"
    )
    assert (first.status_code, again.status_code) == (201, 200)
    assert total(either, north, lower) == total(either, north, f"identifier={system}|{value}") == 1
    assert total(either, north, f"identifier={system}|{value}x") == 0
