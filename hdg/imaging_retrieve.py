"""Objects that leave by DIMSE: C-MOVE on an association of the gateway's own, C-GET on the one that asks.

DICOM PS3.4 §C.4.2, §C.4.3, §C.5.3. What may leave, and that it is audited, is settled before (imaging_query.py).
Objects are sent by C-MOVE to peers that read as the one who asks, and nowhere else. By C-GET they leave as they are
stored, of any size in constant memory, where the peer takes that transfer syntax; else unpacked where that can be done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hdg.errors import HdgError
from hdg.ingestion.dicom.association import Association
from hdg.ingestion.dicom.association_dimse import (
    AFFECTED_CLASS,
    AFFECTED_INSTANCE,
    C_STORE,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    MESSAGE_ID,
    STATUS,
    Command,
    Status,
    number,
    response,
)
from hdg.ingestion.dicom.association_pdu import Accepted
from hdg.ingestion.dicom.scu import own_handlers
from hdg.usage.dicomweb.archive import Image
from hdg.usage.dicomweb.datasets import data_set_at, whole
from hdg.usage.dicomweb.objects import decompressed
from hdg.usage.dicomweb.pixels import WHOLE_MAX

__all__ = ["DESTINATION", "UNKNOWN_DESTINATION", "Target", "get", "move"]

DESTINATION = 0x0600
PRIORITY = 0x0700
_REMAINING, _COMPLETED, _FAILED, _WARNING = 0x1020, 0x1021, 0x1022, 0x1023
_PENDING, _CANCELLED, _SOME_FAILED, _NONE_SENT = 0xFF00, 0xFE00, 0xB000, 0xA702
UNKNOWN_DESTINATION = 0xA801
_STORED = (0x0000, 0xB000, 0xB006, 0xB007)
"""Success, and the warnings of C-STORE: it is kept (PS3.4 §B.2.3)."""
_FAILED_UIDS = 0x00080058
_CHUNK = 1 << 20
_CONTEXTS_MAX = 128
"""Presentation contexts of an association (PS3.8 §9.3.2.2: odd numbers to 255)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where C-MOVE sends to: ``HOST:PORT``, AE title there, and our own."""

    address: str
    title: str
    ours: str


class _Counts:
    """Sub-operations (PS3.4 §C.4.2.1.6)."""

    def __init__(self, all_: int) -> None:
        self.remaining, self.completed = all_, 0
        self.failed: list[str] = []
        """SOP Instance UIDs."""

    def add(self, image: Image, *, is_sent: bool) -> None:
        self.remaining -= 1
        if is_sent:
            self.completed += 1
        else:
            self.failed.append(image.sop_uid)

    def fields(self, *, is_last: bool = False) -> Command:
        told: Command = {
            _COMPLETED: min(self.completed, 0xFFFF),
            _FAILED: min(len(self.failed), 0xFFFF),
            _WARNING: 0,
        }
        return told if is_last else {**told, _REMAINING: min(self.remaining, 0xFFFF)}

    def tell(self, association: Association, context: Accepted, command: Command) -> None:
        """A response behind which others follow."""
        association.send(context.id, {**response(command, _PENDING), **self.fields()})

    def end(
        self, association: Association, context: Accepted, command: Command, *, is_cancelled: bool = False
    ) -> None:
        """The last response, with what has failed (PS3.4 §C.4.2.1.4.2, §C.4.3.1.3.2)."""
        status = Status.SUCCESS if not self.failed else _SOME_FAILED if self.completed else _NONE_SENT
        told = {**response(command, _CANCELLED if is_cancelled else status)}
        told.update(self.fields(is_last=not is_cancelled))
        if not self.failed:
            association.send(context.id, told)
            return
        told[DATA_SET_TYPE] = 1
        association.send(context.id, told, _uid_list(_FAILED_UIDS, self.failed, context))


def _uid_list(tag: int, uids: Sequence[str], context: Accepted) -> bytes:
    """A data set of one element, little endian. As many UIDs as an explicit length of 16 bits has room for."""
    value = "\\".join(uids).encode()
    if len(value) > 0xFFFE:
        value = value[:0xFFFE].rpartition(b"\\")[0]
    value += b"\0" * (len(value) % 2)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    if context.transfer_syntax == ImplicitVRLittleEndian:
        return head + len(value).to_bytes(4, "little") + value
    return head + b"UI" + len(value).to_bytes(2, "little") + value


# --- C-MOVE -----------------------------------------------------------------------------------------------------


def move(
    association: Association, context: Accepted, command: Command, found: Sequence[Image], target: Target
) -> None:
    """Sends to another association and answers."""
    counts = _Counts(len(found))
    if found:
        _move_all(association, context, command, found, target, counts)
    counts.end(association, context, command)


def _move_all(
    association: Association,
    context: Accepted,
    command: Command,
    found: Sequence[Image],
    target: Target,
    counts: _Counts,
) -> None:
    from pynetdicom import AE, build_context

    entity = AE(ae_title=target.ours)
    entity.requested_contexts = [build_context(*pair) for pair in _offered(found)]
    host, _, port = target.address.rpartition(":")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    other: Any = entity.associate(
        host.strip("[]"), int(port), ae_title=target.title, evt_handlers=own_handlers()
    )
    if not other.is_established:
        for image in found:
            counts.add(image, is_sent=False)
        return
    try:
        for image in found:
            counts.add(image, is_sent=_moved(other, image, association.peer.calling, command))
            if counts.remaining:
                counts.tell(association, context, command)
    finally:
        other.release()


def _offered(found: Sequence[Image]) -> list[tuple[str, str]]:
    """SOP class and transfer syntax of each context: what is stored, then what it can be unpacked to."""
    stored = dict.fromkeys((one.sop_class, one.transfer_syntax) for one in found)
    plain = dict.fromkeys(
        (sop_class, str(syntax))
        for sop_class, _ in stored
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    )
    return list({**stored, **plain})[:_CONTEXTS_MAX]


def _moved(target: Any, image: Image, asking: str, command: Command) -> bool:
    """Whether an object has arrived. A very large one is not held in memory for this: it is told as failed."""
    if image.size > WHOLE_MAX or not target.is_established:
        return False
    try:
        with image.open() as source:
            data = _fitting(whole(source), target, image)
        status = target.send_c_store(data, originator_aet=asking, originator_id=number(command, MESSAGE_ID))
    except (
        ValueError,
        RuntimeError,
        AttributeError,
        HdgError,
    ):  # pynetdicom: no context accepted, the other side gone
        return False
    return bool(status) and status.Status in _STORED


def _fitting(data: Dataset, target: Any, image: Image) -> Dataset:
    """As it is stored where that is taken, else unpacked where that can be done. Raises BadRequest."""
    taken = {
        one.transfer_syntax[0] for one in target.accepted_contexts if one.abstract_syntax == image.sop_class
    }
    plain = next((one for one in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) if one in taken), None)
    if data.file_meta.TransferSyntaxUID in taken or plain is None:
        return data
    return whole(BytesIO(decompressed(data, plain)))


# --- C-GET ------------------------------------------------------------------------------------------------------


def get(association: Association, context: Accepted, command: Command, found: Sequence[Image]) -> None:
    """Sends on the association that asks, and answers. Raises OSError, Closed."""
    counts = _Counts(len(found))
    for image in found:
        if number(command, MESSAGE_ID) in association.cancelled:
            counts.end(association, context, command, is_cancelled=True)
            return
        counts.add(image, is_sent=_got(association, image))
        if counts.remaining:
            counts.tell(association, context, command)
    counts.end(association, context, command)


def _got(association: Association, image: Image) -> bool:
    """Whether the peer keeps an object."""
    try:
        lent = _content(association, image)
    except HdgError:  # it does not open, or cannot be unpacked
        return False
    if lent is None:
        return False
    context, source = lent
    store: Command = {
        AFFECTED_CLASS: image.sop_class,
        COMMAND_FIELD: C_STORE,
        PRIORITY: 0,
        DATA_SET_TYPE: 1,
        AFFECTED_INSTANCE: image.sop_uid,
    }
    with source:
        pieces = iter(lambda: source.read(_CHUNK), b"")
        return number(association.request(context, store, pieces), STATUS, 0x0110) in _STORED


def _content(association: Association, image: Image) -> tuple[int, BufferedIOBase] | None:
    """A presentation context, and the object, to be read from where its data set begins; None: the peer takes it in no
    transfer syntax that there is. Raises VaultError, BadRequest.
    """
    contexts = {
        one.transfer_syntax: one.id
        for one in association.contexts.values()
        if one.abstract_syntax == image.sop_class and one.abstract_syntax in association.providers
    }
    source = image.open()
    try:
        at, syntax = data_set_at(source)
        if syntax in contexts:
            source.seek(at)
            return contexts[syntax], source
        made = _unpacked(source, image, contexts)
    except BaseException:
        source.close()
        raise
    source.close()
    return made


def _unpacked(
    source: BufferedIOBase, image: Image, contexts: Mapping[str, int]
) -> tuple[int, BufferedIOBase] | None:
    plain = next((one for one in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) if one in contexts), None)
    if plain is None or image.size > WHOLE_MAX:
        return None
    made = BytesIO(decompressed(whole(source), plain))
    made.seek(data_set_at(made)[0])
    return contexts[plain], made
