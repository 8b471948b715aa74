"""Which statement becomes what: by template, else by section; and what is said of medicines, encounters, pregnancy."""

from __future__ import annotations

import pytest

from cda_documents import LN, SCT, T, converted, of


def test_what_an_allergy_holds_is_no_allergy_though_it_has_no_template():
    allergy = f"""<entry><act classCode="ACT" moodCode="EVN"><statusCode code="active"/>
      <entryRelationship typeCode="SUBJ">
      <observation classCode="OBS" moodCode="EVN"><id root="2.999.6"/><value xsi:type="CD" code="419199007" {SCT}/>
      <participant typeCode="CSM"><participantRole><playingEntity><code code="762952008" {SCT}/></playingEntity>
      </participantRole></participant><entryRelationship typeCode="SUBJ" inversionInd="true">
      <observation classCode="OBS"
      moodCode="EVN"><id root="2.999.66"/><code code="11111-1" {LN}/><value xsi:type="CD" code="24484000" {SCT}/>
      </observation></entryRelationship></observation></entryRelationship></act></entry>"""
    found = converted(allergy, section="48765-2")
    (one,) = of(found, "AllergyIntolerance")
    assert one["code"]["coding"][0]["code"] == "762952008"
    assert [one["code"]["coding"][0]["code"] for one in of(found, "Observation")] == ["11111-1"]


def test_a_problem_without_a_template_is_known_by_its_section():
    problem = f"""<entry><observation classCode="OBS" moodCode="EVN"><id root="2.999.7"/><statusCode code="completed"/>
      <value xsi:type="CD" code="195967001" {SCT}/></observation></entry>"""
    (condition,) = of(converted(problem), "Condition")
    assert [one["value"] for one in condition["identifier"]] == ["urn:oid:2.999.7"]


def medicine(code, attributes="", mood="EVN", rest=""):
    return f"""<entry><substanceAdministration classCode="SBADM" moodCode="{mood}" {attributes}>
      <templateId root="{T}16"/>
      <id root="2.999.5"/><statusCode code="completed"/>{rest}<consumable><manufacturedProduct>
      <manufacturedMaterial>{code}
      </manufacturedMaterial></manufacturedProduct></consumable></substanceAdministration></entry>"""


ANY_DRUG = f'<code nullFlavor="OTH"><translation code="410942007" {SCT}/></code>'
DRUG = '<code code="573621" codeSystem="2.16.840.1.113883.6.88"/>'


def test_no_known_medication_is_a_finding_and_never_an_order_against_all_medicines():
    for mood in ("EVN", "INT"):
        found = converted(medicine(ANY_DRUG, 'negationInd="true"', mood), section="10160-0")
        (statement,) = of(found, "MedicationStatement")
        assert statement["medicationCodeableConcept"] == {
            "coding": [{"system": "http://snomed.info/sct", "code": "787481004"}]
        }
        assert statement["status"] == "unknown"
        assert of(found, "MedicationRequest") == []


def test_a_medicine_that_is_not_to_be_given_is_an_order_against_that_one():
    (request,) = of(
        converted(medicine(DRUG, 'negationInd="true"', "INT"), section="10160-0"), "MedicationRequest"
    )
    assert request["doNotPerform"] is True


def test_the_status_that_is_observed_goes_before_that_of_the_act():
    status = f"""<entryRelationship typeCode="REFR"><observation classCode="OBS" moodCode="EVN">
      <code code="33999-4" {LN}/>
      <statusCode code="completed"/><value xsi:type="CE" code="55561003" {SCT}/></observation></entryRelationship>"""
    (one,) = of(converted(medicine(DRUG, rest=status), section="10160-0"), "MedicationStatement")
    assert one["status"] == "active"
    (one,) = of(converted(medicine(DRUG), section="10160-0"), "MedicationStatement")
    assert one["status"] == "completed"


def test_a_medicine_that_nothing_names_is_said_to_be_unknown():
    found = converted(medicine('<code nullFlavor="UNK"/>'), section="10160-0")
    (one,) = of(found, "MedicationStatement")
    assert one["medicationCodeableConcept"]["extension"][0]["valueCode"] == "unknown"
    assert any("needs medicationCodeableConcept" in issue.text for issue in found.issues)


