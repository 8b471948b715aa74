"""Associations byte by byte, for what no decent peer would do."""

from __future__ import annotations

import socket
import struct

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from hdg.ingestion.dicom import association_dimse as dimse
from hdg.ingestion.dicom import association_pdu as pdu


def request_pdu(*classes: str) -> bytes:
    """A-ASSOCIATE-RQ."""
    items = _item(0x10, pdu.APPLICATION_CONTEXT.encode())
    for number, one in enumerate(classes):
        syntaxes = _item(0x30, one.encode()) + _item(0x40, ExplicitVRLittleEndian.encode())
        items += _item(0x20, bytes((2 * number + 1, 0, 0, 0)) + syntaxes)
    items += _item(0x50, _item(0x51, struct.pack(">I", 16384)))
    body = struct.pack(">HH", 1, 0) + b"HDG".ljust(16) + b"RAW".ljust(16) + bytes(32) + items
    return struct.pack(">BxI", 1, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def connected(address: str) -> socket.socket:
    """An association for CT images, whose presentation context is 1."""
    host, port = address.split(":")
    made = socket.create_connection((host, int(port)), 120)
    made.sendall(request_pdu(CTImageStorage))
    assert made.recv(4096)[0] == pdu.ASSOCIATE_AC
    return made


def store_command(instance: str) -> bytes:
    """A C-STORE-RQ."""
    return dimse.encode(
        {
            dimse.AFFECTED_CLASS: CTImageStorage,
            dimse.COMMAND_FIELD: dimse.C_STORE,
            dimse.MESSAGE_ID: 1,
            0x0700: 2,
            dimse.DATA_SET_TYPE: 1,
            dimse.AFFECTED_INSTANCE: instance,
        }
    )
