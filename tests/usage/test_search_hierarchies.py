"""Searches by hierarchies that the site has loaded (R4 search.html#token, snomedct.html#implicit)."""

from __future__ import annotations

import pytest

from hdg.terminology.loading import SNOMED, load_hierarchies

CODES = {"top": "100", "kind": "110", "leaf": "111", "other": "200"}


@pytest.fixture
def ward(either, tmp_path):
    for id_, code in CODES.items():
        for patient, sender in (("ann", "north"), ("bob", "south")):
            made = {
                "resourceType": "Condition",
                "id": f"{patient}-{id_}",
                "subject": {"reference": f"Patient/{patient}"},
                "code": {"coding": [{"system": SNOMED, "code": code}]},
            }
            either.put(made, sender, patient)
    value_set = {
        "resourceType": "ValueSet",
        "id": "vs",
        "status": "active",
        "url": "urn:vs",
        "compose": {
            "include": [{"system": SNOMED, "filter": [{"property": "concept", "op": "is-a", "value": "110"}]}]
        },
    }
    either.put(value_set, "north", None)
    path = tmp_path / "tree.csv"
    path.write_text(f"system,code,parent\n{SNOMED},110,100\n{SNOMED},111,110\n{SNOMED},200,\n")
    either.tables = path
    return either


def found(world, token, asked):
    answer = world.client.get(f"/fhir/Condition?{asked}&_sort=_id", token)
    assert answer.status_code == 200, answer.text
    bundle = answer.json()
    assert bundle["total"] == len(bundle.get("entry", ()))
    return [entry["resource"]["id"] for entry in bundle.get("entry", ())]


ASKED = [
    (f"code:below={SNOMED}|110", ["ann-kind", "ann-leaf"]),
    (f"code:below={SNOMED}|100", ["ann-kind", "ann-leaf", "ann-top"]),
    (f"code:above={SNOMED}|111", ["ann-kind", "ann-leaf", "ann-top"]),
    (f"code:below={SNOMED}|200,{SNOMED}|111", ["ann-leaf", "ann-other"]),
    (f"code:in={SNOMED}?fhir_vs=isa/110", ["ann-kind", "ann-leaf"]),
    ("code:in=urn:vs", ["ann-kind", "ann-leaf"]),
    ("code:not-in=urn:vs", ["ann-other", "ann-top"]),
]


def test_codes_are_found_by_what_they_are_kinds_of_once_it_is_loaded(ward) -> None:
    north = ward.token("clinician", institution="north")
    for asked, _ in ASKED:
        assert ward.client.get(f"/fhir/Condition?{asked}", north).status_code == 400
    load_hierarchies(ward.settings.data, [ward.tables])
    assert [(asked, found(ward, north, asked)) for asked, _ in ASKED] == ASKED
    assert ward.client.get(f"/fhir/Condition?code:below={SNOMED}|999", north).status_code == 400
    assert ward.client.get(f"/fhir/Condition?code:in={SNOMED}?fhir_vs=ecl/<110", north).status_code == 400


def test_a_hierarchy_opens_nothing_to_researchers(ward) -> None:
    load_hierarchies(ward.settings.data, [ward.tables])
    researcher = ward.token("researcher", purpose="HRESCH", project="p1")
    assert ward.client.get(f"/fhir/Condition?code:below={SNOMED}|110", researcher).status_code == 403
