"""What fuzzing the FHIR API found (bench/fuzz_fhir.py), each as a case; and some of it in every run of the suite.

schemathesis asks what the OpenAPI description lets it ask, and holds the answers against that description.
"""

from __future__ import annotations

import json

import pytest
import schemathesis
from hypothesis import given

from bench import fuzz_fhir
from bench.fhir_requests import Ask
from bench.fhir_words import CANARY, stored
from bench.fuzz_fhir import Answer, Target, judge
from hdg import device_api, imaging_api
from hdg.devices import Devices
from hdg.fhir.validate import validate
from hdg.imaging import Imaging
from hdg.usage.fhir_api.openapi import openapi
from tests.described_bodies import CHECKS, asking


@pytest.fixture
def target(either):
    for resource in stored():
        either.put(resource, *fuzz_fhir.own_place(resource["id"]))
    who = {
        "clinician": {"institution": "north"},
        "patient": {"patient": "ann"},
        "operator": {"institution": "north"},
        "researcher": {"project": fuzz_fhir.PROJECT},
    }
    return Target(either.app, {role: either.token(role, **rest) for role, rest in who.items()})


def test_requests_that_no_client_would_send_are_answered_as_requests(target):
    findings, statuses = fuzz_fhir.run(target, 11, requests=400)
    assert [str(finding) for finding in findings] == []
    assert statuses.total() == 400
    assert {200, 400, 404, 422} <= statuses.keys()


@pytest.mark.parametrize(("role", "examples"), [("clinician", 5), ("researcher", 2), ("patient", 2)])
def test_every_operation_of_the_description_answers_as_it_says(world, role, examples):
    device_api.mount(world.app, world.gate, world.gateway, Devices(world.gateway))
    imaging_api.mount(world.app, world.gate, Imaging(world.gateway))
    institution = "north" if role == "clinician" else ""
    token = world.token(
        role,
        institution=institution,
        patient="ann" * (role == "patient"),
        project="p1" * (role == "researcher"),
    )
    headers = {"authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", world.app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 40
    for operation in operations:

        @given(case=operation.as_strategy())
        @asking(examples)
        def asked(case):
            case.call_and_validate(headers=headers, checks=CHECKS)

        asked()


def test_statuses_that_chance_does_not_meet_are_described(world):
    described = openapi()["paths"]
    token = world.token("clinician", institution="north")
    researcher = world.token("researcher", project="p1")
    letter = {
        "resourceType": "Composition",
        "id": "letter",
        "status": "final",
        "type": {"text": "x"},
        "date": "2024",
    }
    more = {"author": [{"display": "x"}], "title": "x", "subject": {"reference": "Patient/ann"}}
    world.put(letter | more, "north", "ann")
    world.delete("Composition", "letter", "north")
    world.put(world.patient("gone", "A", "B"), "north", "gone")
    world.delete("Patient", "gone", "north")
    nothing = {"resourceType": "Parameters"}

    def asked(method, template, status, who=token, content=None, headers=None, **rest):
        path = template
        for name, value in {"id": "gone", "type": "Patient", "version": "2", **rest}.items():
            path = path.replace("{" + name + "}", value)
        answer = world.client.send(method.upper(), path, who, content, **headers or {})
        assert answer.status_code == status, (method, template, answer.text)
        assert str(status) in described[template][method]["responses"], (method, template)

    one = "/fhir/{type}/{id}"
    for tail in ("", "/_history/{version}", "/$everything", "/$meta", "/$validate", "/$ccd"):
        asked("get", one + tail, 410)
    asked("get", one + "/$document", 410, type="Composition", id="letter")
    asked("post", one + "/$document", 410, type="Composition", id="letter", content=nothing)
    asked("post", one + "/$everything", 410, content=nothing)
    asked("get", one, 304, id="ann", headers={"if_none_match": 'W/"1"'})
    asked("put", one, 405, id="new", content={"resourceType": "Patient", "id": "new"})
    for tail in ("/_history", "/_history/{version}", "/$ccd", "/$document"):
        asked("get", one + tail, 403, researcher, type="Composition" if "doc" in tail else "Patient")
    for template in ("/fhir/_history", "/fhir/{type}/_history"):
        asked("get", template, 403, researcher)


def test_a_format_asked_for_in_an_entry_does_not_break_the_answer(world):
    token = world.token("clinician", institution="north")
    urls = [
        "Patient/ann?_format=xml",
        "Observation?_format=xml&x=y",
        "Patient/ann?%5fformat=xml&_pretty=true",
    ]
    for kind in ("batch", "transaction"):
        entry = [{"request": {"method": "GET", "url": url}} for url in urls]
        bundle = {"resourceType": "Bundle", "type": kind, "entry": entry}
        answer = world.client.send("POST", "/fhir", token, bundle)
        assert validate(answer.json()) == []
        assert [one["response"]["status"][:3] for one in answer.json()["entry"]] == ["200", "400", "200"]


def test_a_transaction_writes_no_place_that_is_no_type(world):
    token = world.token("clinician", institution="north")
    for url in ("_history?category=x", "$meta?x=y", "metadata/ann"):
        entry = [{"request": {"method": "DELETE", "url": url}}]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entry}
        answer = world.client.send("POST", "/fhir", token, bundle)
        assert answer.status_code == 400
        assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[0].request.url"]


