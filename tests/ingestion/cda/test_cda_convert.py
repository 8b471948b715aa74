"""Documents to FHIR: small ones made here, one fact each; what is negated never comes out as if it were so."""

from __future__ import annotations

import pytest

from cda_documents import CONVERTER, SCT, T, converted, document, of
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.hl7v2.convert import Converter

HL7_V2 = Converter(id_key=PUBLIC_KEY)


def problem(inner, attributes=""):
    return f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}3"/><id root="2.999.4" extension="c1"/>
      <code code="CONC" codeSystem="2.16.840.1.113883.5.6"/><statusCode code="active"/>
      <entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN" {attributes}>
      <templateId root="{T}4"/><id root="2.999.4" extension="o1"/><code code="55607006" {SCT}/>
      <statusCode code="completed"/>{inner}</observation></entryRelationship></act></entry>"""


ASTHMA = f"""<value xsi:type="CD" code="195967001" {SCT} displayName="Asthma"><originalText><reference value="#t1"/>
  </originalText><translation code="J45" codeSystem="2.16.840.1.113883.6.90"/></value>"""


def test_a_problem_is_an_active_condition_with_all_its_codings_and_the_words_of_the_narrative():
    found = converted(problem('<effectiveTime><low value="2010"/></effectiveTime>' + ASTHMA))
    (condition,) = of(found, "Condition")
    assert condition["clinicalStatus"]["coding"][0]["code"] == "active"
    assert "verificationStatus" not in condition
    assert condition["onsetDateTime"] == "2010"
    assert condition["code"] == {
        "coding": [
            {"system": "http://snomed.info/sct", "code": "195967001", "display": "Asthma"},
            {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "J45"},
        ],
        "text": "Some words",
    }
    assert condition["recorder"]["reference"].startswith("Practitioner/")
    (composition,) = of(found, "Composition")
    (section,) = composition["section"]
    assert section["entry"] == [{"reference": f"Condition/{condition['id']}"}]
    assert section["text"]["div"] == (
        '<div xmlns="http://www.w3.org/1999/xhtml"><ul><li id="t1">Some <span><b>words</b></span></li></ul></div>'
    )
    assert [str(issue) for issue in found.issues] == []


def test_a_negated_problem_is_refuted():
    (condition,) = of(converted(problem(ASTHMA, 'negationInd="true"')), "Condition")
    assert condition["verificationStatus"]["coding"][0]["code"] == "refuted"
    (condition,) = of(converted(problem(ASTHMA, 'negationInd="1"')), "Condition")
    assert condition["verificationStatus"]["coding"][0]["code"] == "refuted"
    (condition,) = of(converted(problem(ASTHMA, 'negationInd="false"')), "Condition")
    assert "verificationStatus" not in condition


@pytest.mark.parametrize(
    ("section", "status"), [("11450-4", "inactive"), ("46240-8", None), ("8716-3", None)]
)
def test_what_is_refuted_on_the_problem_list_is_inactive_as_in_hl7_v2_r4_con_3(section, status):
    about = ASTHMA + '<effectiveTime><low value="2010"/></effectiveTime>'
    (condition,) = of(converted(problem(about, 'negationInd="true"'), section=section), "Condition")
    codes = [one["code"] for one in condition.get("clinicalStatus", {}).get("coding", ())]
    assert codes == ([status] if status else [])
    of_v2 = HL7_V2.convert(
        b"MSH|^~\\&|A|B|||20240101120000Z||PPR^PC1|1|P|2.5\rPID|1||1^^^B^MR||X^Y\r"
        b"PRB|AD|20240101|195967001^Asthma^SCT||||||||||X^Ruled Out\r",
        at_us=0,
    )
    (other,) = of(of_v2, "Condition")
    assert status is None or other["clinicalStatus"] == condition["clinicalStatus"]


def test_no_known_problem_is_a_finding_of_its_own():
    none = f'<value xsi:type="CD" code="55607006" {SCT}/>'
    (condition,) = of(converted(problem(none, 'negationInd="true"')), "Condition")
    assert [coding["code"] for coding in condition["code"]["coding"]] == ["160245001"]
    assert "verificationStatus" not in condition


def test_an_end_that_is_not_known_ends_nothing():
    times = '<effectiveTime><low value="2010"/><high nullFlavor="UNK"/></effectiveTime>'
    (condition,) = of(converted(problem(times + ASTHMA)), "Condition")
    assert condition["clinicalStatus"]["coding"][0]["code"] == "active"
    assert "abatementDateTime" not in condition
    times = '<effectiveTime><low value="2010"/><high value="20111213"/></effectiveTime>'
    (condition,) = of(converted(problem(times + ASTHMA)), "Condition")
    assert condition["clinicalStatus"]["coding"][0]["code"] == "resolved"
    assert condition["abatementDateTime"] == "2011-12-13"


def given(
    inner="", attributes="", template=f'<templateId root="{T}52"/>', mood="EVN", code="", status="completed"
):
    product = code or '<code code="140" codeSystem="2.16.840.1.113883.12.292"/>'
    return f"""<entry><substanceAdministration classCode="SBADM" moodCode="{mood}" {attributes}>{template}
      <id root="2.999.5" extension="i1"/><statusCode code="{status}"/>{inner}
      <consumable><manufacturedProduct><manufacturedMaterial>{product}</manufacturedMaterial></manufacturedProduct>
      </consumable></substanceAdministration></entry>"""


def test_an_immunization_that_was_not_given_is_not_done():
    found = converted(given('<effectiveTime value="20230101"/>'), section="11369-6")
    (immunization,) = of(found, "Immunization")
    assert (immunization["status"], immunization["occurrenceDateTime"]) == ("completed", "2023-01-01")
    found = converted(given('<effectiveTime nullFlavor="UNK"/>', 'negationInd="true"'), section="11369-6")
    (immunization,) = of(found, "Immunization")
    assert immunization["status"] == "not-done"
    assert "_occurrenceDateTime" in immunization


def test_a_medication_is_taken_ordered_or_not_taken():
    template = f'<templateId root="{T}16"/>'
    times = """<effectiveTime xsi:type="IVL_TS"><low value="20240101"/><high nullFlavor="NI"/></effectiveTime>
      <effectiveTime xsi:type="PIVL_TS" operator="A"><period value="8" unit="h"/></effectiveTime>
      <doseQuantity value="2.50" unit="mg"/>"""
    (taken,) = of(converted(given(times, template=template, status="active")), "MedicationStatement")
    assert taken["status"] == "active"
    assert taken["effectivePeriod"] == {"start": "2024-01-01"}
    (dosage,) = taken["dosage"]
    assert {name: str(value) for name, value in dosage["timing"]["repeat"].items()} == {
        "frequency": "1",
        "period": "8",
        "periodUnit": "h",
    }
    assert dosage["doseAndRate"][0]["doseQuantity"]["value"].literal == "2.50"
    (ordered,) = of(converted(given(times, template=template, mood="INT")), "MedicationRequest")
    assert (ordered["intent"], "doNotPerform" in ordered) == ("plan", False)
    not_taken = given(times, 'negationInd="true"', template=template, status="active")
    assert of(converted(not_taken), "MedicationStatement")[0]["status"] == "not-taken"
    not_ordered = given(times, 'negationInd="true"', template=template, mood="INT")
    assert of(converted(not_ordered), "MedicationRequest")[0]["doNotPerform"] is True


def allergy(substance, attributes="", value="419199007"):
    return f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}30"/><statusCode code="active"/>
      <entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN" {attributes}>
      <templateId root="{T}7"/><id root="2.999.6" extension="y1"/><code code="ASSERTION"/><statusCode code="completed"/>
      <value xsi:type="CD" code="{value}" {SCT}/><participant typeCode="CSM"><participantRole><playingEntity>{substance}
      </playingEntity></participantRole></participant></observation></entryRelationship></act></entry>"""


