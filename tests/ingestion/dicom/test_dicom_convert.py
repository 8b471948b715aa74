"""What one object states: patient, study, equipment, people; nothing invented, nothing lost in silence."""

from __future__ import annotations

import runpy
import warnings
from pathlib import Path

import pydicom
import pytest

from dicom_headers import PYDICOM as FOLDER
from dicom_headers import code, dataset, item, obj, part10_files, written
from hdg.errors import DicomError
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.dicom.convert import Converter
from hdg.ingestion.dicom.header import read_header
from hdg.ingestion.dicom.lint import findings
from hdg.ingestion.sender import Sender

ROOT = Path(__file__).parents[3]
CONVERTER = Converter(id_key=PUBLIC_KEY)
NAMES = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"


def converted(data, sender=None):
    return CONVERTER.convert(read_header(data), sender, at_us=0)


def resources(data, kind, sender=None):
    return [one for one in converted(data, sender).resources if one["resourceType"] == kind]


def first(data, kind, sender=None):
    return resources(data, kind, sender)[0]


def made(kind, **attributes):
    return first(obj(**attributes), kind)


REASONS = {
    "no Study Instance UID": 17,
    "no SOP Class UID": 3,
    "a directory of objects": 7,
    "this goes beyond the sequence that it is in": 1,
    "the data ends in the middle of this element": 1,
}


def test_each_of_the_188_files_that_come_with_pydicom_is_converted_or_rejected_with_a_reason():
    done = 0
    reasons = dict.fromkeys(REASONS, 0)
    for path in part10_files():
        try:
            found = converted(path)
        except DicomError as error:
            reasons[
                next(reason for reason in REASONS if error.text.startswith(reason) and error.place[0] == "(")
            ] += 1
            continue
        done += 1
        for resource in found.resources:
            assert not validate(resource), path.name
        studies = [one for one in found.resources if one["resourceType"] == "ImagingStudy"]
        assert len(studies) == 1
        assert found.patient_id is not None
    assert reasons == REASONS
    assert done == 159


def test_the_same_header_gives_the_same_resources_and_all_references_resolve():
    for path in part10_files():
        try:
            one, other = converted(path), converted(path)
        except DicomError:
            continue
        assert one == other
        known = {f"{each['resourceType']}/{each['id']}" for each in one.resources}
        assert {text for each in one.resources for text in _references(each)} <= known


def _references(value):
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


KNOWN = {
    "chrH31.dcm": [("ABC", "Yamada", "Tarou"), ("IDE", "山田", "太郎"), ("SYL", "やまだ", "たろう")],
    "chrH32.dcm": [("ABC", "ﾔﾏﾀﾞ", "ﾀﾛｳ"), ("IDE", "山田", "太郎"), ("SYL", "やまだ", "たろう")],
    "chrI2.dcm": [("ABC", "Hong", "Gildong"), ("IDE", "洪", "吉洞"), ("SYL", "홍", "길동")],
    "chrX1.dcm": [("ABC", "Wang", "XiaoDong"), ("IDE", "王", "小東"), None],
    "chrX2.dcm": [("ABC", "Wang", "XiaoDong"), ("IDE", "王", "小东"), None],
    "chrArab.dcm": [("", "قباني", "لنزار")],
    "chrFren.dcm": [("", "Buc", "Jérôme")],
    "chrGerm.dcm": [("", "Äneas", "Rüdiger")],
    "chrGreek.dcm": [("", "Διονυσιος", "")],
    "chrHbrw.dcm": [("", "שרון", "דבורה")],
    "chrRuss.dcm": [("", "Люкceмбypг", "")],
}


@pytest.mark.parametrize("name", KNOWN)
def test_names_come_out_right_in_every_character_set(name):
    found = first(FOLDER / "charset_files" / name, "Patient")["name"]
    expected = [one for one in KNOWN[name] if one is not None]
    assert [
        (
            one.get("extension", [{"valueCode": ""}])[0]["valueCode"],
            one["family"],
            "".join(one.get("given", ())),
        )
        for one in found
    ] == expected


