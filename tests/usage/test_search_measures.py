"""Quantities, places and sounds, asked over HTTP (R4 search.html#quantity, location.html#positional)."""

from __future__ import annotations

import pytest

UCUM = "http://unitsofmeasure.org"
MASSES = {
    "a": ("5.4", "mg"),
    "b": ("0.0054", "g"),
    "c": ("5400", "ug"),
    "d": ("5.4", "g"),
    "e": ("5.4", "mmol"),
}


@pytest.fixture
def world(either):
    either.put(either.patient("ann", "Eve", "Smith"), "north", "ann")
    for id_, (value, code) in MASSES.items():
        made = either.observation(id_, "ann", "718-7", "2024-01-01")
        quantity = {"value": float(value), "system": UCUM, "code": code}
        either.put({**made, "valueQuantity": quantity}, "north", "ann")
    position = {"latitude": 52.52, "longitude": 13.405}
    either.put({"resourceType": "Location", "id": "berlin", "position": position}, "north", None)
    return either


@pytest.mark.parametrize(
    ("query", "should"),
    [
        (f"Observation?value-quantity=5.4|{UCUM}|mg", "a b c"),
        (f"Observation?value-quantity=5.4e-3|{UCUM}|g", "a b c"),
        (f"Observation?value-quantity=gt5.4|{UCUM}|mg", "d"),
        (f"Observation?code-value-quantity=718-7$lt1|{UCUM}|g", "a b c"),
        (f"Observation?patient:Patient.phonetic=smyth&value-quantity=5.4|{UCUM}|mmol", "e"),
        ("Observation?value-quantity=5.4||g", "d"),
        ("Location?near=52.5|13.4|5|km", "berlin"),
        ("Location?near=48.85|2.35|500|km", ""),
        ("Location?near:missing=false", "berlin"),
    ],
)
def test_quantities_places_and_sounds_are_found(world, query, should) -> None:
    token = world.token("clinician", user="dr-north", institution="north")
    answer = world.client.get(f"/fhir/{query}", token)
    assert answer.status_code == 200, answer.text
    assert sorted(entry["resource"]["id"] for entry in answer.json().get("entry", [])) == should.split()


@pytest.mark.parametrize(
    "query",
    [
        "Location?near=secret|1",
        "Location?near:exact=1|1",
        "Patient?phonetic:exact=x",
        "Bundle?composition.subject=x",
        "Location?_sort=near",
        f"Observation?value-quantity=secret|{UCUM}|mg",
        f"Observation?value-quantity=5.4|{UCUM}|mg|x",
    ],
)
def test_what_is_not_understood_is_refused_without_its_value(world, query) -> None:
    token = world.token("clinician", user="dr-north", institution="north")
    answer = world.client.get(f"/fhir/{query}", token)
    assert answer.status_code == 400, answer.text
    assert "secret" not in answer.text
