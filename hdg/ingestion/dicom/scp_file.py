"""The head of a Part 10 file for a data set that came without one, and where the data set of a file begins.

PS3.10 §7.1, https://dicom.nema.org/medical/dicom/current/output/chtml/part10/chapter_7.html
"""

from __future__ import annotations

import struct

from hdg.ingestion.dicom.association_pdu import IMPLEMENTATION_NAME, IMPLEMENTATION_UID

__all__ = ["HEAD_MAX", "data_set_at", "file_head"]

HEAD_MAX = 144
"""So many bytes are enough for ``data_set_at``."""
_MAGIC_AT = 128


def file_head(sop_class: str, sop_uid: str, transfer_syntax: str, source: str) -> bytes:
    """Preamble, prefix and group 0002. ``source``: AE title of the sender."""
    body = b"".join(
        (
            struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1",
            _text(0x02, b"UI", sop_class),
            _text(0x03, b"UI", sop_uid),
            _text(0x10, b"UI", transfer_syntax),
            _text(0x12, b"UI", IMPLEMENTATION_UID),
            _text(0x13, b"SH", IMPLEMENTATION_NAME),
            _text(0x16, b"AE", source[:16]),
        )
    )
    return bytes(_MAGIC_AT) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(body)) + body


def _text(element: int, vr: bytes, value: str) -> bytes:
    raw = value.encode("ascii", "replace")
    if len(raw) % 2:
        raw += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(raw)) + raw


def data_set_at(head: bytes) -> int:
    """Where the data set begins, by the group length of group 0002; 0 when the file does not say."""
    if head[_MAGIC_AT : _MAGIC_AT + 4] != b"DICM" or head[132:140] != b"\x02\0\0\0UL\x04\0":
        return 0
    return HEAD_MAX + int.from_bytes(head[140:144], "little")