def test_the_korean_name_of_the_standard_keeps_its_three_writings():
    found = made("Patient", PatientName="Hong^Gildong=洪^吉洞=홍^길동")["name"]
    assert found == [
        {"family": family, "given": [given], "extension": [{"url": NAMES, "valueCode": kind}]}
        for family, given, kind in (("Hong", "Gildong", "ABC"), ("洪", "吉洞", "IDE"), ("홍", "길동", "SYL"))
    ]


def test_the_components_of_a_name_are_what_they_are():
    found = made("Patient", PatientName="Adams^John Robert^Quincy^Rev.^B.A. M.Div.")["name"]
    assert found == [
        {
            "family": "Adams",
            "given": ["John Robert", "Quincy"],
            "prefix": ["Rev."],
            "suffix": ["B.A. M.Div."],
        }
    ]


# --- numbers and their issuers ------------------------------------------------------------------------------------


def test_a_patient_id_has_its_issuer_by_name_by_oid_or_as_declared():
    issuer = item(UniversalEntityID="1.2.3.4", UniversalEntityIDType="ISO")
    named = made("Patient", IssuerOfPatientID="CITY")
    by_oid = made("Patient", IssuerOfPatientID="CITY", IssuerOfPatientIDQualifiersSequence=[issuer])
    assert named["identifier"] == [{"value": "4711", "assigner": {"display": "CITY"}}]
    assert by_oid["identifier"] == [
        {"system": "urn:oid:1.2.3.4", "value": "4711", "assigner": {"display": "CITY"}}
    ]
    declared = Sender("pacs", "clinic", authorities={"CITY": "https://city.example/mrn"})
    assert first(obj(IssuerOfPatientID="CITY"), "Patient", declared)["identifier"][0]["system"] == (
        "https://city.example/mrn"
    )


def test_numbers_of_two_issuers_are_two_patients():
    ids = {made("Patient", IssuerOfPatientID=issuer)["id"] for issuer in ("CITY", "LAKE", None)}
    assert len(ids) == 3


def test_a_number_with_a_backslash_is_one_number_and_no_other_patient():
    ids = set()
    for number in ("NORTH", "NORTH\\4711", "NORTH\\4712"):
        found = converted(obj(PatientID=number.split("\\")))
        (patient,) = (one for one in found.resources if one["resourceType"] == "Patient")
        assert [one["value"] for one in patient["identifier"]] == [number]
        assert (("value", "PatientID") in {(one.code, one.place) for one in found.issues}) == ("\\" in number)
        ids.add(found.patient_id)
    assert len(ids) == 3


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_an_object_with_two_uids_of_a_kind_is_rejected(name):
    raw = obj(**{name: "1.2.826.7"}).replace(b"1.2.826.7\0", b"1.2.8\\1.27")
    with pytest.raises(DicomError, match="is not a UID"):
        converted(raw)


def test_the_patient_of_an_object_is_the_patient_of_an_hl7_message_with_that_number():
    from hdg.ingestion.hl7v2.convert import Converter as MessageConverter

    sender = Sender("any", "clinic")
    message = (
        b"MSH|^~\\&|A|B|||20260101||ADT^A01|1|P|2.5\rEVN|A01|20260101\r"
        b"PID|1||4711^^^&1.2.3.4&ISO^MR||Muster^Anna\rPV1|1|I\r"
    )
    issuer = item(UniversalEntityID="1.2.3.4", UniversalEntityIDType="ISO")
    data = obj(IssuerOfPatientIDQualifiersSequence=[issuer])
    by_message = MessageConverter(id_key=PUBLIC_KEY).convert(message, sender, at_us=0)
    assert converted(data, sender).patient_id == by_message.patient_id


def test_other_patient_ids_come_with_theirs():
    others = [item(PatientID="A1", IssuerOfPatientID="LAKE"), item(PatientID="B2")]
    found = made("Patient", OtherPatientIDsSequence=others)["identifier"]
    assert found[1:] == [{"value": "A1", "assigner": {"display": "LAKE"}}, {"value": "B2"}]


