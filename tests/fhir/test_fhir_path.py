"""hdg.fhir.path: the FHIRPath subset, and what lies outside it."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.fhir import path_functions
from hdg.fhir.definitions import resource_types, search_parameters
from hdg.fhir.json import JsonObject
from hdg.fhir.path import PathError, compile, composite

PATIENT: JsonObject = {
    "resourceType": "Patient",
    "active": True,
    "name": [{"use": "official", "family": "Roe", "given": ["Ann", None, "Bea"],
              "_given": [None, {"id": "x"}, None]},
             {"use": "maiden", "family": "Doe"}],
    "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "a@b"}],
    "birthDate": "1980-02-29",
    "_birthDate": {"extension": [{"url": "u:time", "valueDateTime": "1980-02-29T10:00:00Z"}]},
    "deceasedDateTime": "2024",
    "multipleBirthInteger": 2,
    "extension": [{"url": "u:v", "valueCode": "x"}, {"url": "u:w", "valueQuantity": {"value": 1}}],
    "contained": [{"resourceType": "Practitioner", "id": "p"}, {"resourceType": "Organization", "id": "o"}],
    "generalPractitioner": [{"reference": "#p"}, {"reference": "Practitioner/1"}, {"reference": "urn:uuid:1"},
                            {"type": "Practitioner", "display": "x"}, {"reference": "http://h/Organization/1"}],
}  # fmt: skip


@pytest.mark.parametrize(
    "expression, results",
    [
        ("Patient.name.family", ["Roe", "Doe"]),
        ("Patient.name.given", ["Ann", "Bea"]),
        ("name[1].family", ["Doe"]),
        ("Patient.name.where(use = 'official').given.first()", ["Ann"]),
        ("Patient.name.where(use = 'nope').family", []),
        ("Patient.telecom.where(system='email').value", ["a@b"]),
        ("Patient.deceased", ["2024"]),
        ("(Patient.deceased as dateTime)", ["2024"]),
        ("Patient.deceased.ofType(boolean)", []),
        ("Patient.deceased is dateTime", [True]),
        ("Patient.deceased.exists() and Patient.deceased != false", [True]),
        ("Patient.multipleBirth + 1", [3]),
        ("Patient.extension('u:v').value", ["x"]),
        ("Patient.extension.value.ofType(Quantity).value", [1]),
        ("Patient.birthDate.extension('u:time').value", ["1980-02-29T10:00:00Z"]),
        ("Patient.birthDate.hasExtension('u:nope')", [False]),
        ("Patient.birthDate < Patient.deceased", [True]),
        ("Patient.birthDate.substring(5)", ["02-29"]),
        ("Patient.birthDate.length()", [10]),
        ("Patient.photo.title.length()", []),
        ("Patient.contact", []),
        ("Patient.contact.name.exists()", [False]),
        ("Patient.name.family | Patient.telecom.value", ["Roe", "Doe", "1", "a@b"]),
        ("Patient.name.count() = 2 xor false", [True]),
        ("Patient.name.select(use & '-' & family)", ["official-Roe", "maiden-Doe"]),
        ("Patient.name.all(family.exists())", [True]),
        ("Patient.name.use.isDistinct()", [True]),
        ("'maiden' in Patient.name.use", [True]),
        ("Patient.name.use contains 'old'", [False]),
        ("Patient.contained.where($this is Organization).id", ["o"]),
        ("Patient.contained.ofType(Practitioner).id", ["p"]),
        ("Patient.descendants().where(id = 'p').exists()", [True]),
        ("Patient.maritalStatus.empty() implies Patient.active", [True]),
        ("Patient.maritalStatus = 'x'", []),
        ("%resource.active", [True]),
        ("{}", []),
        ("-1", [-1]),
        ("'it\\'s'", ["it's"]),
        ("Patient.name.family.matches('^R')", [True]),  # a function of one item sees the first
        ("Patient.name.first().family.matches('^R')", [True]),
        ("iif(active, 'yes', 'no')", ["yes"]),
    ],
)
def test_an_expression_yields_plain_values(expression: str, results: list[Any]) -> None:
    assert compile(expression, "Patient")(PATIENT) == results


def test_resolve_is_a_type_test_on_text_type_and_contained_resources() -> None:
    path = compile("Patient.generalPractitioner.where(resolve() is Practitioner)")
    assert path(PATIENT) == [
        {"reference": "#p"},
        {"reference": "Practitioner/1"},
        {"type": "Practitioner", "display": "x"},
    ]


def test_a_result_knows_its_type() -> None:
    assert compile("Patient.deceased").typed(PATIENT) == [("dateTime", "2024")]
    assert compile("Patient.deceased").types == ("boolean", "dateTime")
    assert [kind for kind, _ in compile("Patient.name | Patient.birthDate").typed(PATIENT)] == [
        "HumanName", "HumanName", "date",
    ]  # fmt: skip
    value = {"resourceType": "Observation", "valueQuantity": {"value": 1}}
    assert compile("(Observation.value as Quantity)").typed(value) == [("Quantity", {"value": 1})]


def test_an_expression_for_another_resource_type_yields_nothing() -> None:
    assert compile("Observation.status")(PATIENT) == []
    assert compile("Resource.id")({"resourceType": "Basic", "id": "1"}) == ["1"]


def test_results_are_a_list_of_ones_own() -> None:
    compile("Patient.name")(PATIENT).clear()
    assert len(PATIENT["name"]) == 2


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "Patient.",
        "Patient.name[",
        "Patient.name)",
        "Patient.nope",
        "Patient.name.frobnicate()",
        "Patient.name ~ Patient.name",
        "Patient.birthDate + 1 year",
        "Patient.name[active]",
        "Patient.name.where(nope = 1)",
        "%nope",
        "Patient.name as Nope",
        "name.family",
        "Patient.name.repeat(given)",
        "'open",
        "(" * 5000 + "1",
        "Patient" + ".name" * 5000,
    ],
)
def test_what_lies_outside_the_subset_is_refused_when_it_is_compiled(expression: str) -> None:
    with pytest.raises(PathError):
        compile(expression)


def test_every_search_expression_of_r4_compiles() -> None:
    compiled = 0
    for kind in sorted(resource_types()):
        for parameter in search_parameters(kind):
            if parameter.kind == "composite":
                composite(parameter, kind)
            else:
                assert compile(parameter.expression, kind).types
            compiled += 1
    assert compiled > 2500


def test_a_composite_yields_one_row_per_item() -> None:
    def part(code: str, value: int) -> JsonObject:
        return {"code": {"text": code}, "valueQuantity": {"value": value}}

    observation = {
        "resourceType": "Observation",
        **part("a", 1),
        "component": [part("b", 2), {"code": {"text": "c"}}],
    }
    by_code = {parameter.code: parameter for parameter in search_parameters("Observation")}
    rows = composite(by_code["combo-code-value-quantity"], "Observation")(observation)
    assert rows == [
        ([("CodeableConcept", {"text": "a"})], [("Quantity", {"value": 1})]),
        ([("CodeableConcept", {"text": "b"})], [("Quantity", {"value": 2})]),
    ]


@pytest.mark.parametrize("name", sorted(path_functions._FUNCTIONS))
def test_a_function_with_too_many_arguments_is_refused(name: str) -> None:
    with pytest.raises(PathError, match="arguments"):
        compile(f"Patient.name.{name}('a', 'b', 'c', 'd')")
