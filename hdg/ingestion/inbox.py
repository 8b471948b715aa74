"""The inbox's rules: what counts as the same message, and what a repeat is answered.

HL7 v2.9 §2.9.2.1 leaves it to the receiver to notice a message sent twice. Here a message is known by its
sender, MSH-10 and the SHA-256 of its bytes. Pure decisions; the gateway brings the stored records.
"""

from __future__ import annotations

from dataclasses import dataclass

from hdg.errors import Hl7v2Error


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message that was accepted: its digest (hex) and the ACK that was sent."""

    sha256: str
    ack: bytes


def repeat_of(known: Receipt | None, sha256: str) -> Receipt | None:
    """The receipt whose ACK answers this message again, or None when the message is to be processed.

    ``known`` is the *accepted* record with the same sender and MSH-10, if any. A quarantined message may be
    sent again and is tried again. Raises Hl7v2Error (HL7 table 0357 code 205, rejected) when the control id
    was used before for other bytes: processing either of the two silently could lose one.
    """
    if known is None:
        return None
    if known.sha256 == sha256:
        return known
    raise Hl7v2Error(
        "this control id was used before for a different message",
        "MSH-10",
        condition="205",
        is_rejection=True,
    )
