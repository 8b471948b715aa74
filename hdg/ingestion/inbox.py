"""The inbox's rules: what counts as the same message, and what a repeat is answered.

Exactly once (issue-free restatement of IHE ITI TF-2 Appendix C.2.3 practice): a message is known by its sender,
MSH-10 and the SHA-256 of its bytes. Pure decisions; the gateway brings the stored records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hdg.errors import Hl7v2Error

Status = Literal["accepted", "quarantined"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message the inbox already holds: its digest (hex), what became of it, and the ACK that was sent."""

    sha256: str
    status: Status
    ack: bytes


def repeat_of(known: Receipt | None, sha256: str) -> Receipt | None:
    """The receipt whose ACK answers this message again, or None when the message is to be processed.

    ``known`` is the *accepted* record with the same sender and MSH-10, if any. A quarantined message may be sent
    again and is tried again. Raises Hl7v2Error (HL7 table 0357 code 205, rejected) when the control id was
    used before for other bytes: processing either of the two silently could lose one.
    """
    if known is None or known.status != "accepted":
        return None
    if known.sha256 == sha256:
        return known
    raise Hl7v2Error(
        "this control id was used before for a different message",
        "MSH-10",
        condition="205",
        is_rejection=True,
    )
