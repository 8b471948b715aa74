"""Slicing: each kind of discriminator tells slices apart, each rule about slices can be broken."""

from __future__ import annotations

import pytest

from hdg.fhir.profiles.check import Profiles
from hdg.fhir.profiles.library import Library
from profile_packages import BASE, SYSTEM, structure, value_set


def issues(resource, *profiles, asked="p"):
    found = Profiles(Library().with_resources(profiles)).check(resource, [BASE + asked])
    return [(issue.severity, issue.place) for issue in found]


def sliced(kind, path, **more):
    return {"slicing": {"discriminator": [{"type": kind, "path": path}], "rules": "open", **more}}


# --- value and pattern ------------------------------------------------------------------------------------------


def identifiers(**more):
    return structure(
        "p",
        "Patient",
        [
            ("Patient.identifier", sliced("value", "system", **more)),
            ("Patient.identifier:mrn", {"min": 1, "max": "1"}),
            ("Patient.identifier:mrn.system", {"fixedUri": "urn:mrn"}),
            ("Patient.identifier:mrn.value", {"min": 1}),
            ("Patient.identifier:card", {"max": "2"}),
            ("Patient.identifier:card.system", {"fixedUri": "urn:card"}),
            ("Patient.identifier:card.period", {"min": 1}),
        ],
    )


def patient(*systems):
    listed = [{"system": f"urn:{name}", "value": "1", "period": {"start": "2020"}} for name in systems]
    return {"resourceType": "Patient", "active": True, **({"identifier": listed} if listed else {})}


ERROR = "error"


@pytest.mark.parametrize(
    ("rules", "systems", "expected"),
    [
        ({}, ["mrn"], []),
        ({}, ["card", "x", "mrn", "card"], []),
        ({}, [], [(ERROR, "Patient.identifier")]),
        ({}, ["mrn", "mrn"], [(ERROR, "Patient.identifier")]),
        ({}, ["mrn", "card", "card", "card"], [(ERROR, "Patient.identifier")]),
        ({"rules": "closed"}, ["mrn", "x"], [(ERROR, "Patient.identifier[1]")]),
        ({"rules": "openAtEnd"}, ["mrn", "card", "x"], []),
        ({"rules": "openAtEnd"}, ["mrn", "x", "card"], [(ERROR, "Patient.identifier[2]")]),
        ({"ordered": True}, ["mrn", "card", "card"], []),
        ({"ordered": True}, ["card", "mrn"], [(ERROR, "Patient.identifier[1]")]),
    ],
)
def test_slices_are_told_apart_by_a_value_counted_and_kept_in_order(rules, systems, expected):
    assert issues(patient(*systems), identifiers(**rules)) == expected


def test_an_item_is_checked_by_its_own_slice_only():
    resource = patient("mrn", "card", "x")
    for item in resource["identifier"]:
        del item["period"]
    assert issues(resource, identifiers()) == [(ERROR, "Patient.identifier[1].period")]
    del resource["identifier"][0]["value"], resource["identifier"][2]["value"]
    assert issues(resource, identifiers()) == [
        (ERROR, "Patient.identifier[0].value"),
        (ERROR, "Patient.identifier[1].period"),
    ]


def coded(system, code, **more):
    return {"coding": [{"system": "urn:local", "code": "1"}, {"system": system, "code": code}], **more}


def pressure(*codes):
    components = [{"code": coded(SYSTEM, code), "valueQuantity": {"value": 1}} for code in codes]
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "pressure"},
        "component": components,
    }


PATTERN = [("code", {"min": 1, "patternCodeableConcept": {"coding": [{"system": SYSTEM, "code": "sys"}]}})]
DEEP = [
    ("code.coding.system", {"min": 1, "fixedUri": SYSTEM}),
    ("code.coding.code", {"min": 1, "fixedCode": "sys"}),
]
NESTED = [
    ("code.coding", sliced("value", "code")),
    ("code.coding:sys", {"min": 1}),
    ("code.coding:sys.system", {"fixedUri": SYSTEM}),
    ("code.coding:sys.code", {"min": 1, "fixedCode": "sys"}),
]
BOUND = [("code", {"min": 1, "binding": {"strength": "required", "valueSet": BASE + "sys"}})]


