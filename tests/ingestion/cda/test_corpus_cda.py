"""Every whole document of the corpus: converted, valid, nothing dangling, nothing twice (``make corpus``)."""

from __future__ import annotations

import pytest

from case_pairs import references
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
