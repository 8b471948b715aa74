"""Every advance directive of the corpus, found by XPath alone, against what came out (``make corpus``)."""

from __future__ import annotations

import pytest
from lxml import etree

from hdg.fhir import ids
from hdg.ingestion.cda.convert import Converter
from hdg.management.consent.rules import rules_of

pytestmark = pytest.mark.corpus
DIRECTIVES = "//*[local-name()='observation'][*[@root='2.16.840.1.113883.10.20.22.4.48']]"


def said(concept):
    return [one["code"] for one in (concept or {}).get("coding", ())]


def pairs(one, about, value):
    return [(code, answer) for code in said(about(one)) for answer in said(value(one))]


def counted(root, resources):
    """(code, value) of its directives, of those denied, of Observations in their place; and the Consents."""
    stated, denied = [], []
    for one in root.xpath(DIRECTIVES):
        found = tuple(one.xpath(f"string(*[local-name()='{name}']/@code)") for name in ("code", "value"))
        (denied if one.get("negationInd", "false") != "false" else stated).append(found)
    codes = {code for code, _ in (*stated, *denied)}
    seen = [
        (code, answer)
        for one in resources
        if one["resourceType"] == "Observation"
        for code, answer in pairs(one, lambda o: o["code"], lambda o: o.get("valueCodeableConcept"))
        if code in codes
    ]
    consents = [one for one in resources if one["resourceType"] == "Consent"]
    return stated, denied, seen, consents


def test_no_directive_of_the_corpus_is_turned_round_and_none_that_is_stated_is_lost(cases):
    converter = Converter(id_key=ids.PUBLIC_KEY)
    there = withheld = agreed = 0
    for file in sorted((cases / "cda").rglob("*.[xX][mM][lL]")):
        data = file.read_bytes()
        if b"10.20.22.4.48" not in data:
            continue
        root = etree.fromstring(data, etree.XMLParser(recover=True))
        resources = converter.convert(data, at_us=0).resources
        stated, denied, seen, consents = counted(root, resources)
        assert sorted(seen) == sorted(stated), file.name
        for one in consents:
            pair = pairs(one, lambda c: c["provision"]["action"][0], lambda c: c["policyRule"])
            assert set(pair) & set(stated), file.name
            assert one["provision"]["code"] == [one["policyRule"]]
            assert "type" not in one["provision"]
            assert "provision" not in one["provision"]
            assert rules_of(one) == []
        there, withheld, agreed = there + len(stated), withheld + len(denied), agreed + len(consents)
    assert there >= 5
    assert withheld >= 5
    assert agreed == there, "each names its document, or what is wanted"
