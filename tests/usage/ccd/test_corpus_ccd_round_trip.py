"""Every document of the corpus to FHIR, to a CCD and to FHIR again; every R4 example in a CCD (``make corpus``)."""

from __future__ import annotations

import pytest

from ccd_cases import MAKING, about_one, carried_examples
from ccd_facts import TYPES, disorder, facts, is_denied
from hdg.fhir import ids
from hdg.fhir.validate import validate
from hdg.ingestion.cda.convert import Converter
from hdg.usage.ccd.document import document

pytestmark = pytest.mark.corpus


def test_no_coded_fact_of_the_corpus_is_lost_or_turned_round(cases):
    converter = Converter(id_key=ids.PUBLIC_KEY)
    samples = sorted((cases / "cda" / "sample_ccdas").rglob("*.xml"))
    assert len(samples) == 64
    examples = sorted((cases / "cda" / "c-cda-examples").rglob("*.[xX][mM][lL]"))
    files = [*samples, *(file for file in examples if b"</ClinicalDocument>" in file.read_bytes())]
    count = documents = 0
    for file in files:
        resources = converter.convert(file.read_bytes(), at_us=0).resources
        if not any(one["resourceType"] == "Patient" for one in resources):
            continue
        documents += 1
        count += facts(resources).total()
        made = document(resources, MAKING)
        assert disorder(made) == [], file.name
        back = converter.convert(made, at_us=0).resources
        assert facts(resources) - facts(back) == {}, file.name
        assert not [issue for one in back for issue in validate(one)], file.name
    assert documents > 80
    assert count > 2800


def test_every_example_of_r4_can_be_written_and_what_it_denies_stays_denied(cases):
    converter = Converter(id_key=ids.PUBLIC_KEY)
    examples = list(carried_examples(cases))
    for file, resource in examples:
        made = document(about_one(resource), MAKING)
        assert disorder(made) == [], file.name
        back = converter.convert(made, at_us=0).resources
        comes_back = resource["resourceType"] in TYPES and resource["resourceType"] != "Appointment"
        if comes_back and "entered-in-error" not in file.read_text():
            found = [is_denied(one) for one in back if one["resourceType"] == resource["resourceType"]]
            assert is_denied(resource) in found, file.name
    assert len(examples) > 150
