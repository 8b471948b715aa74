"""Observation/$stats under the caller's own view (R4 observation-operation-stats.html)."""

from __future__ import annotations

import decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir import json
from hdg.fhir.statistics import TooWide, computed
from hdg.fhir.validate import validate

ALL = "average,maximum,minimum,count,total-count,median,sum"
ASKED = "Observation/$stats?subject=Patient/ann&system=http://loinc.org&code=2345-7"


@pytest.fixture
def results(either):
    """Ann's results 5.10, 6 and 6.1 mg/dL; some that are not to be counted; one of bob's."""
    values = [("5.10", {}), ("6", {}), ("6.1", {})]
    values += [
        ("99", {"status": "entered-in-error"}),
        ("98", {"modifierExtension": [{"url": "urn:x", "valueCode": "x"}]}),
    ]
    for number, (value, rest) in enumerate(values):
        put(either, f"r{number}", value, f"2024-02-0{number + 1}", **rest)
    put(either, "none", None, "2024-02-07")
    put(either, "bobs", "1000", "2024-02-01", patient="bob")
    return either


def put(world, id_, value, day, patient="ann", unit="mg/dL", **rest):
    made = {**world.observation(id_, patient, "2345-7", day), **rest}
    del made["valueQuantity"]
    if value is not None:
        made["valueQuantity"] = {
            "value": json.decimal(value),
            "unit": unit,
            "system": "http://unitsofmeasure.org",
            "code": unit,
        }
    world.put(made, "south" if patient == "bob" else "north", patient)


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def told(answer):
    """Statistic → its value as it is written, of the only code."""
    assert answer.status_code == 200, answer.text
    body = json.loads(answer.content)
    assert validate(body) == []
    (parameter,) = body["parameter"]
    found = {}
    for component in parameter["resource"]["component"]:
        value = component.get("valueInteger", component.get("valueQuantity", {}).get("value"))
        found[component["code"]["coding"][0]["code"]] = getattr(value, "literal", value)
    return found


def test_statistics_are_exact_and_over_what_can_be_computed_with(results, north):
    answer = results.client.get(f"/fhir/{ASKED}&statistic={ALL}", north)
    assert told(answer) == {
        "average": "5.733333",
        "maximum": "6.1",
        "minimum": "5.10",
        "count": 3,
        "total-count": 5,
        "median": 6,
        "sum": "17.20",
    }
    observation = answer.json()["parameter"][0]["resource"]
    assert observation["subject"] == {"reference": "Patient/ann"}
    assert observation["component"][0]["valueQuantity"]["code"] == "mg/dL"


def test_a_period_and_a_parameters_resource_are_understood(results, north):
    some = results.client.get(f"/fhir/{ASKED}&statistic=count,sum&start=2024-02-02&end=2024-02-03", north)
    assert told(some) == {"count": 2, "sum": "12.1"}
    assert some.json()["parameter"][0]["resource"]["effectivePeriod"] == {
        "start": "2024-02-02",
        "end": "2024-02-03",
    }
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "subject", "valueUri": "Patient/ann"},
            {"name": "coding", "valueCoding": {"system": "http://loinc.org", "code": "2345-7"}},
            {"name": "period", "valuePeriod": {"start": "2024-02-02", "end": "2024-02-03"}},
            {"name": "statistic", "valueCode": "count"},
            {"name": "statistic", "valueCode": "sum"},
            {"name": "include", "valueBoolean": False},
        ],
    }
    assert results.client.send("POST", "/fhir/Observation/$stats", north, body).content == some.content


def test_components_count_by_their_own_codes(results, north):
    pressure = results.observation("bp", "ann", "85354-9", "2024-03-01")
    quantity = {"value": 120, "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}
    coding = [{"system": "http://loinc.org", "code": "8480-6"}]
    results.put(
        {**pressure, "component": [{"code": {"coding": coding}, "valueQuantity": quantity}]}, "north", "ann"
    )
    path = "Observation/$stats?subject=Patient/ann&coding=http://loinc.org|8480-6&statistic=count,maximum"
    assert told(results.client.get(f"/fhir/{path}", north)) == {"count": 1, "maximum": 120}


def test_what_is_hidden_or_absent_counts_nothing(results, north):
    for patient in ("bob", "nobody"):
        path = ASKED.replace("ann", patient)
        assert told(results.client.get(f"/fhir/{path}&statistic=count,average", north)) == {
            "count": 0,
            "average": None,
        }


def test_several_units_and_sizes_beyond_sense_have_no_statistics(results, north):
    put(results, "huge", "1e300", "2024-02-08")
    assert results.client.get(f"/fhir/{ASKED}&statistic=maximum", north).status_code == 200
    assert results.client.get(f"/fhir/{ASKED}&statistic=sum", north).status_code == 422
    put(results, "other", "0.05", "2024-02-09", unit="g/L")
    assert results.client.get(f"/fhir/{ASKED}&statistic=maximum", north).status_code == 422


@pytest.mark.parametrize(
    "query",
    [
        "",
        "subject=ann&statistic=count",
        "subject=ann&code=x&statistic=count",
        "subject=ann&code=x&system=y",
        "subject=ann&code=x&system=y&statistic=skew",
        "subject=ann&code=x&system=y&statistic=count&include=true",
        "subject=ann&code=x&system=y&statistic=count&colour=red",
        "subject=ann&code=x&system=y&statistic=count&start=soon",
        "subject=ann&subject=bob&code=x&system=y&statistic=count",
        "subject=ann&code=x&system=y&statistic=count&start=2024-01-01T10:00",
    ],
)
def test_what_is_not_understood_is_refused(world, query):
    token = world.token("clinician", institution="north")
    assert world.client.get(f"/fhir/Observation/$stats?{query}", token).status_code == 400
    assert world.client.get(f"/fhir/Patient/$stats?{query}", token).status_code == 404


@pytest.mark.parametrize(
    "parameter",
    [
        None,
        [None],
        [{"name": "subject"}],
        [{"name": "subject", "valueUri": 5}],
        [{"name": "period", "valuePeriod": {"start": 5}}],
        [{"name": "coding", "valueCoding": {"code": "x"}}],
        [{"name": ["x"], "valueCode": "x"}],
    ],
)
def test_parameters_of_another_form_are_refused(world, parameter):
    token = world.token("clinician", institution="north")
    body = {"resourceType": "Parameters", "parameter": parameter}
    assert world.client.send("POST", "/fhir/Observation/$stats", token, body).status_code == 400


VALUES = st.lists(
    st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=3), min_size=1, max_size=30
)


@given(VALUES)
def test_statistics_are_what_exact_fractions_say(values):
    from fractions import Fraction
    from statistics import median

    exact = [Fraction(value) for value in values]
    assert computed("sum", values) == sum(exact)
    assert Fraction(computed("median", values)) == median(exact)
    assert (computed("minimum", values), computed("maximum", values)) == (min(values), max(values))
    assert abs(Fraction(computed("average", values)) - sum(exact) / len(exact)) <= Fraction(1, 2 * 10**7)


def test_there_are_no_statistics_of_nothing_but_a_count():
    assert computed("count", []) == computed("sum", []) == 0
    assert [computed(code, []) for code in ("average", "median", "minimum", "maximum")] == [None] * 4
    with pytest.raises(TooWide):
        computed("sum", [decimal.Decimal("1e300"), decimal.Decimal("0.1")])
