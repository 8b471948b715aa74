"""$validate: what the modes say under the caller's own view, and that nothing is stored.

R4 resource-operation-validate.html.
"""

from __future__ import annotations

import pytest

from hdg.fhir.profiles.loading import load_package
from hdg.fhir.profiles.shelf import FOLDER, Shelf
from hdg.fhir.validate import validate
from profile_packages import BASE, package, structure

LAB = structure("lab", "Observation", [("Observation.note", {"min": 1})])


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def load(world, *resources):
    path = world.settings.data / "package.tgz"
    path.write_bytes(package(resources))
    load_package(path, Shelf(world.settings.data / FOLDER))


def asked(world, token, path, resource=None, status=200, method="POST"):
    """(severity, code, expression) of the answer's issues."""
    answer = world.client.send(method, f"/fhir/{path}", token, resource)
    assert answer.status_code == status, answer.text
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert validate(outcome) == []
    return [(one["severity"], one["code"], *one.get("expression", [""])) for one in outcome["issue"]]


def parameters(resource=None, mode="", *profiles):
    parts = [] if resource is None else [{"name": "resource", "resource": resource}]
    parts += [{"name": "mode", "valueCode": mode}] if mode else []
    parts += [{"name": "profile", "valueUri": profile} for profile in profiles]
    return {"resourceType": "Parameters", "parameter": parts}


OK = [("information", "informational", "")]


def leaves(world):
    """Everything but audit entries: what a write would have added."""
    token = world.token("clinician", user="dr-north", institution="north")
    return world.client.get("/fhir/Observation?_count=100&_total=accurate", token).json()["total"]


def test_a_right_resource_is_all_ok_and_a_wrong_one_is_told_where(either, north):
    right = either.observation("x", "ann", "718-7", "2024-01-01")
    assert asked(either, north, "Observation/$validate", right) == OK
    assert asked(either, north, "Observation/$validate", parameters(right)) == OK
    wrong = {**right, "status": "odd", "colour": "red"}
    found = asked(either, north, "Observation/$validate", wrong)
    assert ("error", "code-invalid", "Observation.status") in found
    assert ("error", "structure", "Observation.colour") in found
    assert ("error", "invalid", "") in asked(either, north, "Patient/$validate", right)


def test_profiles_are_asked_as_soon_as_they_are_loaded(either, north):
    right = either.observation("x", "ann", "718-7", "2024-01-01")
    path = f"Observation/$validate?profile={BASE}lab"
    assert asked(either, north, path, right) == [("error", "not-found", "")]
    load(either, LAB)
    missing = [("error", "required", "Observation.note")]
    assert asked(either, north, path, right) == missing
    assert asked(either, north, "Observation/$validate", parameters(right, "", BASE + "lab")) == missing
    assert (
        asked(either, north, "Observation/$validate", {**right, "meta": {"profile": [BASE + "lab"]}})
        == missing
    )
    assert asked(either, north, path, {**right, "note": [{"text": "x"}]}) == OK
    Shelf(either.settings.data / FOLDER).remove("example.lab#1.0.0")
    assert asked(either, north, path, right) == [("error", "not-found", "")]


def test_claimed_profiles_can_be_left_unasked(make_world):
    world = make_world(validate_claimed_profiles=False)
    load(world, LAB)
    token = world.token("clinician", user="dr-north", institution="north")
    claimed = {**world.observation("x", "ann", "1", "2024"), "meta": {"profile": [BASE + "lab"]}}
    assert asked(world, token, "Observation/$validate", claimed) == OK


def test_a_stored_resource_is_checked_as_the_caller_may_read_it(either, north):
    load(either, LAB)
    south = either.token("clinician", user="dr-south", institution="south")
    assert asked(either, north, "Observation/ann-0/$validate", method="GET") == OK
    query = f"?profile={BASE}lab&mode=profile"
    assert asked(either, north, f"Observation/ann-0/$validate{query}", method="GET") == [
        ("error", "required", "Observation.note")
    ]
    assert asked(either, north, "Observation/ann-0/$validate", parameters(None, "profile", BASE + "lab")) == [
        ("error", "required", "Observation.note")
    ]
    hidden = either.client.get("/fhir/Observation/ann-0/$validate", south)
    absent = either.client.get("/fhir/Observation/nobody/$validate", south)
    assert (hidden.status_code, hidden.content) == (404, absent.content)


def test_create_says_whether_it_would_be_accepted(either, north):
    before = leaves(either)
    right = either.observation("x", "ann", "718-7", "2024-01-01")
    nameless = {key: value for key, value in right.items() if key != "id"}
    assert asked(either, north, "Observation/$validate?mode=create", nameless) == OK
    assert asked(either, north, "Observation/$validate", parameters(right, "create")) == [
        ("information", "informational", "Observation.id")
    ]
    nobody = {**nameless, "subject": {"reference": "Patient/nobody"}}
    assert asked(either, north, "Observation/$validate?mode=create", nobody) == [
        ("error", "business-rule", "")
    ]
    event = {
        "resourceType": "AuditEvent",
        "type": {"code": "x"},
        "recorded": "2024-01-01T00:00:00Z",
        "agent": [{"requestor": True}],
        "source": {"observer": {"display": "x"}},
    }
    assert asked(either, north, "AuditEvent/$validate?mode=create", event) == [("error", "forbidden", "")]
    assert leaves(either) == before


