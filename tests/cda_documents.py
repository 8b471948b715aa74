"""Small documents around the entries of a test, and what becomes of them."""

from __future__ import annotations

from case_pairs import references
from hdg.fhir import ids
from hdg.fhir.validate import validate
from hdg.ingestion.cda.convert import Converter

T = "2.16.840.1.113883.10.20.22.4."
SCT = 'codeSystem="2.16.840.1.113883.6.96"'


CONVERTER = Converter(id_key=ids.PUBLIC_KEY)


LN = 'codeSystem="2.16.840.1.113883.6.1"'


def document(entries, section="11450-4", header="", attributes=""):
    return f"""<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
      xmlns:sdtc="urn:hl7-org:sdtc">
      <id root="2.999.1" extension="d1"/><code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/>
      <title>Summary</title><effectiveTime value="20240102030405+0000"/>
      <recordTarget><patientRole><id root="2.999.2" extension="p1"/>
        <patient><name><given>Ada</given><family>Example</family></name>
        <administrativeGenderCode code="F"/><birthTime value="19610412"/></patient></patientRole></recordTarget>
      <author><time value="20240102"/><assignedAuthor><id root="2.999.3" extension="a1"/>
        <assignedPerson><name><given>Bo</given><family>Author</family></name></assignedPerson></assignedAuthor></author>
      {header}
      <component><structuredBody><component><section {attributes}>
        <code code="{section}" codeSystem="2.16.840.1.113883.6.1"/><title>A section</title>
        <text><list><item ID="t1">Some <content styleCode="Bold">words</content></item></list></text>
        {entries}
      </section></component></structuredBody></component></ClinicalDocument>""".encode()


def converted(entries, **rest):
    found = CONVERTER.convert(document(entries, **rest), at_us=0)
    assert [validate(resource) for resource in found.resources] == [[]] * len(found.resources)
    places = {f"{one['resourceType']}/{one['id']}" for one in found.resources}
    assert len(places) == len(found.resources)
    assert set(references(list(found.resources))) <= places
    return found


def of(found, type_):
    return [one for one in found.resources if one["resourceType"] == type_]