def test_not_pregnant_is_what_is_found():
    entry = f"""<entry><observation classCode="OBS" moodCode="EVN" negationInd="true">
      <templateId root="2.16.840.1.113883.10.20.15.3.8"/><id root="2.999.9"/><code code="ASSERTION"
      codeSystem="2.16.840.1.113883.5.4"/><statusCode code="completed"/><value xsi:type="CD" code="77386006" {SCT}/>
      </observation></entry>"""
    (one,) = of(converted(entry, section="29762-2"), "Observation")
    assert one["valueCodeableConcept"]["coding"] == [{"system": "http://snomed.info/sct", "code": "60001007"}]
    (one,) = of(converted(entry.replace('negationInd="true"', ""), section="29762-2"), "Observation")
    assert one["valueCodeableConcept"]["coding"][0]["code"] == "77386006"


HEADER = """<componentOf><encompassingEncounter><id root="2.999.30" extension="E1"/>
  <effectiveTime><low value="20240101"/><high value="20240103"/></effectiveTime></encompassingEncounter>
      </componentOf>"""


def encounter(day, extension="E1"):
    return f"""<entry><encounter classCode="ENC" moodCode="EVN"><templateId root="{T}49"/>
      <id root="2.999.30" extension="{extension}"/><code code="185349003" {SCT}/><effectiveTime><low value="{day}"/>
      </effectiveTime></encounter></entry>"""


def test_the_encounter_of_the_header_and_of_a_section_are_one():
    found = converted(encounter("20240101"), section="46240-8", header=HEADER)
    (one,) = of(found, "Encounter")
    assert one["period"] == {"start": "2024-01-01", "end": "2024-01-03"}
    assert one["type"][0]["coding"][0]["code"] == "185349003"
    assert one["class"]["code"] == "UNK"


def test_another_day_is_another_encounter():
    found = converted(encounter("20240201"), section="46240-8", header=HEADER)
    assert len(of(found, "Encounter")) == 2


def test_an_encounter_that_is_only_named_is_linked():
    problem = f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}3"/><statusCode code="active"/>
      <entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN"><templateId root="{T}4"/>
      <id root="2.999.4"/><value xsi:type="CD" code="195967001" {SCT}/></observation></entryRelationship>
      <entryRelationship typeCode="SUBJ"><encounter classCode="ENC" moodCode="EVN"><id root="2.999.30" extension="E1"/>
      </encounter></entryRelationship></act></entry>"""
    found = converted(problem, header=HEADER)
    (one,) = of(found, "Encounter")
    assert of(found, "Condition")[0]["encounter"] == {"reference": f"Encounter/{one['id']}"}
    found = converted(problem)
    assert of(found, "Encounter") == []
    assert of(found, "Condition")[0]["encounter"]["identifier"]["value"] == "E1"


def test_an_assessment_scale_has_its_items_as_members():
    item = f"""<entryRelationship typeCode="COMP"><observation classCode="OBS" moodCode="EVN"><templateId root="{T}86"/>
      <id root="2.999.41"/><code code="9267-6" {LN}/><statusCode code="completed"/><value xsi:type="INT" value="4"/>
      </observation></entryRelationship>"""
    scale = f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}69"/><id root="2.999.40"/>
      <code code="9269-2" {LN}/><statusCode code="completed"/><value xsi:type="INT" value="15"/>{item}
      </observation></entry>"""
    first, second = of(converted(scale, section="47420-5"), "Observation")
    whole, part = (first, second) if "hasMember" in first else (second, first)
    assert whole["hasMember"] == [{"reference": f"Observation/{part['id']}"}]
    assert (whole["valueInteger"], part["valueInteger"]) == (15, 4)


def test_products_with_one_id_and_two_codes_are_two():
    def supply(code, id_):
        return f"""<entry><supply classCode="SPLY" moodCode="EVN"><templateId root="{T}18"/><id root="2.999.{id_}"/>
          <statusCode code="completed"/><product><manufacturedProduct><id root="2.999.50"/><manufacturedMaterial>
          <code code="{code}" codeSystem="2.16.840.1.113883.6.88"/></manufacturedMaterial><manufacturerOrganization>
          <name>M</name></manufacturerOrganization></manufacturedProduct></product></supply></entry>"""

    found = converted(supply("1", 51) + supply("2", 52), section="10160-0")
    assert sorted(one["code"]["coding"][0]["code"] for one in of(found, "Medication")) == ["1", "2"]


def test_a_comment_without_a_statement_is_kept():
    comment = f"""<entry><act classCode="ACT" moodCode="EVN"><code code="48767-8" {LN}/><text>Look again</text>
      <statusCode code="completed"/></act></entry>"""
    (one,) = of(converted(comment), "Observation")
    assert one["valueString"] == "Look again"


