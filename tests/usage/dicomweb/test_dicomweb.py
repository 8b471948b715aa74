"""QIDO-RS and WADO-RS over the gate: what is found, what leaves, and for whom nothing is there."""

from __future__ import annotations

import io
import random
import re

import pytest
from pydicom import dcmread

from dicom_objects import image, part10, uid
from hdg.fhir import json

BASE = "https://gateway.example/dicomweb"
OBJECTS = 'multipart/related; type="application/dicom"'


def parts(answer):
    """(content type, content) of each part."""
    mark = re.search(r"boundary=([\w-]+)", answer.headers["content-type"])[1].encode()
    found = []
    for part in answer.content.split(b"--" + mark)[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        found.append((head.decode().split(": ", 1)[1].strip(), body[:-2]))
    return found


def values(results, tag):
    return [one[tag]["Value"][0] for one in results]


@pytest.fixture
def study(pictures):
    return taken(pictures)


@pytest.fixture
def study_on_either(on_either):
    return taken(on_either)


def taken(pictures):
    """Two series of one study, three slices and one."""
    pixels = random.Random(1)
    made = [image(number, pixels=pixels.randbytes(512)) for number in (1, 2, 3)]
    made.append(image(1, series=2, Modality="MR", pixels=pixels.randbytes(512)))
    found = [part10(one) for one in made]
    for data in found:
        pictures.take(data)
    return found


# --- QIDO ---------------------------------------------------------------------------------------------------------


def test_a_study_is_found_with_what_it_holds(on_either, study_on_either):
    answer = on_either.get("/studies", on_either.clinician)
    assert answer.headers["content-type"] == "application/dicom+json"
    (one,) = answer.json()
    assert one["0020000D"]["Value"] == [uid(1)]
    assert one["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert sorted(one["00080061"]["Value"]) == ["CT", "MR"]
    assert (one["00201206"]["Value"], one["00201208"]["Value"]) == ([2], [4])
    assert one["00081190"]["Value"] == [f"{BASE}/studies/{uid(1)}"]
    assert "00280010" not in one


def test_series_and_instances_are_found_below_it(on_either, study_on_either):
    series = on_either.get(f"/studies/{uid(1)}/series", on_either.clinician).json()
    assert sorted(values(series, "0020000E")) == [uid(1, 1), uid(1, 2)]
    assert sorted(values(series, "00201209")) == [1, 3]
    found = on_either.get(f"/studies/{uid(1)}/series/{uid(1, 1)}/instances", on_either.clinician).json()
    assert sorted(values(found, "00080018")) == [uid(1, 1, number) for number in (1, 2, 3)]
    assert len(on_either.get("/instances", on_either.clinician).json()) == 4
    assert len(on_either.get("/series?Modality=MR", on_either.clinician).json()) == 1


MATCHED = [
    ("PatientID=4711", 1),
    ("00100020=4711", 1),
    ("PatientID=47*", 1),
    ("PatientID=471", 0),
    ("PatientName=Doe^Jane", 1),
    ("PatientName=doe*", 1),
    ("PatientName=Do?^J*", 1),
    ("PatientName=Do?", 0),
    ("PatientName=Jane&fuzzymatching=true", 1),
    ("StudyDate=20240501", 1),
    ("StudyDate=20240401-20240531", 1),
    ("StudyDate=20240502-", 0),
    ("StudyDate=-20240430", 0),
    ("StudyTime=10-11", 1),
    ("StudyTime=1016-", 0),
    ("AccessionNumber=A1", 1),
    ("AccessionNumber=A2", 0),
    ("ModalitiesInStudy=MR", 1),
    ("ModalitiesInStudy=US", 0),
    (f"StudyInstanceUID={uid(1)}", 1),
    (f"StudyInstanceUID={uid(2)},{uid(1)}", 1),
    (f"StudyInstanceUID={uid(2)}", 0),
    ("PatientName=", 1),
    ("PatientID=4711&StudyDate=20230101", 0),
    ("PatientName=***********a*a*a*a*a*a*a*a*a*a*", 0),
]


def test_attributes_are_matched_as_dicom_matches_them(on_either, study_on_either):
    for query, count in MATCHED:
        answer = on_either.get(f"/studies?{query}", on_either.clinician)
        assert answer.status_code == 200
        assert len(answer.json()) == count, query


def test_further_attributes_are_returned_on_request(pictures, study):
    (one,) = pictures.get("/studies?includefield=StudyDescription,00100030", pictures.clinician).json()
    assert one["00100030"]["Value"] == ["19700101"]
    (one,) = pictures.get(
        f"/studies/{uid(1)}/series/{uid(1, 2)}/instances?includefield=all", pictures.clinician
    ).json()
    assert one["00280100"]["Value"] == [16]
    assert "7FE00010" not in one


def test_results_are_cut_at_the_limit_and_that_is_said(on_either, study_on_either):
    first = on_either.get(f"/studies/{uid(1)}/instances?limit=3", on_either.clinician)
    assert first.headers["warning"].startswith("299")
    rest = on_either.get(f"/studies/{uid(1)}/instances?limit=3&offset=3", on_either.clinician)
    assert "warning" not in rest.headers
    found = values([*first.json(), *rest.json()], "00080018")
    assert len(found) == len(set(found)) == 4


def test_what_is_not_understood_is_refused_by_name(pictures, study):
    for query in (
        "Nonsense=1",
        "SOPInstanceUID=1.2",
        "limit=x",
        "fuzzymatching=perhaps",
        "includefield=Nonsense",
    ):
        answer = pictures.get(f"/studies?{query}", pictures.clinician)
        assert answer.status_code == 400
        assert query.partition("=")[0].encode() in answer.content or b"Nonsense" in answer.content


# --- WADO ---------------------------------------------------------------------------------------------------------


def test_objects_leave_as_they_came(pictures, study):
    for path, count in (
        (f"/studies/{uid(1)}", 4),
        (f"/studies/{uid(1)}/series/{uid(1, 1)}", 3),
        (f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 2)}", 1),
    ):
        found = parts(pictures.get(path, pictures.clinician, OBJECTS))
        assert len(found) == count
        assert {content for _, content in found} <= set(study)
        assert {kind for kind, _ in found} == {"application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}


def test_one_object_leaves_without_parts_too(pictures, study):
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 2)}"
    answer = pictures.get(path, pictures.clinician, "application/dicom")
    assert answer.content == study[1]
    assert pictures.get(f"/studies/{uid(1)}", pictures.clinician, "application/dicom").status_code == 406
    assert pictures.get(path, pictures.clinician, "text/html").status_code == 406