@pytest.mark.parametrize(
    ("kind", "path", "says"),
    [
        ("pattern", "code", PATTERN),
        ("value", "code", PATTERN),
        ("value", "code", DEEP),
        ("value", "code.coding.code", DEEP),
        ("value", "code.coding.code", NESTED),
        ("value", "code", NESTED),
        ("value", "$this.code", PATTERN),
        ("value", "code", BOUND),
    ],
)
def test_the_value_may_be_said_in_any_usual_way(kind, path, says):
    profile = structure(
        "p",
        "Observation",
        [
            ("Observation.component", sliced(kind, path)),
            ("Observation.component:sys", {"min": 1, "max": "1"}),
            *((f"Observation.component:sys.{name}", what) for name, what in says),
            ("Observation.component:sys.value[x]", {"max": "0"}),
        ],
    )
    bound = value_set("sys", {"system": SYSTEM, "concept": [{"code": "sys"}]})
    found = [one for one in issues(pressure("dia", "sys"), profile, bound) if ".code" not in one[1]]
    assert found == [(ERROR, "Observation.component[1].value")]
    assert issues(pressure("dia"), profile, bound) == [(ERROR, "Observation.component")]
    assert (ERROR, "Observation.component") in issues(pressure("sys", "sys"), profile, bound)


def test_an_item_in_two_slices_at_once_is_an_error():
    profile = structure(
        "p",
        "Patient",
        [
            ("Patient.identifier", sliced("pattern", "$this")),
            ("Patient.identifier:a", {"patternIdentifier": {"system": "urn:mrn"}}),
            ("Patient.identifier:b", {"patternIdentifier": {"value": "1"}}),
        ],
    )
    assert issues(patient("mrn"), profile) == [(ERROR, "Patient.identifier[0]")]


def test_slices_of_a_slice_are_counted_within_it():
    profile = structure(
        "p",
        "Patient",
        [
            ("Patient.identifier", sliced("value", "system")),
            ("Patient.identifier:mrn", {**sliced("value", "use")}),
            ("Patient.identifier:mrn.system", {"fixedUri": "urn:mrn"}),
            ("Patient.identifier:mrn/old", {"max": "1"}),
            ("Patient.identifier:mrn/old.use", {"fixedCode": "old"}),
        ],
    )
    resource = patient("mrn", "mrn", "card", "card")
    for item in resource["identifier"]:
        item["use"] = "old"
    assert issues(resource, profile) == [(ERROR, "Patient.identifier")]
    resource["identifier"][0]["use"] = "usual"
    assert issues(resource, profile) == []


def test_the_default_slice_takes_what_no_other_does():
    profile = structure(
        "p",
        "Patient",
        [
            ("Patient.identifier", sliced("value", "system", rules="closed")),
            ("Patient.identifier:mrn", {}),
            ("Patient.identifier:mrn.system", {"fixedUri": "urn:mrn"}),
            ("Patient.identifier:@default", {}),
            ("Patient.identifier:@default.value", {"max": "0"}),
        ],
    )
    assert issues(patient("mrn", "x"), profile) == [(ERROR, "Patient.identifier[1].value")]


# --- the other kinds --------------------------------------------------------------------------------------------


