"""Messages in the datatypes of release 2 are those of release 1. ISO 21090."""

from __future__ import annotations

import pytest

from hdg.fhir import ids
from hdg.ingestion.hl7v3.convert import Converter
from registry_messages import message, registration

R1 = """<name use="L"><given>Ada</given><given>B</given><family>Example</family><prefix qualifier="AC">Dr</prefix>
  </name><administrativeGenderCode code="F"/><birthTime value="19610412"/><addr use="H">
  <streetAddressLine>1 Street</streetAddressLine><city>Town</city><state>NY</state><postalCode>1</postalCode>
  <country>US</country></addr><maritalStatusCode code="M" codeSystem="2.16.840.1.113883.5.2" displayName="Married">
  <originalText>wed</originalText></maritalStatusCode>"""
R2 = """<name use="L"><part type="GIV" value="Ada"/><part type="GIV" value="B"/><part type="FAM" value="Example"/>
  <part type="PFX" qualifier="AC" value="Dr"/></name><administrativeGenderCode code="F"/><birthTime value="19610412"/>
  <addr use="H"><part type="SAL" value="1 Street"/><part type="CTY" value="Town"/><part type="STA" value="NY"/>
  <part type="ZIP" value="1"/><part type="CNT" value="US"/></addr>
  <maritalStatusCode code="M" codeSystem="2.16.840.1.113883.5.2"><displayName value="Married"/>
  <originalText value="wed"/></maritalStatusCode>"""


@pytest.fixture(scope="module")
def converter():
    return Converter(id_key=ids.PUBLIC_KEY)


def patient(converter, person):
    found = converter.convert(message(registration(person)), at_us=0)
    return next(one for one in found.resources if one["resourceType"] == "Patient"), found.issues


def test_names_addresses_and_codes_of_release_2_are_those_of_release_1(converter):
    first, nothing = patient(converter, R1)
    second, issues = patient(converter, R2)
    assert second == first
    assert first["name"][0]["family"] == "Example"
    assert first["address"][0]["city"] == "Town"
    assert first["maritalStatus"]["text"] == "wed"
    assert issues == nothing == ()


def test_a_part_of_an_unknown_type_is_named_as_lost(converter):
    _, issues = patient(converter, R2.replace('type="CTY"', 'type="XYZ"'))
    assert [one.code for one in issues if "/part" in one.place] == ["not-supported"]


def test_a_document_in_a_message_with_several_prefixes_is_changed_in_both_trees(converter):
    prefixed = R2.replace("<name use", '<h:name xmlns:h="urn:hl7-org:v3" use').replace("</name>", "</h:name>")
    found = converter.convert(message(registration(prefixed)), at_us=0)
    named = next(one for one in found.resources if one["resourceType"] == "Patient")
    assert named["name"][0]["family"] == "Example"
