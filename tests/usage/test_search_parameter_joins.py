"""Search parameters beside R4's own in chains, _has, includes, orders and composites; what is hidden stays hidden."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from hdg.management.store.custom_fill import Filler
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher

URL = "http://example.org/SearchParameter/"
NEXT_OF_KIN = "http://example.org/kin"
SHELF = "http://example.org/shelf"


def parameter(code, type_, expression, base, **more):
    return {
        "resourceType": "SearchParameter",
        "id": code,
        "url": URL + code,
        "name": "X",
        "status": "active",
        "description": "x",
        "code": code,
        "base": [base],
        "type": type_,
        "expression": expression,
        **more,
    }


VALUE = "http://hl7.org/fhir/SearchParameter/Observation-value-quantity"
CODE = "http://hl7.org/fhir/SearchParameter/clinical-code"
KIN = f"Patient.extension('{NEXT_OF_KIN}').value.as(Reference)"
PARAMETERS = (
    parameter("kin", "reference", KIN, "Patient", target=["Patient"]),
    parameter("shelf", "string", f"Observation.extension('{SHELF}').value.as(string)", "Observation"),
    parameter("spot", "number", f"Observation.extension('{SHELF}/spot').value.as(decimal)", "Observation"),
    parameter("about", "reference", "Observation.subject", "Observation", target=["Patient"]),
    parameter("defined", "reference", "Observation.instantiates", "Observation") | {
        "expression": "Questionnaire.derivedFrom", "base": ["Questionnaire"]
    },
    parameter(
        "code-and-value", "composite", "Observation", "Observation",
        component=[
            {"definition": CODE, "expression": "code"},
            {"definition": VALUE, "expression": "value.as(Quantity)"},
        ],
    ),
)  # fmt: skip


def fill(world):
    filler = Filler(world.store, hasher(index_key(world.keys.root)), batch=3, lease_us=0)
    while filler.step():
        pass


@pytest.fixture
def filled(either):
    """ann's next of kin is bob; each Observation of theirs lies on a shelf, at a spot."""
    token = either.token("operator", user="root", purpose="HSYSADMIN")
    kin = {"extension": [{"url": NEXT_OF_KIN, "valueReference": {"reference": "Patient/bob"}}]}
    either.put(either.patient("ann", "Eve", "Featherstonehaugh") | kin, "north", "ann")
    for name, institution in (("ann", "north"), ("bob", "south")):
        for number in range(3):
            content = either.observation(f"{name}-{number}", name, "718-7", f"2024-01-0{number + 1}")
            spots = [
                {"url": SHELF, "valueString": f"Über {name}"},
                {"url": f"{SHELF}/spot", "valueDecimal": 3 - number},
            ]
            either.put(content | {"extension": spots}, institution, name)
    for content in PARAMETERS:
        answer = either.client.send("PUT", f"/fhir/SearchParameter/{content['id']}", token, content)
        assert answer.status_code == 201, answer.text
    fill(either)
    return either


@pytest.fixture
def north(filled):
    return filled.token("clinician", user="dr", institution="north", purpose="TREAT")


@pytest.fixture
def south(filled):
    return filled.token("clinician", user="dr", institution="south", purpose="TREAT")


def ids(world, token, query):
    answer = world.client.get(f"/fhir/{query}", token)
    assert answer.status_code == 200, answer.text
    found = [entry["resource"]["id"] for entry in answer.json().get("entry", ())]
    assert len(found) == len(set(found))
    return found


def refusal(world, token, query):
    answer = world.client.get(f"/fhir/{query}", token)
    assert answer.status_code == 400, answer.text
    return answer.json()["issue"][0]["diagnostics"]


def test_kinds_modifiers_and_orders(filled, north) -> None:
    assert ids(filled, north, "Observation?shelf=uber&_sort=spot") == ["ann-2", "ann-1", "ann-0"]
    assert ids(filled, north, "Observation?shelf=uber&_sort=-spot") == ["ann-0", "ann-1", "ann-2"]
    assert ids(filled, north, "Observation?shelf:exact=Über ann&spot=gt2") == ["ann-0"]
    assert ids(filled, north, "Observation?shelf:exact=über ann") == []
    assert ids(filled, north, "Observation?shelf:contains=ER A&spot=lt2") == ["ann-2"]
    assert ids(filled, north, "Observation?about=Patient/ann&spot=lt2") == ["ann-2"]
    assert ids(filled, north, "Observation?about:Patient=ann&spot=lt2") == ["ann-2"]
    assert len(ids(filled, north, "Observation?code-and-value=718-7$gt4")) == 3
    assert ids(filled, north, "Observation?code-and-value=718-7$gt5") == []
    assert "_sort" in refusal(filled, north, "Observation?_sort=about")
    assert "modifier" in refusal(filled, north, "Observation?shelf:above=x")
    assert "modifier" in refusal(filled, north, "Observation?about:Device=x")
    assert "number" in refusal(filled, north, "Observation?spot=x")


