"""``hdg send`` believes only an answer to its own message. HL7 v2.9 §2.14.8 (MSA)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.mllp_frame import END, START
from hdg.ingestion.hl7v2.send import Answer, Peer, acknowledgements
from messages import oru
from receiver import Receiver


def sent(folder: Path, *answers: bytes) -> Answer:
    """What is told of a message that is answered so."""
    (folder / "m.hl7").write_bytes(oru("M1"))
    receiver = Receiver(lambda raw: answers)
    try:
        [answer] = acknowledgements([folder / "m.hl7"], Peer(receiver.address), 120)
    finally:
        receiver.close()
    return answer


def answer_to(control: str) -> bytes:
    return acknowledge(oru(control), "AA", control_id="R", at_us=0)


def test_the_answer_to_the_message_accepts_it(tmp_path: Path) -> None:
    answer = sent(tmp_path, answer_to("M1"))
    assert (answer.is_accepted, answer.line()) == (True, "AA  M1  m.hl7 message 1")


@pytest.mark.parametrize("control", ["M0", ""])
def test_the_answer_to_another_message_does_not(tmp_path: Path, control: str) -> None:
    answer = sent(tmp_path, answer_to(control))
    assert not answer.is_accepted
    assert answer.errors == ("the answer acknowledges another message (MSA-2)",)


def test_answers_that_nobody_asked_for_are_shown(tmp_path: Path) -> None:
    answer = sent(tmp_path, answer_to("M1") + END + START + answer_to("M1"))
    assert answer.line().startswith("AA AA  M1  m.hl7")
