"""hdg.fhir.accept: the short way accepts nothing that the whole check finds wrong, and most of what is right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any
from unittest import mock

import pytest
from fhir_mutants import Change, Mutant, Path, every_spot, mutants, sample
from hypothesis import given
from hypothesis import strategies as st
from test_fhir_validate import MUTANTS, RIGHT, json_values

from case_pairs import CASES, convert, names_of
from hdg.errors import Issue
from hdg.fhir import accept, accept_parts, ids, validate
from hdg.fhir.accept_parts import Shape, String
from hdg.fhir.definitions import resource_types, type_definition
from hdg.fhir.invariants import NEEDS, OF_PRESENCE, ROOM, Scope, rule
from hdg.fhir.json import JsonObject, loads
from hdg.fhir.primitives import primitive_check
from hdg.ingestion.hl7v2.convert import Converter


def is_accepted(resource: JsonObject) -> bool:
    """Whether the short way alone takes the resource."""
    check = accept.resource_accept(resource.get("resourceType", ""))
    return check is not None and check(resource, Scope(resource, resource)) is None


def whole(resource: JsonObject) -> list[Issue]:
    """The verdict without the short way."""
    with mock.patch.object(validate, "resource_accept", return_value=None):
        return validate.validate(resource)


def assert_same(resource: JsonObject) -> bool:
    """Both ways agree; tells whether the short one was taken."""
    issues = whole(resource)
    assert validate.validate(resource) == issues
    assert validate.validate(resource) == issues, "asked again, with what is remembered by now"
    took = isinstance(resource.get("resourceType"), str) and is_accepted(resource)
    assert not (took and issues)
    return took


def cut(resource: JsonObject) -> JsonObject:
    """The resource without contained resources and what names them, which the short way leaves alone."""
    return {
        key: value
        for key, value in resource.items()
        if key != "contained"
        and not (isinstance(value, dict) and str(value.get("reference")).startswith("#"))
    }


@pytest.mark.parametrize("resource", RIGHT, ids=lambda resource: str(resource["resourceType"]))
def test_a_right_resource_takes_the_short_way(resource: JsonObject) -> None:
    assert assert_same(cut(resource))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.kind} {m.place}")
def test_no_mutant_takes_the_short_way(mutant: Mutant) -> None:
    assert_same(mutant.resource)
    without = cut(mutant.resource)
    if whole(without):
        assert not is_accepted(without)


def observation(**elements: Any) -> JsonObject:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, **elements}


CODE = {"coding": [{"system": "u:v", "code": "x"}]}
BROKEN: dict[str, JsonObject] = {
    "ext-1, both": observation(extension=[{"url": "u:v", "valueCode": "x", "extension": [{"url": "u:w"}]}]),
    "ext-1, neither": observation(extension=[{"url": "u:v"}]),
    "qty-3": observation(valueQuantity={"value": 1, "code": "mg"}),
    "per-1": observation(effectivePeriod={"start": "2024", "end": "2023"}),
    "rng-2": observation(valueRange={"low": {"value": 2}, "high": {"value": 1}}),
    "rat-1": observation(valueRatio={"numerator": {"value": 2}}),
    "obs-3": observation(referenceRange=[{"appliesTo": [CODE]}]),
    "obs-6": observation(valueString="x", dataAbsentReason=CODE),
    "obs-7": observation(code=CODE, valueString="x", component=[{"code": CODE, "valueString": "y"}]),
    "att-1": {"resourceType": "Patient", "photo": [{"data": "AAAA"}]},
    "cpt-2": {"resourceType": "Patient", "telecom": [{"value": "1"}]},
    "pat-1, in FHIRPath": {"resourceType": "Patient", "contact": [{"gender": "male"}]},
    "sqty-1": observation(referenceRange=[{"low": {"value": 1, "comparator": "<"}}]),
    "a binding of a concept": {"resourceType": "AllergyIntolerance", "patient": {"reference": "Patient/1"},
                               "clinicalStatus": CODE},
    "blank in an id": observation(subject={"reference": "Patient/a b"}),
    "letters beyond ASCII in an id": observation(subject={"reference": "Patient/ä"}),
    "long id": observation(subject={"reference": "Patient/" + "a" * 65}),
    "no id": observation(subject={"reference": "Patient/"}),
    "type of a reference": observation(subject={"reference": "Patient/1", "type": "Group"}),
    "display of a reference": observation(subject={"reference": "Patient/1", "display": ""}),
    "display alone": observation(subject={"display": ""}),
    "display and no text": observation(subject={"display": "x", "reference": None}),
    "display and what is no text": observation(subject={"display": "x", "reference": ["Patient/1"]}),
    "display and a text of no type": observation(subject={"display": "x", "reference": "Practitioner/1"}),
    "a coding of two texts": observation(code={"coding": [{"system": "u v", "code": "x"}]}),
    "a coding with what is no text": observation(code={"coding": [{"system": "u:v", "code": ["x"]}]}),
    "a coding with nothing": observation(code={"coding": [{"system": "u:v", "code": None}]}),
    "display of a reference in an array": observation(performer=[{"reference": "Patient/1", "display": ""}]),
    "companion of an array": {"resourceType": "Patient", "name": [{"given": ["x"], "_given": [None]}]},
    "only an id": observation(subject={"id": "x"}),
    "a float": observation(valueQuantity={"value": 1.5}),
    "a float with a unit": observation(valueQuantity={"value": 1.5, "unit": "mg", "system": "u:v", "code": "mg"}),
    "no name of a resource in a bundle": {"resourceType": "Bundle", "type": "collection",
                                          "entry": [{"resource": {"resourceType": "Organization", "name": ""}}]},
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_rule_goes_the_whole_way_however_often_it_comes(name: str) -> None:
    whole_and_right = observation(valueQuantity={"value": 1, "unit": "mg", "system": "u:v", "code": "mg"})
    assert is_accepted(whole_and_right)
    for _ in range(3):
        assert not is_accepted(BROKEN[name])
        assert_same(BROKEN[name])
    assert whole(BROKEN[name])


def test_what_is_remembered_of_codings_lets_nothing_else_pass() -> None:
    right = [
        {"system": "u:s", "code": "c"}, {"system": "u:s", "version": "1"}, {"system": "u:s", "display": "d"},
        {"system": "u:s", "code": "c", "display": "d"}, {"code": "c", "display": "d"}, {"system": "u:s"},
    ]  # fmt: skip
    wrong: list[JsonObject] = [
        {"system": "u:s", "zz": "c"}, {"system": "u:s", "code": None}, {"system": "u:s", "display": None},
        {"system": "u:s", "code": "c", "display": None}, {"system": "u:s", "code": "c", "zz": "d"},
        {"zz": "u:s", "code": "c"}, {"system": "u:s", "code": "c", "_display": {}}, {"system": "u:s", "code": ["c"]},
        {"system": None, "code": "c", "display": "d"}, {"zz": None, "code": "c", "display": "d"},
    ]  # fmt: skip
    for _ in range(3):
        for coding in right:
            assert is_accepted(observation(code={"coding": [coding]}))
            assert whole(observation(code={"coding": [coding]})) == []
        for coding in wrong:
            assert not is_accepted(observation(code={"coding": [coding]}))
            assert whole(observation(code={"coding": [coding]}))


SPOTS = [(resource, spot) for resource in map(cut, RIGHT) for spot in every_spot(resource)]


@given(st.sampled_from(SPOTS), json_values)
def test_both_ways_agree_with_any_json_value_anywhere(spot: tuple[JsonObject, Path], value: Any) -> None:
    resource, path = spot
    assert_same(Change(resource, path, value).made())


PRIMITIVES = st.sampled_from(
    ["", "x", "a b", " a", "a\n", "a\x07", "2024", "2024-02-30", "2024-02-29", "2024-02-29T10:00:00Z", "#", "#a",
     "Patient/1", "Patient/", "Patient/a b", "Group/x.y", "patient/1", "Patient/1/_history/2", "Hospital/1", "male",
     "urn:uuid:1", "a" * 65, "é", "10:00:00", True, False, 0, 1, -1, 1 << 31, 1.5, loads("1.50"), None]
)  # fmt: skip


@given(st.data())
def test_both_ways_agree_on_objects_of_any_properties_of_their_type(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["Patient", "Observation", "Encounter", "MessageHeader", "Provenance"]))
    names = [name for element in type_definition(kind).elements for name, _ in element.json_names()]
    keys = data.draw(st.lists(st.sampled_from([*names, "zz"]), max_size=4, unique=True))
    inner = st.dictionaries(
        st.sampled_from(["id", "reference", "display", "type", "value", "code", "system", "text", "start", "end",
                         "url", "valueString", "valueCode", "extension", "_value", "low", "high", "unit"]),
        PRIMITIVES, max_size=3,
    )  # fmt: skip
    item = PRIMITIVES | inner
    resource: JsonObject = {"resourceType": kind}
    for key in keys:
        name = data.draw(st.sampled_from([key, key, key, "_" + key]))
        resource[name] = data.draw(item | st.lists(item, max_size=2))
    assert_same(resource)


@given(st.sampled_from([cut(resource) for resource in RIGHT]), st.randoms(use_true_random=False))
def test_the_order_of_properties_decides_nothing(resource: JsonObject, rng: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(item) for item in value]
        if not isinstance(value, dict):
            return value
        items = list(value.items())
        rng.shuffle(items)
        return {key: shuffled(item) for key, item in items}

    assert assert_same(shuffled(resource))


def test_every_case_of_conversion_gets_the_same_verdict_and_mostly_the_short_way() -> None:
    converter = Converter(id_key=ids.PUBLIC_KEY)
    families = sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())
    taken = [
        assert_same(copy.deepcopy(resource))
        for name in names_of(*families)
        for resource in convert(converter, name).resources
    ]
    assert len(taken) > 300
    assert sum(taken) / len(taken) > 0.95


def test_sequences_of_properties_are_kept_up_to_a_bound() -> None:
    shapes = accept._Shapes("Patient")
    names = [name for element in type_definition("Patient").elements for name, _ in element.json_names()]
    for first in names:
        for second in names:
            shapes.check(dict.fromkeys((first, second), "x"), Scope({}, {}))
            assert len(shapes.made) <= accept._MAX_SHAPES


def test_too_deep_for_the_short_way_is_asked_in_full() -> None:
    patient: JsonObject = {"resourceType": "Patient"}
    with mock.patch.object(validate, "resource_accept", return_value=mock.Mock(side_effect=RecursionError)):
        assert validate.validate(patient) == []
        assert [issue.place for issue in validate.validate({**patient, "zz": 1})] == ["Patient.zz"]


def test_a_property_is_looked_at_whatever_its_name_and_an_array_item_by_item() -> None:
    name = "a'] or quit() #"
    shape = Shape([String(name, primitive_check("string"), is_list=True)], [])
    scope = Scope({}, {})
    assert not shape.asks({name: ["x", "y\n"]}, scope)
    for wrong in ([], ["x", ""], ["x", 1], "x", None):
        assert shape.asks({name: wrong}, scope)
    with pytest.raises(KeyError):
        shape.asks({}, scope)


def nested(depth: int) -> JsonObject:
    """A resource with so many items around the innermost one."""
    item: JsonObject = {"linkId": "1"}
    for _ in range(depth):
        item = {"linkId": "1", "item": [item]}
    return {"resourceType": "QuestionnaireResponse", "status": "completed", "item": [item]}


@pytest.mark.parametrize(("depth", "is_taken"), [(98, True), (99, False), (100_000, False)])
def test_objects_inside_too_many_others_are_asked_in_full(depth: int, is_taken: bool) -> None:
    resource = nested(depth)
    scope = Scope(resource, resource)
    check = accept.resource_accept("QuestionnaireResponse")
    assert check is not None
    assert (check(resource, scope) is None) is is_taken
    assert scope.room == ROOM
    assert validate.refused([resource], None) == ([] if is_taken else [0])


def test_resources_inside_too_many_others_are_asked_in_full() -> None:
    resource: JsonObject = {"resourceType": "Patient"}
    for _ in range(50_000):
        resource = {"resourceType": "Parameters", "parameter": [{"name": "a", "resource": resource}]}
    assert not is_accepted(resource)


def test_what_is_kept_of_texts_and_references_is_bounded() -> None:
    for number in range(2000):
        time = f"2024-02-29T10:{number % 60:02}:{number // 60:02}Z"
        right = observation(effectiveDateTime=time, subject={"reference": f"Patient/{number}"})
        assert is_accepted(right)
        assert not is_accepted({**right, "effectiveDateTime": time.replace("-29", "-30")})
    assert len(accept_parts._types) <= accept_parts._MAX_REFERENCES
    assert len(accept._texts("dateTime")) <= accept_parts._MAX_TEXTS


PRESENT = ["id", "extension", "value", "valueString", "_value", "code", "_code", "system", "_system", "start", "end",
           "low", "high", "text", "_text", "data", "_data", "contentType", "numerator", "denominator", "component",
           "dataAbsentReason", "entry", "section", "emptyReason", "identifier", "name", "_name", "use", "orderDetail",
           "clinicalStatus", "verificationStatus", "duration", "_duration", "durationUnit", "durationMax", "period",
           "_period", "periodUnit", "periodMax", "count", "countMax", "timeOfDay", "_timeOfDay", "when"]  # fmt: skip


@given(st.sampled_from(sorted(OF_PRESENCE)), st.sets(st.sampled_from(PRESENT)), json_values, json_values)
def test_a_rule_of_presence_looks_at_no_value(key: str, present: set[str], one: Any, other: Any) -> None:
    test = rule(key, "", "Element")
    scope = Scope({}, {})
    assert test(dict.fromkeys(present, one), scope) == test(dict.fromkeys(present, other), scope)


@given(st.sampled_from(sorted(NEEDS)), st.sets(st.sampled_from(PRESENT)), json_values)
def test_a_rule_holds_without_the_properties_it_needs(key: str, present: set[str], value: Any) -> None:
    if not present >= set(NEEDS[key]):
        assert rule(key, "", "Element")(dict.fromkeys(present, value), Scope({}, {}))


@pytest.mark.corpus
def test_both_ways_agree_on_every_example_of_r4_and_its_mutants(cases: FilePath) -> None:
    taken = total = 0
    pick: Callable[..., list[Mutant]] = sample
    for path in sorted((cases / "fhir" / "r4-examples").glob("*.json")):
        data = path.read_bytes()
        resource = loads(data)
        total += 1
        taken += assert_same(resource)
        if len(data) <= 30_000:
            for mutant in pick(mutants, resource, 40):
                assert_same(mutant.resource)
    assert total == 713
    assert taken > 550
    assert {kind for kind in resource_types() if accept.resource_accept(kind) is None} == set()


def test_many_at_once_are_refused_as_they_are_one_by_one() -> None:
    asked: list[JsonObject] = [
        *RIGHT,
        *(mutant.resource for mutant in MUTANTS[::7]),
        *RIGHT,
        {},
        {"resourceType": 1},
    ]
    expected = [at for at, one in enumerate(asked) if not validate.is_accepted(one, None)]
    assert validate.refused(asked, None) == expected
    assert 0 < len(expected) < len(asked)