def test_no_known_allergy_is_no_allergy_and_a_denied_one_is_refuted():
    nuts = f'<code code="762952008" {SCT}/>'
    (one,) = of(converted(allergy(nuts), section="48765-2"), "AllergyIntolerance")
    assert one["code"]["coding"][0]["code"] == "762952008"
    assert "verificationStatus" not in one
    (one,) = of(converted(allergy(nuts, 'negationInd="true"'), section="48765-2"), "AllergyIntolerance")
    assert one["verificationStatus"]["coding"][0]["code"] == "refuted"
    nothing = allergy('<code nullFlavor="NA"/>', 'negationInd="true"', "416098002")
    (one,) = of(converted(nothing, section="48765-2"), "AllergyIntolerance")
    assert [coding["code"] for coding in one["code"]["coding"]] == ["409137002"]
    assert "verificationStatus" not in one


def test_a_negation_that_no_table_knows_is_an_error_and_nothing_comes_of_it():
    result = """<entry><observation classCode="OBS" moodCode="EVN" negationInd="true"><code code="8302-2"
      codeSystem="2.16.840.1.113883.6.1"/><statusCode code="completed"/>
      <value xsi:type="PQ" value="1.80" unit="m"/></observation></entry>"""
    found = converted(result, section="8716-3")
    assert of(found, "Observation") == []
    assert [issue.severity for issue in found.issues if "negated" in issue.text] == ["error"]