def test_a_large_object_leaves_as_it_came(pictures):
    data = part10(image(pixels=random.Random(2).randbytes(5_000_000)))
    pictures.take(data)
    ((_, content),) = parts(pictures.get(f"/studies/{uid(1)}", pictures.clinician, OBJECTS))
    assert content == data
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"
    assert pictures.get("/studies?PatientID=4711", pictures.clinician).json()[0]["0020000D"]["Value"] == [
        uid(1)
    ]
    assert pictures.get(f"{path}/metadata", pictures.clinician).json()[0]["00280010"]["Value"] == [16]
    ((_, frame),) = parts(pictures.get(f"{path}/frames/1", pictures.clinician))
    assert frame == dcmread(io.BytesIO(data)).PixelData[:512]
    assert pictures.get(f"{path}/rendered", pictures.clinician).status_code == 200


def test_an_object_that_cannot_be_read_hides_no_other(pictures, study, monkeypatch):
    from hdg.errors import VaultError
    from hdg.usage.dicomweb import datasets

    read = datasets.header

    def damaged(source):
        found = read(source)
        if found.SOPInstanceUID == uid(1, 1, 2):
            raise VaultError("a stored DICOM object cannot be read")
        return found

    monkeypatch.setattr(datasets, "header", damaged)
    found = pictures.get(f"/studies/{uid(1)}/series/{uid(1, 1)}/instances", pictures.clinician).json()
    assert sorted(values(found, "00080018")) == [uid(1, 1, number) for number in (1, 2, 3)]
    assert len(pictures.get(f"/studies/{uid(1)}/metadata", pictures.clinician).json()) == 4


