"""A nullFlavor around a code: of what was given, a substance, a statement. HL7 RIM, InfrastructureRoot.nullFlavor."""

from __future__ import annotations

from typing import Any

import pytest

from cda_documents import CONVERTER, LN, SCT, T, document, of

CODE = '<code code="197361" codeSystem="2.16.840.1.113883.6.88"{named}>{inner}</code>'
GIVEN = f"""<entry><substanceAdministration classCode="SBADM" moodCode="EVN">
  <templateId root="{T}{{template}}"/><id root="2.999.8" extension="m"/><statusCode code="active"/>
  <effectiveTime value="20240101"/><consumable><manufacturedProduct><manufacturedMaterial>{{code}}
  </manufacturedMaterial></manufacturedProduct></consumable></substanceAdministration></entry>"""
ALLERGY = f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}30"/><id root="2.999.8" extension="c"/>
  <code code="CONC" codeSystem="2.16.840.1.113883.5.6"/><statusCode code="active"/><entryRelationship typeCode="SUBJ">
  <observation classCode="OBS" moodCode="EVN"><templateId root="{T}7"/><id root="2.999.8" extension="a"/>
  <code code="ASSERTION" codeSystem="2.16.840.1.113883.5.4"/><statusCode code="completed"/>
  <value xsi:type="CD" code="419199007" {SCT}/><participant typeCode="CSM"><participantRole classCode="MANU">
  <playingEntity classCode="MMAT"><code code="1191" codeSystem="2.16.840.1.113883.6.88" displayName="Aspirin"/>
  </playingEntity></participantRole></participant></observation></entryRelationship></act></entry>"""
RESULT = f"""<entry><observation nullFlavor="{{null}}" classCode="OBS" moodCode="EVN"><templateId root="{T}2"/>
  <id root="2.999.8" extension="r"/><code code="718-7" {LN}/><statusCode code="completed"/>
  <effectiveTime value="20240101"/><value xsi:type="PQ" value="13.2" unit="g/dL"/></observation></entry>"""
WITHIN = "a code within what has a nullFlavor was left out: its words are kept"
MEDICATIONS, IMMUNIZATIONS, ALLERGIES, RESULTS = "10160-0", "11369-6", "48765-2", "30954-2"


def with_null(entry: str, tag: str, null: str) -> str:
    return entry.replace(f"<{tag}", f'<{tag} nullFlavor="{null}"', 1)


def medicine(tag: str, null: str = "UNK", *, named: str = "", inner: str = "", template: str = "16") -> str:
    return with_null(GIVEN.format(template=template, code=CODE.format(named=named, inner=inner)), tag, null)


def converted(entry: str, section: str) -> Any:
    return CONVERTER.convert(document(entry, section=section), at_us=0)


def told(found: Any) -> list[str]:
    return [one.place.rpartition("/entry/")[2] for one in found.issues if one.text == WITHIN]


@pytest.mark.parametrize("null", ["UNK", "NI", "NA", "ASKU"])
@pytest.mark.parametrize("tag", ["consumable", "manufacturedProduct", "manufacturedMaterial"])
def test_a_code_of_a_product_that_is_said_to_be_unknown_is_no_code_and_that_is_told(
    tag: str, null: str
) -> None:
    found = converted(medicine(tag, null, named=' displayName="Aspirin 81 MG"'), MEDICATIONS)
    (made,) = of(found, "MedicationStatement")
    assert made["medicationCodeableConcept"] == {"text": "Aspirin 81 MG"}
    assert made["status"] == "active"
    assert told(found) == [
        "substanceAdministration/consumable/manufacturedProduct/manufacturedMaterial/code/@code"
    ]


def test_the_words_and_translations_of_such_a_code_are_kept() -> None:
    inner = '<originalText>the white pill</originalText><translation code="7" codeSystem="2.999.6"/>'
    (made,) = of(converted(medicine("consumable", inner=inner), MEDICATIONS), "MedicationStatement")
    assert made["medicationCodeableConcept"] == {
        "coding": [{"system": "urn:oid:2.999.6", "code": "7"}],
        "text": "the white pill",
    }


def test_a_vaccine_in_a_product_that_is_said_to_be_unknown_is_none() -> None:
    found = converted(
        medicine("manufacturedMaterial", template="52", named=' displayName="A vaccine"'), IMMUNIZATIONS
    )
    assert [one["vaccineCode"] for one in of(found, "Immunization")] == [{"text": "A vaccine"}]
    assert len(told(found)) == 1


@pytest.mark.parametrize("null", ["OTH", "MSK"])
def test_what_is_of_another_set_or_hidden_in_part_is_meant(null: str) -> None:
    found = converted(medicine("consumable", null), MEDICATIONS)
    (made,) = of(found, "MedicationStatement")
    assert [one["code"] for one in made["medicationCodeableConcept"]["coding"]] == ["197361"]
    assert told(found) == []


@pytest.mark.parametrize("tag", ["participant", "participantRole", "playingEntity"])
def test_a_substance_that_is_said_to_be_unknown_keeps_its_words_alone(tag: str) -> None:
    found = converted(with_null(ALLERGY, tag, "UNK"), ALLERGIES)
    assert [one["code"] for one in of(found, "AllergyIntolerance")] == [{"text": "Aspirin"}]
    assert len(told(found)) == 1


def test_a_code_beside_not_applicable_does_not_say_that_no_medicine_is_known() -> None:
    entry = GIVEN.format(
        template="16", code=CODE.format(named=' nullFlavor="NA" displayName="Aspirin"', inner="")
    )
    (made,) = of(converted(entry, MEDICATIONS), "MedicationStatement")
    assert made["medicationCodeableConcept"] == {"text": "Aspirin"}


def test_not_applicable_alone_still_says_that_no_medicine_is_known() -> None:
    (made,) = of(
        converted(GIVEN.format(template="16", code='<code nullFlavor="NA"/>'), MEDICATIONS),
        "MedicationStatement",
    )
    assert made["status"] == "unknown"


@pytest.mark.parametrize("null", ["UNK", "NI", "NASK"])
def test_a_statement_that_is_said_to_be_unknown_says_nothing_whatever_is_coded_in_it(null: str) -> None:
    found = converted(RESULT.format(null=null), RESULTS)
    assert of(found, "Observation") == []
    lost = {one.place.rpartition("/entry/")[2] for one in found.issues if one.severity != "information"}
    assert {"observation/code/@code", "observation/value/@value"} <= lost
