"""R4's own code systems and value sets, as shipped (R4 valueset.html#compose, codesystem.html)."""

from __future__ import annotations

import pytest

from hdg.fhir import definitions

ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def test_code_systems_know_what_lies_above_a_code():
    found = definitions.code_system(ACT_CODE)
    assert found["ACUTE"] == ("IMP",)
    assert found["IMP"] == ("_ActEncounterCode",)
    assert definitions.code_system("http://snomed.info/sct") is None


def test_value_sets_have_their_compose_and_no_codes_of_others():
    assert definitions.value_set("http://hl7.org/fhir/ValueSet/observation-status") == {
        "include": [{"system": "http://hl7.org/fhir/observation-status"}]
    }
    assert definitions.value_set("http://hl7.org/fhir/ValueSet/condition-severity") is None
    with pytest.raises(KeyError):
        definitions.value_set("http://example.org/none")
