"""create, update, delete over HTTP, on both databases (R4 http.html#create, #update, #delete)."""

from __future__ import annotations

import pytest

from hdg.fhir import json
from hdg.fhir.validate import validate

OBSERVATIONS = "/fhir/Observation"


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


@pytest.fixture
def south(either):
    return either.token("clinician", user="dr-south", institution="south")


def new(either, patient="ann", **more):
    made = either.observation("x", patient, "718-7", "2024-05-05")
    del made["id"]
    return {**made, **more}


def codes(answer):
    assert validate(answer.json()) == []
    return [issue["code"] for issue in answer.json()["issue"]]


def test_a_create_answers_201_with_place_version_time_and_the_stored_resource(either, north):
    answer = either.client.send("POST", OBSERVATIONS, north, new(either, valueQuantity={"value": 1}))
    assert answer.status_code == 201
    stored = answer.json()
    assert answer.headers["location"] == f"https://gateway.example/fhir/Observation/{stored['id']}/_history/1"
    assert answer.headers["etag"] == 'W/"1"'
    assert stored["meta"]["versionId"] == "1"
    read = either.client.get(f"{OBSERVATIONS}/{stored['id']}", north)
    assert read.content == answer.content
    assert read.headers["last-modified"] == answer.headers["last-modified"]


def test_the_server_chooses_the_id_of_a_create_and_its_meta(either, north):
    sent = new(either, id="mine", meta={"versionId": "7", "lastUpdated": "2001-01-01T00:00:00Z"})
    stored = either.client.send("POST", OBSERVATIONS, north, sent).json()
    assert stored["id"] != "mine"
    assert stored["meta"]["versionId"] == "1"
    assert not stored["meta"]["lastUpdated"].startswith("2001")


def test_decimals_are_stored_to_the_digit(either, north):
    sent = json.dumps(new(either)).replace(b'"value":5', b'"value":1.50')
    answer = either.client.request(
        "POST", OBSERVATIONS, north, {"content-type": "application/json"}, content=sent
    )
    assert answer.status_code == 201
    assert b'"value":1.50' in answer.content


def test_an_update_makes_the_next_version_and_the_same_again_none(either, north):
    sent = either.observation("ann-0", "ann", "1234-5", "2024-06-06")
    first = either.client.send("PUT", f"{OBSERVATIONS}/ann-0", north, sent)
    assert (first.status_code, first.headers["etag"]) == (200, 'W/"2"')
    again = either.client.send("PUT", f"{OBSERVATIONS}/ann-0", north, sent)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["last-modified"] == first.headers["last-modified"]
    history = either.client.get(f"{OBSERVATIONS}/ann-0/_history", north).json()
    assert history["total"] == 2


def test_a_write_is_found_by_searches_at_once_and_no_longer_by_its_old_values(either, north):
    sent = either.observation("ann-0", "ann", "1234-5", "2024-06-06")
    either.client.send("PUT", f"{OBSERVATIONS}/ann-0", north, sent)
    assert either.client.get(f"{OBSERVATIONS}?code=1234-5", north).json()["total"] == 1
    assert either.client.get(f"{OBSERVATIONS}?code=718-7", north).json()["total"] == 2


def test_if_match_lets_only_the_current_version_be_changed(either, north):
    sent = either.observation("ann-0", "ann", "1234-5", "2024-06-06")
    path = f"{OBSERVATIONS}/ann-0"
    assert either.client.send("PUT", path, north, sent, if_match='W/"2"').status_code == 412
    assert either.client.send("DELETE", path, north, if_match='W/"2"').status_code == 412
    assert either.client.send("PUT", path, north, sent, if_match="1").status_code == 400
    assert either.client.send("PUT", path, north, sent, if_match='W/"1"').status_code == 200
    assert either.client.send("DELETE", path, north, if_match='W/"2"').status_code == 204


