"""The DICOM listener: verification, storage of everything, storage commitment. PS3.4 Annexes A, B and J.

https://dicom.nema.org/medical/dicom/current/output/chtml/part04/chapter_B.html,
https://dicom.nema.org/medical/dicom/current/output/chtml/part04/chapter_J.html. What is done with an object is the
Archive's; further services (query, retrieve) are given as ``services`` by abstract syntax.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from hdg.errors import DicomError
from hdg.ingestion.dicom import scp_commitment as commitment
from hdg.ingestion.dicom.association import Association, Limits, Peer, Sink
from hdg.ingestion.dicom.association_dimse import (
    ACTION_TYPE,
    AFFECTED_CLASS,
    AFFECTED_INSTANCE,
    C_ECHO,
    COMMAND_FIELD,
    N_ACTION,
    Command,
    Status,
    number,
    response,
    text,
)
from hdg.ingestion.dicom.association_pdu import Accepted, Proposed, Request

__all__ = ["Archive", "Listener", "Service", "is_storage"]

_log = logging.getLogger("hdg.dicom")

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
)
_STANDARD = "1.2.840.10008."
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_STORAGE_TOO = frozenset(
    f"1.2.840.10008.5.1.4.{end}" for end in ("34.7", "34.10", "38.1", "39.1", "43.1", "44.1", "45.1")
)
"""Storage classes with UIDs elsewhere: delivery instructions, hanging protocols, palettes, implant templates."""
_BACKLOG = 64
_REPORTS_MAX = 64
"""Reports of storage commitment that one association may leave unanswered."""
_WAITING_MAX = 16
"""Associations beyond the limit that are told so; more are just closed."""


class Archive(Protocol):
    """Where objects go."""

    def refusal(self, peer: Peer) -> tuple[int, int, int] | None:
        """As Provider.refusal."""

    def begin(self, peer: Peer, sop_class: str, sop_uid: str, transfer_syntax: str) -> Sink:
        """An object that is about to arrive."""

    def failures(self, peer: Peer, references: Sequence[commitment.Reference]) -> list[int]:
        """For each (class, instance): 0 when it is kept for good, else the failure reason (PS3.3 C.14.1.1)."""

    def promise(self, peer: Peer, request: commitment.Request) -> int:
        """Keeps that the outcome will be told; what is kept is named by the result, 0: nothing. Raises if it cannot."""

    def taken(self, promise: int) -> None:
        """The outcome was told."""

    def untaken(self, promise: int) -> None:
        """It could not be told on its association: tell it on another. Returns at once."""

    def ended(self, peer: Peer) -> None:
        """An association of this peer is over."""


class Service(Protocol):
    """A further service, by abstract syntax. It may keep the association's thread busy."""

    def handle(self, association: Association, context: Accepted, command: Command, data: bytes) -> None:
        """A request; answers with ``association.send``."""

    def sends(self, abstract_syntax: str) -> bool:
        """Whether objects are sent on the association that asks for them by this abstract syntax (C-GET)."""


def is_storage(abstract_syntax: str) -> bool:
    """Whether a SOP class is one of storage; what is not of DICOM itself (private) is taken to be."""
    if abstract_syntax.startswith(_STANDARD):
        return abstract_syntax.startswith(_STORAGE) or abstract_syntax in _STORAGE_TOO
    return bool(abstract_syntax)


def _storage_syntax(proposed: Sequence[str]) -> str:
    """The first that is neither implicit nor big endian: compressed data stays as it is, VRs are not lost."""
    poor = (IMPLICIT_LITTLE, EXPLICIT_BIG)
    for one in proposed:
        if one not in poor:
            return one
    return next((one for one in poor if one in proposed), "")


