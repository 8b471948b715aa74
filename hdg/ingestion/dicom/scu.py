"""What the gateway sends of its own accord, with pynetdicom: reports of storage commitment. PS3.4 §J.3.3."""

from __future__ import annotations

import logging
import time
from io import BytesIO
from typing import Any

from hdg.errors import DicomError
from hdg.ingestion.dicom import scp_commitment as commitment

__all__ = ["send_report"]

_log = logging.getLogger("hdg.dicom")
_PAUSES_S = (1.0, 10.0, 60.0, 600.0)
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"


def send_report(address: str, ours: str, theirs: str, report: commitment.Report) -> bool:
    """To ``HOST:PORT``, trying several times; whether it was taken. Blocks for minutes: for a thread of its own."""
    for pause_s in (*_PAUSES_S, None):
        try:
            _send(address, ours, theirs, report)
            return True
        except (DicomError, OSError, ValueError) as error:
            _log.warning("a report of storage commitment was not taken: %s", type(error).__name__)
        if pause_s is not None:
            time.sleep(pause_s)
    return False


def _send(address: str, ours: str, theirs: str, report: commitment.Report) -> None:
    from pydicom.filereader import read_dataset
    from pynetdicom import AE
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = commitment.SOP_CLASS
    role.scu_role, role.scp_role = False, True
    host, _, port = address.rpartition(":")
    entity = AE(ae_title=ours[:16] or "HDG")
    entity.add_requested_context(commitment.SOP_CLASS, _IMPLICIT_LITTLE)
    association: Any = entity.associate(
        host.strip("[]"), int(port), ae_title=theirs[:16], ext_neg=[role], evt_handlers=[]
    )
    if not association.is_established:
        raise DicomError("no association for a report of storage commitment")
    try:
        source = BytesIO(report.data(is_explicit=False))
        data = read_dataset(source, is_implicit_VR=True, is_little_endian=True)
        status, _ = association.send_n_event_report(
            data, report.event, commitment.SOP_CLASS, commitment.SOP_INSTANCE
        )
    finally:
        association.release()
    if not status or status.Status != 0:
        raise DicomError("a report of storage commitment was refused")
