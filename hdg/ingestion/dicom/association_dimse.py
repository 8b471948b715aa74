"""DIMSE command sets: group 0000 in Implicit VR Little Endian. PS3.7 §6.3, §9.3, §10.3, Annexes C and E.

https://dicom.nema.org/medical/dicom/current/output/chtml/part07/chapter_E.html. A command is a dict from element
numbers (the group is always 0000) to int or str.
"""

from __future__ import annotations

import struct
from typing import Final

from hdg.errors import DicomError

__all__ = ["Command", "Status", "decode", "encode", "number", "response", "text"]

Command = dict[int, int | str]

AFFECTED_CLASS, REQUESTED_CLASS = 0x0002, 0x0003
COMMAND_FIELD, MESSAGE_ID, RESPONDED_ID = 0x0100, 0x0110, 0x0120
DATA_SET_TYPE, STATUS, ERROR_COMMENT = 0x0800, 0x0900, 0x0902
AFFECTED_INSTANCE, REQUESTED_INSTANCE = 0x1000, 0x1001
EVENT_TYPE, ACTION_TYPE = 0x1002, 0x1008
NO_DATA_SET = 0x0101

C_STORE, C_ECHO, N_EVENT_REPORT, N_ACTION = 0x0001, 0x0030, 0x0100, 0x0130
C_CANCEL = 0x0FFF
RESPONSE = 0x8000

_LONG = frozenset({0x0000})
_SHORT = frozenset(
    {0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x0903, 0x1002, 0x1008}
    | {0x1020, 0x1021, 0x1022, 0x1023, 0x1031}
)
_UIDS = frozenset({0x0002, 0x0003, 0x1000, 0x1001})
_ELEMENT = struct.Struct("<HHI")


class Status:
    """Status codes (PS3.4 §B.2.3, PS3.7 Annex C)."""

    SUCCESS: Final = 0x0000
    DUPLICATE: Final = 0x0111
    NO_SUCH_INSTANCE: Final = 0x0112
    CLASS_CONFLICT: Final = 0x0119
    NO_SUCH_CLASS: Final = 0x0118
    NO_SUCH_ACTION: Final = 0x0123
    NOT_AUTHORIZED: Final = 0x0124
    PROCESSING_FAILURE: Final = 0x0110
    RESOURCE_LIMITATION: Final = 0x0213
    UNRECOGNIZED: Final = 0x0211
    OUT_OF_RESOURCES: Final = 0xA700
    NOT_OF_CLASS: Final = 0xA900
    NOT_UNDERSTOOD: Final = 0xC000


def decode(data: bytes) -> Command:
    """Raises DicomError."""
    found: Command = {}
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise DicomError("a command set is cut short")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += 8
        value = data[at : at + length]
        at += length
        if group != 0 or len(value) < length:
            raise DicomError("a command set is damaged")
        if element in _SHORT or element in _LONG:
            if length not in (2, 4):
                raise DicomError("a command set is damaged")
            found[element] = int.from_bytes(value, "little")
        elif element in _UIDS:
            found[element] = value.decode("ascii", "replace").rstrip("\0 ")
        else:
            found[element] = value.decode("latin-1").strip()
    return found


def encode(command: Command) -> bytes:
    """With its group length."""
    out = bytearray()
    for element, value in sorted(command.items()):
        if isinstance(value, int):
            raw = value.to_bytes(2, "little")
        else:
            raw = value.encode("ascii", "replace")
            raw += (b"\0" if element in _UIDS else b" ") * (len(raw) % 2)
        out += _ELEMENT.pack(0, element, len(raw)) + raw
    return _ELEMENT.pack(0, 0, 4) + len(out).to_bytes(4, "little") + bytes(out)


def number(command: Command, element: int, default: int = 0) -> int:
    """A numeric field."""
    value = command.get(element, default)
    return value if isinstance(value, int) else default


def text(command: Command, element: int) -> str:
    """A text or UID field; '' when absent."""
    value = command.get(element, "")
    return value if isinstance(value, str) else ""


def response(request: Command, status: int, comment: str = "") -> Command:
    """The answer to a request, without a data set. ``comment``: no patient value; 64 characters at most."""
    answer: Command = {
        COMMAND_FIELD: number(request, COMMAND_FIELD) | RESPONSE,
        RESPONDED_ID: number(request, MESSAGE_ID),
        DATA_SET_TYPE: NO_DATA_SET,
        STATUS: status,
    }
    for asked, told in ((REQUESTED_CLASS, AFFECTED_CLASS), (REQUESTED_INSTANCE, AFFECTED_INSTANCE)):
        if value := text(request, told) or text(request, asked):
            answer[told] = value
    if ACTION_TYPE in request:
        answer[ACTION_TYPE] = request[ACTION_TYPE]
    if comment:
        answer[ERROR_COMMENT] = comment[:64]
    return answer
