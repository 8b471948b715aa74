"""Devices, notes, whole documents as content, and who stands in the header."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest

from cda_documents import CONVERTER, LN, SCT, T, converted, document, of
from hdg.fhir.validate import validate
from hdg.ingestion.cda.original import replaced

UDI = "(01)00643169007222(17)160128(21)BLC200461H"


def supply(product, mood="EVN", template="50"):
    return f"""<entry><supply classCode="SPLY" moodCode="{mood}"><templateId root="{T}{template}"/><id root="2.999.5"/>
      <statusCode code="completed"/><effectiveTime value="20130731"/><quantity value="2"/>{product}</supply></entry>"""


CANE = f"""<participant typeCode="PRD"><participantRole classCode="MANU">
  <id root="2.16.840.1.113883.3.3719" extension="{UDI}"/><playingDevice><code code="87405001" {SCT}/></playingDevice>
  <scopingEntity><id root="2.999.6"/><desc>Maker</desc></scopingEntity></participantRole></participant>"""


def test_a_device_that_was_supplied_is_in_use_with_its_udi():
    found = converted(supply(CANE), section="46264-8")
    (use,) = of(found, "DeviceUseStatement")
    (device,) = of(found, "Device")
    assert use["status"] == "active"
    assert use["device"] == {"reference": f"Device/{device['id']}"}
    assert device["udiCarrier"][0]["carrierHRF"] == UDI
    assert device["manufacturer"] == "Maker"


def test_a_device_that_is_wanted_is_only_asked_for():
    found = converted(supply(CANE, "RQO", "43"), section="18776-5")
    assert [one["intent"] for one in of(found, "DeviceRequest")] == ["order"]
    assert of(found, "DeviceUseStatement") == []


def test_a_supply_without_a_device_is_a_delivery():
    product = f"""<product><manufacturedProduct><manufacturedMaterial><code code="337388004" {SCT}/>
      </manufacturedMaterial></manufacturedProduct></product>"""
    (delivery,) = of(converted(supply(product), section="46264-8"), "SupplyDelivery")
    assert delivery["status"] == "completed"
    assert delivery["suppliedItem"]["itemCodeableConcept"]["coding"][0]["code"] == "337388004"


def test_a_note_carries_the_words_that_it_refers_to():
    note = f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}202"/><code code="34109-9" {LN}/>
      <text><reference value="#t1"/></text><statusCode code="completed"/><effectiveTime value="20140203"/>
      </act></entry>"""
    (one,) = of(converted(note), "DocumentReference")
    attachment = one["content"][0]["attachment"]
    assert b64decode(attachment["data"]) == b"Some words"
    assert attachment["contentType"] == "text/plain; charset=utf-8"


def body(text):
    whole = document("").decode()
    start, end = whole.index("<structuredBody>"), whole.index("</structuredBody>") + len("</structuredBody>")
    found = CONVERTER.convert(
        (whole[:start] + f"<nonXMLBody>{text}</nonXMLBody>" + whole[end:]).encode(), at_us=0
    )
    assert [validate(one) for one in found.resources] == [[]] * len(found.resources)
    return found


def test_a_document_without_sections_is_kept_as_its_bytes():
    data = b64encode(b"%PDF-1.4 words").decode()
    found = body(f'<text mediaType="application/pdf" representation="B64">{data[:9]}\n {data[9:]}</text>')
    (binary,) = [one for one in of(found, "Binary") if one["contentType"] == "application/pdf"]
    assert b64decode(binary["data"]) == b"%PDF-1.4 words"
    references = of(found, "DocumentReference")
    (one,) = [
        ref for ref in references if ref["content"][0]["attachment"].get("url") == f"Binary/{binary['id']}"
    ]
    (section,) = of(found, "Composition")[0]["section"]
    assert section["entry"] == [{"reference": f"DocumentReference/{one['id']}"}]


def test_a_body_that_is_elsewhere_is_named_and_one_that_is_broken_is_an_issue():
    found = body('<text mediaType="application/pdf"><reference value="scan.pdf"/></text>')
    assert "scan.pdf" in [
        content["attachment"].get("url")
        for one in of(found, "DocumentReference")
        for content in one["content"]
    ]
    found = body('<text mediaType="application/pdf" representation="B64">no!</text>')
    assert any("base64" in issue.text for issue in found.issues)


