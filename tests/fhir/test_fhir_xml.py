"""FHIR XML and JSON say the same (R4 xml.html); what XML could smuggle in is refused."""

from __future__ import annotations

import pytest
from lxml import etree

from hdg.errors import BadRequest
from hdg.fhir import json, xml
from hdg.fhir.validate import validate

FHIR = 'xmlns="http://hl7.org/fhir"'


def test_every_form_of_an_element_is_written_and_read_again():
    resource = json.loads(b"""{
      "resourceType": "Observation", "id": "x", "meta": {"versionId": "1", "tag": [{"code": "t"}]},
      "text": {"status": "generated", "div": "<div xmlns=\\"http://www.w3.org/1999/xhtml\\">a &lt; b<br/></div>"},
      "contained": [{"resourceType": "Patient", "id": "p", "active": true}],
      "extension": [{"url": "http://example.org/a", "valueDecimal": 1.50}],
      "status": "final", "_status": {"id": "s1"},
      "code": {"id": "c", "text": "x"},
      "subject": {"reference": "#p"},
      "valueQuantity": {"value": 1E+3, "unit": "mg"},
      "component": [{"code": {"text": "a"}, "valueInteger": -3}],
      "note": [{"text": "one"}],
      "referenceRange": [{"low": {"value": 10}, "text": "r"}]
    }""")
    written = xml.dumps(resource)
    again = xml.loads(written)
    assert json.dumps(again, sort_keys=True) == json.dumps(resource, sort_keys=True)
    assert b'<value value="1E+3"/>' in written
    assert b'value="1.50"' in written
    assert b'<extension url="http://example.org/a">' in written
    names = [etree.QName(child).localname for child in etree.fromstring(written)]
    assert names == ["id", "meta", "text", "contained", "extension", "status", "code", "subject",
                     "valueQuantity", "note", "referenceRange", "component"]  # fmt: skip


def test_lists_of_primitives_keep_their_companions_in_place():
    resource = {
        "resourceType": "Patient",
        "name": [
            {
                "given": ["A", None, "C"],
                "_given": [None, {"extension": [{"url": "urn:x", "valueCode": "y"}]}, None],
            }
        ],
    }
    assert xml.loads(xml.dumps(resource)) == resource
    only = {"resourceType": "Patient", "_birthDate": {"extension": [{"url": "urn:x", "valueString": "?"}]}}
    assert xml.loads(xml.dumps(only)) == only


def test_a_bundle_holds_resources():
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": "urn:oid:2.999.1", "resource": {"resourceType": "Patient", "id": "1"}}],
    }
    written = xml.dumps(bundle)
    assert b'<resource><Patient><id value="1"/></Patient></resource>' in written
    assert xml.loads(written) == bundle


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (f"<Patient {FHIR}><colour value='x'/></Patient>", "Patient.colour"),
        (f"<Patient {FHIR}><active value='yes'/></Patient>", "Patient.active"),
        (f"<Patient {FHIR}><multipleBirthInteger value='1.5'/></Patient>", "Patient.multipleBirthInteger"),
        (f"<Patient {FHIR}><active value='true'/><active value='true'/></Patient>", "Patient.active"),
        (f"<Patient {FHIR}><name>text</name></Patient>", "Patient.name"),
        (f"<Patient {FHIR}><name colour='x'/></Patient>", "Patient.name"),
        (f"<Patient {FHIR}><deceased value='true'/></Patient>", "Patient.deceased"),
        (f"<Patient {FHIR}><text><status value='empty'/><div/></text></Patient>", "Patient.text.div"),
        (f"<Patient {FHIR}><contained/></Patient>", "Patient.contained"),
        (f"<Patient {FHIR}><contained><Colour/></contained></Patient>", ""),
        ("<Patient><active value='true'/></Patient>", ""),
        (f"<Colour {FHIR}/>", ""),
        (f"<Patient {FHIR} id='x'/>", "Patient"),
        (
            f"<Observation {FHIR}><valueQuantity><value value='.5'/></valueQuantity></Observation>",
            "Observation.valueQuantity.value",
        ),
    ],
)
def test_what_is_no_fhir_is_refused_by_its_place(body, place):
    with pytest.raises(BadRequest) as caught:
        xml.loads(body.encode())
    assert caught.value.place == place


BOMB = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


def test_an_element_without_value_or_children_is_refused_and_not_passed_over():
    for body in ("<gender/>", '<gender/><gender value="male"/>', "<name><given/></name>"):
        with pytest.raises(BadRequest, match="a value or children"):
            xml.loads(f"<Patient {FHIR}>{body}</Patient>".encode())
    assert validate(xml.loads(f"<Patient {FHIR}><name/></Patient>".encode()))
    kept = xml.loads(f'<Patient {FHIR}><gender id="g"/></Patient>'.encode())
    assert kept["_gender"] == {"id": "g"}


def test_a_hint_to_a_schema_is_ignored_at_a_resource_and_nowhere_else():
    hint = (
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://hl7.org/fhir x.xsd"'
    )
    inside = f'<contained><Patient {hint}><active value="true"/></Patient></contained>'
    found = xml.loads(f"<Patient {FHIR} {hint}>{inside}</Patient>".encode())
    assert found == {
        "resourceType": "Patient",
        "contained": [{"resourceType": "Patient", "active": True}],
    }
    for body in (f'<gender {hint} value="male"/>', f'<name {hint}><family value="x"/></name>'):
        with pytest.raises(BadRequest):
            xml.loads(f"<Patient {FHIR}>{body}</Patient>".encode())


