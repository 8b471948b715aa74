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