class _Storage:
    """The Provider of one association."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._archive = listener.archive
        self._reports: dict[int, int] = {}
        """Message ID of a report that is not answered → the promise of it."""
        self._number = 0

    def refusal(self, peer: Peer) -> tuple[int, int, int] | None:
        """Too many at a time, or not welcome."""
        if self._listener.is_full():
            return 2, 3, 2
        return self._archive.refusal(peer)

    def may_provide(self, request: Request, abstract_syntax: str) -> bool:
        """Storage, where there is C-GET on the same association (PS3.4 §C.5.3)."""
        services = self._listener.services
        known = ((services.get(one.abstract_syntax), one.abstract_syntax) for one in request.contexts)
        return is_storage(abstract_syntax) and any(
            service is not None and service.sends(syntax) for service, syntax in known
        )

    def choose(self, proposed: Proposed, *, is_provider: bool) -> str:
        """Storage in any transfer syntax; to be sent objects, in one that any can be brought to; the rest in little
        endian.
        """
        syntax = proposed.abstract_syntax
        if syntax in (VERIFICATION, commitment.SOP_CLASS) or syntax in self._listener.services:
            known = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
            return next((one for one in known if one in proposed.transfer_syntaxes), "")
        if not is_storage(syntax):
            return ""
        if is_provider:
            for plain in (EXPLICIT_LITTLE, IMPLICIT_LITTLE):
                if plain in proposed.transfer_syntaxes:
                    return plain
        return _storage_syntax(proposed.transfer_syntaxes)

    def begin(self, association: Association, context: Accepted, command: Command) -> Sink:
        """C-STORE (PS3.4 §B.2)."""
        sop_class, sop_uid = text(command, AFFECTED_CLASS), text(command, AFFECTED_INSTANCE)
        if sop_class != context.abstract_syntax or not sop_uid:
            return _Refusing(Status.NOT_OF_CLASS, "class or instance of the request is wrong")
        return self._archive.begin(association.peer, sop_class, sop_uid, context.transfer_syntax)

    def handle(self, association: Association, context: Accepted, command: Command, data: bytes) -> None:
        """C-ECHO, N-ACTION, and what other services are for."""
        kind = number(command, COMMAND_FIELD)
        service = self._listener.services.get(context.abstract_syntax)
        if service is not None:
            service.handle(association, context, command, data)
        elif kind == C_ECHO:
            association.send(context.id, response(command, Status.SUCCESS))
        elif kind == N_ACTION and context.abstract_syntax == commitment.SOP_CLASS:
            self._commit(association, context, command, data)
        else:
            association.send(context.id, response(command, Status.UNRECOGNIZED))

    def _commit(self, association: Association, context: Accepted, command: Command, data: bytes) -> None:
        if number(command, ACTION_TYPE) != 1:
            association.send(context.id, response(command, Status.NO_SUCH_ACTION))
            return
        if len(self._reports) >= _REPORTS_MAX:
            association.send(context.id, response(command, Status.RESOURCE_LIMITATION))
            return
        try:
            request = commitment.read(data, context.transfer_syntax)
        except DicomError as error:
            association.send(context.id, response(command, Status.PROCESSING_FAILURE, error.text))
            return
        try:
            failures = self._archive.failures(association.peer, request.references)
            promise = self._archive.promise(association.peer, request)
        except Exception as error:  # the store's troubles: nothing is promised, the sender asks again
            _log.error("a storage commitment was refused: %s", type(error).__name__)
            association.send(context.id, response(command, Status.RESOURCE_LIMITATION))
            return
        self._number = self._number % 0xFFFF + 1
        self._reports[self._number] = promise
        association.send(context.id, response(command, Status.SUCCESS))
        report = commitment.Report(request, tuple(failures))
        association.send(context.id, *report.message(self._number, context.transfer_syntax))

    def answered(self, association: Association, command: Command) -> None:
        """N-EVENT-REPORT-RSP: the report has arrived."""
        promise = self._reports.pop(commitment.answered(command), None)
        if promise is not None:
            self._archive.taken(promise)

    def ended(self, association: Association) -> None:
        """Reports that nobody answered go out another way."""
        for promise in self._reports.values():
            self._archive.untaken(promise)
        self._archive.ended(association.peer)


@dataclass(frozen=True, slots=True)
class _Refusing:
    """Takes an object that is refused already."""

    status: int
    comment: str

    def write(self, data: bytes | memoryview) -> None:
        """Forgets it."""

    def finish(self) -> tuple[int, str]:
        """Why."""
        return self.status, self.comment

    def abort(self) -> None:
        """Nothing to do."""


class Listener:
    """Accepts associations, each in a thread. ``start`` binds; ``close`` ends."""

    def __init__(
        self,
        host: str,
        port: int,
        archive: Archive,
        *,
        limits: Limits | None = None,
        associations: int = 32,
        tls: ssl.SSLContext | None = None,
        subject_of: Callable[[ssl.SSLSocket], str] = lambda _: "",
        services: Mapping[str, Service] | None = None,
    ) -> None:
        self.archive = archive
        self.services = dict(services or {})
        self.address = ""
        """``HOST:PORT`` once it listens."""
        self._place = (host, port)
        self._limits = limits or Limits()
        self._associations = associations
        self._tls = tls
        self._subject_of = subject_of
        self._lock = threading.Lock()
        self._open: dict[Association, socket.socket] = {}
        self._threads: set[threading.Thread] = set()
        self._closing = threading.Event()

    def start(self) -> None:
        """Raises OSError when the address cannot be bound."""
        family = socket.AF_INET6 if ":" in self._place[0] else socket.AF_INET
        self._socket = socket.create_server(self._place, family=family, backlog=_BACKLOG)
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._thread = threading.Thread(target=self._accept, name="hdg-dicom", daemon=True)
        self._thread.start()

    def is_full(self) -> bool:
        """Whether more associations are open than may be; the one that asks is counted."""
        with self._lock:
            return len(self._open) > self._associations

    def close(self, grace_s: float = 10.0) -> None:
        """No new associations; objects under way are finished and answered, within ``grace_s``."""
        self._closing.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        end = time.monotonic() + grace_s
        while self._threads and time.monotonic() < end:
            self._stop_idle()
            time.sleep(0.01)
        with self._lock:
            left = list(self._open.values())
        for sock in left:
            _shut(sock)
        for thread in list(self._threads):
            thread.join(1.0)

    def _stop_idle(self) -> None:
        with self._lock:
            for association, sock in self._open.items():
                association.is_stopping = True
                if association.is_idle:
                    _shut(sock)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, address = self._socket.accept()
            except OSError:
                if self._closing.is_set():
                    return
                time.sleep(0.05)  # too many open files: they pass
                continue
            with self._lock:
                is_over = len(self._threads) >= self._associations + _WAITING_MAX
            if is_over:
                sock.close()
                continue
            thread = threading.Thread(
                target=self._serve, args=(sock, str(address[0])), name="hdg-association", daemon=True
            )
            with self._lock:
                self._threads.add(thread)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads: they pass
                _log.error("an association was refused: no thread for it")
                with self._lock:
                    self._threads.discard(thread)
                sock.close()

    def _serve(self, sock: socket.socket, address: str) -> None:
        association: Association | None = None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            subject = ""
            if self._tls is not None:
                secure = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                sock = secure
                sock.settimeout(self._limits.artim_s)
                secure.do_handshake()
                subject = self._subject_of(secure)

            def peer(request: Request) -> Peer:
                return Peer(request.calling, request.called, address, subject)

            association = Association(sock, peer, _Storage(self), self._limits)
            with self._lock:
                self._open[association] = sock
            association.run()
        except OSError as error:
            _log.debug("a connection ended before its association: %s", type(error).__name__)
        finally:
            sock.close()
            with self._lock:
                if association is not None:
                    self._open.pop(association, None)
                self._threads.discard(threading.current_thread())


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
