"""Inputs as deep as a sender likes end in the same words, in Python and in compiled code, and never in a crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hdg.errors import CdaError
from hdg.fhir import ids
from hdg.fhir import json as fhir_json
from hdg.fhir.validate import validate
from hdg.ingestion.cda.convert import Converter as CdaConverter
from hdg.ingestion.hl7v2.convert import Converter

DEPTHS = [1_000, 20_000]
_HEAD = b"MSH|^~\\&|A|B|C|D|20260101||ORU^R01^ORU_R01|1|P|2.5.1\rPID|||1^^^H||A^B\r"


def _extensions(depth: int) -> Any:
    value: Any = {"url": "u:v", "valueString": "x"}
    for _ in range(depth):
        value = {"url": "u:v", "extension": [value]}
    return {"resourceType": "Patient", "extension": [value]}


def _bundles(depth: int) -> Any:
    value: Any = {"resourceType": "Bundle", "type": "collection"}
    for _ in range(depth):
        value = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": value}]}
    return value


def _contained(depth: int) -> Any:
    value: Any = {"resourceType": "Patient", "id": "a"}
    for _ in range(depth):
        value = {"resourceType": "Patient", "id": "a", "contained": [value]}
    return value


def _parameters(depth: int) -> Any:
    value: Any = {"name": "a", "valueString": "x"}
    for _ in range(depth):
        value = {"name": "a", "part": [value]}
    return {"resourceType": "Parameters", "parameter": [value]}


@pytest.mark.parametrize("made", [_extensions, _bundles, _contained, _parameters])
@pytest.mark.parametrize("depth", DEPTHS)
def test_validation_says_that_a_resource_is_nested_too_deeply(depth: int, made: Any) -> None:
    resource = made(depth)
    with ThreadPoolExecutor(1) as other:  # a thread may have a smaller stack
        for found in (validate(resource), other.submit(validate, resource).result()):
            assert [(issue.code, issue.text) for issue in found] == [("too-costly", "nested too deeply")]


@pytest.mark.parametrize("depth", DEPTHS)
def test_json_is_refused_when_it_is_read(depth: int) -> None:
    with pytest.raises(fhir_json.JsonError, match="nested too deeply"):
        fhir_json.loads(b'{"a":' * depth + b"1" + b"}" * depth)


@pytest.mark.parametrize(
    "body",
    [
        b"ORC|RE|1|2\rOBR|1|1|2|a^b^LN\r" * 5_000,
        b"PID|||1\r" * 5_000,
        b"OBR|1|1|2|" + b"a&" * 100_000 + b"\r",
        b"OBR|1|1|2|" + b"\\E\\T" * 100_000 + b"\r",
        b"OBR|1|1|2|a\rOBX|1|ST|1^a^L|" + b"1." * 100_000 + b"|x\r",
        b"OBR|1|1|2|a\r" + b"SPM|1|1\rOBX|1|ST|1^a^L||x\r" * 5_000,
    ],
    ids=["orders", "patients", "subcomponents", "escapes", "sub-ids", "specimens"],
)
def test_hl7_v2_has_no_depth_but_that_of_its_structures(body: bytes) -> None:
    assert Converter(id_key=ids.PUBLIC_KEY).convert(_HEAD + body, at_us=0).resources


@pytest.mark.parametrize(
    "around, opening, closing",
    [
        ("{}", "<component><section>", "</section></component>"),
        (
            "<entry><observation>{}</observation></entry>",
            "<entryRelationship><observation>",
            "</observation></entryRelationship>",
        ),
        ("<text>{}</text>", "<list><item>", "</item></list>"),
    ],
    ids=["sections", "statements", "narrative"],
)
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_clinical_document_is_refused(depth: int, around: str, opening: str, closing: str) -> None:
    section = around.format(opening * depth + closing * depth)
    text = f"<structuredBody><component><section>{section}</section></component></structuredBody>"
    document = f'<ClinicalDocument xmlns="urn:hl7-org:v3"><component>{text}</component></ClinicalDocument>'
    with pytest.raises(CdaError, match="nested more than 100 deep"):
        CdaConverter(id_key=ids.PUBLIC_KEY).convert(document.encode(), at_us=0)
