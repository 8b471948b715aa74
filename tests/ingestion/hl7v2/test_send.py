"""``hdg send`` believes only an answer to its own message. HL7 v2.9 §2.14.8 (MSA)."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hdg.cli import app
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


def test_a_wrong_count_is_told_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.hl7").write_bytes(b"BHS|^~\\&|A\r" + oru("M1") + b"BTS|2\r")
    receiver = Receiver()
    try:
        answers = list(acknowledgements([tmp_path / "m.hl7"], Peer(receiver.address), 120))
    finally:
        receiver.close()
    assert [answer.line() for answer in answers] == [
        "AA  M1  m.hl7 message 1",
        "--  -  m.hl7\n    BTS-1 2 messages announced, 1 found",
    ]
    assert [answer.is_accepted for answer in answers] == [True, False]


@pytest.mark.parametrize("seconds", ["0", "-1"])
def test_no_time_at_all_is_wrong_usage(tmp_path: Path, seconds: str) -> None:
    (tmp_path / "m.hl7").write_bytes(oru("M1"))
    done = CliRunner().invoke(app, ["send", str(tmp_path / "m.hl7"), "--timeout", seconds])
    assert done.exit_code == 2