def test_the_people_of_the_header_stand_in_the_composition():
    header = """<informant><relatedEntity classCode="PRS"><relatedPerson><name><given>Boris</given></name>
      </relatedPerson></relatedEntity></informant>
      <participant typeCode="IND"><associatedEntity classCode="NOK"><associatedPerson><name><given>Nina</given></name>
      </associatedPerson></associatedEntity></participant>
      <inFulfillmentOf><order><id root="2.999.20" extension="O1"/></order></inFulfillmentOf>
      <authorization><consent><id root="2.999.21"/><code code="64293-4" codeSystem="2.16.840.1.113883.6.1"
      displayName="Procedure consent"/><statusCode code="completed"/></consent></authorization>"""
    found = converted("", header=header)
    names = {one["name"][0]["given"][0]: one for one in of(found, "RelatedPerson")}
    assert set(names) == {"Boris", "Nina"}
    assert names["Nina"]["relationship"][0]["coding"][0]["code"] == "NOK"
    (order,) = of(found, "ServiceRequest")
    kinds = [one["url"].rpartition("/")[2] for one in of(found, "Composition")[0]["extension"]]
    assert set(kinds) >= {
        "InformantExtension",
        "ParticipantExtension",
        "OrderExtension",
        "AuthorizationExtension",
    }
    assert order["identifier"][0]["value"] == "O1"
    assert of(found, "Consent") == []  # it may not decide who sees what


def test_an_author_named_only_by_an_id_is_who_the_document_describes():
    entry = f"""<entry><observation classCode="OBS" moodCode="EVN"><id root="2.999.22"/><code code="8302-2" {LN}/>
      <statusCode code="completed"/><value xsi:type="PQ" value="180" unit="cm"/><author><time value="2024"/>
      <assignedAuthor><id root="2.999.3" extension="a1"/></assignedAuthor></author></observation></entry>"""
    found = converted(entry, section="8716-3")
    (author,) = of(found, "Practitioner")
    assert author["name"][0]["family"] == "Author"
    assert of(found, "Observation")[0]["performer"] == [{"reference": f"Practitioner/{author['id']}"}]


def test_a_program_that_wrote_an_entry_is_not_replaced_by_the_author_of_the_document():
    entry = f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}3"/><statusCode code="active"/>
      <entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN"><templateId root="{T}4"/>
      <id root="2.999.23"/><code code="55607006" {SCT}/><value xsi:type="CD" code="195967001" {SCT}/><author>
      <assignedAuthor><id root="2.999.24" extension="x"/><assignedAuthoringDevice><softwareName>S</softwareName>
      </assignedAuthoringDevice></assignedAuthor></author></observation></entryRelationship></act></entry>"""
    (condition,) = of(converted(entry), "Condition")
    assert "recorder" not in condition


def test_why_a_section_is_empty_is_said():
    found = converted("", attributes='nullFlavor="NASK"')
    (section,) = of(found, "Composition")[0]["section"]
    assert section["emptyReason"]["coding"][0]["code"] == "notasked"


def test_how_well_a_language_is_spoken_stands_at_the_language():
    whole = document("").decode()
    spoken = """<languageCommunication><languageCode code="fr"/><modeCode code="ESP"
      codeSystem="2.16.840.1.113883.5.60"/><proficiencyLevelCode code="G" codeSystem="2.16.840.1.113883.5.61"/>
      </languageCommunication></patient>"""
    found = CONVERTER.convert(whole.replace("</patient>", spoken).encode(), at_us=0)
    (language,) = of(found, "Patient")[0]["communication"]
    parts = {one["url"]: one["valueCoding"]["code"] for one in language["extension"][0]["extension"]}
    assert parts == {"level": "G", "type": "ESP"}
    assert [validate(one) for one in found.resources] == [[]] * len(found.resources)


@pytest.mark.parametrize(
    ("type_code", "code"), [("APND", "appends"), ("RPLC", "replaces"), ("XFRM", "transforms")]
)
def test_what_a_document_is_to_another_is_said_by_the_composition_and_the_reference(type_code, code):
    related = f"""<relatedDocument typeCode="{type_code}"><parentDocument><id root="2.999.1" extension="d0"/>
      </parentDocument></relatedDocument>"""
    found = CONVERTER.convert(document("", header=related), at_us=0, with_original=True)
    composition = of(found, "Composition")[0]
    assert composition["relatesTo"][0]["code"] == code
    assert [one["value"] for one in replaced(composition)] == (["d0"] if code == "replaces" else [])
    assert of(found, "DocumentReference")[0]["relatesTo"][0]["code"] == code