def test_every_page_of_an_order_by_it_is_whole(filled, north) -> None:
    path, seen = "/fhir/Observation?_sort=spot&_count=1", []
    while path:
        page = filled.client.get(path, north).json()
        seen += [entry["resource"]["id"] for entry in page.get("entry", ())]
        path = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    assert seen == ["ann-2", "ann-1", "ann-0"]


def test_chains_and_has_lead_over_it_and_end_in_it(filled, north, south) -> None:
    filled.grant("bob", "Organization/north")
    assert ids(filled, north, "Patient?kin.family=cholm") == ["ann"]
    assert ids(filled, north, "Patient?kin:Patient.name=otto") == ["ann"]
    assert ids(filled, north, "Patient?kin._has:Observation:about:shelf=uber bob") == ["ann"]
    assert ids(filled, north, "Patient?_has:Patient:kin:family=feather") == ["bob"]
    assert sorted(ids(filled, north, "Patient?_has:Observation:patient:shelf=uber")) == ["ann", "bob"]
    assert ids(filled, north, "Observation?about.kin.family=cholm&spot=lt2") == ["ann-2"]
    assert "no such chain" in refusal(filled, north, "Questionnaire?defined.name=x")
    assert "no such chain" in refusal(filled, north, "Observation?shelf.name=x")


def test_includes_lead_over_it(filled, north) -> None:
    filled.grant("bob", "Organization/north")
    assert ids(filled, north, "Patient?_id=ann&_include=Patient:kin") == ["ann", "bob"]
    assert ids(filled, north, "Patient?_id=ann&_include=Patient:kin:Patient") == ["ann", "bob"]
    assert ids(filled, north, "Patient?_id=bob&_revinclude=Patient:kin") == ["bob", "ann"]
    assert sorted(ids(filled, north, "Patient?_id=ann&_revinclude=Observation:about")) == [
        "ann", "ann-0", "ann-1", "ann-2",
    ]  # fmt: skip


QUERIES = (
    "Patient?kin.family=cholm",
    "Patient?_has:Patient:kin:family=feather",
    "Patient?_id=ann&_include=Patient:kin",
    "Patient?_id=bob&_revinclude=Patient:kin",
    "Patient?_has:Observation:about:shelf=uber",
    "Observation?shelf=uber&_sort=spot&_total=accurate",
    "Observation?shelf:missing=false",
    "Observation?about=Patient/bob",
    "Observation?about.family=cholm",
    "Observation?code-and-value=718-7$gt4",
)


def test_what_is_hidden_decides_nothing(filled, north) -> None:
    def answers():
        return [_without_times(filled.client.get(f"/fhir/{query}", north).json()) for query in QUERIES]

    before = answers()
    for number in range(3):
        filled.delete("Observation", f"bob-{number}", "south")
    filled.delete("Patient", "bob", "south")
    assert answers() == before


def _without_times(bundle):
    bundle.pop("id", None)
    bundle.pop("meta", None)
    bundle["link"] = [link["relation"] for link in bundle["link"]]
    bundle.pop("timestamp", None)
    return bundle


def test_rows_go_with_a_deletion(filled) -> None:
    def count():
        with filled.store.engine.connect() as connection:
            tables = ("token", "reference", "string", "number", "composite")
            return [
                connection.execute(text(f"SELECT count(*) FROM idx_{name} WHERE param >= {1 << 31}")).scalar()
                for name in tables
            ]

    assert count()[:4] == [0, 7, 6, 6]
    assert count()[4] >= 6
    for name, institution in (("ann", "north"), ("bob", "south")):
        for number in range(3):
            filled.delete("Observation", f"{name}-{number}", institution)
    filled.delete("Patient", "ann", "north")
    assert count() == [0, 0, 0, 0, 0]
