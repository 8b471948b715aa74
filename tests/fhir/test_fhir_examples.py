"""The 713 example resources of R4: valid or wrong by name, every search expression runs, a second opinion."""

from __future__ import annotations

import json
import warnings
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fhir_mutants import mutants, sample

from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.definitions import resource_types, search_parameters
from hdg.fhir.json import JsonObject, dumps, loads
from hdg.fhir.path import PathError, compile, composite
from hdg.fhir.path_values import text_of
from hdg.fhir.validate import validate

pytestmark = pytest.mark.corpus

# Every example that is not valid, with the place and the reason. In each it is the example that is wrong.
WRONG_EXAMPLES = {
    "ActivityDefinition-blood-tubes-supply": ("ActivityDefinition.text.div", "txt-2: empty"),
    "ActivityDefinition-heart-valve-replacement": ("ActivityDefinition.text.div", "txt-2: empty"),
    "DeviceMetric-example": ("DeviceMetric.parent", "Reference(Device) refers to a DeviceDefinition"),
    "DeviceUseStatement-example": ("DeviceUseStatement.reasonReference[0]", "a Procedure is no target"),
    "EventDefinition-example": ("EventDefinition.text.div", "txt-2: empty"),
    "MedicationRequest-medrx0301": (
        "MedicationRequest.dispenseRequest.performer", "Reference(Organization) refers to a Practitioner"),
    "Observation-clinical-gender": ("Observation.performer[0]", "an Encounter is no target"),
    "Questionnaire-qs1": ("Questionnaire.item[0].item[0].linkId", "linkId is 1..1 and missing on 32 items"),
    "Questionnaire-zika-virus-exposure-assessment": ("Questionnaire.text.div", "txt-2: empty"),
}  # fmt: skip

# fhir.resources implements R4B (4.3.0), which lacks these types of R4 and knows others.
NOT_IN_R4B = {
    "EffectEvidenceSynthesis", "MedicinalProduct", "MedicinalProductAuthorization",
    "MedicinalProductContraindication", "MedicinalProductIndication", "MedicinalProductIngredient",
    "MedicinalProductInteraction", "MedicinalProductManufactured", "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical", "MedicinalProductUndesirableEffect", "RiskEvidenceSynthesis",
    "SubstanceNucleicAcid", "SubstancePolymer", "SubstanceProtein", "SubstanceReferenceInformation",
    "SubstanceSourceMaterial", "SubstanceSpecification",
}  # fmt: skip
# Where the two differ on an example: which side is right.
R4B_DIFFERS = {
    **{
        name: "hdg is right: fhir.resources looks neither into narratives nor at reference targets"
        for name in WRONG_EXAMPLES
        if name != "Questionnaire-qs1"
    },
    "Evidence-example": "hdg is right for R4: R4B redefined Evidence",
}
# Where the official FHIRPath tests (made for the whole language and the XML examples) expect something else.
FHIRPATH_DIFFERS = {
    "testExtractBirthDate": "the suite writes dates as literals",
    "testIntersect4": "combine() makes two branches, and each keeps its one",
    "testUnion2": "| keeps duplicates here",
    "testUnion3": "| keeps duplicates here",
    "testType12": "System types are taken as FHIR's",
    "testType14": "System types are taken as FHIR's",
    "testType22": "System types are taken as FHIR's",
    "testFHIRPathIsFunction8": "the JSON example lacks the suite's extension",
    "testFHIRPathIsFunction9": "the JSON example lacks the suite's extension",
    "testFHIRPathIsFunction10": "the JSON example lacks the suite's extension",
}


@pytest.fixture(scope="module")
def examples(cases: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted((cases / "fhir" / "r4-examples").glob("*.json"))}


@pytest.fixture(scope="module")
def resources(examples: dict[str, bytes]) -> dict[str, JsonObject]:
    return {name: loads(data) for name, data in examples.items()}


def test_every_example_is_valid_or_listed_with_its_reason(resources: dict[str, JsonObject]) -> None:
    assert len(resources) == 713
    found = {name: issues for name, resource in resources.items() if (issues := validate(resource))}
    assert set(found) == set(WRONG_EXAMPLES)
    for name, (place, _) in WRONG_EXAMPLES.items():
        assert found[name][0].place == place


def test_every_number_of_every_example_survives_byte_for_byte(examples: dict[str, bytes]) -> None:
    def literal(data: bytes) -> Any:
        return json.loads(
            data, parse_float=lambda text: f"number {text}", parse_int=lambda text: f"number {text}"
        )

    for name, data in examples.items():
        assert literal(dumps(loads(data))) == literal(data), name


