"""One association, as its acceptor: negotiated, messages read piece by piece and answered. PS3.8 §7, §9; PS3.7 §7.

An own reader, for pynetdicom's keeps a whole object in memory or in a plain file and takes most of the time that a
gateway has for one. One thread an association; what an object is made of is handed on while it arrives and never held.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hdg.errors import DicomError, HdgError
from hdg.ingestion.dicom import association_pdu as pdu
from hdg.ingestion.dicom.association_dimse import (
    C_CANCEL,
    C_STORE,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    MESSAGE_ID,
    NO_DATA_SET,
    RESPONDED_ID,
    RESPONSE,
    Command,
    decode,
    encode,
    number,
    response,
)

__all__ = ["Association", "Closed", "Limits", "Peer", "Provider", "Refused", "Sink"]

_log = logging.getLogger("hdg.dicom")

_HEAD_BYTES = 6
_COMMAND_MAX = 64 * 1024
_QUICKACK = getattr(socket, "TCP_QUICKACK", 0)
_BUFFER_BYTES = 512 * 1024
"""Several PDUs of a large object are read at a time: half the processor time of one by one."""
_CLOSE_S = 1.0
_BYTES_S = 32 * 1024
"""A message that arrives slower than this, after ``Limits.idle_s``, ends its association."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_pdu``: longest PDU taken; ``data_bytes``: longest data set of a message other than C-STORE.

    ``artim_s``: for the request, and for the other side to close; ``idle_s``: between two messages, and for the start
    of one.
    """

    max_pdu: int = 131_072
    data_bytes: int = 16 * 1024 * 1024
    artim_s: float = 30.0
    idle_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. ``calling``, ``called``: AE titles. ``tls_subject``: '' without a certificate."""

    calling: str
    called: str
    address: str
    tls_subject: str = ""


class Sink(Protocol):
    """Takes the data set of one C-STORE."""

    def write(self, data: bytes | memoryview) -> None:
        """More of it; the memory is only lent."""

    def finish(self) -> tuple[int, str]:
        """It is whole: the status for the sender, and a comment. Returns when the answer may be sent."""

    def abort(self) -> None:
        """It will not be whole."""


class Provider(Protocol):
    """What is behind an association."""

    def refusal(self, peer: Peer) -> tuple[int, int, int] | None:
        """(result, source, reason) of A-ASSOCIATE-RJ; None: welcome."""

    def choose(self, proposed: pdu.Proposed, *, is_provider: bool) -> str:
        """The transfer syntax of a context; '' when none, or the abstract syntax is not served.

        ``is_provider``: the requestor offers to be the one who provides this service (SCP), and may.
        """

    def may_provide(self, request: pdu.Request, abstract_syntax: str) -> bool:
        """Whether a requestor that offers it may be the provider (SCP) of a service, to be sent objects by C-GET."""

    def begin(self, association: Association, context: pdu.Accepted, command: Command) -> Sink:
        """A C-STORE-RQ."""

    def handle(self, association: Association, context: pdu.Accepted, command: Command, data: bytes) -> None:
        """Any other request; answers with ``association.send``."""

    def answered(self, association: Association, command: Command) -> None:
        """A response to a request of ours."""

    def ended(self, association: Association) -> None:
        """The association is over, however it ended."""


class Closed(Exception):
    """The other side is gone, or too slow."""


class Refused(Exception):
    """The association request was refused."""


@dataclass(slots=True)
class _Message:
    """What has arrived of one message. ``deadline``: monotonic s when it started plus grace."""

    context: int
    since: float
    command: bytearray = field(default_factory=bytearray)
    decoded: Command | None = None
    data: bytearray = field(default_factory=bytearray)
    sink: Sink | None = None
    bytes: int = 0


