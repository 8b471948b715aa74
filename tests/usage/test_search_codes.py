"""Searches by value set, by hierarchy and by List (R4 search.html#token, #list), on both databases, over HTTP."""

from __future__ import annotations

import pytest

from hdg.fhir.profiles.loading import load_package
from hdg.fhir.profiles.shelf import FOLDER, Shelf
from profile_packages import BASE, SYSTEM, code_system, package, value_set

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
LOINC = "http://loinc.org"
SETS = {
    "own": {"include": [{"system": LOINC, "concept": [{"code": "1-8"}, {"code": "718-7"}]}]},
    "whole": {"include": [{"system": "urn:labs"}]},
    "but": {
        "include": [{"system": "urn:labs"}],
        "exclude": [{"system": "urn:labs", "concept": [{"code": "b"}]}],
    },
    "both": {"include": [{"valueSet": ["urn:vs:own", "urn:vs:some"]}]},
    "some": {"include": [{"system": LOINC, "concept": [{"code": "718-7"}]}, {"valueSet": ["urn:vs:whole"]}]},
    "inpatient": {
        "include": [{"system": ACT, "filter": [{"property": "concept", "op": "is-a", "value": "IMP"}]}]
    },
    "filtered": {
        "include": [
            {
                "system": "http://snomed.info/sct",
                "filter": [{"property": "concept", "op": "is-a", "value": "1"}],
            }
        ]
    },
    "loop": {"include": [{"valueSet": ["urn:vs:loop"]}]},
    "lost": {"include": [{"valueSet": ["urn:vs:nowhere"]}]},
    "unknown": {
        "include": [{"system": ACT, "filter": [{"property": "concept", "op": "is-a", "value": "no such"}]}]
    },
    "given": None,
}
CODES = {
    "x": (LOINC, "1-8"),
    "y": (LOINC, "718-7"),
    "a": ("urn:labs", "a"),
    "b": ("urn:labs", "b"),
    "n": ("", "1-8"),
}
FOUND = [
    ("Condition?code:in=urn:vs:own", ["x", "y"]),
    ("Condition?code:in=ValueSet/own", ["x", "y"]),
    ("Condition?code:in=own", ["x", "y"]),
    ("Condition?code:in=https://gateway.example/fhir/ValueSet/own", ["x", "y"]),
    ("Condition?code:in=urn:vs:own|1", ["x", "y"]),
    ("Condition?code:not-in=urn:vs:own", ["a", "b", "bare", "n"]),
    ("Condition?code:in=urn:vs:whole", ["a", "b"]),
    ("Condition?code:not-in=urn:vs:whole", ["bare", "n", "x", "y"]),
    ("Condition?code:in=urn:vs:but", ["a"]),
    ("Condition?code:not-in=urn:vs:but", ["b", "bare", "n", "x", "y"]),
    ("Condition?code:in=urn:vs:own,urn:vs:but", ["a", "x", "y"]),
    ("Condition?code:in=urn:vs:both", ["y"]),
    ("Condition?code:in=urn:vs:some", ["a", "b", "y"]),
    ("Condition?code:in=urn:vs:given", ["x"]),
    ("Condition?code:in=urn:vs:own&code:not-in=urn:vs:some", ["x"]),
    ("Encounter?class:in=urn:vs:inpatient", ["acute", "imp"]),
    ("Encounter?class:in=http://terminology.hl7.org/ValueSet/v3-ActEncounterCode", ["acute", "amb", "imp"]),
    (f"Encounter?class:below={ACT}|IMP", ["acute", "imp"]),
    (f"Encounter?class:above={ACT}|ACUTE", ["acute", "imp"]),
    (f"Encounter?class:above={ACT}|IMP", ["imp"]),
    (f"Encounter?class:below={ACT}|NONAC,{ACT}|AMB", ["amb"]),
    ("Encounter?status:in=http://hl7.org/fhir/ValueSet/encounter-status", ["acute", "amb", "imp"]),
    ("Encounter?status:in=urn:vs:own", []),
    ("Encounter?status:in=http://hl7.org/fhir/ValueSet/event-status", []),
    ("Encounter?status:in=urn:vs:whole", []),
    ("Encounter?status:not-in=urn:vs:whole", ["acute", "amb", "imp"]),
    ("ValueSet?status:below=http://hl7.org/fhir/publication-status|active&url=urn:vs:own", ["own"]),
    ("Patient?gender:in=http://hl7.org/fhir/ValueSet/administrative-gender", []),
    ("Patient?_has:Condition:patient:code:in=urn:vs:own", ["ann"]),
    ("Patient?_has:Condition:patient:code:in=urn:vs:inpatient", []),
    (f"Condition?encounter:Encounter.class:below={ACT}|IMP", ["x"]),
    ("Condition?_list=mine", ["a", "x"]),
    ("Condition?_list=List/mine&code:in=urn:vs:own", ["x"]),
    ("Encounter?_list=mine,other", ["amb", "imp"]),
    ("Encounter?_list=other", ["imp"]),
    ("Encounter?_list=nowhere", []),
    ("?_type=Encounter,Condition&_list=mine", ["a", "amb", "x"]),
    ("Patient/ann/Condition?_list=mine&_sort=_id", ["a", "x"]),
    ("Patient?_list=mine", []),
]  # fmt: skip
REFUSED = [
    ("Condition?code:in=urn:vs:filtered", "not-supported"),
    ("Condition?code:not-in=urn:vs:filtered", "not-supported"),
    ("Condition?code:in=urn:vs:loop", "not-supported"),
    ("Condition?code:in=urn:vs:lost", "not-supported"),
    ("Condition?code:in=urn:vs:unknown", "not-supported"),
    ("Condition?code:in=urn:vs:nowhere", "not-supported"),
    ("Condition?code:in=urn:vs:own|7", "not-supported"),
    ("Condition?code:not-in=nowhere", "not-supported"),
    ("Condition?code:in=Patient/ann", "not-supported"),
    ("Condition?code:in=http://hl7.org/fhir/ValueSet/condition-severity", "not-supported"),
    ("Condition?code:below=http://snomed.info/sct|404684003", "not-supported"),
    (f"Encounter?class:below={ACT}|no-such-code", "not-supported"),
    ("Encounter?class:below=IMP", "value"),
    (f"Encounter?class:below={ACT}|", "value"),
    ("Patient?identifier:in=urn:vs:own", "not-supported"),
    ("CodeSystem?code:in=urn:vs:own", "not-supported"),
    ("Patient?active:in=urn:vs:own", "not-supported"),
    ("Condition?_list=$current-drug-allergies", "not-supported"),
    ("Condition?_list:not=mine", "not-supported"),
    ("Condition?subject._list=mine", "not-supported"),
]  # fmt: skip


