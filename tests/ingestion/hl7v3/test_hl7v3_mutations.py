"""Messages with random damage: refused with a reason or converted to valid resources, never anything else."""

from __future__ import annotations

import copy
import random

import pytest
from lxml import etree

from case_pairs import references
from hdg.errors import Hl7v3Error, Issue
from hdg.fhir import ids
from hdg.fhir.validate import validate
from hdg.ingestion.hl7v3.ack import acknowledge
from hdg.ingestion.hl7v3.convert import Converter
from registry_messages import PERSON, message, prior, registration

HL7 = "{urn:hl7-org:v3}"
FULL = (
    PERSON
    + """<telecom value="tel:1" updateMode="A"/><maritalStatusCode code="M" updateMode="D"/>
  <deceasedTime value="20240101"/><multipleBirthInd value="true"/><multipleBirthOrderNumber value="2"/>
  <addr use="H"><city>Town</city></addr><birthPlace><addr><city>Oldtown</city></addr></birthPlace>
  <asOtherIDs classCode="CIT"><id root="2.999.6" extension="c1"/><scopingOrganization><id root="2.999.6"/>
  <name>Six</name></scopingOrganization></asOtherIDs><personalRelationship
  classCode="PRS"><code code="MTH"/><relationshipHolder1><name>
  <family>Elder</family></name></relationshipHolder1></personalRelationship><languageCommunication>
  <languageCode code="en"/></languageCommunication><guardian><guardianPerson><name>Ward</name>
  </guardianPerson></guardian>"""
)
WHOLE = message(
    registration(FULL, after=prior('<id root="2.999.2" extension="p9"/>')),
    registration(FULL, ids='<id root="2.999.2" extension="p3"/>'),
    interaction="PRPA_IN201302UV02",
)
NAMES = ("nullFlavor", "updateMode", "value", "code", "use", "root", "extension", "classCode", "codeSystem")
VALUES = ("", "x", "-1", "20241301", "9" * 300, "tel:", "true", "D", "I", "UNK", "1.2.3", "nullified", "a b")
TAGS = ("id", "name", "patient", "subject1", "addr", "code", "registrationEvent", "strange")


def damaged(rng: random.Random) -> bytes:
    root = etree.fromstring(WHOLE)
    elements = list(root.iter())
    for _ in range(rng.randint(1, 6)):
        element = rng.choice(elements)
        parent = element.getparent()
        match rng.randrange(5):
            case 0 if parent is not None:
                parent.remove(element)
            case 1 if parent is not None:
                element.addnext(copy.deepcopy(element))
            case 2:
                element.text = rng.choice(VALUES)
            case 3:
                element.tag = HL7 + rng.choice(TAGS)
            case _:
                element.set(rng.choice(NAMES), rng.choice(VALUES))
    return etree.tostring(root)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_messages_are_refused_or_converted_to_valid_resources(seed):
    converter, rng = Converter(id_key=ids.PUBLIC_KEY), random.Random(seed)
    converted = 0
    for _ in range(60):
        raw = damaged(rng)
        try:
            found = converter.convert(raw, at_us=0)
        except Hl7v3Error as error:
            acknowledge(raw, [Issue("error", "processing", error.place, error.text)], at_us=0)
            continue
        converted += 1
        resources = list(found.resources)
        assert [finding for one in resources for finding in validate(one)] == []
        places = {f"{one['resourceType']}/{one['id']}" for one in resources}
        assert len(places) == len(resources)
        assert set(references(resources)) <= places
    assert 0 < converted < 60
