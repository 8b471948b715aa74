"""The head of a Part 10 file for a data set that came without one, and where the data set of a file begins.

PS3.10 §7.1, https://dicom.nema.org/medical/dicom/current/output/chtml/part10/chapter_7.html
"""

from __future__ import annotations

import struct

from hdg.ingestion.dicom.association_pdu import IMPLEMENTATION_NAME, IMPLEMENTATION_UID

__all__ = ["HEAD_MAX", "data_set_at", "file_head"]

HEAD_MAX = 64 * 1024
"""So many bytes are enough for ``data_set_at``."""
_LENGTH_AT, _GROUP_AT = 140, 144
_MAGIC_AT = 128
_LONG = frozenset((b"OB", b"OW", b"UN", b"UT", b"SQ", b"OD", b"OF", b"OL", b"OV", b"UC", b"UR", b"SV", b"UV"))
"""Their length has 4 bytes and stands behind 2 that are not used (PS3.5 §7.1.2)."""


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


def data_set_at(head: bytes | bytearray) -> int:
    """Where the data set begins, by the group length of group 0002; 0 when the file does not say, or says it wrong.

    A length that is not that of the group would have a part of the data set taken for the group, or the other way.
    """
    if head[_MAGIC_AT : _MAGIC_AT + 4] != b"DICM" or head[132:_LENGTH_AT] != b"\x02\0\0\0UL\x04\0":
        return 0
    end = _GROUP_AT + int.from_bytes(head[_LENGTH_AT:_GROUP_AT], "little")
    if end > min(len(head), HEAD_MAX):
        return 0
    at = _GROUP_AT
    while at < end and head[at : at + 2] == b"\x02\0":
        is_long = bytes(head[at + 4 : at + 6]) in _LONG
        size = head[at + 8 : at + 12] if is_long else head[at + 6 : at + 8]
        at += (12 if is_long else 8) + int.from_bytes(size, "little")
    return end if at == end else 0
