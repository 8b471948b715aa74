"""Search parameters beside R4's own, over the FHIR API: defined, filled, searched by, changed, gone; both databases."""

from __future__ import annotations

import pytest

from hdg.management.store.custom_fill import Filler
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
