"""Structured reports: every statement with what modifies it; what is denied is never found as present."""

from __future__ import annotations

import base64

import pytest

from dicom_headers import BASIC_TEXT, CT, DOSE, KEY_OBJECTS, code, content, item, number, report
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.dicom.convert import Converter
from hdg.ingestion.dicom.header import read_header

CONVERTER = Converter(id_key=PUBLIC_KEY)
TITLE = code("126000", "DCM", "Imaging Measurement Report")
GROUP = code("125007", "DCM", "Measurement Group")
FINDING = code("121071", "DCM", "Finding")
DIAMETER = code("M-02550", "SRT", "Diameter")
MM = code("mm", "UCUM", "millimeter")
DCM = "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"


def made(data):
    found = CONVERTER.convert(read_header(data), at_us=0)
    for one in found.resources:
        assert not validate(one)
    return found


def parts(data):
    """The DiagnosticReport, and the Observations by id."""
    found = made(data).resources
    observations = {one["id"]: one for one in found if one["resourceType"] == "Observation"}
    return next(one for one in found if one["resourceType"] == "DiagnosticReport"), observations


def named(observations, text):
    return next(one for one in observations.values() if one["code"].get("text") == text)


def coded(text, value, *children, name=None, **more):
    return content(
        "CODE", name or FINDING, *children, ConceptCodeSequence=[code(value, "99CITY", text)], **more
    )


def modifier(name, text, relation="HAS CONCEPT MOD"):
    return coded(text, text.upper(), name=code(name.upper()[:16], "99CITY", name), relation=relation)


def text_of(diagnostic):
    return base64.b64decode(diagnostic["presentedForm"][0]["data"]).decode()


def test_a_measurement_group_has_its_measurements_with_the_digits_and_units_of_ucum():
    tracking = content(
        "TEXT", code("112039", "DCM", "Tracking Identifier"), relation="HAS OBS CONTEXT", TextValue="Lesion 1"
    )
    group = content(
        "CONTAINER",
        GROUP,
        tracking,
        coded("Nodule", "N1"),
        number(DIAMETER, "12.50", MM),
        relation="CONTAINS",
    )
    diagnostic, observations = parts(
        report(TITLE, content("CONTAINER", code("126010", "DCM", "Imaging Measurements"), group))
    )
    outer = named(observations, "Imaging Measurements")
    inner = named(observations, "Measurement Group")
    diameter = named(observations, "Diameter")
    assert diagnostic["result"] == [{"reference": f"Observation/{outer['id']}"}]
    assert outer["hasMember"] == [{"reference": f"Observation/{inner['id']}"}]
    assert {"reference": f"Observation/{diameter['id']}"} in inner["hasMember"]
    assert str(diameter["valueQuantity"]["value"]) == "12.50"
    assert diameter["valueQuantity"] | {"value": 0} == {
        "value": 0,
        "unit": "millimeter",
        "system": UCUM,
        "code": "mm",
    }
    # the lesion is told of each of its measurements, not of the group alone
    assert [(one["code"]["text"], one["valueString"]) for one in diameter["component"]] == [
        ("Tracking Identifier", "Lesion 1")
    ]
    assert diagnostic["code"]["coding"][0] == {
        "system": DCM,
        "code": "126000",
        "display": "Imaging Measurement Report",
    }
    assert diagnostic["status"] == "final"
    assert diagnostic["issued"] == "2026-01-02T04:05:06+01:00"


def test_a_finding_that_is_absent_is_not_found_by_its_code():
    absent = modifier("Presence of finding", "Absent")
    present = modifier("Presence of finding", "Present")
    _, observations = parts(
        report(TITLE, coded("Pneumothorax", "P1", absent), coded("Effusion", "E1", present))
    )
    values = [one["valueCodeableConcept"] for one in observations.values()]
    assert {"text": "Pneumothorax (Presence of finding: Absent)"} in values
    assert values[1]["coding"][0]["code"] == "E1"
    assert "P1" not in str(observations)


def test_an_absence_that_stands_beside_its_finding_denies_it_too():
    group = content(
        "CONTAINER",
        GROUP,
        coded("Pneumothorax", "P1"),
        coded("Absent", "A", name=code("PR", "99CITY", "Presence")),
    )
    _, observations = parts(report(TITLE, group))
    assert "P1" not in str(observations)
    assert {"text": "Pneumothorax (Presence: Absent)"} in [
        one.get("valueCodeableConcept") for one in observations.values()
    ]