def test_results_keep_their_digits_units_ranges_and_why_a_value_is_missing():
    def component(id_, value):
        return f"""<component><observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/>
          <id root="2.999.7" extension="{id_}"/><code code="718-7" codeSystem="2.16.840.1.113883.6.1"/>
          <statusCode code="completed"/><effectiveTime value="20240101"/>{value}<referenceRange><observationRange>
          <value xsi:type="IVL_PQ"><low value="12.0" unit="g/dL"/><high value="15.50" unit="g/dL"/></value>
          </observationRange></referenceRange></observation></component>"""

    values = ['<value xsi:type="PQ" value="13.20" unit="g/dL"/>', '<value xsi:type="PQ" nullFlavor="NASK"/>']
    panel = f"""<entry><organizer classCode="BATTERY" moodCode="EVN"><templateId root="{T}1"/><id root="2.999.7"/>
      <code code="58410-2" codeSystem="2.16.840.1.113883.6.1"/><statusCode code="completed"/>
      {"".join(component(n, value) for n, value in enumerate(values))}</organizer></entry>"""
    found = converted(panel, section="30954-2")
    (report,) = of(found, "DiagnosticReport")
    assert len(report["result"]) == 2
    first, second = of(found, "Observation")
    assert first["valueQuantity"]["value"].literal == "13.20"
    assert first["referenceRange"][0]["high"]["value"].literal == "15.50"
    assert "valueQuantity" not in second
    assert second["dataAbsentReason"]["coding"][0]["code"] == "not-asked"


def test_one_id_for_two_results_loses_neither():
    def result(value):
        return f"""<entry><observation classCode="OBS" moodCode="EVN"><id root="2.999.8"/><code code="8302-2"
          codeSystem="2.16.840.1.113883.6.1"/><statusCode code="completed"/>
          <value xsi:type="PQ" value="{value}" unit="cm"/></observation></entry>"""

    found = converted(result("180") + result("181") + result("180"), section="8716-3")
    assert [str(one["valueQuantity"]["value"]) for one in of(found, "Observation")] == ["180", "181"]


def test_what_no_row_reads_is_said_with_its_place():
    found = converted(problem('<unheard code="x"/>' + ASTHMA))
    (issue,) = found.issues
    assert issue.place.endswith("entry/act/entryRelationship/observation/unheard/@code")


def test_the_same_document_gives_the_same_resources():
    once, again = (converted(problem(ASTHMA)) for _ in range(2))
    assert once.resources == again.resources


def test_scripts_and_foreign_links_do_not_pass_the_narrative():
    text = '<text><script>x()</script><linkHtml href="javascript:x()">a</linkHtml><content onclick="x()">b</content>'
    text += '<content revised="delete">gone</content></text>'
    whole = document("").decode()
    start, end = whole.index("<text>"), whole.index("</text>") + len("</text>")
    found = CONVERTER.convert((whole[:start] + text + whole[end:]).encode(), at_us=0)
    div = of(found, "Composition")[0]["section"][0]["text"]["div"]
    assert "script>" not in div
    assert "javascript" not in div
    assert "onclick" not in div
    assert '<span style="text-decoration:line-through"><span>gone</span></span>' in div


@pytest.mark.parametrize(
    ("stated", "at_us"),
    [
        ("20240102030405+0000", 1_704_164_645_000_000),
        ("20161231235960+0000", 1_483_228_799_000_000),
        ("19610412030405.250+0000", -275_259_354_750_000),
    ],
)
def test_when_a_document_was_made_is_told_to_the_microsecond(stated, at_us):
    raw = document("").replace(
        b'<effectiveTime value="20240102030405+0000"/>', f'<effectiveTime value="{stated}"/>'.encode()
    )
    assert CONVERTER.convert(raw, at_us=0).source.stated_us == at_us


def test_a_patient_who_is_said_to_be_alive_is_not_dead_by_a_time_of_death():
    alive = '<birthTime value="19610412"/><sdtc:deceasedInd value="false"/><sdtc:deceasedTime value="2020"/>'
    data = document("").replace(b'<birthTime value="19610412"/>', alive.encode())
    found = CONVERTER.convert(data, at_us=0)
    patient = of(found, "Patient")[0]
    assert "deceasedDateTime" not in patient
    assert "deceasedBoolean" not in patient
    assert {one.place.rpartition("patient/")[2] for one in found.issues} == {
        "deceasedInd/@value",
        "deceasedTime/@value",
    }
