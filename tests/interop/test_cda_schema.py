"""What is written as a CCD is valid by HL7's schema of CDA R2 with the extensions of SDTC (make interop fetches it)."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from ccd_cases import EXAMPLE, FACTS, MAKING, about_one, carried_examples, whole
from hdg.fhir import ids
from hdg.ingestion.cda.convert import Converter
from hdg.usage.ccd.document import document

pytestmark = pytest.mark.interop
SCHEMA = Path(__file__).parent / "cda_schema/target/schema/ccda/infrastructure/cda/CDA_SDTC.xsd"


@pytest.fixture(scope="module")
def schema():
    return etree.XMLSchema(etree.parse(SCHEMA))


def wrong(schema, made):
    """What the schema says of a document, without its values."""
    schema.validate(etree.fromstring(made))
    return [f"{one.path}: {one.message}" for one in schema.error_log]


def test_the_schema_tells_what_is_wrong(schema):
    made = document(whole(), MAKING)
    assert wrong(schema, made) == []
    assert wrong(schema, made.replace(b"<title>", b"<titel>").replace(b"</title>", b"</titel>"))


@pytest.mark.parametrize("fact", FACTS, ids=lambda one: f"{one['resourceType']} {one.get('status', '')}")
def test_every_state_of_a_fact_is_written_as_the_schema_has_it(schema, fact):
    assert wrong(schema, document(whole(fact), MAKING)) == []


def test_the_example_comes_back_as_the_schema_has_it(schema):
    resources = Converter(id_key=ids.PUBLIC_KEY).convert(EXAMPLE.read_bytes(), at_us=0).resources
    assert wrong(schema, document(resources, MAKING)) == []


@pytest.mark.corpus
def test_every_document_of_the_corpus_comes_back_as_the_schema_has_it(schema, cases):
    converter = Converter(id_key=ids.PUBLIC_KEY)
    files = sorted((cases / "cda").rglob("*.[xX][mM][lL]"))
    whole_ones = [file for file in files if b"<ClinicalDocument" in file.read_bytes()]
    assert len(whole_ones) > 64
    for file in whole_ones:
        resources = converter.convert(file.read_bytes(), at_us=0).resources
        if any(one["resourceType"] == "Patient" for one in resources):
            assert wrong(schema, document(resources, MAKING)) == [], file.name


@pytest.mark.corpus
def test_every_example_of_r4_is_written_as_the_schema_has_it(schema, cases):
    examples = list(carried_examples(cases))
    for file, resource in examples:
        assert wrong(schema, document(about_one(resource), MAKING)) == [], file.name
    assert len(examples) > 150