def test_of_concurrent_updates_of_one_version_one_wins_and_none_is_lost(either, north):
    bodies = [
        json.dumps(either.observation("ann-0", "ann", f"code-{number}", "2024-06-06")) for number in range(8)
    ]
    headers = {"content-type": "application/fhir+json", "if-match": 'W/"1"'}
    answers = either.client.gather_all(
        ("PUT", f"{OBSERVATIONS}/ann-0", north, headers, body) for body in bodies
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    (winner,) = (answer for answer in answers if answer.status_code == 200)
    assert either.client.get(f"{OBSERVATIONS}/ann-0", north).content == winner.content


def test_an_update_creates_under_an_id_of_the_own_institution_only(either, north, south):
    path = f"{OBSERVATIONS}/north.lab-1"
    sent = either.observation("north.lab-1", "ann", "718-7", "2024-06-06")
    assert either.client.send("PUT", path, south, sent).status_code == 405
    created = either.client.send("PUT", path, north, sent)
    assert (created.status_code, created.headers["etag"]) == (201, 'W/"1"')
    for name in ("lab-1", "south.lab-1", "north.a.b", "north.", ".x"):
        other = {**sent, "id": name}
        assert either.client.send("PUT", f"{OBSERVATIONS}/{name}", north, other).status_code == 405, name


def test_if_none_match_star_only_creates(either, north):
    sent = either.observation("north.a", "ann", "718-7", "2024-06-06")
    path = f"{OBSERVATIONS}/north.a"
    assert either.client.send("PUT", path, north, sent, if_none_match="*").status_code == 201
    assert either.client.send("PUT", path, north, sent, if_none_match="*").status_code == 412
    assert either.client.send("PUT", path, north, sent, if_none_match='W/"1"').status_code == 400


def test_a_delete_makes_a_version_and_is_the_same_when_repeated(either, north):
    path = f"{OBSERVATIONS}/ann-0"
    deleted = either.client.send("DELETE", path, north)
    assert (deleted.status_code, deleted.content, deleted.headers["etag"]) == (204, b"", 'W/"2"')
    assert either.client.get(path, north).status_code == 410
    again = either.client.send("DELETE", path, north)
    assert (again.status_code, again.headers["etag"]) == (204, 'W/"2"')
    assert either.client.get(f"{OBSERVATIONS}?code=718-7", north).json()["total"] == 2


def test_an_update_brings_a_deleted_resource_back(either, north):
    path = f"{OBSERVATIONS}/ann-0"
    either.client.send("DELETE", path, north)
    back = either.client.send(
        "PUT", path, north, either.observation("ann-0", "ann", "718-7", "2024-01-01"), if_match='W/"2"'
    )
    assert (back.status_code, back.headers["etag"]) == (201, 'W/"3"')
    assert either.client.get(path, north).content == back.content


@pytest.mark.parametrize(
    ("preferred", "kind"),
    [
        ("return=minimal", None),
        ("return=representation", "Observation"),
        ("return=OperationOutcome", "OperationOutcome"),
        ('handling=lenient, return="minimal"', None),
        ("return=everything", "Observation"),
    ],
)
def test_prefer_decides_what_a_write_answers(either, north, preferred, kind):
    answer = either.client.send("POST", OBSERVATIONS, north, new(either), prefer=preferred)
    assert answer.status_code == 201
    assert answer.headers["location"]
    assert (answer.json()["resourceType"] if answer.content else None) == kind


@pytest.mark.parametrize(
    ("body", "status", "expressions"),
    [
        ({"resourceType": "Observation", "status": "nonsense-SECRET"}, 422, True),
        ({"resourceType": "Observation", "colour": "SECRET"}, 422, True),
        ({"resourceType": "Patient"}, 400, False),
        ([], 400, False),
        ("SECRET", 400, False),
    ],
)
def test_what_is_not_valid_is_refused_with_places_and_without_values(
    either, north, body, status, expressions
):
    answer = either.client.send("POST", OBSERVATIONS, north, body)
    assert answer.status_code == status
    assert codes(answer)
    assert "SECRET" not in answer.text
    if expressions:
        assert all(issue["expression"][0].startswith("Observation") for issue in answer.json()["issue"])


def test_a_body_that_cannot_be_read_is_refused(either, north):
    def post(content, kind="application/fhir+json", **more):
        headers = {"content-type": kind, **more}
        return either.client.request("POST", OBSERVATIONS, north, headers, content=content).status_code

    assert post(b"{") == 400
    assert post(b'{"resourceType":"Observation","resourceType":"Observation"}') == 400
    assert post(b"{}", "text/turtle") == 415
    assert post(b"{}", **{"content-encoding": "br"}) == 415
    assert post(b"x" * (either.settings.ingest_max_bytes + 1)) == 413


def test_the_id_of_a_put_is_that_of_its_url(either, north):
    sent = either.observation("ann-1", "ann", "718-7", "2024-01-01")
    assert either.client.send("PUT", f"{OBSERVATIONS}/ann-0", north, sent).status_code == 400
    del sent["id"]
    assert either.client.send("PUT", f"{OBSERVATIONS}/ann-0", north, sent).status_code == 400
    assert either.client.send("PUT", f"{OBSERVATIONS}/ann-0?x=y", north, sent).status_code == 400