def test_without_a_patient_id_a_patient_is_that_of_one_study_and_never_another():
    one = converted(obj(PatientID=None))
    other = converted(obj(PatientID=None, StudyInstanceUID="1.2.999"))
    assert one.patient_id != other.patient_id
    assert ("required", "PatientID") in {(issue.code, issue.place) for issue in one.issues}


def test_an_accession_number_identifies_the_study_and_finds_the_order():
    issuer = item(UniversalEntityID="1.2.3.9", UniversalEntityIDType="ISO")
    study = made("ImagingStudy", AccessionNumber="A77", IssuerOfAccessionNumberSequence=[issuer])
    accession = {
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]},
        "system": "urn:oid:1.2.3.9",
        "value": "A77",
    }
    assert accession in study["identifier"]
    assert study["basedOn"] == [{"type": "ServiceRequest", "identifier": accession}]


# --- what is known of a patient -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("sex", "gender"), [("M", "male"), ("F", "female"), ("O", "other"), ("X", None)])
def test_sex_is_mapped_or_reported(sex, gender):
    found = converted(obj(PatientSex=sex))
    patient = next(one for one in found.resources if one["resourceType"] == "Patient")
    assert patient.get("gender") == gender
    assert any(issue.place == "PatientSex" for issue in found.issues) == (gender is None)


@pytest.mark.parametrize(
    ("age", "value", "unit"), [("047Y", 47, "a"), ("003M", 3, "mo"), ("012W", 12, "wk"), ("009D", 9, "d")]
)
def test_an_age_keeps_its_unit(age, value, unit):
    found = made("Observation", PatientAge=age)
    assert (found["valueQuantity"]["value"], found["valueQuantity"]["code"]) == (value, unit)


def test_height_and_weight_are_vital_signs_with_the_digits_that_were_sent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = obj(PatientSize="1.70", PatientWeight="70.50")
    found = {one["code"]["coding"][0]["code"]: one for one in resources(data, "Observation")}
    assert str(found["8302-2"]["valueQuantity"]["value"]) == "1.70"
    assert str(found["29463-7"]["valueQuantity"]["value"]) == "70.50"
    assert found["29463-7"]["valueQuantity"]["code"] == "kg"
    assert found["29463-7"]["effectiveDateTime"] == "2026-01-02T03:04:05+01:00"


def test_a_weight_of_0_is_no_weight():
    found = converted(obj(PatientWeight="0.0"))
    assert not [one for one in found.resources if one["resourceType"] == "Observation"]
    assert "PatientWeight" in {issue.place for issue in found.issues}


def test_no_known_allergies_stays_in_words_and_is_never_an_allergy():
    data = obj(Allergies=["No known allergies", "but latex?"])
    assert not resources(data, "AllergyIntolerance")
    flag = first(data, "Flag")
    assert flag["code"] == {"text": "No known allergies; but latex?"}
    assert flag["category"] == [{"text": "Allergies (free text)"}]


# --- times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "zone", "started"),
    [
        ({"TimezoneOffsetFromUTC": "-0500"}, None, "2026-01-02T03:04:05-05:00"),
        ({"TimezoneOffsetFromUTC": None}, "Europe/Berlin", "2026-01-02T03:04:05+01:00"),
        ({"TimezoneOffsetFromUTC": None}, None, "2026-01-02"),
        ({"TimezoneOffsetFromUTC": "-0500"}, "Europe/Berlin", "2026-01-02T03:04:05-05:00"),
        ({"StudyTime": None}, None, "2026-01-02"),
        ({"StudyTime": "0304"}, None, "2026-01-02T03:04:00+01:00"),
        ({"StudyTime": "03"}, None, "2026-01-02"),
        ({"StudyTime": "030405.123456"}, None, "2026-01-02T03:04:05.123456+01:00"),
        ({"StudyDate": None}, None, None),
    ],
)
def test_times_have_the_objects_offset_else_the_senders_zone_else_they_are_dates(attributes, zone, started):
    study = first(obj(**attributes), "ImagingStudy", Sender("p", "c", zone=zone))
    assert study.get("started") == started


