"""Datatypes of documents to R4: nothing invented, nothing lost."""

from __future__ import annotations

from datetime import UTC

import pytest

from cda_documents import LN, SCT, converted, of
from hdg.ingestion.cda.named import NAMED
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values import CONVERTERS
from hdg.ingestion.cda.xml import read
from hdg.ingestion.sender import Sender
from hdg.mapping.context import Choice, Several, Unfit
from hdg.mapping.library import Library

LIBRARY = Library("cda")


def made(as_, xml, zone=UTC):
    """What a converter makes of an element, with the problems that it says."""
    tree = read(
        f'<x xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">{xml}</x>'.encode(),
        [],
    )
    state = State(tree, Sender("", "here"), LIBRARY, b"k", zone, [])
    convert = CONVERTERS.get(as_) or NAMED[as_].convert
    found = convert(tree.root.inner[0], state)
    found = found.value if isinstance(found, Choice) else found
    return found, [problem.text for problem in state.problems]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("20240102", "2024-01-02"),
        ("2024-01-02", "2024-01-02"),
        ("2024-01", "2024-01"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05+00:00"),
        ("2024-01-02 03:04:05-05:00", "2024-01-02T03:04:05-05:00"),
        ("20240102030405-0500", "2024-01-02T03:04:05-05:00"),
    ],
)
def test_dates_are_read_as_v3_and_as_iso_write_them(written, meant):
    assert made("dateTime", f'<time value="{written}"/>')[0].replace("Z", "+00:00") == meant


@pytest.mark.parametrize("written", ["YYYYMMDD", "201102019", "20111332", "20110229"])
def test_what_is_no_date_is_not_guessed(written):
    with pytest.raises(Unfit):
        made("dateTime", f'<time value="{written}"/>')


def test_a_day_stands_though_its_offset_does_not():
    found, problems = made(
        "IVL_TS.Period", '<effectiveTime><low value="20240102030405-500"/></effectiveTime>'
    )
    assert found == {"start": "2024-01-02"}
    assert problems


def test_an_unknown_end_is_no_end_and_junk_in_a_null_flavor_no_value():
    found, _ = made(
        "IVL_TS.Period", '<effectiveTime><low value="2010"/><high nullFlavor="UNK"/></effectiveTime>'
    )
    assert found == {"start": "2010"}
    assert made("IVL_TS.Period", '<effectiveTime><low nullFlavor="Unknown!"/></effectiveTime>')[0] is None
    assert made("CD.CodeableConcept", '<code nullFlavor="junk"/>')[0] is None


def test_a_code_of_no_system_keeps_its_words_and_all_its_translations():
    xml = f"""<code nullFlavor="OTH"><originalText>High blood pressure</originalText>
      <translation code="401.9" codeSystem="2.16.840.1.113883.6.103"><translation code="38341003" {SCT}/></translation>
      </code>"""
    found, problems = made("CD.CodeableConcept", xml)
    assert [one["code"] for one in found["coding"]] == ["401.9", "38341003"]
    assert found["text"] == "High blood pressure"
    assert problems == []


def test_a_qualifier_stands_in_the_words_and_in_an_expression():
    xml = f"""<code code="71620000" {SCT} displayName="Fracture"><qualifier><name code="272741003" {SCT}
      displayName="Laterality"/><value code="7771000" {SCT} displayName="Left"/></qualifier></code>"""
    found, _ = made("CD.CodeableConcept", xml)
    assert [one["code"] for one in found["coding"]] == ["71620000", "71620000:272741003=7771000"]
    assert found["text"] == "Fracture (Laterality: Left)"


def test_a_qualifier_of_another_system_makes_no_expression():
    xml = f"""<code code="71620000" {SCT} displayName="Fracture"><qualifier><name code="1" codeSystem="2.999"
      displayName="Side"/><value code="2" codeSystem="2.999" displayName="Left"/></qualifier></code>"""
    found, _ = made("CD.CodeableConcept", xml)
    assert [one["code"] for one in found["coding"]] == ["71620000"]
    assert found["text"] == "Fracture (Side: Left)"


