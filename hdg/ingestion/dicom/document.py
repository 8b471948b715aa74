"""Encapsulated documents: the bytes of a PDF, a CDA document, a model within a DICOM object. DICOM PS3.3 C.24.2."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import IO

from hdg.errors import DicomError, Issue
from hdg.ingestion.dicom.dataset import Dataset, Deferred
from hdg.ingestion.dicom.header import DEFLATED, Header
from hdg.ingestion.dicom.state import State
from hdg.mapping.context import Facts, JsonObject

__all__ = ["CDA", "DOCUMENT_MAX_BYTES", "Encapsulated", "encapsulated"]

CDA = "1.2.840.10008.5.1.4.1.1.104.2"
"""SOP class of encapsulated CDA: its bytes go through the CDA path too."""
DOCUMENT_MAX_BYTES = 64 * 1024 * 1024
_DOCUMENT, _LENGTH, _MEDIA_TYPE = 0x00420011, 0x00420015, 0x00420012
_MEDIA_TYPES = {
    "1.2.840.10008.5.1.4.1.1.104.1": "application/pdf",
    CDA: "text/xml",
    "1.2.840.10008.5.1.4.1.1.104.3": "model/stl",
    "1.2.840.10008.5.1.4.1.1.104.4": "model/obj",
    "1.2.840.10008.5.1.4.1.1.104.5": "model/mtl",
}


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """A document. ``is_cda``: the caller takes ``data`` through the CDA path."""

    media_type: str
    data: bytes
    is_cda: bool


def encapsulated(header: Header, stream: IO[bytes] | None = None) -> Encapsulated | None:
    """The document within an object, or None: there is none, or it cannot be reached or is too long to be held.

    A long one was passed over with the header: it is read from ``header.path``, or from ``stream``, the same file
    (seekable, offset 0 at its first byte). Raises DicomError when the file is shorter than it was.
    """
    held = header.data.raw.get(_DOCUMENT)
    if held is None:
        return None
    value = held[1]
    if isinstance(value, Deferred):
        value = _read(header, value, stream)
    if not isinstance(value, bytes) or not value:
        return None
    length = header.data.text(_LENGTH)
    size = int(length) if length.isdecimal() else len(value)
    media_type = header.data.text(_MEDIA_TYPE) or _MEDIA_TYPES.get(header.sop_class, "")
    is_cda = header.sop_class == CDA
    data = value[:size] if len(value) - size in (0, 1) else value
    return Encapsulated(
        media_type or "application/octet-stream", data.rstrip(b"\0") if is_cda else data, is_cda
    )


def _read(header: Header, value: Deferred, stream: IO[bytes] | None) -> bytes:
    if header.transfer_syntax in DEFLATED or value.length > DOCUMENT_MAX_BYTES:
        return b""
    if stream is None:
        if header.path is None:
            return b""
        with header.path.open("rb") as opened:
            return _read(header, value, opened)
    stream.seek(value.offset)
    data = stream.read(value.length)
    if len(data) != value.length:
        raise DicomError("the data ends in the middle of this element", "(0042,0011)")
    return data


def attachment(hit: Dataset, state: State) -> JsonObject | None:
    """The document as an Attachment: type, size, hash, and where its bytes are (a Binary)."""
    found: JsonObject = {}
    one = state.known.get("document")
    media_type = hit.text(_MEDIA_TYPE) or _MEDIA_TYPES.get(state.header.sop_class, "")
    if media_type:
        found["contentType"] = media_type
    if not isinstance(one, Encapsulated):
        text = "the document itself stays in the object"
        state.issues.append(Issue("information", "not-supported", "EncapsulatedDocument", text))
        return found or None
    binary: JsonObject = {
        "resourceType": "Binary",
        "id": "",
        "contentType": one.media_type,
        "data": base64.b64encode(one.data).decode("ascii"),
    }
    sha256 = hashlib.sha256(one.data).hexdigest()
    held = state.take(binary, Facts(("dicom-document", state.header.sop_uid, sha256)))
    found["contentType"] = one.media_type
    found["url"] = held["reference"]
    found["size"] = len(one.data)
    found["hash"] = base64.b64encode(hashlib.sha1(one.data).digest()).decode("ascii")  # noqa: S324  # R4 wants SHA-1
    return found
