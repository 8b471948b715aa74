"""Advance directives: an Observation always, a Consent where a directive is in force; never the opposite.

C-CDA R2.1 §3.5 Advance Directive Observation; R4 consent.html (scope adr).
"""

from __future__ import annotations

from itertools import product

import pytest

from ccd_cases import MAKING
from cda_documents import LN, SCT, T, converted, of
from hdg.fhir import ids
from hdg.ingestion.cda.convert import Converter
from hdg.management.consent.rules import rules_of
from hdg.usage.ccd.document import document as ccd

RESUSCITATE, DO_NOT, NO = "304252001", "304253006", "373067005"
SIGNED = """<reference typeCode="REFR"><externalDocument classCode="DOCCLIN" moodCode="EVN">
  <id root="2.999.9" extension="living-will"/><code code="86533-7" codeSystem="2.16.840.1.113883.6.1"/>
  <text mediaType="application/pdf"><reference value="https://clinic.example/will.pdf"/></text>
  </externalDocument></reference>"""
AGENT = """<participant typeCode="CST"><participantRole classCode="AGNT"><id root="2.999.5" extension="m"/>
  <code code="MTH" codeSystem="2.16.840.1.113883.5.111"/><telecom value="tel:555-1212"/>
  <playingEntity><name><given>Mo</given><family>Example</family></name></playingEntity></participantRole></participant>"""
VERIFIED = """<participant typeCode="VRF"><time value="20230801"/><participantRole><id root="2.999.6" extension="n"/>
  <playingEntity><name><given>Nell</given><family>Nurse</family></name></playingEntity></participantRole></participant>"""


def coded(code, inner="", attributes=""):
    return f'<value xsi:type="CD" code="{code}" {SCT} {attributes}>{inner}</value>'


def directive(
    value, attributes="", inner="", status="completed", code=f'<code code="304251008" {SCT}/>', number="ad"
):
    return f"""<entry><observation classCode="OBS" moodCode="EVN" {attributes}><templateId root="{T}48"/>
      <templateId root="{T}48" extension="2015-08-01"/><id root="2.999.8" extension="{number}"/>{code}
      <statusCode code="{status}"/><effectiveTime><low value="20230213"/><high nullFlavor="NA"/></effectiveTime>
      {value}{inner}</observation></entry>"""


def said(concept):
    return [one["code"] for one in (concept or {}).get("coding", ())]


def types_in(value):
    """Every ``type`` of a provision, at any depth."""
    return ([value["type"]] if "type" in value else []) + [
        found for inner in value.get("provision", ()) for found in types_in(inner)
    ]


def read(*entries):
    return converted("".join(entries), section="42348-3")


VALUES = {
    "resuscitate": (coded(RESUSCITATE), RESUSCITATE),
    "do not": (coded(DO_NOT), DO_NOT),
    "other": (coded("281789004"), "281789004"),
    "no": (coded(NO), NO),
    "yes": ('<value xsi:type="CD" code="Y" codeSystem="2.16.840.1.113883.5.1063"/>', "Y"),
    "unknown": (coded(DO_NOT, attributes='nullFlavor="UNK"'), None),
    "true": ('<value xsi:type="BL" value="true"/>', True),
    "false": ('<value xsi:type="BL" value="false"/>', False),
    "words": ('<value xsi:type="ST">Comfort care only</value>', "Comfort care only"),
    "both": (coded(RESUSCITATE) + coded(DO_NOT), RESUSCITATE),
    "none": ("", None),
}
NEGATIONS = {"": False, 'negationInd="false"': False, 'negationInd="true"': True, 'negationInd="1"': True}
STATUSES = {
    "completed": "active",
    "active": "active",
    "aborted": "inactive",
    "cancelled": "inactive",
    "nullified": "entered-in-error",
}