def test_a_compressed_object_is_unpacked_where_that_is_asked_for(pictures):
    from pydicom.uid import RLELossless

    made = image(pixels=bytes(range(256)) * 2)
    made.compress(RLELossless, generate_instance_uid=False)
    pictures.take(part10(made))
    little = "1.2.840.10008.1.2.1"
    ((kind, content),) = parts(
        pictures.get(f"/studies/{uid(1)}", pictures.clinician, f"{OBJECTS}; transfer-syntax={little}")
    )
    assert kind.endswith(little)
    assert dcmread(io.BytesIO(content)).PixelData == bytes(range(256)) * 2
    other = f"{OBJECTS}; transfer-syntax=1.2.840.10008.1.2.4.90"
    assert pictures.get(f"/studies/{uid(1)}", pictures.clinician, other).status_code == 406
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}/frames/1"
    ((kind, _),) = parts(pictures.get(path, pictures.clinician, "multipart/related; type=image/dicom-rle"))
    assert kind == "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"


def test_metadata_is_all_but_the_pixels(pictures, study):
    found = pictures.get(f"/studies/{uid(1)}/metadata", pictures.clinician, "application/dicom+json").json()
    assert len(found) == 4
    (one,) = (one for one in found if one["00080018"]["Value"] == [uid(1, 2, 1)])
    assert one["00080060"]["Value"] == ["MR"]
    uri = one["7FE00010"]["BulkDataURI"]
    assert uri == f"{BASE}/studies/{uid(1)}/series/{uid(1, 2)}/instances/{uid(1, 2, 1)}/bulkdata/7FE00010"
    ((_, content),) = parts(pictures.world.client.get(uri, pictures.clinician))
    assert content == dcmread(io.BytesIO(study[3])).PixelData


def test_frames_leave_one_by_one(pictures):
    pixels = random.Random(3).randbytes(512 * 5)
    pictures.take(part10(image(pixels=pixels, NumberOfFrames=5)))
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}/frames"
    found = parts(pictures.get(f"{path}/2,5", pictures.clinician))
    assert [content for _, content in found] == [pixels[512:1024], pixels[2048:]]
    assert pictures.get(f"{path}/6", pictures.clinician).status_code == 404
    assert pictures.get(f"{path}/0", pictures.clinician).status_code == 404
    assert pictures.get(f"{path}/x", pictures.clinician).status_code == 400


def test_pictures_are_of_the_size_that_is_wanted(pictures, study):
    from PIL import Image

    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"
    answer = pictures.get(f"{path}/rendered", pictures.clinician, "image/png")
    shown = Image.open(io.BytesIO(answer.content))
    assert (answer.headers["content-type"], shown.size) == ("image/png", (16, 16))
    small = pictures.get(f"{path}/frames/1/rendered?viewport=8,8", pictures.clinician)
    assert small.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(small.content)).size == (8, 8)
    for place in (f"/studies/{uid(1)}", f"/studies/{uid(1)}/series/{uid(1, 1)}", path):
        assert Image.open(
            io.BytesIO(pictures.get(f"{place}/thumbnail", pictures.clinician).content)
        ).size == (16, 16)
    assert pictures.get(f"{path}/rendered", pictures.clinician, "text/plain").status_code == 406
    assert pictures.get(f"{path}/rendered?viewport=a,b", pictures.clinician).status_code == 400