def test_smoking_status_has_its_own_code_beside_that_it_is_an_assertion():
    entry = f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}78"/><id root="2.999.60"/>
      <code code="ASSERTION" codeSystem="2.16.840.1.113883.5.4"/><statusCode code="completed"/>
      <value xsi:type="CD" code="8517006" {SCT}/></observation></entry>"""
    (one,) = of(converted(entry, section="29762-2"), "Observation")
    assert [coding["code"] for coding in one["code"]["coding"]] == ["ASSERTION", "72166-2"]
    assert one["category"][0]["coding"][0]["code"] == "social-history"


def test_the_sex_at_birth_stands_at_the_patient_too():
    entry = f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}200"/><id root="2.999.61"/>
      <code code="76689-9" {LN}/><statusCode code="completed"/>
      <value xsi:type="CD" code="M" codeSystem="2.16.840.1.113883.5.1"/></observation></entry>"""
    found = converted(entry, section="29762-2")
    urls = {one["url"]: one for one in of(found, "Patient")[0]["extension"]}
    assert urls["http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"]["valueCode"] == "M"
    assert len(of(found, "Observation")) == 1


def test_an_excluded_time_is_not_when_it_was_taken():
    times = '<effectiveTime xsi:type="IVL_TS" operator="E"><low value="2024"/></effectiveTime>'
    found = converted(medicine(DRUG, rest=times), section="10160-0")
    (one,) = of(found, "MedicationStatement")
    assert "effectivePeriod" not in one
    assert [issue.severity for issue in found.issues if "excluded" in issue.text] == ["error"]


def test_a_mixture_has_its_ingredients_and_their_strength():
    parts = """<name>Mix</name><p:ingredient xmlns:p="urn:hl7-org:pharm" classCode="ACTI"><p:quantity>
      <p:numerator value="1" unit="mg"/><p:denominator value="1" unit="mL"/></p:quantity><p:ingredientSubstance>
      <p:code code="1362" codeSystem="2.16.840.1.113883.6.88"/></p:ingredientSubstance></p:ingredient>"""
    found = converted(medicine(parts), section="10160-0")
    (product,) = of(found, "Medication")
    (ingredient,) = product["ingredient"]
    assert ingredient["itemCodeableConcept"]["coding"][0]["code"] == "1362"
    assert ingredient["isActive"] is True
    assert str(ingredient["strength"]["numerator"]["value"]) == "1"
    assert product["code"]["text"] == "Mix"
    assert "medicationReference" in of(found, "MedicationStatement")[0]


def test_an_order_stands_as_it_is_observed_to_stand():
    status = f"""<entryRelationship typeCode="REFR"><observation classCode="OBS" moodCode="EVN">
      <code code="33999-4" {LN}/><value xsi:type="CE" code="55561003" {SCT}/></observation></entryRelationship>"""
    (one,) = of(converted(medicine(DRUG, mood="INT", rest=status), section="10160-0"), "MedicationRequest")
    assert one["status"] == "active"


def test_an_encounter_with_an_end_is_finished_and_another_one_is_not_said_to_be():
    ended = encounter("20240101").replace("</effectiveTime>", '<high value="20240102"/></effectiveTime>')
    (one,) = of(converted(ended, section="46240-8"), "Encounter")
    assert one["status"] == "finished"
    (one,) = of(converted(encounter("20240101"), section="46240-8"), "Encounter")
    assert one["status"] == "unknown"


def test_an_instruction_that_was_not_given_is_withheld():
    entry = f"""<entry><act classCode="ACT" moodCode="INT" negationInd="true"><templateId root="{T}20"/>
      <code code="427519008" {SCT}/><text>None</text><statusCode code="completed"/></act></entry>"""
    found = converted(entry, section="69730-0")
    assert of(found, "ServiceRequest") == []
    assert [issue.severity for issue in found.issues if "negated" in issue.text] == ["error"]


DOSE = '<doseQuantity value="2" unit="mg"/>'
ROUTE = '<routeCode code="C38288" codeSystem="2.16.840.1.113883.3.26.1.1"/>'
PERIODIC = """<effectiveTime xsi:type="PIVL_TS" operator="A"><period value="6" unit="h"/></effectiveTime>"""


def given(attributes="", inner=ROUTE + DOSE, time='<effectiveTime value="20240101"/>'):
    return f"""<entry><substanceAdministration classCode="SBADM" moodCode="EVN" {attributes}>
      <templateId root="{T}16"/><id root="2.999.5" extension="m1"/><statusCode code="completed"/>{time}{inner}
      <consumable><manufacturedProduct><manufacturedMaterial><code code="1191"
      codeSystem="2.16.840.1.113883.6.88"/></manufacturedMaterial></manufacturedProduct></consumable>
      <performer><assignedEntity><id root="2.999.3" extension="n1"/><assignedPerson><name><given>Nat</given>
      <family>Nurse</family></name></assignedPerson></assignedEntity></performer></substanceAdministration></entry>"""


