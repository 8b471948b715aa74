"""Headers of DICOM objects: read as pydicom reads them, and never beyond the limits."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_headers import PYDICOM as FOLDER
from dicom_headers import dataset, item, obj, part10_files, written
from hdg.errors import DicomError
from hdg.ingestion.dicom.dataset import NOWHERE, Dataset, Deferred
from hdg.ingestion.dicom.header import Limits, read_header

FILES = list(part10_files())
DAMAGED = {"DICOMDIR-nooffset", "rtplan_truncated.dcm"}


def _same(ours: Dataset, theirs: pydicom.Dataset, place: str = "") -> None:
    for tag in theirs.keys():  # noqa: SIM118  # iterating a pydicom data set decodes it
        if tag >= 0x7FE00000:
            continue
        raw = theirs.get_item(tag)
        assert int(tag) in ours.raw, f"{place}{tag}"
        vr, value = ours.raw[int(tag)]
        if isinstance(raw, RawDataElement) and vr != "SQ":
            assert (value or b"") == (raw.value or b""), f"{place}{tag}"
        elif vr == "SQ":
            items = theirs[tag].value
            assert isinstance(value, list)
            if not isinstance(items, bytes):
                assert len(value) == len(items), f"{place}{tag}"
                for at, (one, other) in enumerate(zip(value, items, strict=True)):
                    _same(one, other, f"{place}{tag}[{at}].")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_element_is_as_pydicom_reads_it(path):
    if path.name in DAMAGED:
        with pytest.raises(DicomError):
            read_header(path)
        return
    _same(read_header(path).data, pydicom.dcmread(path, stop_before_pixels=True))


def test_all_188_files_of_the_wheel_are_there():
    assert len(FILES) == 188


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_all_transfer_syntaxes_of_headers_are_read(syntax):
    nested = item(AccessionNumber="A1", ReferencedStudySequence=[item(ReferencedSOPInstanceUID="1.2.3")])
    data = obj(
        transfer_syntax=syntax, RequestAttributesSequence=[nested, item(AccessionNumber="A2")], Rows=512
    )
    header = read_header(data)
    items = header.data.items(0x00400275)
    assert [one.text(0x00080050) for one in items] == ["A1", "A2"]
    assert items[0].items(0x00081110)[0].text(0x00081155) == "1.2.3"
    assert header.data.texts(0x00280010) == ["512"]
    assert header.study_uid == "1.2.826.1"


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"]
)
def test_a_data_set_that_is_deflated_as_a_whole_is_inflated(syntax):
    """PS3.5 §A.5, §A.7, §A.12."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(_explicit(0x00100010, b"PN", b"Doe^Jane")) + packer.flush()
    header = read_header(_with(packed, syntax.encode()))
    assert header.data.text(0x00100010) == "Doe^Jane"


def test_a_data_set_whose_frames_are_deflated_is_read_as_it_lies():
    """PS3.5 §A.4.13: Deflated Image Frame Compression is explicit VR little endian."""
    header = read_header(_with(_explicit(0x00100010, b"PN", b"Doe^Jane"), b"1.2.840.10008.1.2.8.1"))
    assert header.data.text(0x00100010) == "Doe^Jane"
    assert header.issues == []


def test_a_long_value_in_a_sequence_is_passed_over_and_what_stands_beside_it_is_not():
    nested = item(AccessionNumber="A1")
    nested.add_new(0x00091010, "OB", bytes(2_000_000))
    header = read_header(obj(RequestAttributesSequence=[nested, item(AccessionNumber="A2")]))
    items = header.data.items(0x00400275)
    assert items[0].raw[0x00091010] == ("OB", Deferred(NOWHERE, 2_000_000))
    assert items[0].data(0x00091010) == b""
    assert [one.text(0x00080050) for one in items] == ["A1", "A2"]


def test_a_long_sequence_that_was_sent_as_unknown_is_read_and_not_passed_over():
    """PS3.5 §6.2.2."""
    one = struct.pack("<HHI", 0x0008, 0x0050, 2) + b"A1"
    items = (struct.pack("<HHI", 0xFFFE, 0xE000, len(one)) + one) * 70_000
    unknown = struct.pack("<HH2sHI", 0x0040, 0x0275, b"UN", 0, len(items)) + items
    found = read_header(_with(_explicit(0x00100010, b"PN", b"Doe^Jane") + unknown)).data.items(0x00400275)
    assert len(found) == 70_000
    assert found[-1].text(0x00080050) == "A1"


def test_a_stream_that_gives_little_at_a_time_is_read_as_well():
    class Slow(BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7) if size >= 0 else size)

    data = obj(PatientComments="c" * 3000)
    assert read_header(Slow(data)).data.text(0x00104000) == "c" * 3000


def test_a_bare_data_set_is_read_by_the_transfer_syntax_of_the_association():
    data = obj(transfer_syntax=ImplicitVRLittleEndian)
    start = data.index(b"\x08\x00\x05\x00")
    header = read_header(data[start:], transfer_syntax=ImplicitVRLittleEndian)
    assert header.sop_uid == "1.2.826.1.1.1"
    assert not header.issues


