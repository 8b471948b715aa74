"""hdg.fhir.validate: references, contained resources and narrative."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.fhir.json import JsonObject
from hdg.fhir.validate import validate

XHTML = '<div xmlns="http://www.w3.org/1999/xhtml">{}</div>'


def places(resource: JsonObject) -> set[str]:
    return {issue.place for issue in validate(resource)}


def patient(**elements: Any) -> JsonObject:
    return {"resourceType": "Patient", **elements}


# --- references and contained resources (R4 references.html) ---


@pytest.mark.parametrize(
    "reference",
    [
        {"reference": "Organization/1"},
        {"reference": "https://host:8080/a/b/Organization/x.y-z"},
        {"reference": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"},
        {"type": "Organization", "identifier": {"value": "1"}},
        {"type": "http://hl7.org/fhir/StructureDefinition/Organization", "display": "x"},
        {"display": "x"},
    ],
)
def test_a_reference_may_be_relative_absolute_logical_or_a_name(reference: JsonObject) -> None:
    assert validate(patient(managingOrganization=reference)) == []


@pytest.mark.parametrize(
    "reference, place",
    [
        ({"reference": "Patient/1"}, "Patient.managingOrganization"),
        ({"reference": "http://host/fhir/Patient/1/_history/1"}, "Patient.managingOrganization"),
        ({"type": "Patient", "identifier": {"value": "1"}}, "Patient.managingOrganization"),
        ({"type": "Hospital", "display": "x"}, "Patient.managingOrganization.type"),
        ({"type": "Patient", "reference": "Organization/1"}, "Patient.managingOrganization.type"),
        ({"reference": "Hospital/1"}, "Patient.managingOrganization.reference"),
        ({"reference": "Organization/a b"}, "Patient.managingOrganization.reference"),
        ({"reference": "Organization/"}, "Patient.managingOrganization.reference"),
        ({"reference": "Organization/" + "a" * 65}, "Patient.managingOrganization.reference"),
        ({"reference": "#nope", "type": "Organization"}, "Patient.managingOrganization.reference"),
        ({"reference": "#nope"}, "Patient.managingOrganization.reference"),
    ],
)
def test_a_reference_to_the_wrong_thing_is_rejected(reference: JsonObject, place: str) -> None:
    assert place in places(patient(managingOrganization=reference))


def with_contained(*contained: JsonObject) -> JsonObject:
    return patient(contained=list(contained), managingOrganization={"reference": "#o"})


ORGANIZATION: JsonObject = {"resourceType": "Organization", "id": "o", "name": "x"}


BAD_CONTAINED = [
    ([{**ORGANIZATION, "contained": [ORGANIZATION]}], "contained[0].contained"),
    ([{**ORGANIZATION, "meta": {"versionId": "1"}}], "contained[0].meta.versionId"),
    ([{**ORGANIZATION, "meta": {"lastUpdated": "2024-01-01T00:00:00Z"}}], "contained[0].meta.lastUpdated"),
    ([{**ORGANIZATION, "meta": {"security": [{"code": "x"}]}}], "contained[0].meta.security"),
    ([ORGANIZATION, {**ORGANIZATION, "id": "p"}], "contained[1]"),
    ([ORGANIZATION, ORGANIZATION], "contained[1].id"),
    ([{"resourceType": "Organization", "name": "x"}], "contained[0].id"),
    ([{"resourceType": "Group", "id": "o", "type": "person", "actual": True}], "managingOrganization"),
    ([{**ORGANIZATION, "name": ""}], "contained[0].name"),
    ([{**ORGANIZATION, "partOf": {"reference": "#q"}}], "contained[0].partOf.reference"),
]


@pytest.mark.parametrize("contained, place", BAD_CONTAINED)
def test_a_contained_resource_that_breaks_a_rule_is_rejected(contained: list[JsonObject], place: str) -> None:
    assert f"Patient.{place}" in places(with_contained(*contained))


@pytest.mark.parametrize("kind", [["Patient"], {"a": 1}, 5, True, "", "Colour", None])
def test_a_reference_to_something_contained_that_is_no_resource_is_an_issue_and_no_exception(kind):
    contained = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    contained |= {"contained": [{"resourceType": kind, "id": "a"}], "focus": [{"reference": "#a"}]}
    found = [issue.place for issue in validate(contained)]
    assert found[0] == "Observation.contained[0].resourceType"
    assert set(found[1:]) == (set() if kind is None else {"Observation.focus[0].type"})


def test_contained_resources_may_refer_to_each_other_and_to_their_container() -> None:
    parent = {"resourceType": "Organization", "id": "q", "name": "y"}
    assert validate(with_contained({**ORGANIZATION, "partOf": {"reference": "#q"}}, parent)) == []
    back = {"resourceType": "Basic", "id": "b", "code": {"text": "x"}, "subject": {"reference": "#"}}
    assert validate(patient(contained=[back])) == []


def test_a_resource_in_a_bundle_has_its_own_contained_resources() -> None:
    inside = {"resource": with_contained(ORGANIZATION)}
    outside = {"resource": patient(managingOrganization={"reference": "#o"})}
    assert validate({"resourceType": "Bundle", "type": "collection", "entry": [inside]}) == []
    found = places({"resourceType": "Bundle", "type": "collection", "entry": [inside, outside]})
    assert list(found) == ["Bundle.entry[1].resource.managingOrganization.reference"]


# --- narrative (R4 narrative.html) ---

RIGHT_BODIES = [
    "x",
    "<img src='#i' alt='x'/>",
    "<b>&lt;&eacute;</b>",
    "<a href='http://x'>y</a>",
    "<table border='1'><tr><td colspan='2'>x</td></tr></table>",
    "<p xml:lang='de'>x</p>",
]
WRONG_BODIES = [
    "",
    "  \n",
    "<p>x",
    "<form>x</form>",
    "<style>x</style>",
    "<p onclick='x'>x</p>",
    "<a href='javascript:x'>x</a>",
    "<a href=' java\nscript:x'>x</a>",
    "<x:y/>",
    "\ud800",
]
WRONG_DIVS = [
    "x",
    "<div>x</div>",
    XHTML.format("x") + XHTML.format("y"),
    "<!DOCTYPE div>" + XHTML.format("x"),
    *(XHTML.format(body) for body in WRONG_BODIES),
]


@pytest.mark.parametrize("body", RIGHT_BODIES)
def test_a_narrative_with_formatting_is_right(body: str) -> None:
    assert validate(patient(text={"status": "generated", "div": XHTML.format(body)})) == []


@pytest.mark.parametrize("div", WRONG_DIVS)
def test_a_narrative_that_is_not_wellformed_empty_or_active_is_rejected(div: str) -> None:
    assert "Patient.text.div" in places(patient(text={"status": "generated", "div": div}))
