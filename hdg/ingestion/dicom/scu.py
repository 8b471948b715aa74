"""What the gateway sends of its own accord, with pynetdicom: reports of storage commitment. PS3.4 §J.3.3."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from hdg.errors import DicomError
from hdg.ingestion.dicom import scp_commitment as commitment

__all__ = ["Checkpoint", "own_handlers", "send_reports"]

_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_WAIT_S = 30.0
_WORD_S = 0.05


class Checkpoint(threading.Event):
    """Where the thread of an association waits while a request is sent and its answer read (pynetdicom's has a gap).

    That thread says that it waits, waits, and then takes what came; the one that sends a request clears the event and
    goes on once the other says that it waits. Between the end of its waiting and its taking that back it says so and
    does not: it took the answer, and who had asked waited for it until his time was up.
    """

    def __init__(self, association: Any) -> None:
        super().__init__()
        self._association = association
        self._passing = threading.Lock()
        self.is_waiting = False
        """The association's thread is here. (``_is_paused`` is also True while it answers a request of the peer's.)"""
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """As it says; the association waits no more when this returns, and ``clear`` sees that.

        While it waits it says so again and again: who waits for its word would wait for ever if that were lost.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._association._is_paused = self.is_waiting = True
            left = _WORD_S if end is None else min(_WORD_S, end - time.monotonic())
            if super().wait(max(left, 0)):
                with self._passing:
                    if self.is_set():
                        self._association._is_paused = self.is_waiting = False
                        return True
            elif end is not None and time.monotonic() >= end:
                self.is_waiting = False
                return False

    def clear(self) -> None:
        """As it says; not while somebody passes."""
        with self._passing:
            super().clear()


def own_handlers() -> list[Any]:
    """``evt_handlers`` of associations of ours: TCP_NODELAY, without which each object waits for an acknowledgement,
    and a checkpoint without a gap.
    """
    from pynetdicom import evt

    def opened(event: Any) -> None:
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        event.assoc._reactor_checkpoint = Checkpoint(event.assoc)  # its thread has not begun

    return [(evt.EVT_CONN_OPEN, opened)]


def send_reports(address: str, ours: str, theirs: str, reports: Sequence[commitment.Report]) -> list[bool]:
    """To ``HOST:PORT`` on one association: for each report whether it was taken. Blocks for up to a minute each.

    Raises DicomError: there is no association; OSError, ValueError.
    """
    from pynetdicom import AE
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = commitment.SOP_CLASS
    role.scu_role, role.scp_role = False, True
    host, _, port = address.rpartition(":")
    entity = AE(ae_title=ours[:16] or "HDG")
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = _WAIT_S
    entity.add_requested_context(commitment.SOP_CLASS, _IMPLICIT_LITTLE)
    association: Any = entity.associate(
        host.strip("[]"), int(port), ae_title=theirs[:16], ext_neg=[role], evt_handlers=own_handlers()
    )
    if not association.is_established:
        raise DicomError("no association for a report of storage commitment")
    try:
        return [association.is_established and _is_taken(association, report) for report in reports]
    finally:
        association.release()


def _is_taken(association: Any, report: commitment.Report) -> bool:
    from pydicom.filereader import read_dataset

    source = BytesIO(report.data(is_explicit=False))
    data = read_dataset(source, is_implicit_VR=True, is_little_endian=True)
    try:
        status, _ = association.send_n_event_report(
            data, report.event, commitment.SOP_CLASS, commitment.SOP_INSTANCE
        )
    except (RuntimeError, ValueError):  # pynetdicom: the other side is gone, or takes no such context
        return False
    return bool(status) and status.Status == 0