def test_a_window_decides_what_is_white(pictures):
    from PIL import Image

    pictures.take(part10(image(pixels=b"".join(n.to_bytes(2, "little") for n in range(256)))))
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}/rendered?window=50,20"
    answer = pictures.get(path, pictures.clinician, "image/png")
    shown = Image.open(io.BytesIO(answer.content)).tobytes()
    assert (shown[0], shown[40], shown[50], shown[60], shown[255]) == (0, 0, 127, 255, 255)


# --- the gate -----------------------------------------------------------------------------------------------------


PATHS = [
    "/studies",
    "/series",
    "/instances",
    f"/studies/{uid(1)}/series",
    f"/studies/{uid(1)}/instances",
    f"/studies/{uid(1)}",
    f"/studies/{uid(1)}/metadata",
    f"/studies/{uid(1)}/thumbnail",
    f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}/frames/1",
    f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}/bulkdata/7FE00010",
]


def test_hidden_and_absent_look_the_same(on_either, study_on_either):
    stranger = on_either.world.token("clinician", user="x", institution="east")
    for path in PATHS:
        hidden = on_either.get(path, stranger)
        absent = on_either.get(path.replace(uid(1), uid(9)), stranger)
        assert hidden.status_code == absent.status_code
        assert hidden.content == absent.content
        assert b"Doe" not in hidden.content


def test_a_consent_opens_the_images_and_its_end_closes_them(on_either, study_on_either):
    subject = json.loads(on_either.world.client.get("/fhir/ImagingStudy", on_either.clinician).content)[
        "entry"
    ][0]["resource"]["subject"]["reference"].removeprefix("Patient/")
    other = on_either.world.token("clinician", user="x", institution="east", purpose="TREAT")
    assert on_either.get(f"/studies/{uid(1)}", other).status_code == 404
    consent = on_either.world.grant(subject, "Organization/east")
    assert len(parts(on_either.get(f"/studies/{uid(1)}", other, OBJECTS))) == 4
    assert len(on_either.get("/studies?PatientID=4711", other).json()) == 1
    on_either.world.revoke(consent)
    assert on_either.get(f"/studies/{uid(1)}", other).status_code == 404
    assert on_either.get("/studies", other).json() == []


def test_each_access_is_in_the_trail_of_its_patient(on_either, study_on_either):
    from sqlalchemy import text

    def events():
        with on_either.world.store.engine.connect() as connection:
            return connection.execute(text("SELECT count(*) FROM audit_event WHERE patient <> ''")).scalar()

    before = events()
    on_either.get("/studies", on_either.clinician)
    on_either.get(f"/studies/{uid(1)}/metadata", on_either.clinician)
    assert events() == before + 2


def test_without_token_nothing_and_for_researchers_nothing(pictures, study):
    assert pictures.world.client.get("/dicomweb/studies").status_code == 401
    researcher = pictures.world.token("researcher", project="p1")
    for path in PATHS:
        assert pictures.get(path, researcher).status_code == 403


def test_a_path_that_names_the_wrong_series_finds_nothing(pictures, study):
    path = f"/studies/{uid(1)}/series/{uid(1, 2)}/instances/{uid(1, 1, 1)}"
    assert pictures.get(path, pictures.clinician).status_code == 404


def test_a_value_that_is_not_as_it_should_be_is_told_to_nobody_but_the_reader(pictures, capfd, recwarn):
    data = part10(image(NumberOfFrames="11"))
    at = data.index(b"\x28\x00\x08\x00IS\x02\x0011")
    pictures.take(data[: at + 8] + b"1A" + data[at + 10 :])
    path = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"
    for place in ("", "/metadata", "/rendered", "/frames/1"):
        assert pictures.get(path + place, pictures.clinician).status_code in (200, 400), place
    assert "1A" not in "".join(capfd.readouterr())
    assert [one for one in recwarn if "1A" in str(one.message)] == []
