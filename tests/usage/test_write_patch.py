"""PATCH over HTTP: JSON Patch and FHIRPath Patch, with If-Match and conditions (R4 http.html#patch)."""

from __future__ import annotations

import pytest

from hdg.fhir import json

JSON_PATCH = {"content-type": "application/json-patch+json"}
PATH = "/fhir/Observation/ann-0"


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def patch(either, token, operations, path=PATH, **headers):
    sent = {**JSON_PATCH, **{name.replace("_", "-"): value for name, value in headers.items()}}
    body = operations if isinstance(operations, bytes) else json.dumps(operations)
    return either.client.request("PATCH", path, token, sent, content=body)


def fhirpath(path, value):
    parts = [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": path},
        {"name": "value", **value},
    ]
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}


STATUS = [{"op": "replace", "path": "/status", "value": "amended"}]


def test_a_json_patch_makes_the_next_version_and_keeps_decimals_to_the_digit(either, north):
    body = b'[{"op":"replace","path":"/valueQuantity/value","value":1.50}]'
    answer = patch(either, north, body)
    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')
    assert b'"value":1.50' in answer.content
    assert either.client.get(PATH, north).content == answer.content


def test_a_fhirpath_patch_does_the_same(either, north):
    sent = fhirpath("Observation.status", {"valueCode": "amended"})
    answer = either.client.send("PATCH", PATH, north, sent)
    assert (answer.status_code, answer.json()["status"]) == (200, "amended")
    assert either.client.send("PATCH", PATH, north, {"resourceType": "Parameters", "x": 1}).status_code == 422
    assert either.client.send("PATCH", PATH, north, {"resourceType": "Patient"}).status_code == 400


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        ([{"op": "replace", "path": "/status", "value": "SECRET"}], 422),
        ([{"op": "test", "path": "/status", "value": "SECRET"}], 422),
        ([{"op": "remove", "path": "/SECRET"}], 422),
        ([{"op": "replace", "path": "", "value": "SECRET"}], 422),
        ([{"op": "replace", "path": "/id", "value": "SECRET"}], 400),
        ([{"op": "replace", "path": "/resourceType", "value": "Patient"}], 400),
        ([{"op": "replace", "path": "/subject/reference", "value": "Patient/bob"}], 422),
        ({"op": "remove"}, 400),
    ],
)
def test_a_patch_that_does_not_fit_or_makes_something_invalid_changes_nothing(
    either, north, operations, status
):
    answer = patch(either, north, operations)
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert "SECRET" not in answer.text
    assert either.client.get(PATH, north).headers["etag"] == 'W/"1"'


def test_if_match_holds_for_patches_and_of_many_at_once_none_is_lost(either, north):
    assert patch(either, north, STATUS, if_match='W/"2"').status_code == 412
    calls = []
    for number in range(6):
        body = json.dumps([{"op": "add", "path": "/category/-", "value": {"text": f"c{number}"}}])
        calls.append(("PATCH", PATH, north, JSON_PATCH, body))
    assert (
        patch(either, north, [{"op": "add", "path": "/category", "value": [{"text": "c"}]}]).status_code
        == 200
    )
    answers = either.client.gather_all(calls)
    assert {answer.status_code for answer in answers} == {200}
    assert len(either.client.get(PATH, north).json()["category"]) == 7


def test_a_patch_of_something_hidden_absent_or_another_s(either, north):
    hidden, absent = (patch(either, north, STATUS, f"/fhir/Observation/bob-{n}") for n in (0, 9))
    assert (hidden.status_code, hidden.content) == (absent.status_code, absent.content)
    assert hidden.status_code == 404
    either.grant("bob", "Organization/north")
    assert patch(either, north, STATUS, "/fhir/Observation/bob-0").status_code == 403


def test_a_conditional_patch_changes_one(either, north):
    assert patch(either, north, STATUS, "/fhir/Observation?code=718-7").status_code == 412
    assert patch(either, north, STATUS, "/fhir/Observation?date=2030").status_code == 404
    answer = patch(either, north, STATUS, "/fhir/Observation?date=2024-01-01")
    assert (answer.status_code, answer.json()["id"]) == (200, "ann-0")
