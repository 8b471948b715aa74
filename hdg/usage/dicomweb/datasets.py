"""The header of an object as a data set and as DICOM JSON. DICOM PS3.18 §F.2 (DICOM JSON Model), PS3.10.

What comes here was read within limits when it was taken in (ingestion/dicom/header.py). A long binary value is passed
over there as it is here, and read when somebody asks for it.
"""

from __future__ import annotations

import logging
import re
import warnings
import zlib
from collections.abc import Callable, Iterable
from io import BufferedIOBase
from typing import Any

from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement

from hdg.errors import BadRequest, VaultError
from hdg.usage.dicomweb.archive import Image

__all__ = [
    "BULK_BYTES",
    "INFLATED_MAX",
    "VALUE_BYTES",
    "as_json",
    "check_inflated",
    "data_set_at",
    "described",
    "header",
    "hush",
    "passed_over",
    "quiet",
    "tag_of",
    "whole",
]

JsonObject = dict[str, Any]
BULK_BYTES = 1024
"""Longer binary values are named by a BulkDataURI."""
VALUE_BYTES = 1024 * 1024
"""Longer binary values are passed over when a header is read, unless the data set is deflated."""
INFLATED_MAX = 128 * 1024 * 1024
"""Bytes that a deflated data set may become: it is unpacked as a whole, also for its header."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_META_AT, _UID_MAX = 132, 64
_LONG = frozenset((b"OB", b"OW", b"UN", b"UT", b"SQ"))
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_CHARSET, _UTF8 = 0x00080005, "ISO_IR 192"
_READERS = re.compile(r"(pydicom|PIL|hdg\.usage\.dicomweb)(\.|$)")
_RULE = ("ignore", None, Warning, _READERS, 0)
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))


def quiet() -> None:
    """From now on pydicom tells nobody of values that are not as they should be: its warnings show them."""
    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    hush()


def hush() -> None:
    """Has the warnings of what reads values passed over: they leave as they are, and warnings show them.

    The rule stays. ``warnings.catch_warnings`` would take back what another thread has set meanwhile.
    """
    if _RULE not in warnings.filters:
        warnings.filterwarnings("ignore", module=_READERS.pattern)


def header(source: BufferedIOBase) -> Dataset:
    """All but the pixel data. Raises VaultError: what was stored is no DICOM object; BadRequest: too large unpacked."""
    return _read(source, stop_before_pixels=True)


def described(image: Image) -> Dataset:
    """``header`` of an object; of one that cannot be read, what was noted when it came."""
    with image.open() as source:
        try:
            return header(source)
        except (VaultError, BadRequest):
            noted = Dataset()
            noted.SOPClassUID, noted.SOPInstanceUID = image.sop_class, image.sop_uid
            noted.StudyInstanceUID, noted.SeriesInstanceUID = image.study_uid, image.series_uid
            noted.Modality = image.modality
            return noted


def whole(source: BufferedIOBase) -> Dataset:
    """All of it, in memory. Raises as ``header``."""
    return _read(source, stop_before_pixels=False)


def data_set_at(source: BufferedIOBase) -> tuple[int, str]:
    """Where the data set of a Part 10 file begins, behind group 0002, and the transfer syntax that is told there.

    0 and '' where there is no such group.
    """
    source.seek(_META_AT - 4)
    if source.read(4) != b"DICM":
        return 0, ""
    at, syntax = _META_AT, b""
    while len(head := source.read(8)) == 8 and head[:2] == b"\x02\0":
        is_long = head[4:6] in _LONG
        size = int.from_bytes(source.read(4) if is_long else head[6:8], "little")
        at += 8 + 4 * is_long + size
        if head[2:4] == b"\x10\0":
            syntax = source.read(min(size, _UID_MAX)).rstrip(b"\0 ")
        source.seek(at)
    return at, syntax.decode("ascii", "replace")


def check_inflated(source: BufferedIOBase) -> bool:
    """Whether the data set is deflated. Raises BadRequest where it becomes larger than INFLATED_MAX. Ends at byte 0."""
    at, syntax = data_set_at(source)
    if syntax == _DEFLATED:
        source.seek(at)
        inflate, data, made = zlib.decompressobj(-zlib.MAX_WBITS), source.read(1 << 16), 0
        while data and not inflate.eof:
            try:
                made += len(inflate.decompress(data, 1 << 20))
            except zlib.error:
                break  # pydicom says so
            if made > INFLATED_MAX:
                raise BadRequest("the object is too large to be unpacked", code="too-costly")
            data = inflate.unconsumed_tail or source.read(1 << 16)
    source.seek(0)
    return syntax == _DEFLATED


def _read(source: BufferedIOBase, *, stop_before_pixels: bool) -> Dataset:
    is_deflated = check_inflated(source)
    hush()
    defer_size = VALUE_BYTES if stop_before_pixels and not is_deflated else None
    try:
        data = dcmread(source, defer_size, stop_before_pixels=stop_before_pixels, force=False)
        if defer_size is not None:
            _complete(data, source)
    except Exception as error:
        raise VaultError(f"a stored DICOM object cannot be read ({type(error).__name__})") from None
    return data


def _complete(data: Dataset, source: BufferedIOBase) -> None:
    """Reads those of the values that were passed over that are no binary ones: sequences, texts."""
    at = source.tell()
    for tag in list(data.keys()):
        raw = passed_over(data, tag)
        if raw is not None and vr_of(raw) not in _BINARY:
            source.seek(raw.value_tell)
            data[tag] = raw._replace(value=source.read(raw.length))
    source.seek(at)


def passed_over(data: Dataset, tag: int) -> RawDataElement | None:
    """An element of a header whose value was passed over: it lies in the file at ``value_tell``."""
    raw: Any = data.get_item(tag, keep_deferred=True)  # its overloads leave RawDataElement out
    return raw if isinstance(raw, RawDataElement) and raw.value is None and raw.length else None


def vr_of(raw: RawDataElement) -> str:
    """The value representation; the dictionary's where the object does not say."""
    if raw.VR not in (None, "UN"):
        return str(raw.VR)
    try:
        return dictionary_VR(raw.tag)
    except KeyError:
        return "UN"


