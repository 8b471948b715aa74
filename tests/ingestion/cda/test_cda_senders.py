"""Habits of senders that have been met: what they mean must come out, not what they write."""

from __future__ import annotations

from hdg.fhir import ids
from hdg.ingestion.cda.convert import Converter

T = "2.16.840.1.113883.10.20.22.4."
SCT = 'codeSystem="2.16.840.1.113883.6.96"'


def test_a_severity_sent_as_manifestation_is_no_reaction():
    document = f"""<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
      <recordTarget><patientRole><id root="2.999.2" extension="p"/></patientRole></recordTarget>
      <component><structuredBody><component><section><entry>
      <observation classCode="OBS" moodCode="EVN"><templateId root="{T}7"/><id root="2.999.1"/><code code="ASSERTION"/>
      <statusCode code="completed"/><value xsi:type="CD" code="419199007" {SCT}/>
      <participant typeCode="CSM"><participantRole><playingEntity><code code="762952008" {SCT}/></playingEntity>
      </participantRole></participant>
      <entryRelationship typeCode="SUBJ" inversionInd="true"><observation classCode="OBS" moodCode="EVN">
        <templateId root="{T}9"/><value xsi:type="CD" code="126485001" {SCT}/></observation></entryRelationship>
      <entryRelationship typeCode="MFST" inversionInd="true"><observation classCode="OBS" moodCode="EVN">
        <templateId root="{T}8"/><value xsi:type="CD" code="255604002" {SCT}/></observation></entryRelationship>
      </observation></entry></section></component></structuredBody></component></ClinicalDocument>"""
    found = Converter(id_key=ids.PUBLIC_KEY).convert(document.encode(), at_us=0)
    (allergy,) = [one for one in found.resources if one["resourceType"] == "AllergyIntolerance"]
    manifestations = [one["manifestation"][0]["coding"][0]["code"] for one in allergy["reaction"]]
    assert manifestations == ["126485001"]


def test_a_statement_that_cannot_be_made_valid_does_not_keep_the_others_out(monkeypatch):
    from hdg.errors import SourceError
    from hdg.fhir.validate import validate
    from hdg.ingestion.cda import convert

    def refusing(resource, issues):
        if resource["resourceType"] == "Observation":
            raise SourceError("no valid resource can be made", "Observation.status")

    monkeypatch.setattr(convert, "made_valid", refusing)
    document = """<ClinicalDocument xmlns="urn:hl7-org:v3"><code code="x"/><effectiveTime value="20240101"/>
      <title>t</title><recordTarget><patientRole><id root="2.999.2" extension="p"/></patientRole></recordTarget>
      <component><structuredBody><component><section><text>words</text><entry>
      <observation classCode="OBS" moodCode="EVN"><id root="2.999.1"/><code code="y"/><statusCode code="completed"/>
      </observation></entry></section></component></structuredBody></component></ClinicalDocument>"""
    found = Converter(id_key=ids.PUBLIC_KEY).convert(document.encode(), at_us=0)
    assert {one["resourceType"] for one in found.resources} == {"Composition", "Patient", "Provenance"}
    (composition, *_) = found.resources
    assert "entry" not in composition["section"][0]
    assert ("error", "Observation.status") in {(issue.severity, issue.place) for issue in found.issues}
    assert all(
        not str(issue) for one in found.resources for issue in validate(one) if issue.code == "structure"
    )


def test_many_statements_in_one_holder_take_time_in_proportion():
    """What a path finds above its element is looked for once, and not again for each sibling."""
    from hdg.ingestion.cda import paths

    def looks(count):
        problem = f"""<entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN">
          <templateId root="{T}4"/>
          <code code="ASSERTION"/><statusCode code="completed"/><value code="%d" {SCT}/></observation>
          </entryRelationship>"""
        document = f"""<ClinicalDocument xmlns="urn:hl7-org:v3"><component><structuredBody><component><section><entry>
          <act classCode="ACT" moodCode="EVN"><templateId root="{T}3"/><statusCode code="active"/>
          {"".join(problem % number for number in range(count))}</act></entry></section></component></structuredBody>
          </component></ClinicalDocument>"""
        seen = 0

        def counted(element):
            nonlocal seen
            seen += 1
            return whole(element)

        whole, paths._is_not_negated = paths._is_not_negated, counted
        try:
            found = Converter(id_key=ids.PUBLIC_KEY).convert(document.encode(), at_us=0)
        finally:
            paths._is_not_negated = whole
        assert sum(one["resourceType"] == "Condition" for one in found.resources) == count
        return seen

    assert looks(80) < 3 * looks(40)
