"""The Provenance of a message names every other resource, and is repaired as a whole where one part of it is wrong."""

from __future__ import annotations

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.hl7v2.convert import Converter
from messages import oru


@pytest.mark.parametrize("control", ["M1", "A\\X01\\B", "", "é" * 10])
def test_it_is_valid_and_names_all(control: str) -> None:
    fields = oru().split(b"|")
    fields[9] = control.encode()
    converted = Converter(id_key=PUBLIC_KEY).convert(b"|".join(fields), at_us=0)
    *others, source = converted.resources
    assert source["resourceType"] == "Provenance"
    named = [target["reference"] for target in source["target"]]
    assert named == [f"{one['resourceType']}/{one['id']}" for one in others]
    assert [validate(one) for one in converted.resources] == [[] for _ in converted.resources]
    is_wrong = "\\X01" in control
    assert ("display" in source["entity"][0]["what"]) is (bool(control) and not is_wrong)
    assert any("entity" in issue.place for issue in converted.issues) is is_wrong