def test_an_absence_of_a_container_denies_what_is_in_it():
    group = content("CONTAINER", GROUP, modifier("Presence", "Absent"), coded("Pneumothorax", "P1"))
    _, observations = parts(report(TITLE, group))
    assert "P1" not in str(observations)


def test_a_coded_negative_stays_the_code_that_it_is():
    _, observations = parts(report(TITLE, coded("No evidence of malignancy", "NEG")))
    (one,) = observations.values()
    assert one["valueCodeableConcept"]["coding"][0]["code"] == "NEG"


def test_a_fetus_is_told_of_everything_that_is_measured_of_it():
    subject = coded("Fetus", "F", name=code("121024", "DCM", "Subject Class"), relation="HAS OBS CONTEXT")
    rate = number(code("H1", "99CITY", "Heart rate"), "150", code("{beats}/min", "UCUM", "bpm"))
    inferred = number(
        code("H2", "99CITY", "Interval"), "0.4", code("s", "UCUM", "s"), relation="INFERRED FROM"
    )
    rate.ContentSequence = [inferred]
    for data in (
        report(TITLE, subject, rate),
        report(TITLE, content("CONTAINER", GROUP, content("CONTAINER", GROUP, rate), subject)),
    ):
        _, observations = parts(data)
        for name in ("Heart rate", "Interval"):
            components = named(observations, name)["component"]
            assert [(one["code"]["text"], one["valueCodeableConcept"]["text"]) for one in components] == [
                ("Subject Class", "Fetus")
            ]
        assert named(observations, "Heart rate")["derivedFrom"] == [
            {"reference": f"Observation/{named(observations, 'Interval')['id']}"}
        ]


def test_a_number_without_value_says_why():
    failed = content(
        "NUM", DIAMETER, NumericValueQualifierCodeSequence=[code("114006", "DCM", "Measurement failure")]
    )
    _, observations = parts(report(TITLE, failed))
    (one,) = observations.values()
    assert one["dataAbsentReason"]["coding"][0]["code"] == "error"
    assert one["dataAbsentReason"]["text"] == "Measurement failure"


def test_a_unit_of_another_scheme_is_kept_in_words():
    _, observations = parts(report(TITLE, number(DIAMETER, "3", code("cm", "99CITY", "Length"))))
    (one,) = observations.values()
    assert one["valueQuantity"] == {"value": 3, "unit": "cm (Length)"}


def test_a_basic_text_report_keeps_headings_texts_and_conclusion():
    data = report(
        code("18748-4", "LN", "Diagnostic imaging report"),
        content(
            "CONTAINER",
            code("121070", "DCM", "Findings"),
            content("TEXT", FINDING, TextValue="No fracture.\r\nHeart normal."),
        ),
        content(
            "CONTAINER",
            code("121072", "DCM", "Impressions"),
            content("TEXT", code("121073", "DCM", "Impression"), TextValue="Normal chest."),
        ),
        sop_class=BASIC_TEXT,
        VerificationFlag="UNVERIFIED",
    )
    diagnostic, observations = parts(data)
    assert diagnostic["status"] == "preliminary"
    assert diagnostic["conclusion"] == "Normal chest."
    assert named(observations, "Finding")["valueString"] == "No fracture.\nHeart normal."
    assert text_of(diagnostic) == (
        "Diagnostic imaging report\nFindings\n  Finding: No fracture.\n    Heart normal.\n"
        "Impressions\n  Impression: Normal chest."
    )
    assert len(diagnostic["result"]) == 2