@pytest.mark.parametrize(
    "body",
    [
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Patient {FHIR}><id value="&e;"/></Patient>',
        f'<!DOCTYPE x [<!ENTITY e "hello">]><Patient {FHIR}><text>&e;</text></Patient>',
        f'<!DOCTYPE x [<!ENTITY a0 "a">{BOMB}]><Patient {FHIR}><id value="&a9;"/></Patient>',
        '<!DOCTYPE Patient SYSTEM "http://127.0.0.1:1/x.dtd"><Patient xmlns="http://hl7.org/fhir"/>',
        "",
        "<",
        "{}",
        "<Patient xmlns='http://hl7.org/fhir'>"
        + "<extension url='x'>" * 400
        + "</extension>" * 400
        + "</Patient>",
    ],
)
def test_what_could_be_smuggled_in_is_refused(body):
    with pytest.raises(BadRequest):
        xml.loads(body.encode())


@pytest.mark.parametrize(
    "letter", ["\x00", "\x01", "\x0b", "\x1f", "\x7f", "\x85", "\ufffe", "\uffff", "é", "\xa0", "🜚"]
)
@pytest.mark.parametrize("kind", ["Uri", "Url", "Canonical", "Code", "String", "Markdown", "Id", "Oid"])
def test_what_is_valid_can_be_written_as_xml(kind, letter):
    """JSON has letters that XML has no form for (XML 1.0 §2.2): no string, code or uri may hold them."""
    value = {f"value{kind}": f"a{letter}b"}
    resource = {
        "resourceType": "Basic",
        "code": {"text": "x"},
        "extension": [{"url": "urn:example:x", **value}],
    }
    if validate(resource):
        return
    assert xml.loads(xml.dumps(resource)) == resource
    assert letter not in "\x00\x01\x0b\x1f\ufffe\uffff"


XHTML = "http://www.w3.org/1999/xhtml"


def narrated(div):
    return {
        "resourceType": "Basic",
        "text": {"status": "generated", "div": f'<div xmlns="{XHTML}">{div}</div>'},
        "code": {"text": "x"},
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("5&nbsp;mg &copy; &Ouml;", "5\xa0mg © Ö"),
        ('<p title="a&eacute;&quot;">b</p>', '<p title="aé&quot;">b</p>'),
        ("a &lt;b&gt; &amp;nbsp; &#160;", "a &lt;b&gt; &amp;nbsp; \xa0"),
        ("a<!-- &nbsp; --> &nbsp;b", "a<!-- &nbsp; --> \xa0b"),
        ("<![CDATA[&nbsp;]]>&nbsp;", "&amp;nbsp;\xa0"),
        ("&unheard;", "&amp;unheard;"),
    ],
)
def test_entities_of_html_are_characters_in_xml(written, read):
    """JSON's narratives have them, and XML has no form for them (R4 narrative.html#xhtml)."""
    assert validate(narrated(written)) == []
    assert xml.loads(xml.dumps(narrated(written))) == narrated(read)


def test_a_narrative_as_deep_as_it_may_be_can_be_read_as_xml():
    deepest = narrated("<b>" * 199 + "x" + "</b>" * 199)
    beside = narrated("<p>x</p>" * 1000)
    for resource in (deepest, beside):
        assert validate(resource) == []
        assert xml.loads(xml.dumps(resource)) == resource
    for depth in (200, 30_000):
        deeper = narrated("<b>" * depth + "x" + "</b>" * depth)
        assert [(issue.place, issue.text) for issue in validate(deeper)] == [
            ("Basic.text.div", "txt-1: nested too deeply")
        ]


def test_a_narrative_that_was_stored_before_its_depth_was_asked_is_written_or_refused():
    deep = narrated("<b>" * 1000 + "x" + "</b>" * 1000)
    assert xml.dumps(deep).count(b"<b>") == 1000
    with pytest.raises(BadRequest, match="ask for JSON"):
        xml.dumps(narrated("<b>" * 30_000 + "x" + "</b>" * 30_000))


def test_lists_and_attributes_beyond_sense_cost_no_more_than_their_size():
    """Each of these took minutes when an item's cost grew with the items before it."""
    given = "<given value='x'/>" * 150_000
    found = xml.loads(f"<Patient xmlns='http://hl7.org/fhir'><name>{given}</name></Patient>".encode())
    assert found["name"][0]["given"] == ["x"] * 150_000
    attributes = " ".join(f"a{number}='x'" for number in range(150_000))
    for body in (
        f"<Patient xmlns='http://hl7.org/fhir' {attributes}/>",
        f"<Patient xmlns='http://hl7.org/fhir'><active {attributes}/></Patient>",
        f"<Patient xmlns='http://hl7.org/fhir'><name {attributes}/></Patient>",
    ):
        with pytest.raises(BadRequest, match="no such attribute"):
            xml.loads(body.encode())


@pytest.mark.corpus
def test_the_official_examples_are_the_same_after_a_way_through_xml(cases):
    count = 0
    for file in sorted((cases / "fhir" / "r4-examples").glob("*.json")):
        resource = json.loads(file.read_bytes())
        if validate(resource):
            continue  # listed by name in test_fhir_examples
        again = xml.loads(xml.dumps(resource))
        assert _canonical(again) == _canonical(resource), file.name
        count += 1
    assert count > 650


def _canonical(value):
    """The resource without its narrative's white space and quoting: those are XML's to choose."""
    if isinstance(value, dict):
        found = {key: _canonical(item) for key, item in value.items()}
        if "div" in found and isinstance(found["div"], str):
            found["div"] = etree.tostring(etree.fromstring(found["div"]), method="c14n")
        return found
    return [_canonical(item) for item in value] if isinstance(value, list) else str(value)