@pytest.mark.parametrize(
    "parameter",
    [None, "x", [None], ["x"], [{"name": 1, "valueString": "x"}], [{"name": "max", "valueString": {}}],
     [{"name": "code", "valueString": "a\x00b"}]],
)  # fmt: skip
def test_an_operation_refuses_parameters_that_are_none(either, parameter):
    token = either.token("clinician", institution="north")
    for place in ("Patient/ann/$everything", "Observation/$lastn", "Observation/ann-0/$meta-add"):
        body = {"resourceType": "Parameters", "parameter": parameter}
        answer = either.client.send("POST", f"/fhir/{place}", token, body)
        assert answer.status_code == 400, (place, answer.text)


def test_a_query_that_is_no_text_is_refused_in_either_format(world):
    token = world.token("clinician", institution="north")
    for query in ("_format=xml&name=%ff", "name=%ff", "_format=xml&name=%00"):
        assert world.client.get(f"/fhir/Patient?{query}", token).status_code == 400


def test_an_unknown_element_is_named_only_if_it_has_the_name_of_an_element():
    found = validate({"resourceType": "Basic", "code": {"text": "x"}, "colour": 1, "John Doe 1970": 2})
    assert [issue.place for issue in found] == ["Basic.colour", "Basic"]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Answer(500), "status 500"),
        (Answer(200, {}, b'{"resourceType":"Patient","gender":"x"}'), "not valid"),
        (Answer(200, {}, b"{"), "cannot be read"),
        (Answer(400, {}, b'{"resourceType":"Patient"}'), "no OperationOutcome"),
        (Answer(400, {}, b'{"resourceType":"OperationOutcome"}'), "not valid"),
        (Answer(404, {}, b""), "cannot be read"),
        (Answer(200, {}, fuzz_fhir.HIDDEN.encode()), "hidden"),
        (Answer(200, {}, b"", 60.0), "took"),
    ],
)
def test_a_planted_defect_is_found(answer, found):
    assert found in judge(Ask("GET", "/fhir/Patient"), answer)


def test_a_name_that_a_researcher_may_not_see_is_found():
    answer = Answer(200, {}, b'{"x": "Featherstonehaugh"}')
    assert "hidden" in judge(Ask("GET", "/fhir/Patient"), answer, "researcher")
    assert "hidden" not in judge(Ask("GET", "/fhir/Patient"), answer, "clinician")


def test_an_error_that_repeats_a_value_is_found():
    issue = [{"severity": "error", "code": "value", "diagnostics": f"not a date: {CANARY}"}]
    body = json.dumps({"resourceType": "OperationOutcome", "issue": issue}).encode()
    assert "repeats" in judge(Ask("GET", "/fhir/Patient"), Answer(400, {}, body))