def test_key_images_are_media_of_the_report():
    def image(uid, **more):
        return content(
            "IMAGE",
            None,
            ReferencedSOPSequence=[item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=uid, **more)],
        )

    data = report(
        code("113000", "DCM", "Of Interest"),
        content("TEXT", code("113012", "DCM", "Key Object Description"), TextValue="for the surgeon"),
        image("1.2.3.1"),
        image("1.2.3.2", ReferencedFrameNumber=[5, 2]),
        sop_class=KEY_OBJECTS,
        CompletionFlag=None,
        VerificationFlag=None,
        Modality="KO",
        CurrentRequestedProcedureEvidenceSequence=[
            item(
                StudyInstanceUID="1.2.826.1",
                ReferencedSeriesSequence=[
                    item(
                        SeriesInstanceUID="1.2.3",
                        ReferencedSOPSequence=[
                            item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID="1.2.3.1")
                        ],
                    )
                ],
            ),
            item(StudyInstanceUID="1.2.999"),
        ],
    )
    found = made(data)
    diagnostic = next(one for one in found.resources if one["resourceType"] == "DiagnosticReport")
    media = [one for one in found.resources if one["resourceType"] == "Media"]
    study = next(one for one in found.resources if one["resourceType"] == "ImagingStudy")
    assert [one["identifier"][0]["value"] for one in media] == ["urn:oid:1.2.3.1", "urn:oid:1.2.3.2"]
    assert [one.get("comment") for one in diagnostic["media"]] == [None, "frames 5, 2"]
    assert diagnostic["status"] == "final"
    assert diagnostic["imagingStudy"] == [
        {"reference": f"ImagingStudy/{study['id']}"},
        {
            "type": "ImagingStudy",
            "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.999"},
        },
    ]


def test_a_dose_report_gives_each_dose_with_its_unit_in_its_irradiation_event():
    event = content(
        "CONTAINER",
        code("113819", "DCM", "CT Acquisition"),
        content(
            "CODE",
            code("113820", "DCM", "CT Acquisition Type"),
            ConceptCodeSequence=[code("P5-08001", "SRT", "Spiral Acquisition")],
        ),
        content("UIDREF", code("113769", "DCM", "Irradiation Event UID"), UID="1.2.3.4.5"),
        content(
            "CONTAINER",
            code("113829", "DCM", "CT Dose"),
            number(code("113830", "DCM", "Mean CTDIvol"), "7.01", code("mGy", "UCUM", "mGy")),
            number(code("113838", "DCM", "DLP"), "210.4", code("mGy.cm", "UCUM", "mGy.cm")),
        ),
    )
    total = content(
        "CONTAINER",
        code("113811", "DCM", "CT Accumulated Dose Data"),
        number(
            code("113813", "DCM", "CT Dose Length Product Total"), "420.8", code("mGy.cm", "UCUM", "mGy.cm")
        ),
    )
    data = report(
        code("113701", "DCM", "X-Ray Radiation Dose Report"), total, event, sop_class=DOSE, Modality="SR"
    )
    diagnostic, observations = parts(data)
    assert diagnostic["code"]["coding"][0]["code"] == "113701"
    total_dose = named(observations, "CT Dose Length Product Total")
    assert str(total_dose["valueQuantity"]["value"]) == "420.8"
    assert total_dose["valueQuantity"]["code"] == "mGy.cm"
    dose = named(observations, "CT Dose")
    assert {"reference": f"Observation/{dose['id']}"} in named(observations, "CT Acquisition")["hasMember"]
    assert {f"Observation/{named(observations, name)['id']}" for name in ("Mean CTDIvol", "DLP")} == {
        one["reference"] for one in dose["hasMember"]
    }
    assert named(observations, "Irradiation Event UID")["valueString"] == "urn:oid:1.2.3.4.5"


def test_who_verified_a_report_interpreted_it_and_who_wrote_it_performed():
    data = report(
        TITLE,
        content("TEXT", FINDING, TextValue="x"),
        VerifyingObserverSequence=[
            item(
                VerifyingObserverName="House^Gregory",
                VerifyingOrganization="City",
                VerificationDateTime="20260102",
            )
        ],
        AuthorObserverSequence=[item(ObserverType="PSN", PersonName="Chase^Robert")],
    )
    diagnostic, _ = parts(data)
    assert diagnostic["resultsInterpreter"][0]["display"] == "Gregory House"
    assert diagnostic["performer"][0]["display"] == "Robert Chase"


