"""What the gateway sends of its own accord, with pynetdicom: reports of storage commitment. PS3.4 §J.3.3."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from hdg.errors import DicomError
from hdg.ingestion.dicom import scp_commitment as commitment

__all__ = ["own_handlers", "send_reports"]

_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_WAIT_S = 30.0
_WORD_S = 0.05


def own_handlers() -> list[Any]:
    """``evt_handlers`` of associations of ours: TCP_NODELAY, without which each object waits for an acknowledgement."""
    from pynetdicom import evt

    def opened(event: Any) -> None:
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

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