@pytest.mark.parametrize(
    ("offset", "started"),
    [
        ("+01:00", "2026-01-02T03:04:05+01:00"),
        ("-03:30", "2026-01-02T03:04:05-03:30"),
        ("+09", "2026-01-02T03:04:05+09:00"),
        ("Z", "2026-01-02T03:04:05+00:00"),
    ],
)
def test_an_offset_in_another_form_that_means_one_only_is_read_and_reported(offset, started):
    found = converted(obj(TimezoneOffsetFromUTC=offset), Sender("p", "c", zone="Asia/Seoul"))
    assert next(one for one in found.resources if one["resourceType"] == "ImagingStudy")["started"] == started
    (issue,) = [one for one in found.issues if one.place == "TimezoneOffsetFromUTC"]
    assert issue.severity == "information"


@pytest.mark.parametrize(
    "offset",
    [
        "0100",
        "CET",
        "+1",
        "+1:00",
        "+0175",
        "+1500",
        "-1300",
        "-0000",
        "-00:00",
        "-00",
        "+0100\\+0200",
        "\x1d+0100",
    ],
)
def test_an_offset_that_cannot_be_read_is_never_replaced_by_the_senders_zone(offset):
    data = dataset()
    data.add_new(0x00080201, "LO", offset)
    found = converted(written(data), Sender("p", "c", zone="Asia/Seoul"))
    assert (
        next(one for one in found.resources if one["resourceType"] == "ImagingStudy")["started"]
        == "2026-01-02"
    )
    assert [one.severity for one in found.issues if one.place == "TimezoneOffsetFromUTC"] == ["warning"]


def test_an_offset_under_a_representation_without_text_is_none_that_can_be_read():
    data = dataset()
    data.add_new(0x00080201, "OB", b"+0100 ")
    started = first(written(data), "ImagingStudy", Sender("p", "c", zone="Asia/Seoul"))["started"]
    assert started == "2026-01-02"


@pytest.mark.parametrize("number", ["\x1d9", "9\x1c", "\u0669"])
def test_a_number_with_another_character_is_no_number(number):
    data = dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.add_new(0x00200011, "LO", number)
    found = converted(written(data))
    study = next(one for one in found.resources if one["resourceType"] == "ImagingStudy")
    assert "number" not in study["series"][0]
    assert "SeriesNumber" in {issue.place for issue in found.issues}


def test_a_time_that_was_cut_to_its_date_is_reported():
    found = converted(obj(TimezoneOffsetFromUTC=None))
    assert ("value", "StudyDate") in {(issue.code, issue.place) for issue in found.issues}


def test_a_day_that_does_not_exist_is_reported_and_left_out():
    data = obj().replace(b"20260102", b"20260231")
    found = converted(data)
    study = next(one for one in found.resources if one["resourceType"] == "ImagingStudy")
    assert "started" not in study
    assert "StudyDate" in {issue.place for issue in found.issues}


# --- study, series, equipment, people -------------------------------------------------------------------------