class Association:
    """Runs in the thread that calls ``run``. ``send`` may be called from that thread only."""

    def __init__(
        self,
        sock: socket.socket,
        peer: Callable[[pdu.Request], Peer],
        provider: Provider,
        limits: Limits,
    ) -> None:
        self._socket = sock
        self._peer_of = peer
        self._provider = provider
        self._limits = limits
        self._buffer = bytearray(max(limits.max_pdu + _HEAD_BYTES, _BUFFER_BYTES))
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._max_pdu = 0
        self._message: _Message | None = None
        self._is_answering = False
        self._number = 0
        self._waits_for = 0
        """Message ID of the request of ours that is not answered; 0: of none."""
        self._awaited: Command | None = None
        self.contexts: dict[int, pdu.Accepted] = {}
        """The accepted presentation contexts."""
        self.providers: frozenset[str] = frozenset()
        """Abstract syntaxes that the requestor provides: what it may be sent C-STORE requests of."""
        self.cancelled: set[int] = set()
        """Message IDs of requests that were cancelled while they were answered."""
        self.peer = Peer("", "", "")
        self.is_stopping = False
        """Set from outside: the association is aborted between two messages."""

    @property
    def is_idle(self) -> bool:
        """No message is under way."""
        return self._message is None and not self._is_answering

    def run(self) -> None:
        """Until the association ends. Never raises; the socket stays open."""
        is_known = False
        try:
            self._negotiate()
            is_known = True
            while self._read_pdu():
                pass
        except (Closed, Refused, OSError):
            pass
        except DicomError as error:
            _log.warning("an association was aborted: %s", error.text)
            self._abort()
        except Exception as error:  # a defect of ours must not leave the other side waiting
            place = traceback.extract_tb(error.__traceback__)[-1]  # its text may have a patient's value in it
            _log.error(
                "an association was aborted: %s at %s:%s", type(error).__name__, place.filename, place.lineno
            )
            self._abort()
        finally:
            message, self._message = self._message, None
            if message is not None and message.sink is not None:
                message.sink.abort()
            if is_known:
                self._provider.ended(self)

    def send(self, context: int, command: Command, data: bytes = b"") -> None:
        """A message. Raises OSError."""
        self._socket.settimeout(self._limits.idle_s)
        self._socket.sendall(pdu.data_pdus(context, encode(command), data, self._max_pdu))

    def request(self, context: int, command: Command, data: Iterable[bytes]) -> Command:
        """A request of ours, while one of theirs is answered: its response. ``data``: pieces, none of them empty.

        The command gets its Message ID here. Raises OSError, and Closed, also where ``data`` raises an HdgError.
        """
        self._number = self._number % 0xFFFF + 1
        command = {**command, MESSAGE_ID: self._number}
        self._waits_for = self._number
        self._socket.settimeout(self._limits.idle_s)
        head = pdu.piece_pdus(context, encode(command), self._max_pdu, is_command=True, is_last=True)
        self._socket.sendall(head)
        try:
            self._send_pieces(context, data)
            while (answer := self._answer_to_ours()) is None:
                if not self._read_pdu():
                    raise Closed
        except HdgError as error:  # of the other side; or of what was to be sent, when half of it is
            text = error.text if isinstance(error, DicomError) else type(error).__name__
            _log.warning("an association was aborted: %s", text)
            self._abort()
            raise Closed from error
        return answer

    def _answer_to_ours(self) -> Command | None:
        answer = self._awaited
        if answer is not None:
            self._waits_for, self._awaited = 0, None
        return answer

    def _send_pieces(self, context: int, data: Iterable[bytes]) -> None:
        held = b""
        for piece in data:
            if held:
                self._send_piece(context, held, is_last=False)
            held = piece
        self._send_piece(context, held, is_last=True)

    def _send_piece(self, context: int, piece: bytes, *, is_last: bool) -> None:
        self._socket.settimeout(self._limits.idle_s + len(piece) / _BYTES_S)
        self._socket.sendall(pdu.piece_pdus(context, piece, self._max_pdu, is_command=False, is_last=is_last))

    # --- PDUs -----------------------------------------------------------------------------------------------

    def _negotiate(self) -> None:
        deadline = time.monotonic() + self._limits.artim_s
        kind, length = self._head(deadline)
        if kind != pdu.ASSOCIATE_RQ or length > self._limits.max_pdu:
            raise DicomError("an association must begin with its request")
        request = pdu.read_request(bytes(self._take(length, deadline)))
        self.peer = self._peer_of(request)
        refusal = self._provider.refusal(self.peer)
        if not request.version & 1:
            refusal = (1, 2, 2)
        elif request.application_context != pdu.APPLICATION_CONTEXT:
            refusal = (1, 1, 2)
        if refusal is not None:
            self._socket.sendall(pdu.reject(*refusal))
            self._wait_for_close()
            raise Refused
        offered = (uid for uid, (_, is_scp) in request.roles.items() if is_scp)
        providers = frozenset(uid for uid in offered if self._provider.may_provide(request, uid))
        contexts: Sequence[pdu.Accepted] = [
            self._context(one, is_provider=one.abstract_syntax in providers) for one in request.contexts
        ]
        self.contexts = {one.id: one for one in contexts if one.result == 0}
        self._max_pdu = request.max_pdu
        if 0 < self._max_pdu < 128:
            raise DicomError("the requestor takes no PDU that a message fits in")
        served = {one.abstract_syntax for one in self.contexts.values()}
        self.providers = providers & served
        roles = {
            uid: (is_scu, uid in providers) for uid, (is_scu, _) in request.roles.items() if uid in served
        }
        self._socket.sendall(pdu.accept(request, contexts, self._limits.max_pdu, roles))

    def _context(self, proposed: pdu.Proposed, *, is_provider: bool) -> pdu.Accepted:
        chosen = self._provider.choose(proposed, is_provider=is_provider)
        if chosen:
            return pdu.Accepted(proposed.id, proposed.abstract_syntax, chosen)
        stated = proposed.transfer_syntaxes[0] if proposed.transfer_syntaxes else "1.2.840.10008.1.2"
        return pdu.Accepted(proposed.id, proposed.abstract_syntax, stated, 3)

    def _read_pdu(self) -> bool:
        """False once the association is released."""
        deadline = self._deadline()
        if self.is_idle and self.is_stopping:
            raise Closed
        kind, length = self._head(deadline)
        if kind == pdu.DATA:
            if length > self._limits.max_pdu:
                raise DicomError("a PDU is longer than was agreed")
            self._data(self._take(length, deadline))
            return True
        if length > self._limits.max_pdu:
            raise DicomError("a PDU is longer than was agreed")
        self._take(length, deadline)
        if kind == pdu.RELEASE_RQ:
            self._release()
            return False
        if kind == pdu.ABORT:
            raise Closed
        raise DicomError("a PDU came that has no place in an association")

    def _release(self) -> None:
        self._socket.sendall(pdu.RELEASE_RESPONSE)
        try:  # the requestor closes first (§9.2.3, ARTIM)
            self._socket.settimeout(self._limits.artim_s)
            self._socket.recv(1)
        except OSError:
            return

    def _wait_for_close(self) -> None:
        """After a refusal it is the requestor who closes (PS3.8 §9.2.3, Sta13); some take our close for an abort."""
        deadline = time.monotonic() + _CLOSE_S
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(4096):
                    return

    def _abort(self) -> None:
        try:
            self._socket.settimeout(1.0)
            self._socket.sendall(pdu.abort())
        except OSError:
            return

    # --- messages -------------------------------------------------------------------------------------------

    def _data(self, body: memoryview) -> None:
        """Presentation data values (§9.3.5.1, Annex E)."""
        at = 0
        while at < len(body):
            length = int.from_bytes(body[at : at + 4], "big")
            if length < 2 or at + 4 + length > len(body):
                raise DicomError("a presentation data value is damaged")
            context, control = body[at + 4], body[at + 5]
            value = body[at + 6 : at + 4 + length]
            at += 4 + length
            if control & 2 and at < len(body):  # what is answered may read on, and the memory is only lent
                body, at = memoryview(bytes(body[at:])), 0
            message = self._message
            if message is None:
                message = self._message = _Message(context, time.monotonic())
            if message.context != context or context not in self.contexts:
                raise DicomError("a message came in a presentation context that it does not belong to")
            message.bytes += length
            if control & 1:
                self._command(message, value, is_last=bool(control & 2))
            else:
                self._piece(message, value, is_last=bool(control & 2))

    def _command(self, message: _Message, value: memoryview, *, is_last: bool) -> None:
        if message.decoded is not None or len(message.command) + len(value) > _COMMAND_MAX:
            raise DicomError("a command set is longer than is allowed")
        message.command += value
        if not is_last:
            return
        command = message.decoded = decode(bytes(message.command))
        context = self.contexts[message.context]
        has_data = number(command, DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET
        if number(command, COMMAND_FIELD) == C_STORE:
            if not has_data:
                raise DicomError("a C-STORE request has no data set")
            message.sink = self._provider.begin(self, context, command)
        elif not has_data:
            self._whole(message)

    def _piece(self, message: _Message, value: memoryview, *, is_last: bool) -> None:
        if message.decoded is None:
            raise DicomError("a data set came before its command")
        if message.sink is not None:
            message.sink.write(value)
        elif len(message.data) + len(value) > self._limits.data_bytes:
            raise DicomError("a data set is longer than is allowed")
        else:
            message.data += value
        if is_last:
            self._whole(message)

    def _whole(self, message: _Message) -> None:
        command = message.decoded or {}
        was_answering, self._is_answering, self._message = self._is_answering, True, None
        self._answer(message, self.contexts[message.context], command)
        self._is_answering = was_answering

    def _answer(self, message: _Message, context: pdu.Accepted, command: Command) -> None:
        kind = number(command, COMMAND_FIELD)
        if message.sink is not None:
            status, comment = message.sink.finish()
            self.send(context.id, response(command, status, comment))
        elif kind == C_STORE | RESPONSE and number(command, RESPONDED_ID) == self._waits_for:
            self._awaited = command
        elif kind & RESPONSE:
            self._provider.answered(self, command)
        elif kind == C_CANCEL:
            if self._waits_for:
                self.cancelled.add(number(command, RESPONDED_ID))
        elif self._waits_for:
            raise DicomError("a request came before another one was answered")
        else:
            self._provider.handle(self, context, command, bytes(message.data))

    # --- bytes ----------------------------------------------------------------------------------------------

    def _deadline(self) -> float:
        """Until when the next PDU must be here."""
        message = self._message
        if message is None:
            return time.monotonic() + self._limits.idle_s
        return message.since + self._limits.idle_s + message.bytes / _BYTES_S

    def _head(self, deadline: float) -> tuple[int, int]:
        """Type and length of the next PDU."""
        head = self._take(_HEAD_BYTES, deadline)
        return head[0], int.from_bytes(head[2:6], "big")

    def _take(self, count: int, deadline: float) -> memoryview:
        """The next bytes; lent until the next call. Raises Closed."""
        if self._end - self._start < count:
            if self._start + count > len(self._buffer):
                left = self._end - self._start
                self._view[:left] = bytes(self._view[self._start : self._end])
                self._start, self._end = 0, left
            self._fill(count, deadline)
        piece = self._view[self._start : self._start + count]
        self._start += count
        if self._start == self._end:
            self._start = self._end = 0
        return piece

    def _fill(self, count: int, deadline: float) -> None:
        while self._end - self._start < count:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise Closed
            self._socket.settimeout(left_s)
            got = self._socket.recv_into(self._view[self._end :])
            if not got:
                raise Closed
            self._end += got
            if (
                _QUICKACK
            ):  # a sender that waits for our ACK before it sends the rest (Nagle) shall not wait 40 ms
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
