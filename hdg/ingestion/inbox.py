"""The inbox's rules: what counts as the same message, and what a repeat is answered.

HL7 v2.9 §2.9.2.1 leaves it to the receiver to notice a message sent twice. Here a message is known by its
sender, MSH-10 and the SHA-256 of its bytes. Pure decisions; the gateway brings the stored records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hdg.errors import Hl7v2Error, Issue
from hdg.ingestion.sender import Sender


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message that was accepted: its digest (hex) and the ACK that was sent."""

    sha256: str
    ack: bytes


def repeat_of(known: Receipt | None, sha256: str, *, is_named: bool = True) -> Receipt | None:
    """The receipt whose ACK answers this message again, or None when the message is to be processed.

    ``known`` is the *accepted* record with the same sender and MSH-10, if any. A quarantined message may be
    sent again and is tried again. Raises Hl7v2Error (HL7 table 0357 code 205, rejected) when the control id
    was used before for other bytes: processing either of the two silently could lose one. ``is_named``: MSH-10 is
    valued; of a second message without it that is what is wrong (101).
    """
    if known is None:
        return None
    if known.sha256 == sha256:
        return known
    if not is_named:
        text = "the control id is empty, and was in another message: they cannot be told apart"
        raise Hl7v2Error(text, "MSH-10", condition="101", is_rejection=True)
    raise Hl7v2Error(
        "this control id was used before for a different message",
        "MSH-10",
        condition="205",
        is_rejection=True,
    )


_INDEX = re.compile(r"\[\d+\]")
UNMAPPED, LOST = "unmapped code", "lost data"


@dataclass(frozen=True, slots=True)
class Loss:
    """Something of a message that did not get through. No patient's value is in it.

    ``place``: a position without occurrence and repetition (``OBX-3.1``), so that equal losses are told as
    one.
    """

    kind: str
    place: str
    text: str


def losses(issues: Iterable[Issue]) -> Iterator[Loss]:
    """What the issues of a conversion say was lost: all but mere information, and what no table carries."""
    for issue in issues:
        if issue.severity != "information" or issue.code == "not-supported":
            is_code = issue.code == "not-found" and "map" in issue.text
            yield Loss(UNMAPPED if is_code else LOST, _INDEX.sub("", issue.place), issue.text)


def check_losses(issues: Iterable[Issue]) -> None:
    """For a strict sender. Raises Hl7v2Error (AE): HL7 table 0357 code 103 for a code, 102 for data."""
    for issue in issues:
        for loss in losses((issue,)):
            condition = "103" if loss.kind == UNMAPPED else "102"
            raise Hl7v2Error(f"strict: {loss.kind}: {issue.text}", issue.place, condition=condition)


def check_type(message_type: str, sender: Sender) -> None:
    """Raises Hl7v2Error (AR, 200 or 201) when the sender is declared not to send such messages."""
    if not sender.messages:
        return
    code, trigger = (*message_type.split("^"), "")[:2]
    if code in sender.messages or f"{code}^{trigger}" in sender.messages:
        return
    is_known = any(kind.partition("^")[0] == code for kind in sender.messages)
    condition = "201" if is_known else "200"
    text = "the sender is declared not to send this message type"
    raise Hl7v2Error(text, "MSH-9", condition=condition, is_rejection=True)
