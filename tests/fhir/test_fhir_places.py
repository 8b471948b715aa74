"""hdg.fhir.places: removing what an issue blames makes a resource valid."""

from __future__ import annotations

import copy

import pytest

from hdg.fhir.json import JsonObject
from hdg.fhir.places import without
from hdg.fhir.validate import validate

WRONG: JsonObject = {
    "resourceType": "Patient",
    "gender": "robot",
    "birthDate": "1980-02-31",
    "_birthDate": {"id": "x"},
    "deceasedBoolean": "no",
    "name": [{"given": ["A", "", "B", ""], "family": ""}, {"family": ""}, {"family": "Roe", "zz": 1}],
    "contact": [{"gender": "x"}],
    "link": [{"type": "seealso"}, {"other": {"reference": "Patient/1"}, "type": "seealso"}],
    "active": True,
}


def test_a_wrong_resource_without_the_blamed_elements_is_valid() -> None:
    before = copy.deepcopy(WRONG)
    right = without(WRONG, [issue.place for issue in validate(WRONG)])
    assert right == {
        "resourceType": "Patient",
        "name": [{"given": ["A", "B"]}, {"family": "Roe"}],
        "link": [{"other": {"reference": "Patient/1"}, "type": "seealso"}],
        "active": True,
    }
    assert validate(right) == []
    assert before == WRONG, "the argument is not changed"


def test_a_missing_required_element_takes_the_object_that_lacks_it() -> None:
    wrong = {"resourceType": "Patient", "link": [{"type": "seealso"}], "active": True}
    assert without(wrong, ["Patient.link[0].other"]) == {"resourceType": "Patient", "active": True}


@pytest.mark.parametrize(
    "resource, place",
    [
        ({"resourceType": "Observation", "code": {"text": "x"}}, "Observation.status"),
        ({"resourceType": "Patient", "gender": "robot"}, "Patient.gender"),
        ({"resourceType": "Patient", "active": True}, "Patient"),
    ],
)
def test_none_when_nothing_would_remain(resource: JsonObject, place: str) -> None:
    assert without(resource, [place]) is None


def test_a_place_in_a_companion_removes_only_there() -> None:
    wrong = {"resourceType": "Patient", "birthDate": "1980", "_birthDate": {"extension": [{"url": "u:v"}]}}
    assert without(wrong, ["Patient.birthDate.extension[0]"]) == {
        "resourceType": "Patient",
        "birthDate": "1980",
    }