def test_slices_by_whether_an_element_is_there():
    profile = structure(
        "p",
        "Patient",
        [
            ("Patient.contact", sliced("exists", "organization")),
            ("Patient.contact:firm", {"max": "1"}),
            ("Patient.contact:firm.organization", {"min": 1}),
            ("Patient.contact:person", {}),
            ("Patient.contact:person.organization", {"max": "0"}),
            ("Patient.contact:person.name", {"min": 1}),
        ],
    )
    firm, person, nobody = (
        {"organization": {"reference": "Organization/1"}},
        {"name": {"text": "x"}},
        {"telecom": [{"system": "phone", "value": "1"}]},
    )
    wrap = lambda *listed: {"resourceType": "Patient", "contact": list(listed)}  # noqa: E731
    assert issues(wrap(firm, person), profile) == []
    assert issues(wrap(firm, nobody), profile) == [(ERROR, "Patient.contact[1].name")]
    assert issues(wrap(firm, firm), profile) == [(ERROR, "Patient.contact")]


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("value[x]:valueQuantity", []),
        ("value[x]:q", []),
        ("valueQuantity", [(ERROR, "Observation.value")]),  # short for: only that, as in R4's own snapshots
    ],
)
def test_slices_of_a_choice_by_type(name, others):
    profile = structure(
        "p",
        "Observation",
        [(f"Observation.{name}", {"type": [{"code": "Quantity"}]}), (f"Observation.{name}.unit", {"min": 1})],
    )
    resource = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    assert issues({**resource, "valueQuantity": {"value": 1}}, profile) == [(ERROR, "Observation.value.unit")]
    assert issues({**resource, "valueString": "x"}, profile) == others


def entries(kind="type", path="resource"):
    return structure(
        "p",
        "Bundle",
        [
            ("Bundle.entry", sliced(kind, path, rules="closed")),
            ("Bundle.entry:patient", {"min": 1, "max": "1"}),
            ("Bundle.entry:patient.resource", {"type": [{"code": "Patient", "profile": [BASE + "named"]}]}),
            ("Bundle.entry:patient.resource.gender", {"min": 1}),
            ("Bundle.entry:list", {}),
            ("Bundle.entry:list.resource", {"type": [{"code": "List"}]}),
        ],
    )


NAMED = structure("named", "Patient", [("Patient.name", {"min": 1})])
ANN = {"resourceType": "Patient", "gender": "female", "name": [{"text": "A"}]}
LIST = {"resourceType": "List", "status": "current", "mode": "working"}


def bundle(*resources):
    listed = [
        {"fullUrl": f"http://x.example/{resource['resourceType']}/{number}", "resource": resource}
        for number, resource in enumerate(resources)
    ]
    return {"resourceType": "Bundle", "type": "collection", "entry": listed}


def test_slices_by_the_type_of_a_resource_reach_into_its_profile():
    assert issues(bundle(ANN, LIST), entries(), NAMED) == []
    nameless = {key: value for key, value in ANN.items() if key != "name"}
    assert issues(bundle(nameless), entries(), NAMED) == [(ERROR, "Bundle.entry[0].resource.name")]
    genderless = {key: value for key, value in ANN.items() if key != "gender"}
    assert issues(bundle(genderless), entries(), NAMED) == [(ERROR, "Bundle.entry[0].resource.gender")]
    organization = {"resourceType": "Organization", "name": "x"}
    assert issues(bundle(ANN, organization), entries(), NAMED) == [(ERROR, "Bundle.entry[1]")]


def members(kind):
    target = [{"code": "Reference", "targetProfile": [BASE + "named"]}]
    path = "item.resolve()" if kind != "value" else "item.resolve().gender"
    return structure(
        "p",
        "List",
        [
            ("List.entry", sliced(kind, path)),
            ("List.entry:patient", {"max": "1"}),
            ("List.entry:patient.item", {"type": target}),
        ],
    )


def listing(*references, **more):
    return {**LIST, "entry": [{"item": {"reference": text}} for text in references], **more}


def test_slices_by_the_type_that_a_reference_names():
    assert issues(listing("Patient/1", "Group/1", "Group/2"), members("type"), NAMED)[0][0] == "information"
    assert (ERROR, "List.entry") in issues(listing("Patient/1", "Patient/2"), members("type"), NAMED)


