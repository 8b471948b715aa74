"""What kind of input bytes are, by how they begin."""

from __future__ import annotations

from typing import Literal

__all__ = ["Format", "format_of"]

Format = Literal["hl7v2", "cda"]
_SEGMENTS = (b"MSH", b"FHS", b"BHS")


def format_of(data: bytes) -> Format | None:
    """HL7 v2, XML (read as CDA), or None for neither."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "cda" if data[2:4] in (b"<\x00", b"\x00<") else "hl7v2"
    head = data[:64].lstrip(b"\xef\xbb\xbf\x0b\r\n\t \x00")
    if head.startswith(_SEGMENTS):
        return "hl7v2"
    return "cda" if head.startswith(b"<") else None
