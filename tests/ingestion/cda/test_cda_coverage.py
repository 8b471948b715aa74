"""Coverage of documents: what becomes of every valued place; what stands nowhere is lost, whoever has read it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cda_documents import LN, T, document
from hdg.bulk import jobs_of, run
from hdg.bulk_jobs import Plan
from hdg.fhir import json
from hdg.ingestion.cda.coverage import coverage
from hdg.ingestion.hl7v3.coverage import coverage as coverage_v3
from hdg.ingestion.sender import Sender
from registry_messages import message, registration

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "ccd-summary.xml"


def result(value, rest=""):
    return f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/><id root="2.999.6"/>
      <code code="718-7" {LN} displayName="Hemoglobin"/><statusCode code="completed"/>
      <effectiveTime value="20240102"/>{value}{rest}</observation></entry>"""


def statuses(entries, section="30954-2", sender=None, **rest):
    """The places below the first entry's statement → status."""
    found = coverage(document(entries, section=section, **rest), sender)
    mark = "/section/entry/"
    return {p.place.partition(mark)[2].partition("/")[2]: p.status for p in found.places if mark in p.place}


VALUE = '<value xsi:type="PQ" value="13.20" unit="g/dL"/>'


UNHEARD = '<unheardOf code="secretvalue"/>'


def test_each_valued_place_is_mapped_noted_or_lost():
    found = statuses(result(VALUE, '<unheardOf code="x"><text>words</text></unheardOf>'))
    assert found == {
        "id/@root": "mapped",
        "code/@code": "mapped",
        "code/@codeSystem": "mapped",
        "code/@displayName": "mapped",
        "statusCode/@code": "mapped",
        "effectiveTime/@value": "mapped",
        "value/@value": "mapped",
        "value/@unit": "mapped",
        "unheardOf/@code": "lost",
        "unheardOf/text": "lost",
    }


def test_a_time_that_was_cut_is_reported_and_one_with_a_zone_is_mapped():
    timed = result(VALUE).replace("20240102", "20240102093000")
    assert statuses(timed)["effectiveTime/@value"] == "reported"
    assert statuses(timed, sender=Sender("", "", zone="UTC"))["effectiveTime/@value"] == "mapped"


def test_what_a_row_leaves_out_says_why():
    policy = f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}60"/><id root="2.999.4"/>
      <code code="48768-6" {LN}/><entryRelationship typeCode="COMP"><act classCode="ACT" moodCode="EVN">
      <templateId root="{T}61"/><id root="2.999.5"/><code code="HIP" codeSystem="2.16.840.1.113883.5.4"/>
      <statusCode code="completed"/><performer typeCode="PRF"><templateId root="{T}88"/><assignedEntity>
      <id root="2.999.8" extension="guarantor9"/></assignedEntity></performer></act>
      </entryRelationship></act></entry>"""
    found = coverage(document(policy, section="48768-6"))
    (place,) = [one for one in found.places if one.place.endswith("performer/assignedEntity/id/@extension")]
    assert (place.status, "guarantor" in place.note) == ("unmapped", True)


def test_what_goes_into_an_extension_is_said_to():
    race = '<raceCode code="2106-3" codeSystem="2.16.840.1.113883.6.238" displayName="White"/>'
    text = document("").replace(b"<birthTime", race.encode() + b"<birthTime")
    found = {one.place.rpartition("patient/")[2]: one.status for one in coverage(text).places}
    assert found["raceCode/@code"] == "extension"
    assert found["birthTime/@value"] == "mapped"


def test_what_a_row_has_read_and_nothing_shows_is_lost(monkeypatch):
    from hdg.ingestion.cda import coverage as module
    from hdg.ingestion.cda.values import CONVERTERS

    plain = CONVERTERS["IVL_TS.x"]
    monkeypatch.setitem(CONVERTERS, "IVL_TS.x", lambda element, state: plain(element, state) and None)
    module._converter.cache_clear()
    try:
        assert statuses(result(VALUE))["effectiveTime/@value"] == "lost"
    finally:
        module._converter.cache_clear()


def test_how_a_narrative_looks_is_no_place_and_its_words_are():
    found = coverage(document(result(VALUE)))
    narrative = [one for one in found.places if "/text/" in one.place]
    assert {one.status for one in narrative} == {"mapped"}
    assert not [one for one in narrative if "@" in one.place]


def test_the_example_loses_nothing():
    found = coverage(EXAMPLE.read_bytes())
    assert found.lost == ()
    assert found.share > 0.98


def test_the_registry_messages_have_it_too():
    found = coverage_v3(message(registration(role='<unheardOf code="x"/>')))
    assert found.lost == tuple(one for one in found.lost if "unheardOf" in one)
    assert len(found.lost) == 1
    assert Counter(one.status for one in found.places)["mapped"] > 5


def test_the_report_of_convert_counts_places_of_documents_without_their_values(tmp_path):
    (tmp_path / "d.xml").write_bytes(document(result(VALUE, UNHEARD), section="30954-2"))
    (outcome,) = run(jobs_of([str(tmp_path / "d.xml")]), Plan(folder=tmp_path / "out", with_coverage=True), 1)
    line = json.loads(outcome.report_line())
    assert line["places"]["mapped"] > 20
    assert line["places"]["lost"] == len(line["lost"]) == 1
    assert "secretvalue" not in outcome.report_line()


@pytest.mark.corpus
def test_the_documents_of_the_corpus_are_carried_over_but_for_what_is_said(cases):
    total, carried = 0, 0
    for file in sorted((cases / "cda" / "sample_ccdas").rglob("*.xml")):
        places = [one for one in coverage(file.read_bytes()).places if one.status != "unmapped"]
        total += len(places)
        carried += sum(one.status in ("mapped", "extension") for one in places)
    assert total > 60_000
    assert carried / total > 0.97
