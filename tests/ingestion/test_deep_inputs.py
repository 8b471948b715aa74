"""Inputs as deep as a sender likes end in the same words, in Python and in compiled code, and never in a crash."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hdg.errors import CdaError
from hdg.fhir import ids
from hdg.fhir import json as fhir_json
from hdg.fhir.validate import validate
from hdg.ingestion.cda.convert import Converter as CdaConverter
from hdg.ingestion.cda.paths import PathError, parse_path
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender

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


_OBSERVED = """<observation classCode="OBS" moodCode="EVN"><code code="8867-4" codeSystem="2.16.840.1.113883.6.1"/>
  <value xsi:type="PQ" value="{}" unit="1"/>"""
_STACK_BYTES = 1 << 20


def _on_a_small_stack(sections: str) -> list[Any]:
    """What a document with these sections becomes in a thread that has an eighth of the usual stack."""
    patient = '<recordTarget><patientRole><id root="2.999.1" extension="1"/></patientRole></recordTarget>'
    document = f"""<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
      <id root="2.999.2"/><code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/>
      <effectiveTime value="20260101120000+0000"/>{patient}
      <component><structuredBody>{sections}</structuredBody></component></ClinicalDocument>"""
    found: list[Any] = []

    def convert() -> None:
        converter = CdaConverter(id_key=ids.PUBLIC_KEY)
        found.append(converter.convert(document.encode(), at_us=0))

    usual = threading.stack_size(_STACK_BYTES)
    try:
        thread = threading.Thread(target=convert)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(usual)
    return found


def _nested(opening: str, closing: str, levels: int) -> str:
    return "".join(opening.format(number) for number in range(levels)) + closing * levels


_HOLDER = '<entryRelationship typeCode="COMP">' + _OBSERVED


@pytest.mark.parametrize(
    "inside",
    [
        "<section><title>x</title><text>x</text>"
        + _nested("<component><section><title>x</title><text>x</text>", "</section></component>", 47)
        + "</section>",
        f"<section><entry>{_OBSERVED.format(1)}{_nested(_HOLDER, '</observation></entryRelationship>', 46)}"
        "</observation></entry></section>",
        f"<section><text>{_nested('<list><item><content>x', '</content></item></list>', 31)}</text></section>",
        "<section><entry><observation classCode='OBS' moodCode='EVN'><code code='1'/><value xsi:type='CD' code='2'>"
        + _nested("<qualifier><value code='{}'>", "</value></qualifier>", 46)
        + "</value></observation></entry></section>",
    ],
    ids=["sections", "statements", "narrative", "qualifiers"],
)
def test_a_document_as_deep_as_one_may_be_is_read_on_a_small_stack(inside: str) -> None:
    (found,) = _on_a_small_stack(f"<component>{inside}</component>")
    assert found.resources[0]["resourceType"] == "Composition"


def test_statements_that_lead_to_one_another_are_followed_only_so_far() -> None:
    chain = "".join(
        f"""<entry><act classCode="ACT" moodCode="EVN"><id root="2.999.3" extension="{number}"/>
        <code code="1" codeSystem="2.999.4"/><entryRelationship typeCode="REFR"><act classCode="ACT" moodCode="EVN">
        <id root="2.999.3" extension="{number + 1}"/></act></entryRelationship></act></entry>"""
        for number in range(2_000)
    )
    (found,) = _on_a_small_stack(f"<component><section>{chain}</section></component>")
    assert found.resources[0]["resourceType"] == "Composition"


def test_a_table_that_opens_itself_is_an_error_and_no_crash(tmp_path: Path) -> None:
    folder = tmp_path / "cda" / "tables"
    folder.mkdir(parents=True)
    (folder / "section.CompositionSection.csv").write_text(
        "source,name,target,as,map,when,default,note\n.,,section[],section.CompositionSection,,,,\n"
    )
    document = b"""<ClinicalDocument xmlns="urn:hl7-org:v3"><component><structuredBody><component><section/></component>
      </structuredBody></component></ClinicalDocument>"""
    with pytest.raises(CdaError, match="statements lead too far"):
        CdaConverter(id_key=ids.PUBLIC_KEY).convert(document, Sender("", "", mappings=tmp_path), at_us=0)


@pytest.mark.parametrize(
    ("path", "why"),
    [("/".join(["a"] * 20_000), "steps"), ("a[" * 20_000 + "@b" + "]" * 20_000, "nested")],
    ids=["long", "nested"],
)
def test_a_path_of_a_table_may_be_only_so_long_and_so_deep(path: str, why: str) -> None:
    with pytest.raises(PathError, match=why):
        parse_path(path)