def as_json(
    data: Dataset, *, wanted: Iterable[int] | None = None, bulk: Callable[[str], str] | None = None
) -> JsonObject:
    """The data set in the DICOM JSON model, texts in Unicode.

    ``wanted``: only these tags of the top level; ``bulk``: the URI of a large binary value by its tag (``7FE00010``);
    without it such values are left out.
    """
    tags = sorted(map(int, data.keys() if wanted is None else set(wanted)))
    found: JsonObject = {}
    hush()
    for tag in tags:
        made = None if tag == _CHARSET else _told(data, tag, bulk)
        if made is not None:
            found[f"{tag:08X}"] = made
    if any(tag != _CHARSET for tag in tags):
        found["00080005"] = {"vr": "CS", "Value": [_UTF8]}
    return dict(sorted(found.items()))


def _told(data: Dataset, tag: int, bulk: Callable[[str], str] | None) -> JsonObject | None:
    raw = passed_over(data, tag)
    if raw is not None:
        return {"vr": vr_of(raw), "BulkDataURI": bulk(f"{tag:08X}")} if bulk is not None else None
    element = _element(data, tag)
    return None if element is None else _value(element, bulk)


def _element(data: Dataset, tag: int) -> DataElement | None:
    try:
        return data.get(tag)
    except Exception:  # a value that is not of its VR: not given out in a form that it does not have
        return None


def _value(element: DataElement, bulk: Callable[[str], str] | None) -> JsonObject | None:
    name = f"{int(element.tag):08X}"
    if int(element.tag) in _PIXELS:
        return {"vr": str(element.VR), "BulkDataURI": bulk(name)} if bulk is not None else None
    if element.VR == "SQ":
        items = [as_json(item, bulk=None) for item in element.value]
        for item in items:
            item.pop("00080005", None)
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    value = element.value
    if isinstance(value, bytes | bytearray) and len(value) > BULK_BYTES:
        return {"vr": str(element.VR), "BulkDataURI": bulk(name)} if bulk is not None else None
    try:
        made: JsonObject = element.to_json_dict(None, BULK_BYTES)
    except Exception:
        return None
    return made


def tag_of(text: str) -> int | None:
    """The tag that a keyword (``PatientName``) or eight hex digits name; None for neither."""
    if len(text) == 8:
        try:
            return int(text, 16)
        except ValueError:
            pass
    found = tag_for_keyword(text)
    return None if found is None else int(found)
