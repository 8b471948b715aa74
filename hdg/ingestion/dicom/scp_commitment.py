"""Storage Commitment Push Model: what is asked, and the report. PS3.4 Annex J, PS3.3 §C.14.

https://dicom.nema.org/medical/dicom/current/output/chtml/part04/chapter_J.html
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from hdg.errors import DicomError
from hdg.ingestion.dicom.association_dimse import (
    AFFECTED_CLASS,
    AFFECTED_INSTANCE,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    EVENT_TYPE,
    MESSAGE_ID,
    N_EVENT_REPORT,
    RESPONDED_ID,
    Command,
    number,
)
from hdg.ingestion.dicom.header import read_header

__all__ = ["SOP_CLASS", "SOP_INSTANCE", "Reference", "Report", "Request", "answered", "read"]

SOP_CLASS = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_TRANSACTION, _REFERENCES, _FAILED = 0x00081195, 0x00081199, 0x00081198
_CLASS, _INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197

Reference = tuple[str, str]
"""SOP Class UID, SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class Request:
    """Whether these are kept for good is asked."""

    transaction: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome. ``failures``: for each reference 0 or the failure reason."""

    request: Request
    failures: tuple[int, ...]

    @property
    def event(self) -> int:
        """1: all are kept; 2: some are not."""
        return 2 if any(self.failures) else 1

    def message(self, number_: int, transfer_syntax: str) -> tuple[Command, bytes]:
        """N-EVENT-REPORT-RQ: the command and its data set."""
        command: Command = {
            AFFECTED_CLASS: SOP_CLASS,
            COMMAND_FIELD: N_EVENT_REPORT,
            MESSAGE_ID: number_,
            DATA_SET_TYPE: 1,
            AFFECTED_INSTANCE: SOP_INSTANCE,
            EVENT_TYPE: self.event,
        }
        return command, self.data(is_explicit=transfer_syntax != _IMPLICIT_LITTLE)

    def data(self, *, is_explicit: bool) -> bytes:
        """The data set of the report, little endian."""
        make = _Encoder(is_explicit)
        outcome = list(zip(self.request.references, self.failures, strict=True))
        failed = [
            make.uid(_CLASS, uid) + make.uid(_INSTANCE, instance) + make.short(_REASON, reason)
            for (uid, instance), reason in outcome
            if reason
        ]
        kept = [
            make.uid(_CLASS, uid) + make.uid(_INSTANCE, one) for (uid, one), reason in outcome if not reason
        ]
        out = make.uid(_TRANSACTION, self.request.transaction)
        if failed:
            out += make.sequence(_FAILED, failed)
        if kept:
            out += make.sequence(_REFERENCES, kept)
        return out


def read(data: bytes, transfer_syntax: str) -> Request:
    """The data set of an N-ACTION-RQ. Raises DicomError."""
    found = read_header(data, transfer_syntax=transfer_syntax).data
    references = tuple((item.text(_CLASS), item.text(_INSTANCE)) for item in found.items(_REFERENCES))
    transaction = found.text(_TRANSACTION)
    if not transaction:
        raise DicomError("a storage commitment needs a transaction UID", "(0008,1195)")
    if not references or not all(uid and instance for uid, instance in references):
        raise DicomError("a storage commitment must name its instances", "(0008,1199)")
    return Request(transaction, references)


def answered(command: Command) -> int:
    """The number of the report that a response is about; -1 when it is about none, or it was refused."""
    is_report = number(command, COMMAND_FIELD) == N_EVENT_REPORT | 0x8000
    return number(command, RESPONDED_ID, -1) if is_report and number(command, 0x0900) == 0 else -1


@dataclass(frozen=True, slots=True)
class _Encoder:
    is_explicit: bool

    def uid(self, tag: int, value: str) -> bytes:
        raw = value.encode("ascii", "replace")
        return self._element(tag, b"UI", raw + b"\0" * (len(raw) % 2))

    def short(self, tag: int, value: int) -> bytes:
        return self._element(tag, b"US", value.to_bytes(2, "little"))

    def sequence(self, tag: int, items: Sequence[bytes]) -> bytes:
        value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
        return self._element(tag, b"SQ", value)

    def _element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if not self.is_explicit:
            return head + struct.pack("<I", len(value)) + value
        if vr == b"SQ":
            return head + vr + b"\0\0" + struct.pack("<I", len(value)) + value
        return head + vr + struct.pack("<H", len(value)) + value
