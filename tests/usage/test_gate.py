"""The gate: hidden looks like absent, and nothing leaves without its audit (DESIGN §1, §6)."""

from __future__ import annotations

import pytest

from hdg.fhir import json

HIDDEN_AND_ABSENT = [
    ("/fhir/Patient/{}", "bob", "nobody"),
    ("/fhir/Patient/{}/_history/1", "bob", "nobody"),
    ("/fhir/Observation/{}", "bob-0", "bob-9"),
    ("/fhir/Observation/{}/_history/1", "bob-0", "bob-9"),
    ("/fhir/Patient/{}/_history", "bob", "nobody"),
    ("/ledger/proof?type=Patient&id={}", "bob", "nobody"),
]


def same(one, other):
    return (one.status_code, one.content, one.headers) == (other.status_code, other.content, other.headers)


@pytest.mark.parametrize(("path", "hidden", "absent"), HIDDEN_AND_ABSENT)
def test_hidden_and_absent_are_the_same_bytes_and_headers(world, path, hidden, absent):
    token = world.token("clinician", institution="east")
    answers = [world.client.get(path.format(id_), token) for id_ in (hidden, absent)]
    assert same(*answers)
    assert answers[0].status_code == 404


def test_a_search_counts_and_lists_nothing_that_is_hidden(world):
    token = world.token("clinician", institution="east")
    for query in ("", "?_count=0", "?subject=Patient/bob", "?code=718-7", "?_id=bob-0", "?date=2024-01-01"):
        bundle = world.client.get("/fhir/Observation" + query, token).json()
        assert bundle["total"] == 0
        assert "entry" not in bundle
        assert [link["relation"] for link in bundle["link"]] == ["self"]


def test_a_search_answers_the_same_bytes_with_the_hidden_resource_present_and_deleted(world):
    token = world.token("clinician", institution="north")
    path = "/fhir/Observation?code=718-7&_count=2"
    before = world.client.get(path, token)
    world.delete("Observation", "bob-1", "south")
    assert same(before, world.client.get(path, token))
    assert before.json()["total"] == 3


def test_a_deleted_resource_is_gone_for_its_readers_and_absent_for_others(world):
    world.delete("Observation", "ann-0", "north")
    path = "/fhir/Observation/ann-0"
    assert world.client.get(path, world.token("clinician", institution="north")).status_code == 410
    hidden = world.client.get(path, world.token("clinician", institution="east"))
    absent = world.client.get("/fhir/Observation/ann-9", world.token("clinician", institution="east"))
    assert same(hidden, absent)


def test_a_grant_shows_and_a_revoke_hides(world):
    token = world.token("clinician", user="dr-east", institution="east")
    path = "/fhir/Patient/ann"
    assert world.client.get(path, token).status_code == 404
    consent = world.grant("ann", "Organization/east")
    assert world.client.get(path, token).status_code == 200
    assert world.client.get("/fhir/Observation?code=718-7", token).json()["total"] == 3
    assert world.client.get("/fhir/Patient/bob", token).status_code == 404
    world.revoke(consent)
    assert world.client.get(path, token).status_code == 404
    assert world.client.get("/fhir/Observation?code=718-7", token).json()["total"] == 0


def test_a_grant_to_one_practitioner_for_one_type_and_purpose_goes_no_further(world):
    world.grant("ann", "Practitioner/dr-east", types=("Observation",))
    granted = world.token("clinician", user="dr-east", institution="east")
    assert world.client.get("/fhir/Observation/ann-0", granted).status_code == 200
    assert world.client.get("/fhir/Patient/ann", granted).status_code == 404
    for other in (
        world.token("clinician", user="dr-west", institution="east"),
        world.token("clinician", user="dr-east", institution="east", purpose="HMARKT"),
    ):
        assert world.client.get("/fhir/Observation/ann-0", other).status_code == 404


def test_a_grant_ends_with_its_period_for_a_caller_who_was_let_in_before(world):
    world.grant("ann", "Organization/east", hours=2)
    token = world.token("clinician", institution="east")
    assert world.client.get("/fhir/Patient/ann", token).status_code == 200
    assert world.client.get("/fhir/Observation", token).json()["total"] == 3
    world.now_us += 3 * 3_600_000_000
    assert world.client.get("/fhir/Patient/ann", token).status_code == 404
    assert world.client.get("/fhir/Observation", token).json()["total"] == 0


def test_a_token_ends_with_its_time(world):
    token = world.token("clinician", institution="north")
    assert world.client.get("/fhir/Patient/ann", token).status_code == 200
    world.now_us += 25 * 3_600_000_000
    assert world.client.get("/fhir/Patient/ann", token).status_code == 401


def test_a_patient_sees_their_own_record_and_no_other(world):
    token = world.token("patient", user="ann", patient="ann", purpose="PATRQT")
    assert world.client.get("/fhir/Patient/ann", token).status_code == 200
    assert world.client.get("/fhir/Observation", token).json()["total"] == 3
    assert world.client.get("/fhir/Patient/bob", token).status_code == 404
    assert world.client.get("/fhir/Observation?subject=Patient/bob", token).json()["total"] == 0


def test_an_institution_sees_what_it_sent(world):
    token = world.token("clinician", institution="south")
    assert world.client.get("/fhir/Patient/bob", token).status_code == 200
    assert world.client.get("/fhir/Patient/ann", token).status_code == 404


@pytest.mark.parametrize("role", ["researcher", "operator"])
def test_researchers_and_operators_see_nothing_clinical(world, role):
    world.grant("ann", "Organization/north")
    token = world.token(role, institution="north", project="p1")
    for path in ("/fhir/Patient/ann", "/fhir/Observation/ann-0"):
        assert world.client.get(path, token).status_code in (403, 404)
    answer = world.client.get("/fhir/Observation", token)
    assert answer.status_code == 403 or answer.json()["total"] == 0


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer x.y.z", "Basic dTpw", "Bearer é", "bearer " + "A" * 5000],
)
def test_without_a_valid_token_the_answer_is_401_with_a_challenge(world, header):
    headers = {} if header is None else {b"authorization": header.encode()}
    for path in ("/fhir/Patient/ann", "/fhir/Patient", "/fhir/Nonsense", "/ledger/proof?type=Patient&id=ann"):
        answer = world.client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["issue"][0]["code"] == "login"


def test_a_read_returns_exactly_the_stored_bytes(world):
    resource = json.loads(
        '{"resourceType":"Observation","id":"exact","status":"final","code":{"text":"é \\u00e9"},'
        '"subject":{"reference":"Patient/ann"},"valueQuantity":{"value":1.50},'
        '"referenceRange":[{"low":{"value":1E+3}}]}'
    )
    world.put(resource, "north", "ann")
    token = world.token("clinician", institution="north")
    answer = world.client.get("/fhir/Observation/exact", token)
    assert b'"value":1.50' in answer.content
    assert b'"value":1E+3' in answer.content
    bundle = world.client.get("/fhir/Observation?_id=exact", token)
    assert answer.content in bundle.content