def test_update_has_the_answer_that_the_update_would_have(either, north):
    stored = either.observation("ann-0", "ann", "718-7", "2024-01-01")
    amended = {**stored, "status": "amended"}
    assert asked(either, north, "Observation/ann-0/$validate?mode=update", amended) == OK
    assert asked(either, north, "Observation/$validate?mode=update", amended) == OK
    assert asked(either, north, "Observation/ann-1/$validate?mode=update", amended) == [
        ("error", "invalid", "Observation.id")
    ]
    nameless = {key: value for key, value in amended.items() if key != "id"}
    assert asked(either, north, "Observation/$validate?mode=update", nameless) == [
        ("error", "required", "Observation.id")
    ]
    new = {**stored, "id": "chosen"}
    update = either.client.send("PUT", "/fhir/Observation/chosen", north, new)
    assert update.status_code == 405
    assert asked(either, north, "Observation/chosen/$validate?mode=update", new) == [
        ("error", "not-supported", "")
    ]
    assert either.client.get("/fhir/Observation/ann-0", north).json()["status"] == "final"


def test_delete_says_whether_it_would_be_done_and_does_not_do_it(either, north):
    assert asked(either, north, "Observation/ann-0/$validate?mode=delete", method="GET") == OK
    assert either.client.get("/fhir/Observation/ann-0", north).status_code == 200
    hidden = either.client.get("/fhir/Observation/bob-0/$validate?mode=delete", north)
    absent = either.client.get("/fhir/Observation/nobody/$validate?mode=delete", north)
    assert (hidden.status_code, hidden.content) == (404, absent.content)
    either.grant("bob", "Organization/north")
    assert either.client.get("/fhir/Observation/bob-0", north).status_code == 200
    path = "Observation/bob-0/$validate?mode=delete"
    assert asked(either, north, path, method="GET") == [("error", "forbidden", "")]


def test_every_validation_is_audited_before_it_is_answered(either, north):
    def audited():
        with either.store.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT count(*) FROM audit_event").scalar()

    before = audited()
    right = either.observation("x", "ann", "718-7", "2024-01-01")
    asked(either, north, "Observation/$validate", right)
    assert audited() == before + 1
    asked(either, north, "Observation/ann-0/$validate", method="GET")
    assert audited() == before + 2
    asked(either, north, "Observation/ann-0/$validate?mode=delete", method="GET")
    assert audited() == before + 3


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("Observation/$validate?mode=odd", {"resourceType": "Observation"}, 400),
        ("Observation/$validate?mode=profile", {"resourceType": "Observation"}, 400),
        ("Observation/$validate?mode=delete", {"resourceType": "Observation"}, 400),
        ("Observation/ann-0/$validate?mode=profile", parameters(), 400),
        ("Observation/$validate?strict=true", {"resourceType": "Observation"}, 400),
        ("Observation/$validate", parameters(), 400),
        ("Observation/$validate", {"resourceType": "Parameters", "parameter": [{"name": "x"}]}, 400),
        ("Observation/$validate", {"resourceType": "Parameters", "parameter": 1}, 400),
        ("Observation/$validate", {"resourceType": "Parameters", "parameter": [{"name": "mode"}]}, 400),
        ("Observation/$validate", [], 400),
        ("Nothing/$validate", {"resourceType": "Nothing"}, 404),
    ],
)
def test_what_cannot_be_understood_is_refused(world, path, body, status):
    token = world.token("clinician", user="dr-north", institution="north")
    assert world.client.send("POST", f"/fhir/{path}", token, body).status_code == status


@pytest.mark.parametrize(
    "body", [{}, {"resourceType": 1}, {"resourceType": "Observation", "id": 5, "code": []}]
)
def test_any_json_object_gets_an_outcome(world, body):
    token = world.token("clinician", user="dr-north", institution="north")
    for mode in ("", "?mode=create", "?mode=update"):
        found = asked(world, token, f"Observation/$validate{mode}", body)
        assert any(severity == "error" for severity, _, _ in found)


def test_a_parameters_resource_can_itself_be_validated(world):
    token = world.token("clinician", user="dr-north", institution="north")
    body = {"resourceType": "Parameters", "parameter": [{"name": "x", "valueString": "y"}]}
    assert asked(world, token, "Parameters/$validate", body) == OK
    assert asked(world, token, "Parameters/$validate", parameters(body)) == OK


def test_profiles_are_enforced_on_every_write_where_that_is_set(make_world):
    world = make_world(enforce_profiles=True)
    load(world, LAB)
    token = world.token("clinician", user="dr-north", institution="north")
    stored = world.observation("ann-0", "ann", "718-7", "2024-01-01")
    claimed = {**stored, "status": "amended", "meta": {"profile": [BASE + "lab"]}}
    noted = {**claimed, "note": [{"text": "x"}]}
    missing = [("error", "required", "Observation.note")]
    assert asked(world, token, "Observation/ann-0", claimed, 422, "PUT") == missing
    assert asked(world, token, "Observation", claimed, 422) == missing
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": claimed, "request": {"method": "PUT", "url": "Observation/ann-0"}}],
    }
    assert world.client.send("POST", "/fhir", token, bundle).status_code == 422
    patch = [{"op": "add", "path": "/meta/profile", "value": [BASE + "lab"]}]
    patched = world.client.send(
        "PATCH", "/fhir/Observation/ann-0", token, patch, content_type="application/json-patch+json"
    )
    assert patched.status_code == 422
    assert world.client.get("/fhir/Observation/ann-0", token).json()["status"] == "final"
    assert world.client.send("PUT", "/fhir/Observation/ann-0", token, noted).status_code == 200
    assert (
        world.client.send("PUT", "/fhir/Observation/ann-1", token, {**stored, "id": "ann-1"}).status_code
        == 200
    )


def test_profiles_are_not_enforced_as_shipped(world):
    load(world, LAB)
    token = world.token("clinician", user="dr-north", institution="north")
    claimed = world.observation("ann-0", "ann", "718-7", "2024-01-02") | {"meta": {"profile": [BASE + "lab"]}}
    assert world.client.send("PUT", "/fhir/Observation/ann-0", token, claimed).status_code == 200
