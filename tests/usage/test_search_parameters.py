"""Search parameters beside R4's own, over the FHIR API: defined, filled, searched by, changed, gone; both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from hdg.fhir import json
from hdg.management.store.custom_fill import Filler
from hdg.management.store.custom_register import current_set
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher

EYES = "http://example.org/eyes"
URL = "http://example.org/SearchParameter/"


def parameter(id_="eyes", code="eyes", type_="token", expression="", base=("Patient",), **more):
    return {
        "resourceType": "SearchParameter",
        "id": id_,
        "url": URL + id_,
        "name": "Eyes",
        "status": "active",
        "description": "x",
        "code": code,
        "base": list(base),
        "type": type_,
        "expression": expression or f"Patient.extension('{EYES}').value.as(Coding)",
        **more,
    }


def eyes(world, id_, colour, institution="north"):
    patient = world.patient(id_, "Eve", "Muster")
    patient["extension"] = [{"url": EYES, "valueCoding": {"system": "urn:eyes", "code": colour}}]
    world.put(patient, institution, id_)


@pytest.fixture
def operator(either):
    return either.token("operator", user="root", purpose="HSYSADMIN")


@pytest.fixture
def clinician(either):
    return either.token("clinician", institution="north", purpose="TREAT")


def fill(world, steps=1000):
    filler = Filler(world.store, hasher(index_key(world.keys.root)), batch=2, lease_us=0)
    for _ in range(steps):
        if not filler.step():
            return


def define(world, operator, content=None, status=201, **more):
    content = content or parameter(**more)
    answer = world.client.send("PUT", f"/fhir/SearchParameter/{content['id']}", operator, content)
    assert answer.status_code == status, answer.text
    return answer.json()


def ids(world, token, query, status=200):
    answer = world.client.get(f"/fhir/{query}", token)
    assert answer.status_code == status, answer.text
    if status != 200:
        return answer.json()["issue"][0]["diagnostics"]
    found = [entry["resource"]["id"] for entry in answer.json().get("entry", ())]
    assert len(found) == len(set(found))
    return sorted(found)


def test_it_is_searched_by_once_what_was_there_is_indexed(either, operator, clinician) -> None:
    for number in range(5):
        eyes(either, f"p{number}", "blue" if number % 2 else "brown")
    assert "not supported" in ids(either, clinician, "Patient?eyes=blue", 400)
    define(either, operator)
    eyes(either, "new", "blue")
    assert "not complete yet: 0 %" in ids(either, clinician, "Patient?eyes=blue", 400)
    fill(either, 2)
    assert "not complete yet: " in ids(either, clinician, "Patient?eyes=blue", 400)
    fill(either)
    assert ids(either, clinician, "Patient?eyes=blue") == ["new", "p1", "p3"]
    assert ids(either, clinician, "Patient?eyes=urn:eyes|blue&_count=1&_sort=_id")
    assert ids(either, clinician, "Patient?eyes:not=blue") == ["ann", "p0", "p2", "p4"]
    assert ids(either, clinician, "Patient?eyes:missing=true") == ["ann"]
    eyes(either, "p1", "green")
    assert ids(either, clinician, "Patient?eyes=blue") == ["new", "p3"]


def test_the_capability_statement_names_it_once_it_is_complete(either, operator) -> None:
    def stated():
        (rest,) = either.client.get("/fhir/metadata").json()["rest"]
        resources = {each["type"]: each for each in rest["resource"]}
        return [entry for entry in resources["Patient"]["searchParam"] if entry["name"] == "eyes"], resources

    define(either, operator)
    define(
        either,
        operator,
        parameter("gp", "gp", "reference", "Patient.generalPractitioner", target=["Organization"]),
    )
    assert stated()[0] == []
    fill(either)
    (entry,), resources = stated()
    assert (entry["type"], entry["definition"]) == ("token", URL + "eyes")
    assert "Patient:gp" in resources["Patient"]["searchInclude"]
    assert "Patient:gp" in resources["Organization"]["searchRevInclude"]
    assert either.client.send("DELETE", "/fhir/SearchParameter/eyes", operator).status_code == 204
    assert stated()[0] == []


def refused(world, token, content):
    answer = world.client.send("PUT", f"/fhir/SearchParameter/{content['id']}", token, content)
    issue = answer.json()["issue"][0]
    return answer.status_code, issue["code"], issue.get("expression", [""])[0], issue["diagnostics"]


@pytest.mark.parametrize(
    ("changes", "code", "place", "told"),
    [
        ({"code": "gender"}, "duplicate", "code", "R4 itself defines this code for Patient"),
        ({"code": "a.b"}, "not-supported", "code", "letters"),
        ({"code": "_eyes"}, "not-supported", "code", "letters"),
        ({"expression": "Patient.colour"}, "not-supported", "expression", "Patient has no element 'colour'"),
        (
            {"expression": "Patient.name.repeat(x)"},
            "not-supported",
            "expression",
            "repeat() is not supported",
        ),
        ({"expression": "Patient.birthDate"}, "not-supported", "expression", "it yields date"),
        ({"expression": "Patient."}, "not-supported", "expression", "a name is missing"),
        ({"type": "special"}, "not-supported", "type", "special cannot be indexed"),
        ({"xpathUsage": "phonetic"}, "not-supported", "xpathUsage", "only what the expression says"),
        ({"type": "composite", "component": []}, "required", "component", "two components"),
    ],
)
def test_what_cannot_be_indexed_is_refused_with_its_place(world, changes, code, place, told) -> None:
    token = world.token("operator", user="root", purpose="HSYSADMIN")
    content = {key: value for key, value in (parameter() | changes).items() if value != []}
    status, found, where, diagnostics = refused(world, token, content)
    assert (status, found, where) == (422, code, f"SearchParameter.{place}")
    assert told in diagnostics
    assert world.client.get("/fhir/SearchParameter/eyes", token).status_code == 404


def test_r4s_own_parameter_under_another_url_changes_nothing(world) -> None:
    token = world.token("operator", user="root", purpose="HSYSADMIN")
    own = "http://hl7.org/fhir/SearchParameter/individual-gender"
    define(world, token, parameter("us", "gender", expression="Patient.gender", derivedFrom=own))
    with world.store.engine.connect() as connection:
        assert current_set(connection).parameters == ()


def test_two_cannot_have_the_same_code_or_url(either, operator) -> None:
    define(either, operator)
    same_code = parameter("other")
    assert refused(either, operator, same_code)[:3] == (422, "duplicate", "SearchParameter.code")
    same_url = parameter("other", "other") | {"url": URL + "eyes"}
    assert refused(either, operator, same_url)[:3] == (422, "duplicate", "SearchParameter.url")
    elsewhere = parameter("other", expression="Practitioner.active", base=("Practitioner",))
    define(either, operator, elsewhere)
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "request": {"method": "PUT", "url": f"SearchParameter/{name}"},
                "resource": parameter(name, "nails"),
            }
            for name in ("one", "two")
        ],
    }
    answer = either.client.send("POST", "/fhir", operator, bundle)
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["code"] == "duplicate"
    moved = [parameter("eyes", "iris"), parameter("third", "eyes")]
    bundle["entry"] = [
        {"request": {"method": "PUT", "url": f"SearchParameter/{one['id']}"}, "resource": one}
        for one in moved
    ]
    assert either.client.send("POST", "/fhir", operator, bundle).status_code == 200


def test_many_at_once_end_with_one_of_them(either, operator) -> None:
    requests = [
        (
            "PUT",
            f"/fhir/SearchParameter/p{number}",
            operator,
            {"content-type": "application/fhir+json"},
            json.dumps(parameter(f"p{number}")),
        )
        for number in range(8)
    ]
    statuses = sorted(answer.status_code for answer in either.client.gather_all(requests))
    assert statuses == [201, *[422] * 7]


def test_only_an_operator_writes_them_and_an_operator_nothing_else(world) -> None:
    clinician = world.token("clinician", institution="north", purpose="TREAT")
    patient = world.token("patient", patient="ann", purpose="PATRQT")
    operator = world.token("operator", user="root", purpose="HSYSADMIN")
    elsewhere = world.token("operator", user="root", purpose="TREAT")
    for token in (clinician, patient, elsewhere):
        answer = world.client.send("PUT", "/fhir/SearchParameter/eyes", token, parameter())
        assert answer.status_code == 403
        answer = world.client.send("POST", "/fhir/SearchParameter", token, parameter())
        assert answer.status_code == 403
    for path in ("Patient/ann", "Observation/ann-0", "SearchParameter/ann"):
        assert world.client.get(f"/fhir/{path}", operator).status_code == 404
    for type_ in ("Patient", "Observation", "Practitioner"):
        assert world.client.get(f"/fhir/{type_}", operator).json()["total"] == 0
    answer = world.client.send("PUT", "/fhir/Patient/x", operator, world.patient("x", "A", "B"))
    assert answer.status_code == 403
    define(world, operator)
    assert world.client.get("/fhir/SearchParameter?code=eyes", operator).json()["total"] == 1
    assert world.client.get("/fhir/SearchParameter/eyes", elsewhere).status_code == 404


def test_a_changed_definition_is_filled_anew_and_a_retired_one_is_gone(either, operator, clinician) -> None:
    eyes(either, "p1", "blue")
    define(either, operator)
    fill(either)
    assert ids(either, clinician, "Patient?eyes=blue") == ["p1"]
    define(either, operator, parameter(description="other words"), 200)
    assert ids(either, clinician, "Patient?eyes=blue") == ["p1"]
    define(either, operator, parameter(expression="Patient.name.family.first()"), 200)
    assert "not complete yet" in ids(either, clinician, "Patient?eyes=Muster", 400)
    fill(either)
    assert ids(either, clinician, "Patient?eyes=Muster") == ["p1"]
    assert ids(either, clinician, "Patient?eyes=blue") == []
    define(either, operator, parameter(status="retired"), 200)
    assert "not supported" in ids(either, clinician, "Patient?eyes=Muster", 400)
    fill(either)
    with either.store.engine.connect() as connection:
        assert (
            connection.execute(text(f"SELECT count(*) FROM idx_token WHERE param >= {1 << 31}")).scalar() == 0
        )
        assert connection.execute(text("SELECT count(*) FROM search_parameter")).scalar() == 0
    define(either, operator, parameter(status="draft"), 200)
    assert "not supported" in ids(either, clinician, "Patient?eyes=blue", 400)


def test_a_condition_finds_by_it_what_the_same_moment_writes(either, operator, clinician) -> None:
    define(either, operator, parameter("nick", "nick", "string", "Patient.name.given.first()"))
    content = json.dumps(either.patient("x", "Only", "One") | {"id": "ignored"})
    headers = {"content-type": "application/fhir+json", "if-none-exist": "nick=only"}
    request = ("POST", "/fhir/Patient", clinician, headers, content)
    assert either.client.gather_all([request])[0].status_code == 400  # not complete yet
    fill(either)
    statuses = sorted(answer.status_code for answer in either.client.gather_all([request] * 8))
    assert statuses == [*[200] * 7, 201]


def test_a_subscription_cannot_ask_by_it(world) -> None:
    define(world, world.token("operator", user="root", purpose="HSYSADMIN"))
    fill(world)
    asked = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "x",
        "criteria": "Patient?eyes=blue",
        "channel": {"type": "websocket"},
    }
    token = world.token("clinician", institution="north", purpose="TREAT")
    answer = world.client.send("POST", "/fhir/Subscription", token, asked)
    assert answer.status_code == 400
    assert "not supported" in answer.json()["issue"][0]["diagnostics"]
