"""Takes messages for listeners that are not MLLP: one after the other, or a batch, with an outcome for each.

HL7 v2.9 §2.10.3. The order of a batch is kept per patient (the gateway's lanes); otherwise its messages share
commits. A message that could not be kept ends the batch: the sender sends all of it again, and what was
stored is answered from its record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hdg.errors import HdgError, Hl7v2Error, Issue
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.ack import Code, acknowledge
from hdg.ingestion.hl7v2.ack_mode import code_of, replies
from hdg.ingestion.hl7v2.batch import Batch, response
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.sender import Origin

WINDOW = 32
"""Messages of one batch that are under way at a time."""
WAIT_S = 60.0
"""How long one message may wait for its commit before its sender is told to come again."""
_ISSUE_CODE = {
    "100": "structure",
    "101": "required",
    "102": "value",
    "103": "code-invalid",
    "200": "not-supported",
    "201": "not-supported",
    "203": "not-supported",
    "205": "duplicate",
}
"""HL7 table 0357 → R4 valueset-issue-type; the rest is ``processing``."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one message. ``ack``: AA, AE or AR; ``sent``: what its sender asked for, in order."""

    number: int
    ack: bytes
    sent: tuple[bytes, ...]
    code: str
    is_kept: bool

    @property
    def is_accepted(self) -> bool:
        """Stored with all its resources."""
        return self.code == "AA"

    @property
    def is_to_be_sent_again(self) -> bool:
        """Not kept, for a reason that may pass."""
        return not self.is_kept and self.code != "AR"

    def issues(self) -> list[Issue]:
        """The outcome as issues; texts are those of the ERR segments."""
        if self.is_accepted:
            return [Issue("information", "informational", "", f"message {self.number}: AA")]
        errors = parse(self.ack).all("ERR")
        found = []
        for error in errors:
            text = " ".join(filter(None, (error.field(2), error.field(8))))
            code = _ISSUE_CODE.get(error.field(3).split("^")[0], "processing")
            found.append(Issue("error", code, "", f"message {self.number}: {self.code} {text}"))
        return found or [Issue("error", "processing", "", f"message {self.number}: {self.code}")]


async def take(gateway: Gateway, raw: bytes, origin: Origin, number: int = 1) -> Taken:
    """Hands one message to the gateway. Never raises for a message; a failure to keep it is an AE."""
    limit = gateway.settings.max_message_bytes
    if len(raw) > limit:
        return _refused(gateway, raw, origin, number, f"{len(raw)} bytes; the limit is {limit}", "AR")
    try:
        answered = await asyncio.wait_for(gateway.exchange(raw, origin), WAIT_S)
    except Exception as error:
        gateway.tell(logging.ERROR, "a message was not kept: %s", type(error).__name__)
        text = str(error) if isinstance(error, HdgError) else "the message could not be kept; send it again"
        return _refused(gateway, raw, origin, number, text, "AE")
    return Taken(number, answered.ack, answered.sent, code_of(answered.ack), is_kept=True)


def _refused(gateway: Gateway, raw: bytes, origin: Origin, number: int, text: str, code: Code) -> Taken:
    at_us = gateway.clock()
    error = Hl7v2Error(text, condition="207", is_rejection=code == "AR")
    ack = acknowledge(raw, code, errors=[error], control_id=f"E{at_us}", at_us=at_us)
    sent = replies(raw, ack, is_kept=False, mode=gateway.ack_mode(raw, origin))
    return Taken(number, ack, sent, code, is_kept=False)


async def take_all(gateway: Gateway, messages: Sequence[bytes], origin: Origin) -> list[Taken]:
    """An outcome for each message in order; shorter than ``messages`` when one could not be kept."""
    outcomes: list[Taken] = []
    for start in range(0, len(messages), WINDOW):
        window = messages[start : start + WINDOW]
        works = (take(gateway, raw, origin, number) for number, raw in enumerate(window, start + 1))
        outcomes += await asyncio.gather(*works)
        if any(outcome.is_to_be_sent_again for outcome in outcomes[start:]):
            break
    return outcomes


def answer(batch: Batch, outcomes: Sequence[Taken], at_us: int) -> bytes:
    """One HL7 v2 text that answers all: a batch for a batch, else the message's last acknowledgement, or b''.

    An outcome whose sender asked for no acknowledgement stands in it only when it is not an acceptance.
    """
    acks = [
        outcome.sent[-1] if outcome.sent else outcome.ack
        for outcome in outcomes
        if outcome.sent or not outcome.is_accepted
    ]
    if not batch.is_batch:
        return acks[0] if acks else b""
    at = f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y%m%d%H%M%S}+0000"
    return response(batch, acks, control_id=f"B{at_us}", at=at)