def test_a_quantity_keeps_its_digits_and_its_other_unit():
    xml = '<value value="1.80" unit="m"><translation value="71" displayName="inch"/></value>'
    found, problems = made("PQ.Quantity", xml)
    assert (found["value"].literal, found["code"]) == ("1.80", "m")
    assert found["extension"][0]["valueQuantity"]["unit"] == "inch"
    assert problems == []


def test_an_address_of_an_organization_is_nobodys_home():
    xml = '<addr use="HP"><city>Here</city></addr>'
    assert made("AD.Address", xml)[0] == {"use": "home", "city": "Here"}
    assert made("AD.work", xml)[0] == {"city": "Here"}


def test_a_name_at_birth_is_a_name_of_its_own():
    xml = '<name use="L"><given>Ada</given><family>New</family><family qualifier="BR">Old</family></name>'
    found, _ = made("PN.HumanName", xml)
    assert isinstance(found, Several)
    assert [(one["use"], one["family"]) for one in found] == [("official", "New"), ("maiden", "Old")]


def test_before_meals_with_an_offset_in_minutes():
    xml = """<s><effectiveTime xsi:type="EIVL_TS"><event code="ACM"/><offset><low value="1" unit="h"/>
      <high value="1" unit="h"/></offset></effectiveTime></s>"""
    found, problems = made("cda.timing", xml)
    assert found == {"repeat": {"when": ["ACM"], "offset": 60}}
    assert problems == []
    xml = xml.replace('<high value="1"', '<high value="2"')
    found, problems = made("cda.timing", xml)
    assert found == {"repeat": {"when": ["ACM"]}}
    assert problems == ["the offset from an event was left out"]


def test_every_eight_hours_to_every_twelve():
    xml = """<s><effectiveTime xsi:type="PIVL_TS"><period><low value="8" unit="h"/><high value="12" unit="h"/></period>
      </effectiveTime></s>"""
    repeat = made("cda.timing", xml)[0]["repeat"]
    assert (str(repeat["period"]), str(repeat["periodMax"]), repeat["periodUnit"]) == ("8", "12", "h")


def test_two_values_of_one_observation_are_both_there():
    result = f"""<entry><observation classCode="OBS" moodCode="EVN"><id root="2.999.8"/><code code="9269-2" {LN}/>
      <statusCode code="completed"/><value xsi:type="INT" value="15"/><value xsi:type="CD" code="1" {SCT}/>
      </observation>
      </entry>"""
    (one,) = of(converted(result, section="47420-5"), "Observation")
    assert one["valueInteger"] == 15
    assert [part["valueCodeableConcept"]["coding"][0]["code"] for part in one["component"]] == ["1"]


def test_what_an_interval_says_beyond_its_numbers_is_carried_or_named():
    value, issues = made(
        "IVL_PQ.Quantity", '<value><center value="5" unit="mg"/><width value="1" unit="mg"/></value>'
    )
    assert value["value"] == 5
    assert issues == ["the width of an interval was left out"]
    value, issues = made("IVL_PQ.Range", '<value><low value="1" inclusive="false"/><high value="5"/></value>')
    assert value == {"low": {"value": 1}, "high": {"value": 5}}
    assert issues == ["a bound that is not in the interval is given as if it were"]


def test_an_amount_of_money_keeps_its_currency():
    value, _ = made("ANY.x", '<value xsi:type="MO" value="5.00" currency="USD"/>')
    assert value["code"] == "USD"


def test_an_inverted_qualifier_makes_no_expression_and_is_said_to_be_inverted():
    value, _ = made(
        "CD.CodeableConcept",
        f"""<value code="260415000" {SCT}><qualifier inverted="true"><name code="363713009" {SCT}/>
        <value code="371150009" {SCT}/></qualifier></value>""",
    )
    assert [one["code"] for one in value["coding"]] == ["260415000"]
    assert "inverse of" in value["text"]
