"""Modifiers of search parameters (R4 search.html#modifiers), on both databases, over HTTP."""

from __future__ import annotations

import pytest

V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"


FOUND = [
    ("Condition?code:text=headache", ["both", "head"]),
    ("Condition?code:text=HEAD", ["both", "head"]),
    ("Condition?code:text=headl", ["both"]),
    ("Condition?code:text=ache", ["ache"]),
    ("Condition?code:text=he,ac", ["ache", "both", "head"]),
    ("Condition?code:text=eadache", []),
    ("Condition?code:text=strasse%20strasse", ["long"]),
    ("Condition?subject:Patient._id=ann&code:text=ache", ["ache"]),
    ("Patient?_has:Condition:patient:code:text=head", ["ann"]),
    ("Patient?identifier:text=medical%20r", ["ann"]),
    (f"Patient?identifier:of-type={V2_0203}|MR|446053", ["ann"]),
    (f"Patient?identifier:of-type={V2_0203}|MR|777", []),
    (f"Patient?identifier:of-type={V2_0203}|XX|777", []),
    ("Condition?asserter:identifier=urn:npi|dr-head", ["head"]),
    ("Condition?asserter:identifier=dr-head,dr-both", ["both", "head"]),
    ("Condition?asserter:identifier=urn:other|dr-head", []),
    ("Observation?subject:identifier=urn:m|1", ["o-group", "o-said", "o-unsaid"]),
    ("Observation?patient:identifier=urn:m|1", ["o-said", "o-unsaid"]),
    ("Observation?patient:identifier=urn:m|2", ["o-both"]),
    ("Observation?focus:identifier=urn:m|&_count=1&_total=accurate&_id=o-both", ["o-both"]),
    ("ValueSet?url:below=http://acme.org/fhir/", ["set", "top"]),
    ("ValueSet?url:above=http://acme.org/fhir/ValueSet/12/_history/5", ["set", "top"]),
    ("ValueSet?url:above=http://acme.org/fhir/Value", ["top"]),
    ("Condition?asserter:missing=false&_id=head", ["head"]),
    ("Condition?asserter:missing=true", []),
    ("Condition?code:missing=true", []),
    ("Condition?code:missing=false", ["ache", "both", "head", "long"]),
    ("Condition?onset-date:missing=true&_id:missing=false", ["ache", "both", "head", "long"]),
    ("Condition?_lastUpdated:missing=true", []),
    ("Observation?code-value-quantity:missing=false&_id=o-both", ["o-both"]),
]
REFUSED = [
    ("Patient?gender:text=x", "not-supported"),
    ("Condition?code:of-type=a|b|c", "not-supported"),
    ("Patient?identifier:of-type=a|b", "value"),
    ("Patient?identifier:of-type=a||c", "value"),
    ("Patient?name:identifier=x", "not-supported"),
    ("CarePlan?instantiates-canonical:identifier=x", "not-supported"),
    ("Condition?code:text=" + "x" * 65, "value"),
    ("Condition?code:text=%20", "value"),
    ("Patient?_id:not=ann", "not-supported"),
    ("Patient?_id:missing=maybe", "value"),
    ("Observation?date:above=2024", "not-supported"),
    ("?_type=Condition,Patient&identifier:of-type=a|b", "value"),
    ("?_type=Condition,Observation&code:identifier=a", "not-supported"),
]


