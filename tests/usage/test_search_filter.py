"""_filter finds what the parameters' own searches find, put together (R4 search_filter.html); on both databases."""

from __future__ import annotations

import random
from urllib.parse import quote

import pytest

from hdg.errors import BadRequest
from hdg.usage.fhir_api import parameters
from hdg.usage.fhir_api.parameters import Limits

LIMITS = Limits(50, 100, "https://gateway.example/fhir")
PAIRS = [
    ("code eq 718-7", "code=718-7"),
    ("code eq http://loinc.org|718-7", "code=http://loinc.org|718-7"),
    ('code eq "718-8"', "code=718-8"),
    ("code ne 718-7", "code:not=718-7"),
    ("date eq 2024-01-02", "date=2024-01-02"),
    ("date ge 2024-01-02", "date=ge2024-01-02"),
    ("date lt 2024-01-03", "date=lt2024-01-03"),
    ("date sa 2024-01-01", "date=sa2024-01-01"),
    ("date ne 2024-01-01", "date=ne2024-01-01"),
    ("patient eq ann", "patient=ann"),
    ("subject eq Patient/ann", "subject=Patient/ann"),
    ("_id eq ann-1", "_id=ann-1"),
    ("_lastUpdated gt 2020", "_lastUpdated=gt2020"),
    ("value-quantity gt 5.4", "value-quantity=gt5.4"),
    ("value-quantity pr true", "value-quantity:missing=false"),
    ("encounter pr false", "encounter:missing=true"),
    ('patient.family sw "feat"', "patient.family=feat"),
    ('patient.family co "stone"', "patient.family:contains=stone"),
    ('patient.family eq "Featherstonehaugh"', "patient.family:exact=Featherstonehaugh"),
    ('patient.family eq "featherstonehaugh"', "patient.family:exact=featherstonehaugh"),
]


@pytest.fixture
def world(either):
    for number, code in enumerate(("718-8", "718-9", "718-7")):
        content = {
            "resourceType": "Observation",
            "id": f"more{number}",
            "status": "final",
            "code": {
                "coding": [{"system": "http://loinc.org", "code": code}, {"system": "urn:a,b", "code": "c|d"}]
            },
            "subject": {"reference": "Patient/ann"},
            "effectiveDateTime": f"2024-01-0{number + 1}",
            "valueQuantity": {"value": 5 + number},
        }
        either.put(content, "north", "ann")
    return either


def ask(world, query):
    token = world.token("clinician", user="u", institution="north")
    answer = world.client.get(f"/fhir/Observation?{query}&_count=100", token)
    assert answer.status_code == 200, (query, answer.text)
    body = answer.json()
    found = {entry["resource"]["id"] for entry in body.get("entry", ())}
    assert body["total"] == len(found)
    return found


def by(world, expression):
    return ask(world, f"_filter={quote(expression)}")


def test_any_expression_finds_what_its_parts_find_put_together(world):
    every = ask(world, "_id:missing=false")
    parts = [(expression, ask(world, query.replace(" ", "%20"))) for expression, query in PAIRS]
    assert {frozenset(found) for _, found in parts} > {frozenset(every), frozenset()}
    for expression, found in parts:
        assert by(world, expression) == found, expression
    chance = random.Random(7)

    def made(depth):
        kind = chance.choice(["leaf", "and", "or", "not", "and", "or"]) if depth else "leaf"
        if kind == "leaf":
            return chance.choice(parts)
        text, found = made(depth - 1)
        if kind == "not":
            return f"not ({text})", every - found
        other, more = made(depth - 1)
        return f"({text}) {kind} ({other})", found & more if kind == "and" else found | more

    for _ in range(60):
        text, found = made(3)
        assert by(world, text) == found, text


def test_and_binds_closer_than_or(world):
    found = by(world, "code eq 718-9 or code eq 718-7 and date eq 2024-01-03")
    assert found == {"more1", "more2", "ann-2"}
    assert by(world, "(code eq 718-9 or code eq 718-7) and date eq 2024-01-03") == {"more2", "ann-2"}


def test_a_comma_in_a_value_separates_nothing(world):
    assert by(world, "code eq urn:a,b|c\\|d") == {"more0", "more1", "more2"}
    assert by(world, 'code eq "c|d"') == set()
    assert by(world, "code eq 718-8\\,718-9") == by(world, "code eq 718-8,718-9") == set()
    assert by(world, 'code eq "718-8,718-9"') == set()


def test_it_stands_beside_other_parameters_and_totals_and_pages(world):
    token = world.token("clinician", user="u", institution="north")
    path = f"/fhir/Observation?code=718-7&_filter={quote('date ge 2024-01-02')}&_count=1"
    seen = []
    while path:
        page = world.client.get(path, token).json()
        assert page["total"] == 3
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        path = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
        path = path.removeprefix("https://gateway.example")
    assert sorted(seen) == ["ann-1", "ann-2", "more2"]


def test_what_is_hidden_is_not_found_by_what_a_filter_denies(world):
    assert not any(name.startswith("bob") for name in by(world, "not (code eq nothing)"))
    assert by(world, "patient.family sw Chol") == set()
    assert by(world, "not (patient.family sw Chol)") == ask(world, "_id:missing=false")
    own = world.client.get(
        f"/fhir/Observation?_filter={quote('not (code eq nothing)')}", world.token("patient", patient="bob")
    ).json()
    assert {entry["resource"]["id"] for entry in own["entry"]} == {"bob-0", "bob-1", "bob-2"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "code",
        "code eq",
        "code eq (",
        "code eq a b",
        "code eq a and",
        "(code eq a",
        "code eq a)",
        'code eq "a',
        'code eq ""',
        'code eq "\\q"',
        "not code eq a",
        "code ew a",
        "code in a",
        "code gt a",
        "code co a",
        "date co 2024",
        "date eq gt2024",
        "date eq now",
        "nothing eq a",
        "code:not eq a",
        "patient[code eq a].name eq b",
        "code pr maybe",
        "_list eq a",
        "near eq 1|2",
        "code-value-quantity eq a$1",
        "(" * 50 + "code eq a" + ")" * 50,
        " or ".join(["code eq a"] * 500),
    ],
)
def test_what_is_not_understood_is_refused_and_not_repeated(text):
    from hdg.management.store.search import conditions

    with pytest.raises(BadRequest) as caught:
        conditions(parameters.parse("Observation", [("_filter", text)], LIMITS), hash, 0)
    assert "now" not in str(caught.value)


def test_a_conditional_create_goes_by_it(world):
    token = world.token("clinician", user="u", institution="north")
    content = {"resourceType": "Basic", "code": {"text": "x"}, "identifier": [{"value": "7"}]}
    content["subject"] = {"reference": "Patient/ann"}
    condition = {"If-None-Exist": f"_filter={quote('identifier eq 7 or identifier eq 8')}"}
    made = [
        world.client.send("POST", "/fhir/Basic", token, content, **condition).status_code for _ in range(2)
    ]
    assert made == [201, 200]
    entry = {
        "resource": {**content, "identifier": [{"value": "9"}]},
        "request": {"method": "POST", "url": "Basic", "ifNoneExist": "_filter=identifier%20eq%209"},
    }
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry, entry]}
    assert world.client.send("POST", "/fhir", token, bundle).status_code in (400, 409, 412)


def test_researchers_have_none(world):
    token = world.token("researcher", user="r", project="p1")
    answer = world.client.get(f"/fhir/Observation?_filter={quote('code eq 718-7 or code eq 1')}", token)
    assert answer.status_code in (400, 403)