def test_dates_times_and_persons_are_values_of_their_kind():
    data = report(
        TITLE,
        content("DATE", code("1", "99CITY", "Day"), Date="20251231"),
        content("TIME", code("2", "99CITY", "Clock"), Time="120000"),
        content("DATETIME", code("3", "99CITY", "Moment"), DateTime="20251231120000"),
        content("PNAME", code("4", "99CITY", "Who"), PersonName="House^Gregory"),
    )
    _, observations = parts(data)
    assert named(observations, "Day")["valueDateTime"] == "2025-12-31"
    assert named(observations, "Clock")["valueTime"] == "12:00:00"
    assert named(observations, "Moment")["valueDateTime"] == "2025-12-31T12:00:00+01:00"
    assert named(observations, "Who")["valueString"] == "Gregory House"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("2026", "2026"),
        ("202603", "2026-03"),
        ("20260314", "2026-03-14"),
        ("2026031415", "2026-03-14"),
        ("202603141530", "2026-03-14T15:30:00+01:00"),
        ("20260314153045.5-0500", "2026-03-14T15:30:45.5-05:00"),
    ],
)
def test_a_moment_keeps_its_precision_and_its_offset(stated, expected):
    data = report(TITLE, content("DATETIME", code("3", "99CITY", "Moment"), DateTime=stated))
    assert named(parts(data)[1], "Moment")["valueDateTime"] == expected


def test_a_measurement_says_of_which_image_it_was_taken():
    image = content(
        "IMAGE",
        None,
        relation="SELECTED FROM",
        ReferencedSOPSequence=[item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID="1.2.3.1")],
    )
    outline = content(
        "SCOORD", None, image, relation="INFERRED FROM", GraphicType="CIRCLE", GraphicData=[0, 0, 1, 1]
    )
    measured = number(DIAMETER, "3", MM, outline, ObservationUID="1.2.3.77")
    found = made(report(TITLE, measured, Manufacturer="ACME"))
    observations = [each for each in found.resources if each["resourceType"] == "Observation"]
    one = next(each for each in observations if "identifier" in each)
    (region,) = [each for each in observations if each is not one]
    media = {"type": "Media", "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.1"}}
    assert one["derivedFrom"] == [{"reference": f"Observation/{region['id']}"}, media]
    assert one["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.77"}]
    assert (region["code"], region["derivedFrom"]) == ({"text": "region"}, [media])
    assert region["valueString"] == "CIRCLE 0 0 1 1"
    device = next(each for each in found.resources if each["resourceType"] == "Device")
    assert one["device"] == {"reference": f"Device/{device['id']}"}
    assert "not-supported" not in {issue.code for issue in found.issues}


def region(kind="SCOORD", relation="CONTAINS", **more):
    image = content(
        "IMAGE",
        None,
        relation="SELECTED FROM",
        ReferencedSOPSequence=[item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID="1.2.3.1")],
    )
    name = code("111030", "DCM", "Image Region")
    return content(kind, name, *([image] if kind == "SCOORD" else []), relation=relation, **more)


def test_an_image_region_stands_in_its_measurement_group_with_its_numbers_and_its_image():
    """PS3.16 TID 1410."""
    outline = region(GraphicType="POLYLINE", GraphicData=[1.5, 2.25, 3, 4, 1.5, 2.25])
    group = content("CONTAINER", GROUP, outline, number(DIAMETER, "12.50", MM))
    diagnostic, observations = parts(report(TITLE, group))
    outer, inside = named(observations, "Measurement Group"), named(observations, "Image Region")
    assert {"reference": f"Observation/{inside['id']}"} in outer["hasMember"]
    assert inside["valueString"] == "POLYLINE 1.5 2.25 3 4 1.5 2.25"
    assert inside["derivedFrom"][0]["identifier"]["value"] == "urn:oid:1.2.3.1"
    assert "Image Region: POLYLINE" in text_of(diagnostic)


def test_a_region_in_space_names_its_frame_of_reference_and_one_in_time_its_range():
    volume = region(
        "SCOORD3D", GraphicType="POINT", GraphicData=[1, 2, 3], ReferencedFrameOfReferenceUID="1.2.3.9"
    )
    moments = region("TCOORD", TemporalRangeType="SEGMENT", ReferencedTimeOffsets=["0.5", "1.25"])
    _, observations = parts(report(TITLE, volume, moments))
    assert {one["valueString"] for one in observations.values()} == {
        "POINT 1 2 3 in urn:oid:1.2.3.9",
        "SEGMENT 0.5 1.25",
    }


def test_what_modifies_by_a_region_is_a_component_with_its_numbers():
    where = region(relation="HAS PROPERTIES", GraphicType="POINT", GraphicData=[7, 8])
    _, observations = parts(report(TITLE, number(DIAMETER, "3", MM, where)))
    (component,) = named(observations, "Diameter")["component"]
    assert component["valueString"] == "POINT 7 8"


