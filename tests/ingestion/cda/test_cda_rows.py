"""Rows that are not asked, and ways that rows go together, find what each row would find by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from cda_documents import LN, SCT, T, converted, document, of
from hdg.fhir import ids
from hdg.ingestion.cda.compile import Compiler
from hdg.ingestion.cda.convert import Converter
from hdg.ingestion.cda.paths import parse_path
from hdg.ingestion.cda.rows import Rows, needs_of
from hdg.ingestion.cda.xml import HL7, read
from hdg.mapping.library import Library

EXAMPLE = (Path(__file__).parents[3] / "examples" / "ccd-summary.xml").read_bytes()
DENIED = f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}3"/>
  <code code="CONC" codeSystem="2.16.840.1.113883.5.6"/><statusCode code="active"/>
  <entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN" negationInd="true">
    <templateId root="{T}4"/><id root="2.999.7"/><code code="64572001" {SCT}/><statusCode code="completed"/>
    <value xsi:type="CD" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" code="22298006" {SCT}/>
    <entryRelationship typeCode="REFR"><observation classCode="OBS" moodCode="EVN">
      <templateId root="{T}6"/><code code="33999-4" {LN}/>
      <value xsi:type="CD" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" code="413322009" {SCT}/>
    </observation></entryRelationship></observation></entryRelationship></act></entry>"""


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    return Compiler(Library("cda"))


@pytest.mark.parametrize("data", [EXAMPLE, document(DENIED)])
def test_rows_that_are_not_asked_would_have_done_nothing(monkeypatch, data):
    converter = Converter(id_key=ids.PUBLIC_KEY)
    found = converter.convert(data, at_us=0)
    monkeypatch.setattr(Rows, "needed", lambda self, names: tuple(run for _, run in self._all))
    assert converter.convert(data, at_us=0) == found


def test_a_row_needs_the_child_that_it_reads_and_what_its_condition_asks_for(compiler):
    needs = {
        (step.rule.source, step.rule.when): found
        for name in compiler.library.names("tables")
        for found, step in compiler.program(name).steps
    }
    assert needs["effectiveTime", ""] == {f"{HL7}effectiveTime"}
    assert needs[".", "author valued and not performer valued"] == {f"{HL7}author"}
    denials = [found for (source, when), found in needs.items() if when.startswith("@negationInd = true and")]
    assert denials
    assert all("negationInd" in found for found in denials)


def test_a_row_with_a_constant_needs_nothing_that_it_reads(compiler):
    steps = [step for name in compiler.library.names("tables") for _, step in compiler.program(name).steps]
    constants = [step for step in steps if step.fallback is not None and not step.rule.when]
    assert constants
    assert [needs_of(step) for step in constants] == [frozenset()] * len(constants)


def test_paths_with_a_way_in_common_find_what_each_finds_alone(compiler):
    tree = read(EXAMPLE, [])
    sources = {
        step.rule.source
        for name in compiler.library.names("tables")
        for _, step in compiler.program(name).steps
        if "/" in step.rule.source
    }
    paths = [path for path in map(parse_path, sorted(sources)) if path.first]
    count = 0
    for element in tree.root.iter():
        if not any(one.inner for one in element):
            continue
        view = {}
        for child in element:
            view.setdefault(child.tag, []).append(child)
        for path in paths:
            if path.first in view:
                found = list(path.find(element))
                assert list(path.among(element, view)) == found, path.text
                count += len(found)
    assert count > 50


@pytest.mark.parametrize("path", ["b/c[2]", "b/c[@x='1']", "b/c[2]/d", "b/c/d", "b[2]/c[1]", "b/c"])
def test_a_number_counts_the_children_of_one_element(path):
    inner = '<b><c/><c x="1"><d/></c></b><b><c x="1"/><c><d/><d/></c><c x="1"/></b>'
    tree = read(f'<a xmlns="urn:hl7-org:v3">{inner}</a>'.encode(), [])
    view = {f"{HL7}b": list(tree.root)}
    both = (parse_path(path), parse_path("b/c"))
    for one in both:
        assert list(one.among(tree.root, view)) == list(one.find(tree.root))


def _chained(number: int, count: int) -> str:
    """A procedure whose reason is the next one, by its id."""
    reason = (
        f"""<entryRelationship typeCode="RSON"><act classCode="ACT" moodCode="EVN">
          <id root="2.999.5" extension="p{number + 1}"/></act></entryRelationship>"""
        if number + 1 < count
        else ""
    )
    return f"""<entry><procedure classCode="PROC" moodCode="EVN"><templateId root="{T}14"/>
      <id root="2.999.5" extension="p{number}"/><code code="1" {SCT}/><statusCode code="completed"/>
      <effectiveTime value="20200101"/>{reason}</procedure></entry>"""


@pytest.mark.parametrize("count", [5, 400])
def test_a_chain_of_statements_that_name_one_another_is_read_however_long_it_is(count):
    found = converted("".join(_chained(number, count) for number in range(count)))
    reasons = [reason for one in of(found, "Procedure") for reason in one.get("reasonReference", ())]
    assert len(of(found, "Procedure")) == count
    assert len(reasons) == count - 1
    named = [one["identifier"]["value"] for one in reasons if "identifier" in one]
    said = [one for one in found.issues if one.code == "too-costly"]
    assert len(named) == len(said) == count // 25
    assert all("reference" in one for one in reasons if "identifier" not in one)
