"""Every document of the corpus and every part of one: valid, nothing dangling, nothing twice (``make corpus``)."""

from __future__ import annotations

import pytest
from lxml import etree

from case_pairs import references
from hdg.errors import CdaError
from hdg.fhir import ids
from hdg.fhir.validate import validate
from hdg.ingestion.cda.convert import Converter

pytestmark = pytest.mark.corpus


def test_every_whole_document_becomes_valid_resources(cases):
    converter = Converter(id_key=ids.PUBLIC_KEY)
    files = sorted((cases / "cda" / "sample_ccdas").rglob("*.xml"))
    assert len(files) == 64
    for file in files:
        found = converter.convert(file.read_bytes(), at_us=0)
        places = [f"{one['resourceType']}/{one['id']}" for one in found.resources]
        assert len(places) == len(set(places)), file.name
        assert set(references(list(found.resources))) <= set(places), file.name
        assert not [issue for one in found.resources for issue in validate(one)], file.name
        assert found.resources[0]["resourceType"] == "Composition"
        assert found.patient_id is not None


NO_PARTS = (
    "neither a ClinicalDocument nor a part of one",  # an address, a product, a precondition
    "not well-formed XML",
    "the root is not in the namespace of HL7 v3",
)


def test_every_part_of_a_document_becomes_valid_resources_or_is_refused_with_its_reason(cases):
    converter = Converter(id_key=ids.PUBLIC_KEY)
    files = sorted((cases / "cda" / "c-cda-examples").rglob("*.[xX][mM][lL]"))
    assert len(files) == 447
    refused = []
    for file in files:
        try:
            found = converter.convert(file.read_bytes(), at_us=0)
        except CdaError as error:
            refused.append(error.text)
            continue
        places = [f"{one['resourceType']}/{one['id']}" for one in found.resources]
        assert len(places) == len(set(places)), file.name
        assert set(references(list(found.resources))) <= set(places), file.name
        assert not [issue for one in found.resources for issue in validate(one)], file.name
    assert [refused.count(text) for text in NO_PARTS] == [9, 5, 1]
    assert len(refused) == 15


def test_every_resource_of_every_document_names_the_element_that_it_was_made_of(cases):
    converter = Converter(id_key=ids.PUBLIC_KEY)
    for file in sorted((cases / "cda" / "sample_ccdas").rglob("*.xml")):
        data = file.read_bytes()
        resources = converter.convert(data, at_us=0).resources
        root = etree.fromstring(data)
        targets = [
            target for one in resources if one["resourceType"] == "Provenance" for target in one["target"]
        ]
        told = [target["reference"] for target in targets]
        rest = [
            f"{one['resourceType']}/{one['id']}" for one in resources if one["resourceType"] != "Provenance"
        ]
        assert sorted(told) == sorted(rest), file.name
        for target in targets:
            steps = target["extension"][0]["valueString"].split("/")[1:]
            found = root.xpath(
                "/" + "/".join(f"*[local-name()='{_name(step)}']{_number(step)}" for step in steps)
            )
            assert len(found) == 1, (file.name, steps)


def _name(step):
    return step.partition("[")[0]


def _number(step):
    return step[len(_name(step)) :]
