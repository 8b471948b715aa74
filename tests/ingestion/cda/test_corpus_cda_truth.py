"""Every clinical statement of the corpus, counted by XPath alone, against what came out (``make corpus``).

Nothing inverted: what a document denies is denied in FHIR, and what it states is stated. The counting shares nothing
with the converter but the registry of OIDs.
"""

from __future__ import annotations

from collections import Counter

import pytest
from lxml import etree

from hdg.errors import CdaError
from hdg.fhir import ids
from hdg.ingestion.cda.convert import Converter
from hdg.terminology.systems import registry

pytestmark = pytest.mark.corpus
NS = {"h": "urn:hl7-org:v3"}
T = "2.16.840.1.113883.10.20.22.4."
MATERIAL = "h:consumable/h:manufacturedProduct/h:manufacturedMaterial/h:code"
STATEMENTS = {
    "problem": (f"//h:observation[h:templateId/@root='{T}4']", "h:value", ("Condition",)),
    "allergy": (
        f"//h:observation[h:templateId/@root='{T}7']",
        "h:participant/h:participantRole/h:playingEntity/h:code",
        ("AllergyIntolerance",),
    ),
    "reaction": (
        f"//h:observation[h:templateId/@root='{T}9']",
        "h:value",
        ("AllergyIntolerance", "Observation"),
    ),
    "medication": (
        f"//h:substanceAdministration[h:templateId/@root='{T}16']",
        MATERIAL,
        ("MedicationStatement", "MedicationAdministration", "MedicationRequest", "Medication"),
    ),
    "immunization": (
        f"//h:substanceAdministration[h:templateId/@root='{T}52']",
        MATERIAL,
        ("Immunization", "MedicationRequest", "Medication"),
    ),
    "procedure": (
        f"//h:*[h:templateId[@root='{T}12' or @root='{T}13' or @root='{T}14']]",
        "h:code",
        ("Procedure", "ServiceRequest"),
    ),
    "result": (f"//h:observation[h:templateId[@root='{T}2' or @root='{T}27']]", "h:code", ("Observation",)),
    "social": (f"//h:observation[h:templateId[@root='{T}38' or @root='{T}78']]", "h:value", ("Observation",)),
    "encounter": (f"//h:encounter[h:templateId/@root='{T}49']", "h:code", ("Encounter",)),
}
DENIALS = {"refuted", "not-done", "not-taken"}
NO_KNOWN = {"55607006", "64572001", "410942007"}
"""Negated, these codes say that there is no problem, or no medication, at all: the code itself changes."""


def codings(value):
    if isinstance(value, dict):
        if isinstance(value.get("code"), str) and isinstance(value.get("system"), str):
            yield value["system"], value["code"]
        for item in value.values():
            yield from codings(item)
    elif isinstance(value, list):
        for item in value:
            yield from codings(item)


def is_denied(resource):
    status = resource.get("verificationStatus", {}).get("coding", [{}])[0].get("code")
    return bool({status, resource.get("status")} & DENIALS) or resource.get("doNotPerform") is True


def uri(oid):
    return registry().uri(oid) or f"urn:oid:{oid}"


def stated(element):
    found = [element, *element.xpath(".//h:translation", namespaces=NS)]
    return {
        (uri(one.get("codeSystem").strip()), " ".join(one.get("code").split()))
        for one in found
        if one.get("code", "").strip() and one.get("codeSystem", "").strip()
    }


def stated_by(statement, path):
    elements = statement.xpath(path, namespaces=NS)
    return stated(elements[0]) if elements else set()


def converted(files):
    """Of the files that are documents: (file, root, resources)."""
    converter = Converter(id_key=ids.PUBLIC_KEY)
    for file in files:
        data = file.read_bytes()
        try:
            yield file, etree.fromstring(data), converter.convert(data, at_us=0).resources
        except (etree.XMLSyntaxError, CdaError):
            continue


def counted(files):
    """By kind of statement: how many there are, how many came out with all codings, inverted ones."""
    there, carried, inverted, lost = Counter(), Counter(), [], Counter()
    for file, root, resources in converted(files):
        known = [(one["resourceType"], set(codings(one)), is_denied(one)) for one in resources]
        for kind, (path, code, types) in STATEMENTS.items():
            for statement in root.xpath(path, namespaces=NS):
                wanted = stated_by(statement, code)
                is_negated = statement.get("negationInd") in ("true", "1")
                if (
                    not wanted
                    or statement.get("nullFlavor")
                    or (is_negated and {c for _, c in wanted} & NO_KNOWN)
                ):
                    continue
                there[kind] += 1
                matching = [denied for type_, have, denied in known if type_ in types and wanted <= have]
                if is_negated and types == ("Observation",):
                    # R4 cannot deny an observation: it must be withheld, whatever else has the same code.
                    others = [
                        one for one in root.xpath(path, namespaces=NS) if one.get("negationInd") != "true"
                    ]
                    stating = [one for one in others if wanted <= stated_by(one, code)]
                    if len(matching) > len(stating):
                        inverted.append((file.name, kind))
                    lost[file.name, kind] += 1
                    continue
                told = set(matching)
                told |= {
                    is_negated
                    for type_, have, _ in known
                    if type_ == "Medication" and type_ in types and wanted <= have
                }
                if is_negated in told:
                    carried[kind] += 1
                elif told:
                    inverted.append((file.name, kind))
                else:
                    lost[file.name, kind] += 1
    return there, carried, inverted, lost


def test_no_fact_of_a_whole_document_is_inverted_and_its_codes_are_carried(cases):
    files = sorted((cases / "cda" / "sample_ccdas").rglob("*.xml"))
    there, carried, inverted, lost = counted(files)
    assert set(there) == set(STATEMENTS)
    assert inverted == []
    assert sum(carried.values()) >= 0.99 * sum(there.values()), (there, carried, lost.most_common(10))


def test_no_fact_of_an_example_is_inverted_and_its_codes_are_carried(cases):
    files = sorted((cases / "cda" / "c-cda-examples").rglob("*.[xX][mM][lL]"))
    there, carried, inverted, lost = counted(files)
    assert inverted == []
    assert sum(carried.values()) >= 0.99 * sum(there.values()), (there, carried, lost.most_common(10))