@pytest.fixture
def ward(either):
    """Ann's results with names, identifiers with types, references by identifier."""
    put = lambda resource: either.put(resource, "north", "ann")  # noqa: E731
    person = either.patient("ann", "Eve", "Featherstonehaugh")
    mrn = {"coding": [{"system": V2_0203, "code": "MR"}], "text": "Médical record"}
    person["identifier"] = [
        {"system": "urn:example:mrn", "value": "446053", "type": mrn},
        {"system": "urn:example:other", "value": "777", "type": {"coding": [{"code": "XX"}]}},
    ]
    put(person)
    names = {
        "head": {"text": "HÉADACHE, severe"},
        "ache": {"coding": [{"system": "http://loinc.org", "code": "1-8", "display": "Ache in the head"}]},
        "both": {"coding": [{"system": "urn:x", "code": "2"}, {"display": "headless"}], "text": "headache"},
        "long": {"text": "Straße " * 30},
    }
    for id_, code in names.items():
        put(
            {
                "resourceType": "Condition",
                "id": id_,
                "subject": {"reference": "Patient/ann"},
                "code": code,
                "asserter": {"identifier": {"system": "urn:npi", "value": f"dr-{id_}"}},
            }
        )
    for id_, subject in {
        "said": {"type": "Patient", "identifier": {"system": "urn:m", "value": "1"}},
        "unsaid": {"identifier": {"system": "urn:m", "value": "1"}},
        "group": {"type": "Group", "identifier": {"system": "urn:m", "value": "1"}},
        "both": {"reference": "Patient/ann", "identifier": {"system": "urn:m", "value": "2"}},
    }.items():
        put(
            {**either.observation(f"o-{id_}", "ann", "718-7", "2024"), "subject": subject, "focus": [subject]}
        )
    for id_, url in {"top": "http://acme.org/fhir/", "set": "http://acme.org/fhir/ValueSet/12"}.items():
        put({"resourceType": "ValueSet", "id": id_, "status": "active", "url": url})
    return either


@pytest.fixture
def search(ward):
    ward.grant("ann", "Organization/west")
    token = ward.token("clinician", institution="north")

    def ids(query, status=200):
        answer = ward.client.get(f"/fhir/{query}", token)
        assert answer.status_code == status, answer.text
        if status != 200:
            return answer.json()["issue"][0]
        bundle = answer.json()
        found = sorted(entry["resource"]["id"] for entry in bundle.get("entry", []))
        assert bundle["total"] == len(found)
        return found

    return ids


def test_a_modifier_finds_what_r4_says(search):
    assert [(query, search(query)) for query, _ in FOUND] == FOUND


def test_what_a_parameter_does_not_take_is_refused(search):
    assert [(query, search(query, 400)["code"]) for query, _ in REFUSED] == REFUSED


def test_conditions_of_writes_take_modifiers_that_rows_answer_and_refuse_the_others(ward):
    north = ward.token("clinician", user="dr-north", institution="north")
    made = {**ward.observation("x", "ann", "718-7", "2024"), "code": {"text": "Glucose in blood"}}
    made["subject"]["identifier"] = {"system": "urn:m", "value": "9"}
    del made["id"]
    for condition in ("code:text=glucose", "subject:identifier=urn:m|9"):
        first = ward.client.send("POST", "/fhir/Observation", north, made, if_none_exist=condition)
        again = ward.client.send("POST", "/fhir/Observation", north, made, if_none_exist=condition)
        assert (first.status_code, again.status_code) == (201 if "text" in condition else 200, 200)
    entry = {
        "resource": made,
        "request": {"method": "POST", "url": "Observation", "ifNoneExist": "code:text=glu"},
    }
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    answer = ward.client.send("POST", "/fhir", north, bundle)
    assert answer.json()["entry"][0]["response"]["status"].startswith("200")
    for condition in (
        "code:in=http://hl7.org/fhir/ValueSet/observation-status",
        "_list=x",
        "status:not-in=urn:x",
    ):
        answer = ward.client.send("POST", "/fhir/Observation", north, made, if_none_exist=condition)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "not-supported")
        answer = ward.client.send("PUT", f"/fhir/Observation?{condition}", north, made)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "not-supported")
        entry["request"]["ifNoneExist"] = condition
        answer = ward.client.send("POST", "/fhir", north, bundle)
        assert answer.status_code == 400


def test_what_comes_along_and_the_order_of_matches_take_no_modifier(search):
    for query in (
        "Condition?_include:text=Condition:subject",
        "Condition?_sort=code:text",
        "Condition?_count:not=1",
    ):
        assert search(query, 400)["code"] == "not-supported"


def test_a_batch_and_a_transaction_read_by_value_set(ward):
    north = ward.token("clinician", user="dr-north", institution="north")
    url = "Condition?code:not-in=http://hl7.org/fhir/ValueSet/observation-status&code:text=head"
    for kind in ("batch", "transaction"):
        bundle = {
            "resourceType": "Bundle",
            "type": kind,
            "entry": [{"request": {"method": "GET", "url": url}}],
        }
        answer = ward.client.send("POST", "/fhir", north, bundle)
        assert answer.json()["entry"][0]["resource"]["total"] == 2, answer.text