@pytest.mark.filterwarnings("ignore:.*exceeds the size of 64 kByte")
@pytest.mark.parametrize("count", [10_002, 300_000])
def test_the_rest_of_a_long_outline_is_reported(count):
    found = made(report(TITLE, region(GraphicType="POLYLINE", GraphicData=[1.0] * count)))
    assert [issue.code for issue in found.issues if "outlines" in issue.text] == ["not-supported"]
    told = [one["valueString"] for one in found.resources if "valueString" in one]
    assert [text.split().count("1") for text in told] == ([10_000] if count < 20_000 else [])


def test_outlines_are_bounded_together():
    many = [region(GraphicType="POLYLINE", GraphicData=[1.0] * 9_998) for _ in range(205)]
    found = made(report(TITLE, *many))
    assert len([one for one in found.resources if "valueString" in one]) < 200
    assert "too-long" in {issue.code for issue in found.issues}


@pytest.mark.parametrize(
    "word", ["nicht vorhanden", "keine", "aucun", "ausente", "assente", "없음", "なし", "无", "отсутствует"]
)
def test_a_denial_in_another_language_is_one(word):
    absent = coded(word, "A", name=code("PR", "99CITY", "Vorhandensein"), relation="HAS CONCEPT MOD")
    _, observations = parts(report(TITLE, coded("Pneumothorax", "P1", absent)))
    assert "P1" not in str(observations)


def test_reports_nested_as_deep_as_allowed_are_taken_apart():
    inner = content("TEXT", FINDING, TextValue="deep")
    for at in range(90):
        inner = content("CONTAINER", code(str(at), "99CITY", f"level {at}"), inner)
    diagnostic, observations = parts(report(TITLE, inner))
    assert len(observations) == 91
    assert text_of(diagnostic).endswith("Finding: deep")


def test_a_person_who_is_measured_and_a_finding_of_another_group_stay_apart():
    one = content(
        "CONTAINER", GROUP, coded("Absent", "A", name=code("PR", "99CITY", "Presence")), coded("Mass", "M1")
    )
    other = content("CONTAINER", GROUP, coded("Cyst", "C1"))
    _, observations = parts(report(TITLE, one, other))
    assert "M1" not in str(observations)
    assert "C1" in str(observations)


def test_a_modifier_with_the_code_of_what_it_modifies_is_said_in_words():
    inner = content("TEXT", FINDING, relation="HAS PROPERTIES", TextValue="round")
    _, observations = parts(report(TITLE, content("TEXT", FINDING, inner, TextValue="Nodule")))
    (one,) = observations.values()
    assert one["component"] == [{"code": {"text": "Finding"}, "valueString": "round"}]
    assert one["code"]["coding"][0]["code"] == "121071"


def test_one_statement_that_cannot_be_made_valid_keeps_no_other_out(monkeypatch):
    from hdg.errors import SourceError
    from hdg.ingestion.dicom import convert

    real = convert.made_valid

    def refusing(resource, issues):
        if resource.get("valueString") == "bad":
            raise SourceError("planted", "Observation")
        real(resource, issues)

    monkeypatch.setattr(convert, "made_valid", refusing)
    bad, good = (content("TEXT", FINDING, TextValue=text) for text in ("bad", "good"))
    diagnostic, observations = parts(report(TITLE, content("CONTAINER", GROUP, bad, good)))
    assert [one.get("valueString") for one in observations.values()] == ["good", None]
    group = named(observations, "Measurement Group")
    assert len(group["hasMember"]) == 1
    assert len(diagnostic["result"]) == 1


def test_a_number_that_is_not_to_be_taken_as_it_stands_says_so():
    doubtful = [code("114009", "DCM", "Value out of range")]
    measured = number(DIAMETER, "999", MM, NumericValueQualifierCodeSequence=doubtful)
    inner = number(DIAMETER, "3", MM, relation="HAS PROPERTIES", NumericValueQualifierCodeSequence=doubtful)
    _, observations = parts(report(TITLE, measured, content("TEXT", FINDING, inner, TextValue="Nodule")))
    value = named(observations, "Diameter")
    assert value["valueQuantity"]["value"] == 999
    assert value["component"][0]["code"] == {"text": "Numeric value qualifier"}
    assert value["component"][0]["valueCodeableConcept"]["text"] == "Value out of range"
    assert named(observations, "Finding")["component"][0]["valueString"] == "3 mm Value out of range"
