"""An object is withheld from whom something that was made from it is withheld; doubt never opens."""

from __future__ import annotations

import json

import pytest
from pydicom import Dataset
from pydicom.uid import BasicTextSRStorage, EncapsulatedCDAStorage, EncapsulatedPDFStorage
from sqlalchemy import text

from cda_documents import document
from dicom_objects import image, part10, uid

OBJECTS = 'multipart/related; type="application/dicom"'


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def report(number: int = 1, series: int = 5, **elements):
    made = image(
        number, series=series, sop_class=BasicTextSRStorage, PixelData=None, Modality="SR", **elements
    )
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "UNVERIFIED"
    made.ConceptNameCodeSequence = [code("18748-4", "Diagnostic Imaging Report", "LN")]
    finding = Dataset()
    finding.RelationshipType, finding.ValueType = "CONTAINS", "TEXT"
    finding.ConceptNameCodeSequence, finding.TextValue = [code("121071", "Finding")], "a shadow"
    made.ContentSequence = [finding]
    return made


def pdf(number: int = 1, series: int = 6):
    made = image(number, series=series, sop_class=EncapsulatedPDFStorage, PixelData=None, Modality="DOC")
    made.EncapsulatedDocument, made.MIMETypeOfEncapsulatedDocument = b"%PDF-1.4 ", "application/pdf"
    made.DocumentTitle = "Letter"
    return made


@pytest.fixture
def mixed(on_either):
    """A study of an image, a report and a document; a colleague elsewhere who may see all but what is denied."""
    for made in (image(1), image(2, PatientWeight="70.5"), report(), pdf()):
        on_either.take(part10(made))
    return on_either


def patient_of(pictures) -> str:
    found = pictures.world.client.get("/fhir/ImagingStudy", pictures.clinician).json()
    return found["entry"][0]["resource"]["subject"]["reference"].removeprefix("Patient/")


def seen(pictures, token) -> set[str]:
    """The SOP Instance UIDs that QIDO-RS tells; WADO-RS must give the same."""
    told = pictures.get(f"/studies/{uid(1)}/instances", token)
    found = {one["00080018"]["Value"][0] for one in told.json()} if told.status_code == 200 else set()
    answer = pictures.get(f"/studies/{uid(1)}", token, OBJECTS)
    assert answer.status_code == (200 if found else 404)
    assert answer.content.count(b"DICM") == len(found)
    return found


ALL = {uid(1, 1, 1), uid(1, 1, 2), uid(1, 5, 1), uid(1, 6, 1)}


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((), ALL),
        (("ImagingStudy",), {uid(1, 1, 1)}),
        (("ImagingStudy", "Observation"), {uid(1, 1, 1), uid(1, 1, 2)}),
        (("ImagingStudy", "Observation", "DiagnosticReport"), ALL - {uid(1, 6, 1)}),
        (("ImagingStudy", "DocumentReference"), {uid(1, 1, 1), uid(1, 6, 1)}),
        (("Observation", "DiagnosticReport", "DocumentReference"), set()),
    ],
)
def test_an_object_is_shown_where_all_that_was_made_from_it_is(mixed, types, expected):
    other = mixed.world.token("clinician", user="x", institution="east", purpose="TREAT")
    assert seen(mixed, other) == set()
    mixed.world.grant(patient_of(mixed), "Organization/east", types=types)
    assert seen(mixed, other) == expected


def test_what_is_withheld_and_what_is_absent_look_the_same(mixed):
    other = mixed.world.token("clinician", user="x", institution="east", purpose="TREAT")
    mixed.world.grant(patient_of(mixed), "Organization/east", types=("ImagingStudy",))
    place = f"/studies/{uid(1)}/series/{uid(1, 5)}/instances/{uid(1, 5, 1)}"
    for path in ("", "/metadata", "/rendered", "/thumbnail", "/frames/1", "/bulkdata/00420011"):
        hidden = mixed.get(place + path, other)
        absent = mixed.get(place.replace(uid(1, 5), uid(1, 9)) + path, other)
        assert (hidden.status_code, hidden.content) == (absent.status_code, absent.content)
        assert hidden.status_code == 404
    for query in (
        f"/studies/{uid(1)}/series",
        "/series",
        "/instances",
        f"/instances?SOPInstanceUID={uid(1, 5, 1)}",
    ):
        assert uid(1, 5) not in mixed.get(query, other).text
    ((one,),) = (mixed.get(f"/studies/{uid(1)}/series?limit=1", other).json(),)
    assert one["0020000E"]["Value"] == [uid(1, 1)]
    assert "Warning" not in mixed.get(f"/studies/{uid(1)}/series?limit=1", other).headers


def test_a_study_of_which_no_object_is_shown_is_not_found(on_either):
    on_either.take(part10(report()))
    other = on_either.world.token("clinician", user="x", institution="east", purpose="TREAT")
    on_either.world.grant(patient_of(on_either), "Organization/east", types=("ImagingStudy",))
    assert on_either.world.client.get("/fhir/ImagingStudy", other).json()["total"] == 1
    assert on_either.get("/studies", other).json() == []


def test_of_an_older_object_the_findings_of_its_patient_decide(mixed):
    """It is not known what was made from it."""

    def forget(session) -> None:
        session.change_later("UPDATE imaging_instance SET made = NULL WHERE size > ?", (0,))
        session.change_later("DELETE FROM imaging_made WHERE id <> ?", ("",))

    mixed.world.store.submit(forget).result(120)
    other = mixed.world.token("clinician", user="x", institution="east", purpose="TREAT")
    subject = patient_of(mixed)
    consent = mixed.world.grant(subject, "Organization/east", types=("ImagingStudy", "DiagnosticReport"))
    assert seen(mixed, other) == set()
    mixed.world.revoke(consent)
    mixed.world.grant(subject, "Organization/east")
    assert seen(mixed, other) == ALL
    assert seen(mixed, mixed.clinician) == ALL


def test_slices_that_say_the_same_share_what_was_made_from_them(on_either):
    for number in range(1, 6):
        on_either.take(part10(image(number, PatientWeight="70.5")))
    with on_either.world.store.engine.connect() as connection:
        assert connection.execute(text("SELECT count(DISTINCT made) FROM imaging_instance")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM imaging_made")).scalar() == 1


def test_the_sender_of_a_report_sees_it(mixed):
    assert seen(mixed, mixed.clinician) == ALL
    found = json.loads(mixed.get(f"/studies/{uid(1)}/series", mixed.clinician).content)
    assert len(found) == 3


def test_an_encapsulated_cda_is_withheld_where_any_entry_of_it_is(on_either):
    made = image(1, series=7, sop_class=EncapsulatedCDAStorage, PixelData=None, Modality="DOC")
    raw = document("")
    made.EncapsulatedDocument = raw + b" " * (len(raw) % 2)
    made.MIMETypeOfEncapsulatedDocument = "text/XML"
    on_either.take(part10(made))
    with on_either.world.store.engine.connect() as connection:
        types = set(connection.scalars(text("SELECT type FROM imaging_made")))
    assert {"DocumentReference", "Composition"} <= types
    other = on_either.world.token("clinician", user="x", institution="east", purpose="TREAT")
    on_either.world.grant(patient_of(on_either), "Organization/east")
    assert seen(on_either, other) == set()  # the document names its patient by another number
    (composition,) = on_either.world.client.get("/fhir/Composition", on_either.clinician).json()["entry"]
    subject = composition["resource"]["subject"]["reference"].removeprefix("Patient/")
    on_either.world.grant(subject, "Organization/east")
    assert seen(on_either, other) == {uid(1, 7, 1)}