def test_a_study_says_what_its_object_says():
    data = obj(
        StudyDescription="Chest CT",
        SeriesDescription="Lung 1.0",
        SeriesNumber="3",
        InstanceNumber="17",
        BodyPartExamined="CHEST",
        Laterality="L",
        ReferringPhysicianName="House^Gregory",
        ReferringPhysicianIdentificationSequence=[
            item(PersonIdentificationCodeSequence=[code("D77", "99CITY", "House", CodingSchemeUID="1.2.77")])
        ],
        ProcedureCodeSequence=[code("24627-2", "LN", "CT Chest")],
        Manufacturer="ACME",
        ManufacturerModelName="Scan 3",
        DeviceSerialNumber="S9",
        InstitutionName="City Hospital",
    )
    found = converted(data)
    study = next(one for one in found.resources if one["resourceType"] == "ImagingStudy")
    device = next(one for one in found.resources if one["resourceType"] == "Device")
    person = next(one for one in found.resources if one["resourceType"] == "Practitioner")
    assert study["identifier"][0] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.826.1"}
    assert study["description"] == "Chest CT"
    assert study["referrer"] == {"reference": f"Practitioner/{person['id']}", "display": "Gregory House"}
    assert person["identifier"] == [{"system": "urn:oid:1.2.77", "value": "D77"}]
    assert study["procedureCode"][0]["coding"] == [
        {"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}
    ]
    (series,) = study["series"]
    assert series["number"] == 3
    assert series["bodySite"]["code"] == "CHEST"
    assert series["laterality"] == {"code": "L"}
    assert series["performer"] == [{"actor": {"reference": f"Device/{device['id']}"}}]
    assert series["instance"] == [
        {
            "uid": "1.2.826.1.1.1",
            "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
            "number": 17,
        }
    ]
    assert (device["manufacturer"], device["modelNumber"], device["serialNumber"]) == ("ACME", "Scan 3", "S9")
    assert not [issue for issue in found.issues if issue.code == "incomplete"]


def test_an_admission_becomes_an_encounter_that_the_study_names():
    issuer = item(LocalNamespaceEntityID="CITY")
    data = obj(AdmissionID="V1", IssuerOfAdmissionIDSequence=[issuer], AdmittingDate="20260101")
    encounter = first(data, "Encounter")
    assert encounter["identifier"][0]["value"] == "V1"
    assert encounter["identifier"][0]["assigner"] == {"display": "CITY"}
    assert encounter["period"] == {"start": "2026-01-01"}
    assert first(data, "ImagingStudy")["encounter"] == {"reference": f"Encounter/{encounter['id']}"}


def test_a_retrieve_url_becomes_an_endpoint():
    data = obj(RetrieveURL="https://pacs.example/studies/1.2.826.1")
    endpoint = first(data, "Endpoint")
    assert endpoint["address"] == "https://pacs.example/studies/1.2.826.1"
    assert first(data, "ImagingStudy")["endpoint"] == [{"reference": f"Endpoint/{endpoint['id']}"}]


def test_an_object_without_modality_says_that_it_is_unknown():
    series = made("ImagingStudy", Modality=None)["series"][0]
    assert series["modality"]["code"] == "UNK"


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_object_without_study_or_series_is_rejected(name):
    with pytest.raises(DicomError, match=r"no (Study|Series) Instance UID"):
        converted(obj(**{name: None}))


def test_a_uid_that_is_none_is_rejected_and_not_shown():
    data = obj().replace(b"1.2.826.1.1\0", b"Secret/../x\0")
    with pytest.raises(DicomError) as caught:
        converted(data)
    assert "Secret" not in str(caught.value)


# --- losses and private elements --------------------------------------------------------------------------------


def test_a_valued_attribute_of_a_mapped_module_that_went_nowhere_is_reported():
    found = converted(obj(SoftwareVersions="3.1"))  # of no equipment that anything is known of
    assert ("incomplete", "SoftwareVersions") in {(issue.code, issue.place) for issue in found.issues}


def test_what_an_item_says_beside_what_was_read_is_reported():
    other = item(PatientID="A1", PatientName="Other^Name")
    found = converted(obj(OtherPatientIDsSequence=[other]))
    assert ("incomplete", "PatientName") in {(issue.code, issue.place) for issue in found.issues}


def test_private_elements_stay_in_the_object():
    data = item()
    block = data.private_block(0x0011, "ACME", create=True)
    block.add_new(0x10, "LO", "secret")
    made_with = dataset()
    made_with.update(data)
    assert converted(written(made_with)).resources == converted(obj()).resources


def test_no_issue_tells_a_value():
    data = obj(PatientSex="SECRETX", PatientAge="047Y", PatientWeight="-1").replace(b"047Y", b"SECY")
    for issue in converted(data).issues:
        assert "SEC" not in str(issue)


# --- tables -------------------------------------------------------------------------------------------------------


def test_the_shipped_tables_have_no_findings():
    assert findings() == []


def test_lint_names_file_and_line_of_what_cannot_work(tmp_path):
    tables = tmp_path / "dicom" / "tables"
    tables.mkdir(parents=True)
    header = "source,name,target,as,map,when,default,note\n"
    (tables / "object.Endpoint.csv").write_text(header + "RetrieveURL,URL,,,,,,\n")
    (tables / "object.Device.csv").write_text(header + "Manufaktur,Maker,manufacturer,string,,,,\n")
    (tables / "udi.DeviceUdiCarrier.csv").write_text(header + "DeviceDescription,x,carrierHRF,strin,,,,\n")
    found = findings(tmp_path)
    assert any("object.Endpoint.csv:2: a row without target needs a note" in one for one in found)
    assert any("object.Device.csv:2: 'Manufaktur' is no DICOM keyword" in one for one in found)
    assert any("udi.DeviceUdiCarrier.csv:2: there is no converter or table 'strin'" in one for one in found)
    assert any("no table has a row for StationName" in one for one in found)


def test_a_sites_own_table_takes_the_place_of_the_shipped_one(tmp_path):
    tables = tmp_path / "dicom" / "tables"
    tables.mkdir(parents=True)
    shipped = (ROOT / "mappings/dicom/tables/object.Endpoint.csv").read_text()
    (tables / "object.Endpoint.csv").write_text(shipped + ".,Name,name,,,,PACS,\n")
    sender = Sender("p", "c", mappings=tmp_path)
    data = obj(RetrieveURL="https://pacs.example/x")
    assert first(data, "Endpoint", sender)["name"] == "PACS"
    assert "name" not in first(data, "Endpoint")


def test_the_example_is_what_its_script_makes():
    script = runpy.run_path(str(ROOT / "scripts" / "make_dicom_example.py"))
    made, held = script["slice_"](), pydicom.dcmread(ROOT / "examples" / "ct-chest-slice.dcm")
    assert held.to_json_dict() == made.to_json_dict()
    found = converted(ROOT / "examples" / "ct-chest-slice.dcm")
    assert not found.issues
    assert [one["resourceType"] for one in found.resources] == [
        "Patient",
        "Practitioner",
        "Device",
        "ImagingStudy",
        "Observation",
        "Observation",
        "Observation",
        "Provenance",
    ]


# --- character sets, enhanced objects, icons -------------------------------------------------------------------


def patient_of(data, sender=None):
    found = converted(data, sender)
    return next(one for one in found.resources if one["resourceType"] == "Patient"), found.issues


def test_a_text_of_a_character_set_that_nobody_named_is_replaced_and_reported_or_read_as_the_sender_declares():
    data = obj(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen").replace(
        b"ISO_IR 100", b" " * 10
    )
    patient, issues = patient_of(data)
    assert patient["name"][0]["family"] == "M\ufffdller"
    assert ("(0010,0010)", "value") in {(issue.place, issue.code) for issue in issues}
    for charset in ("latin-1", "ISO_IR 100"):
        patient, issues = patient_of(data, Sender("p", "c", charset=charset))
        assert patient["name"][0]["family"] == "Müller"
        assert not [issue for issue in issues if issue.place == "(0010,0010)"]


@pytest.mark.parametrize("name", [b"unicode_escape", b"idna          ", b"ISO_IR 9999   "])
def test_a_character_set_that_dicom_does_not_define_decodes_nothing(name):
    data = obj(SpecificCharacterSet="ISO 2022 IR 13", PatientName="A").replace(b"ISO 2022 IR 13", name)
    patient, issues = patient_of(data.replace(b"A ", b"\xe4\xc4"))
    assert patient["name"][0]["family"] == "\ufffd\ufffd"
    assert "(0008,0005)" in {issue.place for issue in issues}


def test_an_item_may_have_a_character_set_of_its_own():
    from pydicom.dataset import Dataset

    inner = Dataset()
    inner.SpecificCharacterSet, inner.PatientID, inner.IssuerOfPatientID = "ISO_IR 144", "1", "Люкс"
    patient, _ = patient_of(obj(PatientName="Müller", OtherPatientIDsSequence=[inner]))
    assert patient["name"][0]["family"] == "Müller"
    assert patient["identifier"][1]["assigner"]["display"] == "Люкс"


def test_an_enhanced_object_tells_the_region_of_all_its_frames():
    region = item(FrameLaterality="R", AnatomicRegionSequence=[code("51185008", "SCT", "Chest")])
    study = made(
        "ImagingStudy",
        NumberOfFrames=120,
        SharedFunctionalGroupsSequence=[item(FrameAnatomySequence=[region])],
    )
    (series,) = study["series"]
    assert series["bodySite"]["system"] == "http://snomed.info/sct"
    assert series["laterality"] == {"code": "R"}
    assert series["instance"][0]["extension"][0]["valuePositiveInt"] == 120


def test_an_icon_with_compressed_pixels_is_passed_over():
    from pydicom.encaps import encapsulate

    icon = item(Rows=2, Columns=2)
    icon.PixelData = encapsulate([b"\xff\xd8 not a data set \xff\xd9"])
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = True
    data = obj(transfer_syntax="1.2.840.10008.1.2.4.50", IconImageSequence=[icon], AccessionNumber="A1")
    assert first(data, "ImagingStudy")["basedOn"][0]["identifier"]["value"] == "A1"


def test_what_only_a_visit_could_say_is_reported_when_there_is_none():
    found = converted(obj(ReasonForVisit="cough", CurrentPatientLocation="Ward 3"))
    lost = {issue.place for issue in found.issues if issue.code == "incomplete"}
    assert lost == {"ReasonForVisit", "CurrentPatientLocation"}
    encounter = made("Encounter", AdmissionID="V1", ReasonForVisit="cough", CurrentPatientLocation="Ward 3")
    assert encounter["reasonCode"] == [{"text": "cough"}]
    assert encounter["location"] == [{"location": {"display": "Ward 3"}}]


def test_a_pregnancy_and_its_denial_are_told_in_words():
    assert made("Observation", PregnancyStatus=1)["valueCodeableConcept"] == {"text": "Not pregnant"}
    assert made("Observation", PregnancyStatus=3)["valueCodeableConcept"] == {"text": "Definitely pregnant"}
    assert not resources(obj(PregnancyStatus=9), "Observation")


def test_a_diagnosis_at_admission_is_a_note_and_no_reason_of_the_study():
    study = made("ImagingStudy", AdmittingDiagnosesDescription="Pneumonia?")
    assert study["note"] == [{"text": "Admitting diagnosis: Pneumonia?"}]
    assert "reasonCode" not in study


def test_the_imaging_study_of_a_real_file_is_exactly_this():
    study = first(FOLDER / "test_files" / "CT_small.dcm", "ImagingStudy")
    ids = study.pop("id"), study["subject"].pop("reference")
    actor = study["series"][0]["performer"][0]["actor"].pop("reference")
    assert ids[1].startswith("Patient/")
    assert actor.startswith("Device/")
    assert study == {
        "resourceType": "ImagingStudy",
        "subject": {},
        "status": "available",
        "identifier": [
            {"system": "urn:dicom:uid", "value": "urn:oid:1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"},
            {"value": "1CT1", "use": "secondary"},
        ],
        "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}],
        "started": "2004-01-19T07:27:30-05:00",
        "description": "e+1",
        "series": [
            {
                "uid": "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322",
                "number": 1,
                "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"},
                "started": "1997-04-30T11:27:49-05:00",
                "performer": [{"actor": {}}],
                "instance": [
                    {
                        "uid": "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322",
                        "sopClass": {
                            "system": "urn:ietf:rfc:3986",
                            "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2",
                        },
                        "number": 1,
                    }
                ],
            }
        ],
    }
