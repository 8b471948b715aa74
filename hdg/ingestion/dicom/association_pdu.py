"""The protocol data units of the DICOM upper layer, as an acceptor reads and makes them. PS3.8 §9.3, PS3.7 Annex D.

https://dicom.nema.org/medical/dicom/current/output/chtml/part08/sect_9.3.html. Pure: bytes in, values out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hdg.errors import DicomError

__all__ = [
    "ABORT",
    "ASSOCIATE_RQ",
    "DATA",
    "RELEASE_RP",
    "RELEASE_RQ",
    "Accepted",
    "Proposed",
    "Request",
    "abort",
    "accept",
    "data_pdus",
    "piece_pdus",
    "read_request",
    "reject",
]

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ = 0x01, 0x02, 0x03
DATA, RELEASE_RQ, RELEASE_RP, ABORT = 0x04, 0x05, 0x06, 0x07
RELEASE_RESPONSE = bytes((RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_UID = "2.25.242714380221461834902715538840311264173"
"""Ours (PS3.5 §B.2: a UUID as a UID)."""
IMPLEMENTATION_NAME = "HDG"
_PDU = struct.Struct(">BxI")
_ITEM = struct.Struct(">BxH")
_CONTEXTS_MAX = 128
"""Odd numbers of a byte."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """A presentation context that the requestor proposes."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to one. ``result``: 0 accepted, 3 abstract syntax, 4 transfer syntaxes not supported (Table 9-18)."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    result: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """A-ASSOCIATE-RQ. ``max_pdu``: the longest PDU that the requestor takes, 0: any.

    ``roles``: abstract syntax → (SCU, SCP) that the requestor proposes for itself (PS3.7 §D.3.3.4).
    """

    called: str
    calling: str
    application_context: str
    version: int
    contexts: tuple[Proposed, ...]
    max_pdu: int = 0
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)


def read_request(body: bytes) -> Request:
    """The body of an A-ASSOCIATE-RQ (§9.3.2). Raises DicomError."""
    try:
        (version,) = struct.unpack_from(">H", body)
        called, calling = (body[at : at + 16].decode("ascii", "replace").strip(" \0") for at in (4, 20))
        context, contexts, max_pdu, roles = "", list[Proposed](), 0, dict[str, tuple[bool, bool]]()
        for kind, item in _items(body, 68):
            if kind == 0x10:
                context = _uid(item)
            elif kind == 0x20:
                contexts.append(_context(item))
            elif kind == 0x50:
                max_pdu = _user(item, roles)
    except (struct.error, IndexError) as error:
        raise DicomError("the association request is damaged") from error
    if len(contexts) > _CONTEXTS_MAX or len({one.id for one in contexts}) < len(contexts):
        raise DicomError("the association request has presentation contexts with one number")
    return Request(called, calling, context, version, tuple(contexts), max_pdu, roles)


def _items(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    while at < len(data):
        kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        if at + length > len(data):
            raise DicomError("an item of the association request is cut short")
        yield kind, data[at : at + length]
        at += length


def _uid(data: bytes) -> str:
    return data.decode("ascii", "replace").strip(" \0")


def _context(item: bytes) -> Proposed:
    abstract, transfer = "", list[str]()
    for kind, value in _items(item, 4):
        if kind == 0x30:
            abstract = _uid(value)
        elif kind == 0x40:
            transfer.append(_uid(value))
    return Proposed(item[0], abstract, tuple(transfer))


def _user(item: bytes, roles: dict[str, tuple[bool, bool]]) -> int:
    """Reads roles; the longest PDU."""
    max_pdu = 0
    for kind, value in _items(item):
        if kind == 0x51:
            (max_pdu,) = struct.unpack(">I", value)
        elif kind == 0x54:
            (length,) = struct.unpack_from(">H", value)
            roles[_uid(value[2 : 2 + length])] = bool(value[2 + length]), bool(value[3 + length])
    return max_pdu


def accept(
    request: Request,
    contexts: Sequence[Accepted],
    max_pdu: int,
    roles: Mapping[str, tuple[bool, bool]],
) -> bytes:
    """A-ASSOCIATE-AC (§9.3.3)."""
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for one in contexts:
        syntax = _item(0x40, one.transfer_syntax.encode())
        items.append(_item(0x21, bytes((one.id, 0, one.result, 0)) + syntax))
    user = [_item(0x51, struct.pack(">I", max_pdu)), _item(0x52, IMPLEMENTATION_UID.encode())]
    for uid, (is_scu, is_scp) in roles.items():
        name = uid.encode()
        user.append(_item(0x54, struct.pack(">H", len(name)) + name + bytes((is_scu, is_scp))))
    user.append(_item(0x55, IMPLEMENTATION_NAME.encode()))
    items.append(_item(0x50, b"".join(user)))
    titles = request.called.encode().ljust(16)[:16] + request.calling.encode().ljust(16)[:16]
    return _pdu(ASSOCIATE_AC, struct.pack(">HH", 1, 0) + titles + bytes(32) + b"".join(items))


def reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (§9.3.4, Table 9-21). ``result``: 1 permanent, 2 transient."""
    return _pdu(ASSOCIATE_RJ, bytes((0, result, source, reason)))


def abort(source: int = 2, reason: int = 0) -> bytes:
    """A-ABORT (§9.3.8)."""
    return _pdu(ABORT, bytes((0, 0, source, reason)))


def data_pdus(context: int, command: bytes, data: bytes, max_pdu: int) -> bytes:
    """P-DATA-TF (§9.3.5): a command set and, unless empty, a data set, in PDUs of at most ``max_pdu`` (0: any)."""
    out = piece_pdus(context, command, max_pdu, is_command=True, is_last=True)
    return out + piece_pdus(context, data, max_pdu, is_command=False, is_last=True) if data else out


def piece_pdus(context: int, data: bytes, max_pdu: int, *, is_command: bool, is_last: bool) -> bytes:
    """P-DATA-TF of a piece of a command set or data set; ``is_last``: none of the same follows."""
    room = (max_pdu or 1 << 20) - 6
    out = bytearray()
    for at in range(0, len(data), room):
        piece = data[at : at + room]
        is_end = is_last and at + room >= len(data)
        out += _PDU.pack(DATA, len(piece) + 6)
        out += struct.pack(">IBB", len(piece) + 2, context, is_command | is_end << 1)
        out += piece
    return bytes(out)


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _pdu(kind: int, body: bytes) -> bytes:
    return _PDU.pack(kind, len(body)) + body
