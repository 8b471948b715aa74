"""Types of targets and typed constants, from the R4 definitions."""

from __future__ import annotations

import pytest

from hdg.fhir.json import dumps
from hdg.mapping.defaults import split_default
from hdg.mapping.shape import ConstantError, constant, fresh, result_type, types_at
from hdg.mapping.target import TargetError, parse_target
from hdg.terminology import registry


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Patient", "Patient"),
        ("PatientContact", "Patient.contact"),
        ("Observation-livingwill", "Observation"),
        ("EncounterHospitalization", "Encounter.hospitalization"),
        ("CodeableConcept", "CodeableConcept"),
    ],
)
def test_a_table_name_tells_what_it_builds(name: str, expected: str) -> None:
    assert result_type(name) == expected


@pytest.mark.parametrize(
    "path",
    [
        "identifier",
        "gender[]",
        "nosuch",
        "gender.x",
        "identifier[http://x.org/y].value",
        "deceased",
        "name[x]",
    ],
)
def test_a_target_that_r4_does_not_have_is_refused(path: str) -> None:
    with pytest.raises(TargetError):
        types_at("Patient", parse_target(path))


def test_types_follow_choices_and_companions_of_primitives() -> None:
    assert types_at("Patient", parse_target("deceasedBoolean")) == ("boolean",)
    assert "Quantity" in types_at("Observation", parse_target("value[x]"))
    path = "_birthDate.extension[http://hl7.org/x].valueDateTime"
    assert types_at("Patient", parse_target(path)) == ("dateTime",)


def test_constants_have_the_type_of_their_place() -> None:
    systems = registry()
    assert constant("boolean", "true", systems) is True
    assert constant("positiveInt", "3", systems) == 3
    assert dumps(constant("decimal", "1.50", systems)) == b"1.50"
    assert constant("uri", "@v2-0203", systems) == "http://terminology.hl7.org/CodeSystem/v2-0203"
    coding = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}
    assert constant("CodeableConcept", "v2-0203#MR", systems) == {"coding": [coding]}


@pytest.mark.parametrize(
    "kind, text",
    [
        ("boolean", "yes"),
        ("integer", "1.5"),
        ("unsignedInt", "-1"),
        ("decimal", "x"),
        ("Coding", "MR"),
        ("Coding", "no-such-system#MR"),
        ("uri", "@no-such-system"),
        ("Period", "2026"),
    ],
)
def test_a_constant_of_the_wrong_type_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ConstantError):
        constant(kind, text, registry())


def test_a_default_cell_holds_pairs_and_at_most_one_bare_value() -> None:
    assert split_default('use=home; text="a; b"; final') == ("final", (("use", "home"), ("text", "a; b")))
    path = "extension[http://x.org/y?a=b].valueCode"
    assert split_default(f"{path}=c") == (None, ((path, "c"),))
    assert (
        split_default("@Observation:patient.performer[]=@.")[1][0].path == "@Observation:patient.performer[]"
    )
    with pytest.raises(ValueError):
        split_default("a; b")


def test_a_fresh_constant_shares_nothing_that_can_change() -> None:
    value = {"coding": [{"code": "a"}]}
    copy = fresh(value)
    copy["coding"][0]["code"] = "b"
    assert value == {"coding": [{"code": "a"}]}
