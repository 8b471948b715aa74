"""Values of any length before the pixels, transfer syntaxes that are newer than pydicom; warnings of threads."""

from __future__ import annotations

import threading
import tracemalloc
import warnings
import zlib
from email import message_from_bytes
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from dicom_objects import image, part10, uid
from hdg.usage.dicomweb.datasets import VALUE_BYTES, as_json, header
from hdg.usage.dicomweb.matching import Key

PLACE = f"/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
LONG = bytes(range(256)) * 12_000
PRIVATE, LUT = 0x00091010, 0x00282000


def with_long_values(syntax=ExplicitVRLittleEndian, value=LONG):
    made = image(syntax=syntax)
    made.add_new(0x00090010, "LO", "MAKER")
    made.add_new(PRIVATE, "OB", value)
    made.add_new(LUT, "OB", value[: VALUE_BYTES // 2])
    many = [Dataset() for _ in range(20_000)]
    for number, one in enumerate(many):
        one.ReferencedSOPInstanceUID, one.ReferencedSOPClassUID = uid(9, number), uid(8)
    made.ReferencedImageSequence = many
    made.TextValue = "ä" * VALUE_BYTES
    made.SpecificCharacterSet = "ISO_IR 192"
    return part10(made)


def the_part(response) -> bytes:
    raw = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode() + response.content
    (part,) = message_from_bytes(raw).get_payload()
    return part.get_payload(decode=True)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_long_value_before_the_pixels_takes_no_memory(tmp_path, syntax):
    file = tmp_path / "large.dcm"
    made = image(syntax=syntax)
    made.add_new(PRIVATE, "OB", bytes(50_000_000))
    file.write_bytes(part10(made))
    del made
    with file.open("rb") as source:
        tracemalloc.start()
        try:
            found = header(source)
            as_json(found, bulk=str)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert found.Rows == 16
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_what_was_passed_over_is_named_and_given_whole_and_the_rest_is_told_as_ever(pictures, syntax):
    pictures.take(with_long_values(syntax))
    (told,) = pictures.get(f"{PLACE}/metadata", pictures.clinician).json()
    for tag, value in ((PRIVATE, LONG), (LUT, LONG[: VALUE_BYTES // 2])):
        uri = told[f"{tag:08X}"]["BulkDataURI"]
        assert uri.endswith(f"/bulkdata/{tag:08X}")
        assert the_part(pictures.get(f"{PLACE}/bulkdata/{tag:08X}", pictures.clinician)) == value
    assert len(told["00081140"]["Value"]) == 20_000
    assert told["0040A160"]["Value"] == ["ä" * VALUE_BYTES]
    assert pictures.get(f"{PLACE}/frames/1", pictures.clinician).status_code == 200


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def test_an_object_whose_frames_are_deflated_is_taken_and_its_frames_leave_as_they_are(pictures):
    """PS3.5 §A.4.13: the data set itself is not deflated."""
    frames = [deflated(bytes([number]) * 512) for number in (1, 2)]
    made = image(NumberOfFrames="2", syntax=JPEGLSLossless)
    made.PixelData = encapsulate(frames)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    pictures.take(part10(made).replace(JPEGLSLossless.encode(), DEFLATED_FRAMES.encode() + b"\0", 1))
    (told,) = pictures.get(f"{PLACE}/metadata", pictures.clinician).json()
    assert told["00280008"]["Value"] == [2]
    got = pictures.get(f"{PLACE}/frames/2", pictures.clinician)
    assert DEFLATED_FRAMES in got.text
    assert the_part(got).rstrip(b"\0") == frames[1].rstrip(b"\0")
    assert pictures.get(f"{PLACE}/rendered", pictures.clinician).status_code == 400
    plain = f'application/dicom; transfer-syntax="{ExplicitVRLittleEndian}"'
    assert pictures.get(PLACE, pictures.clinician, accept=plain).status_code == 406


class Waiting(BytesIO):
    """Stops at the first read until it is told to go on."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.is_read, self.goes_on = threading.Event(), threading.Event()

    def read(self, size=-1):
        self.is_read.set()
        assert self.goes_on.wait(120)
        return super().read(size)


def test_reading_in_a_thread_takes_no_rule_for_warnings_back_that_another_has_set():
    source = Waiting(part10(image()))
    thread = threading.Thread(target=header, args=(source,))
    before = list(warnings.filters)
    thread.start()
    assert source.is_read.wait(120)
    warnings.filterwarnings("error", message="of another thread")
    ours = warnings.filters[0]
    source.goes_on.set()
    thread.join(120)
    assert ours in warnings.filters
    for _ in range(3):
        header(BytesIO(part10(image())))
    assert len(warnings.filters) <= len(before) + 2
    with pytest.raises(UserWarning):
        warnings.warn("of another thread", stacklevel=1)


@pytest.mark.parametrize(
    ("vr", "wanted", "value", "is_match"),
    [
        ("DA", "20260102", "2026.01.02", True),  # as ACR-NEMA wrote it
        ("DA", "20260101 - 20260131", "20260102", True),
        ("DA", "20260101 - 20260131", "20260201", False),
        ("DA", "-20260101", "2026.01.02", False),
        ("TM", "10:00 - 11:00", "103000", True),
        ("TM", "1000-", "095959.9", False),
    ],
)
def test_ranges_of_days_and_times_are_read_however_they_are_written(vr, wanted, value, is_match) -> None:
    assert Key((0x00080020,), vr, wanted).is_match([value]) is is_match
