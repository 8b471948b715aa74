"""DICOMweb under attack: objects and queries made to leak, to exhaust, or to bring it down."""

from __future__ import annotations

import io
import tracemalloc
import zlib

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_objects import image, part10, uid

INSTANCE = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"


def deflated_bomb(size):
    """An object whose pixels are ``size`` bytes of nothing, deflated."""
    made = image(pixels=b"", syntax=DeflatedExplicitVRLittleEndian, Rows=60_000, Columns=60_000)
    data = part10(made)
    at = data.index(b"DICM") + 4
    end = at + 12 + int.from_bytes(data[at + 8 : at + 12], "little")
    plain = zlib.decompress(data[end:], -zlib.MAX_WBITS)
    plain = plain[: plain.index(b"\xe0\x7f\x10\x00")]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(plain + b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little"))
    for _ in range(size >> 20):
        body += packer.compress(bytes(1 << 20))
    return data[:end] + body + packer.flush()


@pytest.mark.parametrize(
    "path", ["/studies", INSTANCE + "/metadata", INSTANCE + "/frames/1", INSTANCE + "/rendered"]
)
def test_a_deflated_object_is_never_unpacked_beyond_a_limit(pictures, path, monkeypatch):
    from hdg.usage.dicomweb import datasets

    monkeypatch.setattr(datasets, "INFLATED_MAX", 16 << 20, raising=False)
    pictures.take(deflated_bomb(200 << 20))
    tracemalloc.start()
    try:
        answer = pictures.get(path, pictures.clinician)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status_code in (200, 400, 404)
    assert peak < 100 << 20


@pytest.mark.parametrize("count", ["99999999", "-1", "1\\2", "0"])
@pytest.mark.parametrize(
    "path", ["/bulkdata/7FE00010", "/frames/99999999", "/frames/2", "/rendered", "/metadata"]
)
def test_a_number_of_frames_that_is_a_lie_costs_nothing(pictures, count, path):
    pictures.take(part10(image(NumberOfFrames=count.split("\\"))))
    answer = pictures.get(INSTANCE + path, pictures.clinician)
    assert answer.status_code in (200, 400, 404), answer.content
    assert len(answer.content) < 20_000


@pytest.mark.parametrize("window", ["nan,1", "1,nan", "inf,1", "1,inf", "-inf,inf", "1e999,1"])
def test_a_window_is_of_numbers(pictures, window):
    pictures.take(part10(image()))
    assert pictures.get(f"{INSTANCE}/rendered?window={window}", pictures.clinician).status_code == 400


@pytest.mark.parametrize(
    "elements",
    [
        {"Rows": 0},
        {"BitsAllocated": 0},
        {"BitsAllocated": 7},
        {"SamplesPerPixel": 65535},
        {"SamplesPerPixel": 0},
        {"BitsStored": 0},
        {"Rows": [16, 16]},
        {"Rows": None},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": ["1", "2"]},
        {"RescaleSlope": "1e300", "RescaleIntercept": "1e300"},
        {"PhotometricInterpretation": "PALETTE COLOR"},
    ],
)
@pytest.mark.parametrize("path", ["/rendered", "/frames/1", "/bulkdata/7FE00010", "/metadata"])
def test_a_picture_module_that_is_a_lie_is_an_answer_and_no_failure(pictures, elements, path):
    pictures.take(part10(image(**elements)))
    assert pictures.get(INSTANCE + path, pictures.clinician).status_code in (200, 400, 404)


@pytest.mark.parametrize(
    "pixels",
    [
        b"",
        bytes(8),
        b"\xfe\xff\x00\xe0\xff\xff\xff\x7f",
        b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("path", ["/rendered", "/frames/1", "/bulkdata/7FE00010", "/metadata"])
def test_fragments_that_are_damaged_are_an_answer_and_no_failure(pictures, pixels, path):
    made = image(
        syntax=JPEGBaseline8Bit,
        pixels=b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0ABCD\xfe\xff\xdd\xe0\0\0\0\0",
    )
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    data = part10(made)
    at = data.index(b"\xe0\x7f\x10\x00") + 12
    pictures.take(data[:at] + pixels)
    assert pictures.get(INSTANCE + path, pictures.clinician).status_code in (200, 400, 404)


def test_a_small_object_with_a_huge_picture_in_it_is_not_unpacked(pictures):
    from PIL import Image
    from pydicom.encaps import encapsulate

    packed = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(packed, "JPEG")
    made = image(
        syntax=JPEGBaseline8Bit,
        pixels=encapsulate([packed.getvalue()]),
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
    )
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    pictures.take(part10(made))
    tracemalloc.start()
    try:
        assert pictures.get(f"{INSTANCE}/rendered", pictures.clinician).status_code == 400
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_an_imaging_study_that_is_given_to_another_patient_takes_no_images_with_it(on_either):
    """Its objects show the first one's name, and are sealed under the first one's key."""
    world = on_either.world
    on_either.take(part10(image()))
    (entry,) = world.client.get("/fhir/ImagingStudy", on_either.clinician).json()["entry"]
    study = entry["resource"]
    first = study["subject"]["reference"].removeprefix("Patient/")
    world.put({"resourceType": "Patient", "id": "second"}, "north", "second")
    study["subject"]["reference"] = "Patient/second"
    world.put(study, "north", "second")
    world.grant("second", "Organization/east")
    other = world.token("clinician", user="x", institution="east", purpose="TREAT")
    assert world.client.get(f"/fhir/ImagingStudy/{study['id']}", other).status_code == 200
    for path in ("/studies", f"/studies/{uid(1)}", f"/studies/{uid(1)}/metadata", INSTANCE + "/rendered"):
        answer = on_either.get(path, other)
        assert b"Doe" not in answer.content
        assert answer.status_code == 404 or answer.json() == [], path
    for who in (world.token("patient", patient="second"), world.token("patient", patient=first)):
        assert on_either.get(f"/studies/{uid(1)}", who).status_code == 404


def test_two_patients_under_one_study_uid_are_told_apart(on_either):
    world = on_either.world
    on_either.take(part10(image(1, patient="1")))
    on_either.take(part10(image(2, patient="2", PatientName="Roe^Richard")))
    entries = world.client.get("/fhir/ImagingStudy", on_either.clinician).json()["entry"]
    subjects = [one["resource"]["subject"]["reference"].removeprefix("Patient/") for one in entries]
    assert len(set(subjects)) == 2
    for subject in subjects:
        who = world.token("patient", patient=subject)
        (found,) = on_either.get("/studies", who).json()
        name = found["00100010"]["Value"][0]["Alphabetic"]
        assert found["00201208"]["Value"] == [1]
        (one,) = on_either.get(f"/studies/{uid(1)}/metadata", who).json()
        assert one["00100010"]["Value"][0]["Alphabetic"] == name
        for path in ("", "/metadata", "/rendered", "/series", "/instances"):
            other = b"Roe" if name.startswith("Doe") else b"Doe"
            assert other not in on_either.get(f"/studies/{uid(1)}{path}", who).content
        hidden = 2 if name.startswith("Doe") else 1
        place = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, hidden)}"
        assert on_either.get(place, who).status_code == 404


def test_one_uid_of_two_institutions_is_two_objects(on_either):
    on_either.take(part10(image(PatientName="North^A")), "north")
    on_either.take(part10(image(PatientName="East^B")), "east")
    for institution, name in (("north", b"North"), ("east", b"East")):
        who = on_either.world.token("clinician", institution=institution)
        for path in (f"/studies/{uid(1)}", f"/studies/{uid(1)}/metadata", INSTANCE):
            content = on_either.get(path, who).content
            assert [one in content for one in (b"North", b"East")] == [name == b"North", name == b"East"]


def test_a_deleted_imaging_study_takes_its_images_away(on_either):
    world = on_either.world
    on_either.take(part10(image()))
    (entry,) = world.client.get("/fhir/ImagingStudy", on_either.clinician).json()["entry"]
    world.delete("ImagingStudy", entry["resource"]["id"], "north")
    assert on_either.get(f"/studies/{uid(1)}", on_either.clinician).status_code == 404
    assert on_either.get("/studies", on_either.clinician).json() == []


def test_an_imaging_study_that_another_institution_restates_is_no_way_around_a_consent(on_either):
    world = on_either.world
    on_either.take(part10(image()))
    (entry,) = world.client.get("/fhir/ImagingStudy", on_either.clinician).json()["entry"]
    study = entry["resource"]
    subject = study["subject"]["reference"].removeprefix("Patient/")
    consent = world.grant(subject, "Organization/east")
    other = world.token("clinician", user="x", institution="east", purpose="TREAT")
    assert on_either.get(f"/studies/{uid(1)}", other).status_code == 200
    world.put({**study, "description": "seen"}, "east", subject)
    world.revoke(consent)
    assert on_either.get(f"/studies/{uid(1)}", other).status_code == 404
    assert on_either.get("/studies", other).json() == []


def test_that_there_is_more_is_told_of_nobody_whom_the_audit_does_not_name(on_either):
    from sqlalchemy import text

    def named():
        with on_either.world.store.engine.connect() as connection:
            return connection.execute(text("SELECT count(*) FROM audit_event WHERE patient <> ''")).scalar()

    on_either.take(part10(image()))
    before = named()
    answer = on_either.get("/studies?PatientName=Doe*&limit=0", on_either.clinician)
    assert answer.json() == []
    assert "warning" in answer.headers
    assert named() == before + 1