@pytest.fixture
def clinic(either):
    put = lambda resource: either.put(resource, "north", "ann")  # noqa: E731
    ann = {"reference": "Patient/ann"}
    for id_, code in {"imp": "IMP", "acute": "ACUTE", "amb": "AMB"}.items():
        class_ = {"system": ACT, "code": code}
        put({"resourceType": "Encounter", "id": id_, "status": "finished", "class": class_, "subject": ann})
    for id_, (system, code) in CODES.items():
        coding = {"system": system, "code": code} if system else {"code": code}
        made = {"resourceType": "Condition", "id": id_, "subject": ann, "code": {"coding": [coding]}}
        if id_ == "x":
            made["encounter"] = {"reference": "Encounter/acute"}
        put(made)
    put({"resourceType": "Condition", "id": "bare", "subject": ann})
    for id_, compose in SETS.items():
        made = {
            "resourceType": "ValueSet",
            "id": id_,
            "status": "active",
            "url": f"urn:vs:{id_}",
            "version": "1",
        }
        if compose is None:
            listed = [{"system": LOINC, "code": "1-8"}]
            made["expansion"] = {"timestamp": "2026-01-01", "total": 1, "contains": listed}
        else:
            made["compose"] = compose
        either.put(made, "north", None)
    for id_, names in {
        "mine": [
            "Condition/x",
            "https://gateway.example/fhir/Condition/a",
            "Encounter/amb",
            "Condition/gone",
        ],
        "other": ["Encounter/imp/_history/1"],
    }.items():
        entries = [{"item": {"reference": name}} for name in names]
        entries.append({"item": {"reference": "Condition/b"}, "deleted": True})
        entries.append({"item": {"display": "no reference"}})
        put({"resourceType": "List", "id": id_, "status": "current", "mode": "working", "entry": entries})
    return either


@pytest.fixture
def search(clinic):
    token = clinic.token("clinician", institution="north")

    def ids(query, status=200):
        answer = clinic.client.get(f"/fhir/{query}", token)
        assert answer.status_code == status, (query, answer.text)
        if status != 200:
            return answer.json()["issue"][0]
        bundle = answer.json()
        found = sorted(entry["resource"]["id"] for entry in bundle.get("entry", []))
        assert bundle["total"] == len(found)
        return found

    return ids


def test_value_sets_hierarchies_and_lists_find_what_they_name(search):
    assert [(query, search(query)) for query, _ in FOUND] == FOUND


def test_what_cannot_be_told_is_refused_and_never_empty(search):
    answers = [(query, search(query, 400)) for query, _ in REFUSED]
    assert [(query, issue["code"]) for query, issue in answers] == REFUSED
    assert not any("urn:vs" in issue["diagnostics"] for _, issue in answers)


def test_value_sets_and_hierarchies_of_loaded_packages_count_as_soon_as_they_are_loaded(
    clinic, search, tmp_path
):
    for id_, code in {"gas": "bg", "sodium": "na"}.items():
        made = {"resourceType": "Condition", "id": id_, "subject": {"reference": "Patient/ann"}}
        clinic.put({**made, "code": {"coding": [{"system": SYSTEM, "code": code}]}}, "north", "ann")
    below, within = f"Condition?code:below={SYSTEM}|lab", f"Condition?code:in={BASE}blood"
    assert search(below, 400)["code"] == search(within, 400)["code"] == "not-supported"
    path = tmp_path / "package.tgz"
    tree = {"code": "lab", "concept": [{"code": "blood", "concept": [{"code": "bg"}]}, {"code": "na"}]}
    filter_ = {"property": "concept", "op": "descendent-of", "value": "blood"}
    loaded = [code_system(tree), value_set("blood", {"system": SYSTEM, "filter": [filter_]})]
    path.write_bytes(package(loaded))
    load_package(path, Shelf(clinic.settings.data / FOLDER))
    assert search(below) == ["gas", "sodium"]
    assert search(within) == ["gas"]
    assert search(f"Condition?code:not-in={BASE}blood&code:below={SYSTEM}|lab") == ["sodium"]
    Shelf(clinic.settings.data / FOLDER).remove("example.lab#1.0.0")
    assert search(within, 400)["code"] == "not-supported"