def test_a_wrong_transfer_syntax_is_reported_and_the_data_set_read_as_it_lies():
    data = obj(transfer_syntax=ExplicitVRLittleEndian)
    start = data.index(b"\x08\x00\x05\x00")
    header = read_header(data[start:], transfer_syntax=ImplicitVRLittleEndian)
    assert header.sop_uid == "1.2.826.1.1.1"
    assert [issue.place for issue in header.issues] == ["(0002,0010)"]


def test_a_long_value_is_passed_over_and_its_place_is_kept(tmp_path):
    document = b"%PDF" + bytes(2_000_000)
    data = obj(
        "1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=document, MIMETypeOfEncapsulatedDocument="a/b"
    )
    header = read_header(data)
    _, value = header.data.raw[0x00420011]
    assert isinstance(value, Deferred)
    assert data[value.offset :][: value.length] == document
    assert header.data.text(0x00420012) == "a/b"


def _explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"SQ", b"UN", b"OB", b"UT"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _with(extra: bytes, syntax: bytes = b"1.2.840.10008.1.2.1\0") -> bytes:
    meta = _explicit(0x00020010, b"UI", syntax)
    return bytes(128) + b"DICM" + meta + extra


def test_sequences_nested_1000_deep_are_rejected_naming_the_tag():
    for is_open in (True, False):
        inner = b""
        for _ in range(1000):
            length = 0xFFFFFFFF if is_open else len(inner)
            end = b"\xfe\xff\x0d\xe0\0\0\0\0" if is_open else b""
            one = struct.pack("<HHI", 0xFFFE, 0xE000, length) + inner + end
            tail = b"\xfe\xff\xdd\xe0\0\0\0\0" if is_open else b""
            size = 0xFFFFFFFF if is_open else len(one)
            inner = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, size) + one + tail
        with pytest.raises(DicomError, match=r"\(0040,A730\): sequences are nested deeper"):
            read_header(_with(inner))


def test_a_deflate_bomb_is_not_inflated():
    bomb = _explicit(0x00100010, b"UN", b"") + struct.pack("<HH2sHI", 0x0010, 0x4000, b"UN", 0, 2**31)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bomb) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(128))
    packed += packer.flush()
    stream = BytesIO(_with(packed, b"1.2.840.10008.1.2.1.99"))
    with pytest.raises(DicomError, match="longer header"):
        read_header(stream, limits=Limits(header_bytes=4 << 20))
    assert stream.tell() < len(packed)  # the rest was not even read


def test_too_many_elements_and_too_long_headers_are_rejected():
    many = b"".join(_explicit(0x00110000 + at, b"LO", b"") for at in range(0x10, 0x1000))
    with pytest.raises(DicomError, match="more elements"):
        read_header(_with(many), limits=Limits(elements=1000))
    # an unended sequence is looked for to the end of the header that is allowed, and no further
    unended = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    unended += (struct.pack("<HHI", 0xFFFE, 0xE000, 0)) * 100_000
    with pytest.raises(DicomError, match="longer than is allowed"):
        read_header(_with(unended), limits=Limits(header_bytes=200_000))


@pytest.mark.parametrize("cut", [150, 200, 300, -1, -5])
def test_what_is_cut_off_is_rejected_and_no_value_is_told(cut):
    data = written(dataset(PatientName="Secret^Name", PatientComments="x" * 40))
    with pytest.raises(DicomError) as caught:
        read_header(data[:cut])
    assert "Secret" not in str(caught.value)


def test_what_is_no_dicom_is_rejected():
    for data in (b"", b"MSH|^~\\&|", bytes(200), b"\xff" * 200, bytes(128) + b"DICM"):
        with pytest.raises(DicomError):
            read_header(data)


def test_a_value_representation_that_dicom_does_not_have_is_the_dictionarys():
    data = _with(
        _explicit(0x00080005, b"CS", b"ISO_IR 192")
        + struct.pack("<HH2sH", 0x0010, 0x0020, b"??", 4)
        + b"4711"
        + _explicit(0x00100040, b"CS", b"F ")
    )
    header = read_header(data)
    assert header.data.text(0x00100020) == "4711"
    assert header.data.text(0x00100040) == "F"
    assert [(issue.place, issue.code) for issue in header.issues] == [("(0010,0020)", "value")]


def test_a_sequence_that_was_sent_as_unknown_is_read_as_what_it_is():
    inner = struct.pack("<HHI", 0x0008, 0x0050, 2) + b"A1"  # implicit VR within UN (PS3.5 §6.2.2)
    value = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    header = read_header(_with(_explicit(0x00080005, b"CS", b"") + _explicit(0x00400275, b"UN", value)))
    assert [one.text(0x00080050) for one in header.data.items(0x00400275)] == ["A1"]