@pytest.mark.parametrize("kind", VALUES)
def test_no_directive_is_turned_round_whatever_stands_beside_it(kind):
    value, meant = VALUES[kind]
    for (negation, is_denied), status, document in product(NEGATIONS.items(), STATUSES, ("", SIGNED)):
        found = read(directive(value, negation, document, status))
        observations, consents = of(found, "Observation"), of(found, "Consent")
        if is_denied:
            assert observations == consents == []
            assert [one.code for one in found.issues if one.severity == "error"] == ["not-supported"]
            continue
        [made] = observations
        told = said(made.get("valueCodeableConcept")) or [made.get("valueString", made.get("valueBoolean"))]
        assert told == [meant]
        is_in_force = kind in ("resuscitate", "do not") or (document and kind in ("other", "words"))
        assert len(consents) == bool(is_in_force)
        for consent in consents:
            assert consent["status"] == STATUSES[status]
            assert consent["policyRule"] == consent["provision"]["code"][0]
            assert said(consent["policyRule"]) or consent["policyRule"]["text"]
            assert (said(consent["policyRule"]) or [consent["policyRule"]["text"]]) == told
            assert types_in(consent["provision"]) == [], "permit and deny would be words of ours"
            assert rules_of({**consent, "status": "active"}) == [], "a document decides nothing about access"


def test_a_directive_says_when_about_what_and_where_it_is_written():
    found = read(directive(coded(DO_NOT), inner=VERIFIED + AGENT + SIGNED))
    [consent], [made] = of(found, "Consent"), of(found, "Observation")
    [where] = of(found, "DocumentReference")
    assert said(consent["scope"]) == ["adr"]
    assert [said(one) for one in consent["category"]] == [["acd"], ["42348-3"]]
    assert consent["patient"] == made["subject"]
    assert consent["provision"]["period"] == {"start": "2023-02-13"}
    assert said(consent["provision"]["action"][0]) == ["304251008"]
    assert consent["sourceReference"] == {"reference": f"DocumentReference/{where['id']}"}
    assert made["derivedFrom"] == [consent["sourceReference"]]
    assert consent["verification"] == [{"verified": True, "verificationDate": "2023-08-01"}]
    [agent] = of(found, "RelatedPerson")
    [actor] = consent["provision"]["actor"]
    assert actor["reference"] == {"reference": f"RelatedPerson/{agent['id']}"}
    assert said(actor["role"]) == ["CST"]
    [link] = made["extension"]
    assert link["valueReference"] == {"reference": f"Consent/{consent['id']}"}
    assert [said(one) for one in made["category"]] == [["42348-3"]]


def test_a_directive_of_a_relative_or_of_nobody_makes_no_consent():
    mother = """<subject><relatedSubject classCode="PRS"><code code="MTH" codeSystem="2.16.840.1.113883.5.111"/>
      </relatedSubject></subject>"""
    found = read(directive(coded(DO_NOT), inner=mother))
    assert of(found, "Observation") == of(found, "Consent") == []
    found = read(directive(coded(DO_NOT), 'nullFlavor="NI"'))
    assert of(found, "Observation") == of(found, "Consent") == []


def test_what_an_organizer_holds_are_directives_each_for_itself():
    inner = "".join(
        directive(coded(one), number=one).replace("entry>", "component>")
        for one in (RESUSCITATE, "281789004")
    )
    found = read(
        f"""<entry><organizer classCode="CLUSTER" moodCode="EVN"><templateId root="{T}108"/>
          <code code="45473-6" {LN}/><statusCode code="completed"/>{inner}</organizer></entry>"""
    )
    assert [said(one["valueCodeableConcept"]) for one in of(found, "Observation")] == [
        [RESUSCITATE],
        ["281789004"],
    ]
    assert [said(one["policyRule"]) for one in of(found, "Consent")] == [[RESUSCITATE]]
    assert of(found, "Composition")[0]["section"][0]["entry"] == [
        {"reference": f"Observation/{one['id']}"} for one in of(found, "Observation")
    ]


@pytest.mark.parametrize("code", [RESUSCITATE, DO_NOT, "281789004"])
def test_a_directive_comes_back_from_a_document_as_it_was(code):
    before = read(directive(coded(code), inner=VERIFIED + AGENT + SIGNED))
    after = Converter(id_key=ids.PUBLIC_KEY).convert(ccd(before.resources, MAKING), at_us=0)
    for type_, names in {
        "Consent": ("status", "scope", "category", "policyRule"),
        "Observation": ("status", "category", "code", "effectivePeriod", "valueCodeableConcept"),
        "DocumentReference": ("identifier", "type", "content"),
    }.items():
        [old], [new] = (
            of(before, type_),
            [one for one in of(after, type_) if type_ != "DocumentReference" or "content" in one],
        )
        assert {name: old[name] for name in names} == {name: new[name] for name in names}
    sections = of(after, "Composition")[0]["section"]
    assert [said(one["code"]) for one in sections if one.get("entry")] == [["42348-3"]]
