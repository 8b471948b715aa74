"""hdg.fhir.definitions: the tables say what R4 4.0.1 says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hdg.fhir import definitions
from hdg.fhir.definitions import (
    codes,
    compartment_parameters,
    compartments,
    element_info,
    patient_compartment,
    resource_types,
    search_parameters,
    type_definition,
    type_names,
)

HERE = Path(definitions.__file__).parent


def test_r4_has_146_concrete_resource_types() -> None:
    assert len(resource_types()) == 146
    assert {"Patient", "Observation", "Bundle", "Parameters"} <= resource_types()
    assert not {"Resource", "DomainResource", "Element"} & resource_types()


def test_every_type_that_an_element_names_is_defined() -> None:
    for name in type_names():
        for element in type_definition(name).elements:
            for kind in element.types:
                assert type_definition(kind).name == kind


def test_every_value_set_that_an_element_names_is_there_or_known_to_be_open() -> None:
    bindings = {
        element.binding
        for name in type_names()
        for element in type_definition(name).elements
        if element.binding
    }
    assert {name for name in bindings if codes(name) is None} <= {
        "LL379-9",
        "currencies",
        "mimetypes",
        "ucum-units",
    }


@pytest.mark.parametrize(
    "owner, element, kind, is_list, is_choice",
    [
        ("Observation", "valueQuantity", "Quantity", False, True),
        ("Observation", "component", "Observation.component", True, False),
        ("Observation.component", "referenceRange", "Observation.referenceRange", True, False),
        ("Patient.contact", "name", "HumanName", False, False),
        ("Patient", "_birthDate", "Element", False, False),
        ("Patient", "id", "id", False, False),
        ("HumanName", "given", "string", True, False),
        ("Extension", "url", "uri", False, False),
        ("Dosage.doseAndRate", "doseQuantity", "Quantity", False, True),
        ("MedicationRequest", "modifierExtension", "Extension", True, False),
    ],
)
def test_an_element_is_typed_as_json_writes_it(
    owner: str, element: str, kind: str, is_list: bool, is_choice: bool
) -> None:
    info = element_info(owner, element)
    assert info is not None
    assert (info.type, info.is_list, info.is_choice) == (kind, is_list, is_choice)


def test_an_element_that_is_not_there_is_none_and_an_unknown_type_a_key_error() -> None:
    assert element_info("Patient", "nope") is None
    assert element_info("Patient", "_contact") is None
    with pytest.raises(KeyError):
        element_info("Nope", "id")
    with pytest.raises(KeyError):
        type_definition("Patient.name")


def test_a_choice_without_its_type_gives_all_types() -> None:
    info = element_info("Patient", "deceased")
    assert info is not None
    assert info.types == ("boolean", "dateTime")


def test_bindings_targets_and_simple_quantities_are_in_the_tables() -> None:
    observation = type_definition("Observation")
    status, subject = observation.element("status"), observation.element("subject")
    assert status is not None
    assert status.min == 1
    assert "final" in frozenset().union(*(codes(status.binding) or {}).values())
    assert subject is not None
    assert set(subject.targets) == {"Patient", "Group", "Device", "Location"}
    low = type_definition("Range").element("low")
    assert low is not None
    assert low.is_simple


def test_search_parameters_hold_the_alternatives_of_their_type_only() -> None:
    by_code = {parameter.code: parameter for parameter in search_parameters("Observation")}
    assert by_code["patient"].expression == "Observation.subject.where(resolve() is Patient)"
    assert by_code["_lastUpdated"].kind == "date"
    assert [part.kind for part in by_code["code-value-quantity"].components] == ["token", "quantity"]
    assert {p.code for p in search_parameters("Patient")} >= {"identifier", "name", "birthdate", "_id"}


def test_the_patient_compartment_names_search_parameters_that_exist() -> None:
    assert patient_compartment("Observation") == ("subject", "performer")
    assert patient_compartment("Organization") == ()
    for kind in resource_types():
        known = {parameter.code for parameter in search_parameters(kind)}
        assert set(patient_compartment(kind)) <= known, kind


def test_every_compartment_names_reference_parameters_that_exist() -> None:
    assert compartments() == {"Device", "Encounter", "Patient", "Practitioner", "RelatedPerson"}
    assert compartment_parameters("Encounter", "Observation") == ("encounter",)
    assert compartment_parameters("Encounter", "Encounter") == ()  # itself belongs to it without any
    assert compartment_parameters("Group", "Observation") == ()
    for name in compartments():
        for kind in resource_types():
            known = {p.code for p in search_parameters(kind) if p.kind == "reference"}
            assert set(compartment_parameters(name, kind)) <= known, (name, kind)
    for kind in resource_types():
        assert compartment_parameters("Patient", kind) == patient_compartment(kind)


def test_the_tables_are_small() -> None:
    on_demand = {
        "systems.json",
        "valuesets.json",
    }  # read when a search by value set or hierarchy first needs them
    sizes = {path.name: path.stat().st_size for path in HERE.glob("*.json")}
    assert on_demand < sizes.keys()
    assert sum(size for name, size in sizes.items() if name not in on_demand) < 600_000
    assert sum(sizes[name] for name in on_demand) < 600_000


def test_the_generator_names_its_source_and_refuses_another_package(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "scripts" / "generate_definitions.py"
    other = tmp_path / "other.tgz"
    other.write_bytes(b"not the package")
    run = subprocess.run(
        [sys.executable, script, "--check", "--package", other], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "hl7.fhir.r4.examples@4.0.1" in run.stderr