def test_a_medicine_of_the_section_of_those_administered_was_given_by_somebody():
    (one,) = of(converted(given(), section="29549-3"), "MedicationAdministration")
    assert (one["status"], one["effectiveDateTime"]) == ("completed", "2024-01-01")
    assert one["dosage"]["dose"]["value"] == 2
    assert one["dosage"]["route"]["coding"][0]["code"] == "C38288"
    assert one["performer"][0]["actor"]["reference"].startswith("Practitioner/")


def test_a_medicine_that_was_not_administered_was_not_given():
    (one,) = of(converted(given('negationInd="true"'), section="29549-3"), "MedicationAdministration")
    assert one["status"] == "not-done"


def test_a_medicine_given_at_an_unknown_time_says_so():
    (one,) = of(converted(given(time=""), section="29549-3"), "MedicationAdministration")
    assert "effectiveDateTime" not in one
    assert one["_effectiveDateTime"]["extension"][0]["valueCode"] == "unknown"


@pytest.mark.parametrize(
    "found",
    [
        given(time=f'<effectiveTime value="20240101"/>{PERIODIC}'),
        given(inner=ROUTE),
        given(inner=ROUTE + '<doseQuantity><low value="1"/><high value="2"/></doseQuantity>'),
    ],
    ids=["again and again", "no dose", "from one to two"],
)
def test_what_an_administration_cannot_say_is_a_statement(found):
    made = converted(found, section="29549-3")
    assert of(made, "MedicationAdministration") == []
    (one,) = of(made, "MedicationStatement")
    assert one["dosage"][0]["route"]["coding"][0]["code"] == "C38288"


def test_a_medicine_of_another_section_is_a_statement():
    assert len(of(converted(given(), section="10160-0"), "MedicationStatement")) == 1


@pytest.mark.parametrize(
    "attributes", ['sdtc:negationInd="true"', 'negationInd="false" sdtc:negationInd="1"']
)
def test_a_denial_in_the_namespace_of_the_extensions_is_one(attributes):
    dispense = f"""<entry><supply classCode="SPLY" moodCode="EVN" {attributes}><templateId root="{T}18"/>
      <id root="2.999.5"/><statusCode code="completed"/><product><manufacturedProduct><manufacturedMaterial>{DRUG}
      </manufacturedMaterial></manufacturedProduct></product></supply></entry>"""
    (one,) = of(converted(dispense, section="10160-0"), "MedicationDispense")
    assert one["status"] == "declined"
    visit = f"""<entry><encounter classCode="ENC" moodCode="EVN" {attributes}><templateId root="{T}49"/>
      <id root="2.999.6"/><code code="AMB" codeSystem="2.16.840.1.113883.5.4"/></encounter></entry>"""
    found = converted(visit, section="46240-8")
    assert of(found, "Encounter") == []
    assert [issue.severity for issue in found.issues if "denied" in issue.text or "negat" in issue.text] == [
        "error"
    ]


def test_what_a_row_has_read_and_could_make_nothing_of_is_named_as_lost():
    problem = f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}4"/><id root="2.999.7"/>
      <statusCode code="completed"/><value xsi:type="PQ" value="13.20" unit="g/dL"/></observation></entry>"""
    places = [issue.place for issue in converted(problem).issues if issue.code == "incomplete"]
    assert [place.rpartition("/observation/")[2] for place in places] == ["value/@value"]
    dangling = f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}4"/><id root="2.999.7"/>
      <statusCode code="completed"/><value xsi:type="CD" code="195967001" {SCT}/><entryRelationship typeCode="SUBJ">
      <act classCode="ACT" moodCode="EVN"><templateId root="{T}64"/><text><reference value="#nowhere"/></text></act>
      </entryRelationship></observation></entry>"""
    places = [issue.place for issue in converted(dangling).issues if issue.code == "incomplete"]
    assert [place.rpartition("/act/")[2] for place in places] == ["text/reference/@value"]


def test_a_result_is_one_in_whatever_section_it_stands():
    result = f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/><id root="2.999.7"/>
      <code code="718-7" {LN}/><statusCode code="completed"/><value xsi:type="PQ" value="13.20" unit="g/dL"/>
      </observation></entry>"""
    found = converted(result, section="11450-4")
    (one,) = of(found, "Observation")
    assert (one["valueQuantity"]["value"].literal, of(found, "Condition")) == ("13.20", [])
