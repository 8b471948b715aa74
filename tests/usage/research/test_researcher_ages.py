"""An observed age that is not shown, for it has no unit of time, is not to be found by its number either."""

from __future__ import annotations

import pytest

UCUM = "http://unitsofmeasure.org"
AGE = "http://loinc.org|30525-0"


@pytest.fixture
def ask(either):
    either.grant("ann", "ResearchStudy/asthma-1", purposes=("HRESCH",))
    token = either.token("researcher", project="asthma-1")
    for number, unit in enumerate(("1", "{years}", "kg")):
        found = either.observation(f"age-{number}", "ann", "30525-0", "2024-01-01")
        either.put({**found, "valueQuantity": {"value": 95, "system": UCUM, "code": unit}}, "north", "ann")
    panel = either.observation("panel", "ann", "1-8", "2024-01-01")
    part = {"code": {"coding": [{"system": "http://loinc.org", "code": "30525-0"}]}}
    part["valueQuantity"] = {"value": 95, "system": UCUM, "code": "1"}
    either.put({**panel, "component": [part]}, "north", "ann")
    share = either.observation("share", "ann", "59408-5", "2024-01-01")
    either.put({**share, "valueQuantity": {"value": 95, "system": UCUM, "code": "%"}}, "north", "ann")
    return lambda query: either.client.get(f"/fhir/{query}", token)


@pytest.mark.parametrize("parameter", ["value-quantity", "combo-value-quantity", "component-value-quantity"])
@pytest.mark.parametrize("amount", ["gt89|{0}|1", "9500|{0}|%25", "95|{0}|kg"])
def test_the_number_of_a_masked_age_finds_nothing(ask, parameter, amount):
    asked = f"{parameter}={amount.format(UCUM)}"
    for query in (
        f"Observation?{asked}",
        f"Observation?code={AGE}&{asked}",
        f"Observation?{asked}&_summary=count",
    ):
        answer = ask(query)
        assert (answer.status_code, answer.json()["total"]) == (200, 0), query


def test_no_chain_asks_for_an_amount_without_a_dimension(ask):
    for query in (
        f"Patient?_has:Observation:patient:value-quantity=95|{UCUM}|1",
        f"Observation?derived-from:Observation.combo-value-quantity=9500|{UCUM}|%25",
        f"Encounter?_has:Observation:encounter:_has:Observation:derived-from:value-quantity=95|{UCUM}|10*2",
    ):
        assert ask(query).status_code == 403, query
    assert ask(f"Patient?_has:Observation:patient:value-quantity=5|{UCUM}|g/dL").json()["total"] == 1


def test_other_amounts_are_found_with_and_without_a_dimension(ask):
    assert ask(f"Observation?value-quantity=95|{UCUM}|%25").json()["total"] == 1
    assert ask(f"Observation?value-quantity=5|{UCUM}|g/dL").json()["total"] == 3  # not the panel