def test_canonical_bytes_of_every_example_are_stable(resources: dict[str, JsonObject]) -> None:
    for resource in resources.values():
        made = canonical_bytes(resource)
        assert canonical_bytes(loads(made)) == made


def test_sampled_mutants_of_every_example_are_rejected_at_the_right_place(
    resources: dict[str, JsonObject], examples: dict[str, bytes]
) -> None:
    kinds: Counter[str] = Counter()
    for name, resource in resources.items():
        if name in WRONG_EXAMPLES or len(examples[name]) > 30_000:
            continue
        for mutant in sample(mutants, resource, 20):
            assert mutant.place in {issue.place for issue in validate(mutant.resource)}, (name, mutant.kind)
            kinds[mutant.kind] += 1
    assert sum(kinds.values()) > 10_000
    assert len(kinds) >= 35


def test_every_search_expression_runs_over_the_examples_of_its_type(resources: dict[str, JsonObject]) -> None:
    hits: Counter[str] = Counter()
    for resource in resources.values():
        kind = resource["resourceType"]
        for parameter in search_parameters(kind):
            if parameter.kind == "composite":
                hits["composite"] += bool(composite(parameter, kind)(resource))
            else:
                path = compile(parameter.expression, kind)
                typed = path.typed(resource)
                assert [value for _, value in typed] == path(resource)
                hits[parameter.kind] += bool(typed)
    assert hits["token"] > 3000
    assert hits["reference"] > 1800
    assert all(hits[kind] for kind in ("date", "string", "quantity", "uri", "number", "composite", "special"))


def test_fhir_resources_lacks_the_types_we_say_it_lacks() -> None:
    from fhir.resources.R4B import get_fhir_model_class

    lacking = set()
    for kind in resource_types():
        try:
            get_fhir_model_class(kind)
        except ValueError:
            lacking.add(kind)
    assert lacking == NOT_IN_R4B


def accepted_by_r4b(resource: JsonObject) -> bool:
    from fhir.resources.R4B import get_fhir_model_class

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            get_fhir_model_class(resource["resourceType"]).model_validate_json(dumps(resource))
        except ValueError:
            return False
    return True


def test_a_second_opinion_differs_only_where_we_know_which_side_is_right(
    resources: dict[str, JsonObject],
) -> None:
    differing = {
        name
        for name, resource in resources.items()
        if resource["resourceType"] not in NOT_IN_R4B
        and accepted_by_r4b(resource) != (validate(resource) == [])
    }
    assert differing == set(R4B_DIFFERS)


def test_what_fhir_resources_rejects_of_the_mutants_we_reject_too(resources: dict[str, JsonObject]) -> None:
    laxer: Counter[str] = Counter()
    for name in ("Patient-example", "Observation-f001", "Encounter-example", "MedicationRequest-medrx0305"):
        for mutant in sample(mutants, resources[name], 120):
            assert validate(mutant.resource)
            if accepted_by_r4b(mutant.resource):
                laxer[mutant.kind] += 1
    assert laxer["code outside a required binding"], "it accepts gender=robot"


def test_the_official_fhirpath_tests_inside_the_subset_agree(
    cases: Path, resources: dict[str, JsonObject]
) -> None:
    inputs = {
        "patient-example.xml": resources["Patient-example"],
        "observation-example.xml": resources["Observation-example"],
        "questionnaire-example.xml": resources["Questionnaire-3141"],
    }
    suite = ElementTree.parse(cases / "fhir" / "fhir-test-cases" / "tests-fhir-r4.xml")
    agreed, differing = 0, set()
    for test in suite.iter("test"):
        resource, expression = inputs.get(test.get("inputfile", "")), test.find("expression")
        if resource is None or expression is None or expression.get("invalid"):
            continue
        try:
            found = compile((expression.text or "").strip(), resource["resourceType"])(resource)
        except PathError:
            continue
        got = [value if isinstance(value, dict) else text_of(value) for value in found]
        if test.get("predicate") == "true":
            got = ["true" if got and got != ["false"] else "false"]
        expected = [output.text or "" for output in test.findall("output")]
        if got == expected or any(isinstance(value, dict) for value in got):
            agreed += 1
        else:
            differing.add(test.get("name"))
    assert agreed > 300
    assert differing == set(FHIRPATH_DIFFERS)
