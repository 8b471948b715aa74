"""A message that carries a CDA document becomes what the document becomes."""

from __future__ import annotations

import base64

import pytest

from hdg import data
from hdg.errors import CdaError, Hl7v3Error
from hdg.fhir import ids
from hdg.ingestion.cda.convert import Converter as CdaConverter
from hdg.ingestion.hl7v3.convert import Converter
from hdg.ingestion.sender import Sender
from registry_messages import NS, message

DOCUMENT = f"""<ClinicalDocument {NS}><id root="2.999.1" extension="d1"/><title>Résumé</title>
  <effectiveTime value="20240102030405+0000"/><recordTarget><patientRole>
  <id root="2.999.2" extension="p1"/><patient><name><family>Example</family></name></patient></patientRole>
  </recordTarget><component><structuredBody><component><section><text>x</text></section></component>
  </structuredBody></component></ClinicalDocument>"""
NORTH = Sender("feed", "north")


def carrying(content: str, attributes: str = "") -> bytes:
    subject = (
        f"<subject><clinicalDocument><id root='2.999.1' extension='d1'/><text {attributes}>{content}</text>"
    )
    return message(f"{subject}</clinicalDocument></subject>", interaction="RCMR_IN000002UV02")


BYTES = base64.encodebytes(DOCUMENT.encode()).decode()


def registering(value: str, more: str = "") -> bytes:
    """As registries after WS/T 500 write it."""
    subject = f"<subject><clinicalDocument><id><item root='2.999.1' extension='d1'/></id>{more}<storageCode>"
    subject += f"<originalText value='{value}'/></storageCode></clinicalDocument></subject>"
    return message(subject, interaction="RCMR_IN000002UV02")


@pytest.mark.parametrize(
    "raw",
    [
        carrying(DOCUMENT),
        carrying(f"<![CDATA[{DOCUMENT}]]>", 'mediaType="text/xml"'),
        carrying(base64.encodebytes(DOCUMENT.encode()).decode(), 'representation="B64"'),
        message(f"<subject>{DOCUMENT}</subject>", interaction="RCMR_IN000002UV01"),
        carrying(f"<data>{BYTES}</data>"),
        registering("".join(BYTES.split())),
    ],
    ids=["XML", "text", "Base64", "bare", "release 2", "storage code"],
)
def test_the_document_is_converted_whichever_way_it_is_carried(raw):
    key = ids.PUBLIC_KEY
    found = Converter(id_key=key).convert(raw, NORTH, at_us=0, with_original=True)
    alone = CdaConverter(id_key=key).convert(DOCUMENT.encode(), NORTH, at_us=0)
    kinds = [one["resourceType"] for one in found.resources]
    assert kinds == ["Composition", "Patient", "DocumentReference", "Binary", "Provenance"]
    assert found.resources[:2] == alone.resources[:2]
    assert found.patient_id == alone.patient_id
    assert (found.source.format, found.source.control_id) == ("hl7v3", "2.999.1^m1")
    assert found.source.message_type.startswith("RCMR_IN000002")
    assert [issue for issue in found.issues if issue.code != "informational"] == list(alone.issues)
    assert [issue.place for issue in found.issues if issue.code == "informational"] == ["controlActProcess"]


@pytest.mark.parametrize(
    ("raw", "error", "said"),
    [
        (carrying(""), Hl7v3Error, "does not carry one"),
        (carrying("words"), Hl7v3Error, "does not carry one"),
        (carrying(DOCUMENT + DOCUMENT), Hl7v3Error, "does not carry one"),
        (carrying("!", 'representation="B64"'), Hl7v3Error, "not Base64"),
        (carrying("<data>!</data>"), Hl7v3Error, "not Base64"),
        (registering(""), Hl7v3Error, "does not carry one"),
        (registering("".join(BYTES.split()), f"<text>{DOCUMENT}</text>"), Hl7v3Error, "does not carry one"),
        (carrying("<![CDATA[<!DOCTYPE a><ClinicalDocument/>]]>"), CdaError, "document type definition"),
    ],
)
def test_what_carries_no_one_document_is_refused(raw, error, said):
    with pytest.raises(error, match=said):
        Converter(id_key=ids.PUBLIC_KEY).convert(raw, NORTH, at_us=0)


def test_a_document_about_two_patients_is_refused_in_a_message_as_by_itself():
    second = '<recordTarget><patientRole><id root="2.999.2" extension="p3"/></patientRole></recordTarget>'
    both = DOCUMENT.replace("<component>", f"{second}<component>", 1)
    with pytest.raises(CdaError, match="a document about several patients"):
        Converter(id_key=ids.PUBLIC_KEY).convert(carrying(both), NORTH, at_us=0)


def test_of_the_tables_for_messages_none_makes_a_document():
    """So what is about several patients (a registry's answer) never comes with an original that all of them may see."""
    tables = data.folder("mappings") / "hl7v3" / "tables"
    made = {path.stem.rpartition(".")[2] for path in tables.glob("*.csv")}
    assert "Patient" in made
    assert not made & {"Composition", "DocumentReference", "Binary"}
