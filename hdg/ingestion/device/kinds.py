"""What kind of personal health data an input is, by how it begins."""

from __future__ import annotations

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import Literal

__all__ = ["HEAD_BYTES", "Kind", "kind_of"]

Kind = Literal["apple-health", "open-mhealth", "health-connect", "envelope", "csv"]
HEAD_BYTES = 16_384

_APPLE = re.compile(rb"<(?:!DOCTYPE[ \t\r\n]+)?HealthData[\s>\[]")
_ENVELOPE = re.compile(rb'"(?:characteristic|samples)"\s*:')
_OPEN_MHEALTH = re.compile(rb'"schema_id"\s*:')
_HEALTH_CONNECT = re.compile(rb'"recordType"\s*:')
_CSV = re.compile(
    rb'(?:sep=[;,\t]\r?\n)?[\w"#%/(). \x80-\xff-]{1,80}(?:[;,\t][^;,\t\r\n]{0,80}){1,100}\r?\n',
    re.IGNORECASE,
)


def kind_of(head: bytes) -> Kind | None:
    """The kind of an input whose first bytes are ``head``; None: none that is known."""
    head = head[:HEAD_BYTES]
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):  # of what is read here only a CSV comes so
        wide = head.decode("utf-16", "replace").encode()
        return "csv" if _CSV.match(wide) else None
    head = head.removeprefix(b"\xef\xbb\xbf")
    start = head.lstrip(b" \t\r\n")
    if start.startswith(b"<"):
        return "apple-health" if _APPLE.search(start) else None
    if start.startswith(b"PK\x03\x04"):
        return "apple-health" if b"apple_health_export/" in head or b"export.xml" in head else None
    if start.startswith((b"{", b"[")):
        if _OPEN_MHEALTH.search(start):
            return "open-mhealth"
        if _HEALTH_CONNECT.search(start):
            return "health-connect"
        return "envelope" if _ENVELOPE.search(start) else None
    return "csv" if _CSV.match(start) else None
