"""What kind of input bytes are, by how they begin."""

from __future__ import annotations

import re
from typing import Literal

__all__ = ["XML", "Format", "format_of"]

Format = Literal["hl7v2", "cda", "hl7v3"]
XML = frozenset[Format]({"cda", "hl7v3"})
_SEGMENTS = (b"MSH", b"FHS", b"BHS")
_HEAD_BYTES = 16_384
_PROLOG = r"(?:\s|<\?.*?\?>|<!--.*?-->)*"
_INTERACTION = r"[A-Z]{4}_IN[0-9]{6}[A-Z]{2}[0-9]{2}"
_ROOT = re.compile(rf"{_PROLOG}<(?:[\w.-]+:)?(?:(?P<v3>{_INTERACTION})|(?P<soap>Envelope))[\s/>]", re.DOTALL)
_HELD = re.compile(rf"Body\b[^>]*>{_PROLOG}<(?:[\w.-]+:)?{_INTERACTION}[\s/>]", re.DOTALL)


def format_of(data: bytes) -> Format | None:
    """HL7 v2; XML: an HL7 v3 interaction, bare or in a SOAP envelope, else read as CDA; None for neither."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _xml(data) if data[2:4] in (b"<\x00", b"\x00<") else "hl7v2"
    head = data[:64].lstrip(b"\xef\xbb\xbf\x0b\r\n\t \x00")
    if head.startswith(_SEGMENTS):
        return "hl7v2"
    return _xml(data) if head.startswith(b"<") else None


def _xml(data: bytes) -> Format:
    """Which of the two, by the root element. All encodings in use write ASCII as ASCII, but for zeros between."""
    text = data[:_HEAD_BYTES].replace(b"\x00", b"").decode("latin-1")
    root = _ROOT.match(text.lstrip("\xef\xbb\xbf\xff\xfe\x0b\r\n\t "))
    if root is None:
        return "cda"
    return "hl7v3" if root["v3"] or _HELD.search(text) else "cda"
