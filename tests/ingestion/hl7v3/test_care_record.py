"""Care records of HL7 v3 (REPC_IN004014, QUPC_IN043200): their statements become what those of a document become."""

from __future__ import annotations

import pytest

from cda_documents import SCT
from hdg.errors import Hl7v3Error
from hdg.fhir import ids
from hdg.fhir.validate import validate
from hdg.ingestion.cda.convert import Converter as CdaConverter
from hdg.ingestion.hl7v3.convert import Converter
from hdg.ingestion.hl7v3.coverage import coverage
from hdg.ingestion.sniff import format_of
from registry_messages import CUSTODIAN, message

IHE = "1.3.6.1.4.1.19376.1.5.3.1.4"
PATIENT = """<recordTarget typeCode="RCT"><patient classCode="PAT"><id root="2.999.2" extension="p1"/>
  <addr><city>Town</city></addr><patientPerson><name><given>Ada</given><family>Example</family></name>
  <administrativeGenderCode code="F" codeSystem="2.16.840.1.113883.5.1"/><birthTime value="19610412"/></patientPerson>
  </patient></recordTarget>"""


def problem(code="195967001", negated="false", relation="entryRelationship"):
    return f"""<observation classCode="OBS" moodCode="EVN" negationInd="{negated}"><templateId root="{IHE}.5"/>
      <id root="2.999.5" extension="{code}"/><code code="64572001" {SCT}/><statusCode code="completed"/>
      <effectiveTime><low value="2010"/></effectiveTime><value xsi:type="CD" code="{code}" {SCT}/>
      <{relation} typeCode="SUBJ" inversionInd="true"><act classCode="ACT" moodCode="EVN">
      <code code="48767-8" codeSystem="2.16.840.1.113883.6.1"/><text>A comment</text></act></{relation}>
      </observation>"""


ALLERGY = f"""<observation classCode="OBS" moodCode="EVN" negationInd="false"><templateId root="{IHE}.5"/>
  <templateId root="{IHE}.6"/><id root="2.999.5" extension="a"/><statusCode code="completed"/>
  <value xsi:type="CD" code="419199007" {SCT}/><participant typeCode="CSM"><participantRole><playingEntity>
  <code code="762952008" {SCT}/></playingEntity></participantRole></participant></observation>"""
DRUG = """<substanceAdministration classCode="SBADM" moodCode="EVN"><id root="2.999.5" extension="m"/>
  <statusCode code="completed"/><consumable><manufacturedProduct><manufacturedMaterial>
  <code code="573621" codeSystem="2.16.840.1.113883.6.88"/></manufacturedMaterial></manufacturedProduct></consumable>
  </substanceAdministration>"""
RESULT = """<observation classCode="OBS" moodCode="EVN"><id root="2.999.5" extension="r"/>
  <code code="718-7" codeSystem="2.16.840.1.113883.6.1"/><statusCode code="completed"/>
  <effectiveTime value="20240101"/><value xsi:type="PQ" value="13.20" unit="g/dL"/></observation>"""


def record(*statements, patient=PATIENT, status="active", more=""):
    held = "".join(
        f'<pertinentInformation3 typeCode="PERT">{one}</pertinentInformation3>' for one in statements
    )
    return f"""<subject typeCode="SUBJ"><registrationEvent classCode="REG" moodCode="EVN"><statusCode code="{status}"/>
      {CUSTODIAN}<subject2 typeCode="SUBJ"><careProvisionEvent classCode="PCPR" moodCode="EVN">
      <code code="GENRL" codeSystem="2.16.840.1.113883.5.4"/>{patient}{more}{held}</careProvisionEvent></subject2>
      </registrationEvent></subject>"""


def converted(*subjects, interaction="REPC_IN004014UV"):
    found = Converter(id_key=ids.PUBLIC_KEY).convert(message(*subjects, interaction=interaction), at_us=0)
    assert [validate(one) for one in found.resources] == [[]] * len(found.resources)
    return found


