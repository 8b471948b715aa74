"""What the other side's answers to a message come to. HL7 v2.9 §2.9.2, §2.14.8 (MSA), tables 0008 and 0357.

The texts here hold codes and places only: what another system writes into ERR-8 may name a patient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.ack import read_header
from hdg.ingestion.hl7v2.ack_mode import mode_of
from hdg.ingestion.hl7v2.parser import Message, parse

__all__ = ["Verdict", "verdict"]

_ACCEPTS = frozenset({"AA", "CA"})
_REFUSALS = frozenset({"AE", "AR", "CE", "CR"})
_CONDITION = re.compile(r"[0-9]{1,4}")
_LOCATION = re.compile(r"[A-Z][A-Z0-9]{2}(\^[0-9]{0,4}){0,5}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``unclear``: no acknowledgement of this message, so it must be sent again."""

    outcome: Literal["accepted", "refused", "unclear"]
    text: str


def verdict(message: bytes, answers: Sequence[bytes], *, any_control_id: bool = False) -> Verdict:
    """Judges the answers to ``message``, in order. ``any_control_id``: MSA-2 need not name it. Never
    raises.
    """
    if not answers:
        asked = mode_of(message)
        if "SU" in (asked.accept, asked.application):
            return Verdict("unclear", "no answer, which this message asks for when all is well")
        return Verdict("accepted", "sent; it asks for no answer")
    expected = read_header(message).field(10).strip()
    codes: list[str] = []
    for answer in answers:
        try:
            parsed = parse(answer)
        except Hl7v2Error:
            return Verdict("unclear", "the answer is not HL7 v2")
        msa = parsed.first("MSA")
        code = msa.field(1).strip() if msa is not None else ""
        if msa is None or code not in _ACCEPTS | _REFUSALS:
            return Verdict("unclear", "the answer is no acknowledgement")
        if not any_control_id and read_msa_2(parsed) != expected:
            return Verdict("unclear", "the answer acknowledges another message (MSA-2)")
        codes.append(code)
        if code in _REFUSALS:
            return Verdict("refused", " ".join([*codes, *_errors(parsed)]))
    return Verdict("accepted", " ".join(codes))


def read_msa_2(answer: Message) -> str:
    """The control id that an answer acknowledges."""
    msa = answer.first("MSA")
    return "" if msa is None else msa.field(2).strip()


def _errors(answer: Message) -> list[str]:
    """``207 at PID^1^3`` of each ERR segment, as far as they are codes and places."""
    found = []
    for err in answer.all("ERR")[:5]:
        condition, location = err.field(3).split("^")[0], err.field(2)
        shown = condition if _CONDITION.fullmatch(condition) else ""
        if _LOCATION.fullmatch(location):
            shown += f" at {location}"
        found.append(shown.strip())
    return [text for text in found if text]