def test_slices_by_the_profile_of_what_a_reference_leads_to():
    inside = [{**ANN, "id": "a"}, {**ANN, "id": "b"}, {"resourceType": "Patient", "id": "c", "active": True}]
    assert issues(listing("#a", "#c", contained=inside[::2]), members("profile"), NAMED) == []
    twice = listing("#a", "#b", contained=inside[:2])
    assert issues(twice, members("profile"), NAMED) == [(ERROR, "List.entry")]
    elsewhere = issues(listing("Patient/1", "Patient/2"), members("profile"), NAMED)
    assert elsewhere == [("warning", "List.entry[0]")]


def test_extensions_are_sliced_by_url_also_without_saying_so():
    site = structure(
        "site",
        "Extension",
        [("Extension.url", {"fixedUri": BASE + "site"}), ("Extension.value[x]", {"min": 1})],
    )
    profile = structure(
        "p",
        "Patient",
        [
            (
                "Patient.extension:site",
                {"min": 1, "type": [{"code": "Extension", "profile": [BASE + "site"]}]},
            ),
            (
                "Patient.birthDate.extension:site",
                {"max": "1", "type": [{"code": "Extension", "profile": [BASE + "site"]}]},
            ),
            ("Patient.birthDate", {"min": 1}),
        ],
    )
    one = {"url": BASE + "site", "valueString": "x"}
    base = {"resourceType": "Patient", "birthDate": "2000-01-01"}
    assert issues({**base, "extension": [one]}, profile, site) == []
    assert issues(base, profile, site) == [(ERROR, "Patient.extension")]
    twice = {**base, "extension": [one], "_birthDate": {"extension": [one, one]}}
    assert issues(twice, profile, site) == [(ERROR, "Patient.birthDate.extension")]


def test_slices_by_what_an_extension_says():
    profile = structure(
        "p",
        "Patient",
        [
            ("Patient.name", sliced("value", "extension('urn:kind').value")),
            ("Patient.name:art", {"max": "1"}),
            ("Patient.name:art.extension", sliced("value", "url")),
            ("Patient.name:art.extension:kind", {"min": 1}),
            ("Patient.name:art.extension:kind.url", {"fixedUri": "urn:kind"}),
            ("Patient.name:art.extension:kind.value[x]", {"min": 1, "fixedCode": "artist"}),
        ],
    )

    def names(*kinds):
        listed = [{"text": "x", "extension": [{"url": "urn:kind", "valueCode": kind}]} for kind in kinds]
        return {"resourceType": "Patient", "name": listed}

    assert (ERROR, "Patient.name") in issues(names("artist", "artist"), profile)
    assert (ERROR, "Patient.name") not in issues(names("artist", "legal"), profile)


@pytest.mark.parametrize(
    ("kind", "path"),
    [("value", "period"), ("position", "$this"), ("value", "system.where(true)"), ("exists", "use")],
)
def test_slices_that_cannot_be_told_apart_are_a_warning(kind, path):
    profile = structure(
        "p",
        "Patient",
        [
            ("Patient.identifier", sliced(kind, path, rules="closed")),
            ("Patient.identifier:mrn", {"min": 1}),
            ("Patient.identifier:mrn.system", {"fixedUri": "urn:mrn"}),
        ],
    )
    assert issues(patient("x"), profile) == [("warning", "Patient.identifier[0]")]
    assert issues(patient(), profile) == [(ERROR, "Patient.identifier")]  # no item can be in it


def test_content_references_bring_the_rules_of_what_they_name():
    profile = structure(
        "p",
        "Questionnaire",
        [
            ("Questionnaire.item.text", {"min": 1}),
            ("Questionnaire.item.item", {"contentReference": "#Questionnaire.item"}),
        ],
    )
    inner = {"linkId": "2", "type": "display", "item": [{"linkId": "3", "type": "display", "text": "x"}]}
    resource = {
        "resourceType": "Questionnaire",
        "status": "draft",
        "item": [{"linkId": "1", "type": "group", "text": "x", "item": [{**inner, "type": "group"}]}],
    }
    assert issues(resource, profile) == [(ERROR, "Questionnaire.item[0].item[0].text")]