def of(found, type_):
    return [one for one in found.resources if one["resourceType"] == type_]


@pytest.mark.parametrize("interaction", ["REPC_IN004014UV", "REPC_IN004014UV01", "QUPC_IN043200UV01"])
def test_the_statements_of_a_record_become_resources_of_its_patient(interaction):
    raw = message(record(problem(), ALLERGY, DRUG, RESULT), interaction=interaction)
    assert format_of(raw) == "hl7v3"
    found = converted(record(problem(), ALLERGY, DRUG, RESULT), interaction=interaction)
    (patient,) = of(found, "Patient")
    assert (patient["name"][0]["family"], patient["address"][0]["city"]) == ("Example", "Town")
    (condition,) = of(found, "Condition")
    assert condition["code"]["coding"][0]["code"] == "195967001"
    assert condition["note"][0]["text"] == "A comment"
    (allergy,) = of(found, "AllergyIntolerance")
    assert allergy["code"]["coding"][0]["code"] == "762952008"
    assert len(of(found, "MedicationStatement")) == 1
    (result,) = of(found, "Observation")
    assert result["valueQuantity"]["value"].literal == "13.20"
    assert (found.source.format, found.source.message_type) == ("hl7v3", interaction)
    assert found.source.control_id == "2.999.1^m1"


def test_what_is_denied_stays_denied_and_sourceof_is_an_entry_relationship():
    found = converted(record(problem(negated="true", relation="sourceOf")))
    (condition,) = of(found, "Condition")
    assert [one["code"] for one in condition["verificationStatus"]["coding"]] == ["refuted"]
    assert condition["note"][0]["text"] == "A comment"


def test_a_statement_has_the_id_that_it_has_in_a_document_of_the_same_institution():
    (condition,) = of(converted(record(problem())), "Condition")
    entry = f"<entry>{problem()}</entry>"
    document = f"""<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
      <id root="2.999.4"/><code code="34133-9"/><title>t</title><effectiveTime value="20240102"/>
      <recordTarget><patientRole><id root="2.999.2" extension="p1"/></patientRole></recordTarget>
      <custodian><assignedCustodian><representedCustodianOrganization><id root="2.999.2"/>
      </representedCustodianOrganization></assignedCustodian></custodian>
      <component><structuredBody><component><section>{entry}</section></component></structuredBody></component>
      </ClinicalDocument>"""
    other = CdaConverter(id_key=ids.PUBLIC_KEY).convert(document.encode(), at_us=0)
    assert [one["id"] for one in of(other, "Condition")] == [condition["id"]]


def test_several_records_of_one_patient_are_one_and_of_several_are_refused():
    found = converted(record(problem()), record(problem("22298006")), interaction="QUPC_IN043200UV01")
    assert len(of(found, "Condition")) == 2
    other = PATIENT.replace('extension="p1"', 'extension="p2"')
    for subjects in (
        (record(problem()), record(problem(), patient=other)),
        (record(problem(), patient=""),),
        (record(problem(), patient=PATIENT.replace('root="2.999.2"', 'nullFlavor="UNK"')),),
        (record(problem(), status="obsolete"),),
        (record(problem(), more='<statusCode code="nullified"/>'),),
        (record(problem().replace("<observation", '<observation updateMode="D"')),),
        (),
    ):
        with pytest.raises(Hl7v3Error):
            converted(*subjects)


def test_what_no_table_reads_is_named():
    found = converted(record(problem(), more='<performer typeCode="PRF"><unheardOf code="x"/></performer>'))
    lost = [issue.place for issue in found.issues if issue.code == "incomplete"]
    assert [place for place in lost if place.endswith("unheardOf/@code")]
    raw = message(record(problem(), more='<unheardOf code="x"/>'), interaction="REPC_IN004014UV")
    assert [place for place in coverage(raw).lost if place.endswith("unheardOf/@code")]
