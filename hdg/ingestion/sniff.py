"""What kind of input bytes are, by how they begin."""

from __future__ import annotations

import re
from typing import Literal

from hdg.ingestion.device.kinds import kind_of

__all__ = ["XML", "Format", "format_of"]

Format = Literal["hl7v2", "cda", "hl7v3", "device", "dicom"]
XML = frozenset[Format]({"cda", "hl7v3"})
_SEGMENTS = (b"MSH", b"FHS", b"BHS")
_HEAD_BYTES = 16_384
_PREAMBLE_BYTES = 128
"""DICOM PS3.10 §7.1."""
_PROLOG = r"(?>(?>\s+|<\?.*?\?>|<!--.*?-->)*)"
"""Atomic: what was taken for a comment stays one, or many of them would be tried in all ways."""
_INTERACTION = r"[A-Z]{4}_IN[0-9]{6}[A-Z]{2}(?:[0-9]{2})?"
_V3 = re.compile(rf"{_PROLOG}<(?:[\w.-]+:)?(?:{_INTERACTION}|Envelope)[\s/>]", re.DOTALL)


def format_of(data: bytes) -> Format | None:
    """DICOM; HL7 v2; personal health data (no CSV: any text could be); XML: HL7 v3 (an interaction, or a SOAP
    envelope), else read as CDA; None for neither.
    """
    if data[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM":
        return "dicom"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _xml(data) if data[2:4] in (b"<\x00", b"\x00<") else "hl7v2"
    head = data[:64].lstrip(b"\xef\xbb\xbf\x0b\r\n\t \x00")
    if head.startswith(_SEGMENTS):
        return "hl7v2"
    if head.startswith((b"<", b"{", b"[", b"PK\x03\x04")) and kind_of(data[:_HEAD_BYTES]) is not None:
        return "device"
    return _xml(data) if head.startswith(b"<") else None


def _xml(data: bytes) -> Format:
    """Which of the two, by the root element. All encodings in use write ASCII as ASCII, but for zeros between."""
    text = data[:_HEAD_BYTES].replace(b"\x00", b"").decode("latin-1")
    is_v3 = _V3.match(text.lstrip("\xef\xbb\xbf\xff\xfe\x0b\r\n\t ")) is not None
    return "hl7v3" if is_v3 else "cda"
