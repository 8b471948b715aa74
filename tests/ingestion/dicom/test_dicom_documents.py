"""Encapsulated documents, and what ``hdg convert`` makes of files, folders and DICOMDIR."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_headers import CDA, PDF, PYDICOM, code, item, obj, written
from hdg.bulk import jobs_of, run
from hdg.bulk_jobs import Plan
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.dicom.convert import Converter
from hdg.ingestion.dicom.document import encapsulated
from hdg.ingestion.dicom.header import read_header

CONVERTER = Converter(id_key=PUBLIC_KEY)
LETTER = b"%PDF-1.7 a letter of odd length"
SUMMARY = (
    b'<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.3"/><code code="34133-9" codeSystem='
    b'"2.16.840.1.113883.6.1"/><title>Summary</title><effectiveTime value="20260101"/>'
    b'<recordTarget><patientRole><id root="1.2.3.4" extension="4711"/></patientRole></recordTarget>'
    b"<component><structuredBody/></component></ClinicalDocument>"
)


def document(data=LETTER, sop_class=PDF, **attributes):
    usual = {
        "Modality": "DOC",
        "EncapsulatedDocument": data,
        "EncapsulatedDocumentLength": len(data),
        "MIMETypeOfEncapsulatedDocument": "application/pdf",
        "DocumentTitle": "Discharge letter",
        "ConceptNameCodeSequence": [code("18842-5", "LN", "Discharge summary")],
        "ContentDate": "20260103",
        "ContentTime": "101112",
    }
    return obj(sop_class, **{**usual, **attributes})


def of(found, kind):
    return [one for one in found if one["resourceType"] == kind]


def test_a_pdf_becomes_a_document_reference_and_its_bytes_a_binary():
    header = read_header(document())
    inner = encapsulated(header)
    found = CONVERTER.convert(header, at_us=0, document=inner).resources
    (reference,), (binary,) = of(found, "DocumentReference"), of(found, "Binary")
    attachment = reference["content"][0]["attachment"]
    assert inner.data == LETTER
    assert base64.b64decode(binary["data"]) == LETTER
    assert attachment == {
        "contentType": "application/pdf",
        "url": f"Binary/{binary['id']}",
        "size": len(LETTER),
        "hash": base64.b64encode(hashlib.sha1(LETTER).digest()).decode(),
        "title": "Discharge letter",
        "creation": "2026-01-03T10:11:12+01:00",
    }
    assert reference["masterIdentifier"]["value"] == "urn:oid:1.2.826.1.1.1"
    assert reference["type"]["coding"][0]["code"] == "18842-5"
    assert reference["date"] == "2026-01-03T10:11:12+01:00"
    assert reference["context"]["related"][0]["reference"].startswith("ImagingStudy/")
    assert all(not validate(one) for one in found)


def test_a_long_document_is_read_from_its_file_when_it_is_wanted(tmp_path):
    long = LETTER + bytes(3_000_000) + b"end"
    path = tmp_path / "long.dcm"
    path.write_bytes(document(long))
    assert encapsulated(read_header(path)).data == long
    with path.open("rb") as stream:
        header = read_header(stream)
        assert encapsulated(header) is None
        assert encapsulated(header, stream).data == long


def test_a_document_that_is_not_at_hand_is_told_of_without_its_bytes():
    found = CONVERTER.convert(read_header(document()), at_us=0)
    (reference,) = of(found.resources, "DocumentReference")
    assert reference["content"][0]["attachment"]["contentType"] == "application/pdf"
    assert "EncapsulatedDocument" in {issue.place for issue in found.issues}


def test_a_cda_document_within_is_given_out_for_the_path_of_documents():
    data = document(SUMMARY, CDA, MIMETypeOfEncapsulatedDocument="text/XML", HL7InstanceIdentifier="1.2.3^7")
    header = read_header(data)
    inner = encapsulated(header)
    assert (inner.is_cda, inner.data) == (True, SUMMARY)
    (reference,) = of(CONVERTER.convert(header, at_us=0).resources, "DocumentReference")
    assert reference["identifier"] == [{"system": "urn:oid:1.2.3", "value": "7"}]


def test_a_document_in_a_deflated_object_is_read_while_it_is_short():
    data = obj(
        PDF,
        DeflatedExplicitVRLittleEndian,
        EncapsulatedDocument=LETTER,
        EncapsulatedDocumentLength=len(LETTER),
        MIMETypeOfEncapsulatedDocument="application/pdf",
    )
    assert encapsulated(read_header(data)).data == LETTER


def test_an_image_has_no_document():
    assert encapsulated(read_header(obj())) is None


# --- hdg convert --------------------------------------------------------------------------------------------------


def outcomes(*paths, **plan):
    return list(run(jobs_of([str(path) for path in paths]), Plan(**plan)))


def studies(found):
    bundles = [json.loads(one.output) for one in found if one.is_study]
    return [
        [
            entry["resource"]
            for entry in bundle["entry"]
            if entry["resource"]["resourceType"] == "ImagingStudy"
        ]
        for bundle in bundles
    ]


@pytest.fixture
def three(tmp_path):
    folder = tmp_path / "in"
    for study in (1, 2, 3):
        for number in range(1, 4):
            path = folder / f"{number}-{study}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(
                obj(
                    StudyInstanceUID=f"1.2.{study}",
                    SeriesInstanceUID=f"1.2.{study}.1",
                    SOPInstanceUID=f"1.2.{study}.1.{number}",
                )
            )
    return folder


def test_a_folder_with_three_studies_gives_three_imaging_studies(three):
    found = outcomes(three)
    assert [one.status for one in found if not one.is_study] == ["converted"] * 9
    assert [[one["numberOfInstances"] for one in study] for study in studies(found)] == [[3], [3], [3]]


def test_each_study_of_a_folder_has_a_file(three, tmp_path):
    outcomes(three, folder=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "study-1.2.1.json",
        "study-1.2.2.json",
        "study-1.2.3.json",
    ]


def test_many_files_in_several_processes_give_the_same_studies(three, monkeypatch):
    alone = studies(outcomes(three))
    monkeypatch.setattr("hdg.bulk.POOL_FROM_FILES", 2)
    together = list(run(jobs_of([str(three)]), Plan(), workers=2))
    assert studies(together) == alone


def test_one_file_gives_one_bundle_with_its_own_name(tmp_path):
    path = tmp_path / "slice.dcm"
    path.write_bytes(obj())
    found = outcomes(path, folder=tmp_path / "out")
    assert [one.is_study for one in found] == [False, True]
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["slice.json"]
    assert found[0].control_id == "1.2.826.1.1.1"


def test_a_dicomdir_names_the_files_of_a_medium():
    found = outcomes(PYDICOM / "test_files" / "dicomdirtests" / "DICOMDIR")
    assert sum(1 for one in found if one.status == "converted" and not one.is_study) == 31
    assert sum(study[0]["numberOfInstances"] for study in studies(found)) == 31


def test_a_dicomdir_within_a_folder_does_not_give_its_files_twice(tmp_path):
    shutil.copytree(PYDICOM / "test_files" / "dicomdirtests" / "TINY_ALPHA", tmp_path / "in")
    found = outcomes(tmp_path / "in")
    assert [one.file for one in found if one.status == "skipped"] == ["DICOMDIR"]
    ((study,),) = studies(found)
    assert study["numberOfInstances"] == 50


def test_a_dicomdir_leads_nowhere_outside_of_its_folder(tmp_path):
    record = item(DirectoryRecordType="IMAGE", ReferencedFileID=["AA", "SECRET"])
    data = Dataset()
    data.SOPClassUID = "1.2.840.10008.1.3.10"
    data.DirectoryRecordSequence = [record]
    path = tmp_path / "DICOMDIR"
    path.write_bytes(written(data).replace(b"AA\\SECRET", b"..\\SECRET"))
    (found,) = outcomes(path)
    assert found.status == "failed"
    assert "outside" in found.error


def test_the_cda_document_of_an_object_is_converted_too(tmp_path):
    path = tmp_path / "cda.dcm"
    path.write_bytes(document(SUMMARY, CDA, MIMETypeOfEncapsulatedDocument="text/XML"))
    found = outcomes(path, folder=tmp_path / "out")
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["cda-cda.json", "cda.json"]
    kinds = [
        one["resource"]["resourceType"]
        for one in json.loads((tmp_path / "out/cda-cda.json").read_text())["entry"]
    ]
    assert kinds[0] == "Composition"
    assert {one.status for one in found} == {"converted"}


def test_a_file_without_preamble_is_taken_when_it_is_said_what_it_is():
    path = PYDICOM / "test_files" / "rtstruct.dcm"
    found = outcomes(path, source="dicom")
    assert [one.status for one in found] == ["converted", "converted"]


def test_a_damaged_file_among_others_is_named_and_stops_nothing(three):
    (three / "0-broken").write_bytes(obj()[:300])
    found = outcomes(three)
    assert [one.file for one in found if one.status == "failed"] == ["0-broken"]
    assert len(studies(found)) == 3
