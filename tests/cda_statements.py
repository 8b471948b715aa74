"""Entries of documents to vary: problems, allergies, medicines, procedures, what is nested in them, relatives."""

from __future__ import annotations

from cda_documents import LN, SCT, T

ASTHMA = f'<value xsi:type="CD" code="195967001" {SCT} displayName="Asthma"/>'
STATUS = f'<code code="33999-4" {LN}/>'
MOTHER = """<subject><relatedSubject classCode="PRS"><code code="MTH" codeSystem="2.16.840.1.113883.5.111"/>
  </relatedSubject></subject>"""
PENICILLIN = '<code code="7980" codeSystem="2.16.840.1.113883.6.88"/>'
NO_DRUG_ALLERGY = f'<code code="409137002" {SCT}/>'


def problem(value=ASTHMA, attributes="", inner="", status="completed", concern="active", about="3"):
    return f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}{about}"/>
      <id root="2.999.7" extension="c"/><code code="281694009" {SCT} displayName="At risk"/>
      <statusCode code="{concern}"/><entryRelationship typeCode="SUBJ">
      <observation classCode="OBS" moodCode="EVN" {attributes}><templateId root="{T}4"/>
      <id root="2.999.8" extension="o"/><statusCode code="{status}"/><effectiveTime><low value="2020"/></effectiveTime>
      {value}{inner}</observation></entryRelationship></act></entry>"""


def allergy(
    substance="",
    attributes="",
    inner="",
    status="completed",
    value=f'<value xsi:type="CD" code="419199007" {SCT}/>',
):
    named = f"""<participant typeCode="CSM"><participantRole><playingEntity>{substance}</playingEntity>
      </participantRole></participant>"""
    return f"""<entry><observation classCode="OBS" moodCode="EVN" {attributes}><templateId root="{T}7"/>
      <id root="2.999.8" extension="a"/><code code="ASSERTION"/><statusCode code="{status}"/>{value}
      {named if substance else ""}{inner}</observation></entry>"""


def medicine(attributes="", inner="", status="active", template="16", mood="EVN"):
    return f"""<entry><substanceAdministration classCode="SBADM" moodCode="{mood}" {attributes}>
      <templateId root="{T}{template}"/><id root="2.999.8" extension="m"/><statusCode code="{status}"/>
      <effectiveTime value="2020"/><consumable><manufacturedProduct><manufacturedMaterial><code code="197361"
      codeSystem="2.16.840.1.113883.6.88"/></manufacturedMaterial></manufacturedProduct></consumable>{inner}
      </substanceAdministration></entry>"""


def procedure(attributes="", inner="", status="completed"):
    return f"""<entry><procedure classCode="PROC" moodCode="EVN" {attributes}><templateId root="{T}14"/>
      <id root="2.999.8" extension="p"/><code code="80146002" {SCT}/><statusCode code="{status}"/>{inner}
      </procedure></entry>"""


def related(
    value, *, template="", kind="RSON", attributes="", code=f'<code code="404684003" {SCT}/>', inverted=""
):
    known = f'<templateId root="{T}{template}"/>' if template else ""
    return f"""<entryRelationship typeCode="{kind}" {inverted}><observation classCode="OBS" moodCode="EVN" {attributes}>
      {known}{code}<statusCode code="completed"/>{value}</observation></entryRelationship>"""


def code_of(resource, name="verificationStatus"):
    return resource.get(name, {}).get("coding", [{}])[0].get("code")


def left_out(found):
    return [one.place for one in found.issues if one.severity == "error"]


def relatives(value=ASTHMA, template="46", attributes="", inner="", extension="f"):
    return f"""<entry><observation classCode="OBS" moodCode="EVN" {attributes}><templateId root="{T}{template}"/>
      <id root="2.999.8" extension="{extension}"/><code code="64572001" {SCT}/><statusCode code="completed"/>
      {value}{inner}</observation></entry>"""


def history(*conditions):
    inner = "".join(one.replace("entry>", "component>") for one in conditions)
    return f"""<entry><organizer classCode="CLUSTER" moodCode="EVN"><templateId root="{T}45"/>
      <id root="2.999.8" extension="h"/><statusCode code="completed"/>{MOTHER}{inner}</organizer></entry>"""
