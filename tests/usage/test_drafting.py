"""Large transactions made ready in a helper process: the same comes of them as without one."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from hdg.fhir import json
from hdg.management.store.index import Indexer
from hdg.management.store.values import hasher
from hdg.usage.drafts import draft
from hdg.usage.fhir_api import drafting
from hdg.usage.fhir_api.parameters import Limits

LIMITS = Limits(50, 500, "https://gateway.example/fhir")
URN = "urn:uuid:0e7a6b1c-5a1b-4c7e-9a44-3f6f0d6a2b0"


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def entry(method, url, resource=None, full_url="", **conditions):
    made = {"request": {"method": method, "url": url, **conditions}}
    if full_url:
        made["fullUrl"] = full_url
    if resource is not None:
        made["resource"] = resource
    return made


def observation(subject, value=5):
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "a result"},
        "subject": {"reference": subject},
        "valueQuantity": {"value": value, "unit": "g/dL"},
    }


def person(mrn):
    return {"resourceType": "Patient", "identifier": [{"system": "urn:example:mrn", "value": mrn}]}


def bundle(*entries, kind="transaction"):
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)})


def made_ready(*entries, kind="transaction"):
    return drafting.made_ready(bundle(*entries, kind=kind), LIMITS, Indexer(hasher(b"k" * 32)))


def test_a_step_is_made_ready_with_its_links_as_it_is_without_the_helper():
    put = {**observation(URN + "1"), "id": "o1"}
    rows = made_ready(entry("POST", "Patient", person("1"), URN + "1"), entry("PUT", "Observation/o1", put))
    patient, result = map(drafting._step, rows)
    assert patient.full_url == URN + "1"
    assert patient.likely == f"Patient/{patient.change.draft.id}"
    assert result.content is None
    assert result.named == (URN + "1",)
    expected = draft({**put, "subject": {"reference": patient.likely}}, "o1", Indexer(hasher(b"k" * 32)))
    assert result.change.draft.ready == expected.ready
    assert result.change.draft.patients == {patient.change.draft.id}


@pytest.mark.parametrize(
    "entries",
    [
        [entry("DELETE", "Observation/o1")],
        [entry("GET", "Observation/o1")],
        [entry("PUT", "Observation?code=x", observation("Patient/ann"))],
        [entry("POST", "Observation", observation("Patient?identifier=1"))],
        [entry("POST", "Observation", person("1")), entry("GET", "Patient/ann")],
        [{"resource": person("1")}],
    ],
)
def test_what_is_more_than_creates_and_updates_by_id_is_left_to_the_gateway(entries):
    assert made_ready(*entries) is None


def test_a_batch_is_left_to_the_gateway():
    assert made_ready(entry("POST", "Patient", person("1")), kind="batch") is None


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        bundle(entry("POST", "Observation", {"resourceType": "Observation"})),
        bundle(entry("POST", "Observation", observation(URN + "9"))),
    ],
)
def test_what_is_wrong_has_no_answer(body):
    assert drafting._Worker(b"k" * 32).answer(body, LIMITS) == b""


def helped(world, monkeypatch):
    """The world with a running helper that is asked about every Bundle; the list of what it answered."""
    monkeypatch.setattr(drafting, "FROM_BYTES", 0)
    world.gate.use_helper(drafting.MODULE)
    answers = []
    ask = world.gate.helper.ask

    async def noted(question, size):
        answers.append(await ask(question, size))
        return answers[-1]

    async def until_ready():
        while world.gate.helper.pid is None:
            await ask((b"{}", LIMITS), 2)
            await asyncio.sleep(0.05)

    world.client._runner.run(asyncio.wait_for(until_ready(), 300))
    monkeypatch.setattr(world.gate.helper, "ask", noted)
    return answers


def post(world, token, *entries):
    headers = {"content-type": "application/fhir+json"}
    return world.client.request("POST", "/fhir", token, headers, content=bundle(*entries))


def test_a_transaction_is_stored_by_the_helper_as_without_it(either, north, monkeypatch):
    def sent(mrn):
        results = [entry("POST", "Observation", observation(URN + "1", number)) for number in range(4)]
        return [entry("POST", "Patient", person(mrn), URN + "1"), *results]

    def found(mrn):
        """All of a person, without ids and times."""
        query = f"/fhir/Observation?patient.identifier={mrn}&value-quantity=ge0&_sort=value-quantity"
        bundle = either.client.get(f"{query}&_include=Observation:patient", north).json()
        resources = [one["resource"] for one in bundle["entry"]]
        for resource in resources:
            del resource["id"], resource["meta"]
        places = [one.pop("subject")["reference"] for one in resources if "subject" in one]
        assert len(set(places)) == 1
        return bundle["total"], resources

    assert post(either, north, *sent("a")).status_code == 200
    answers = helped(either, monkeypatch)
    assert post(either, north, *sent("b")).status_code == 200
    assert len(answers) == 1
    assert answers[0] is not None
    total, resources = found("b")
    assert (total, len(resources)) == (4, 5)
    assert resources[-1].pop("identifier")[0]["value"] == "b"
    expected = found("a")[1]
    del expected[-1]["identifier"]
    assert resources == expected


def test_what_turns_out_to_be_elsewhere_is_made_ready_again(either, north, monkeypatch):
    answers = helped(either, monkeypatch)
    known = person("MRN-ann")
    condition = {"ifNoneExist": "identifier=urn:example:mrn|MRN-ann"}
    answer = post(
        either,
        north,
        entry("POST", "Patient", known, URN + "1", **condition),
        entry("POST", "Observation", observation(URN + "1")),
    )
    assert answers[0] is not None
    assert [one["response"]["status"][:3] for one in answer.json()["entry"]] == ["200", "201"]
    place = answer.json()["entry"][1]["response"]["location"].split("/")[-3]
    stored = either.client.get(f"/fhir/Observation/{place}", north).json()
    assert stored["subject"] == {"reference": "Patient/ann"}


def test_an_error_names_its_entry_as_without_the_helper(either, north, monkeypatch):
    answers = helped(either, monkeypatch)
    answer = post(
        either,
        north,
        entry("POST", "Patient", person("1")),
        entry("POST", "Observation", {"resourceType": "Observation"}),
    )
    assert answers == [None]
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"][0].startswith("Bundle.entry[1].resource")


def test_who_may_not_write_is_refused_whoever_makes_it_ready(either, monkeypatch):
    answers = helped(either, monkeypatch)
    nobody = either.token("patient", patient="ann")
    answer = post(either, nobody, entry("POST", "Practitioner", {"resourceType": "Practitioner"}))
    assert answers[0] is not None
    assert answer.status_code == 403


def test_a_helper_that_is_killed_costs_no_transaction(either, north, monkeypatch):
    helped(either, monkeypatch)
    os.kill(either.gate.helper.pid, signal.SIGKILL)
    assert post(either, north, entry("POST", "Patient", person("1"))).status_code == 200
    either.client._runner.run(either.gate.end_helper())
    assert either.gate.helper is None
    assert post(either, north, entry("POST", "Patient", person("2"))).status_code == 200
