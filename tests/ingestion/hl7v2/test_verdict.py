"""What answers to a message come to. HL7 v2.9 §2.9.2, tables 0008 and 0155."""

from __future__ import annotations

import pytest

from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.verdict import verdict
from messages import oru

MESSAGE = oru("M1")


def answer(code: str, message: bytes = MESSAGE) -> bytes:
    return acknowledge(message, code, control_id="R", at_us=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        (["AA"], "accepted"),
        (["CA"], "accepted"),
        (["CA", "AA"], "accepted"),
        (["AE"], "refused"),
        (["AR"], "refused"),
        (["CE"], "refused"),
        (["CR"], "refused"),
        (["CA", "AE"], "refused"),
    ],
)
def test_all_answers_must_be_positive(codes: list[str], outcome: str) -> None:
    assert verdict(MESSAGE, [answer(code) for code in codes]).outcome == outcome


def test_an_answer_to_another_message_is_none_unless_that_is_allowed() -> None:
    other = [answer("AA", oru("M2"))]
    assert verdict(MESSAGE, other).outcome == "unclear"
    assert verdict(MESSAGE, other, any_control_id=True).outcome == "accepted"


def test_blanks_around_what_an_answer_says_do_not_count() -> None:
    padded = answer("AA").replace(b"MSA|AA|M1", b"MSA|AA  |M1        ")
    assert verdict(MESSAGE, [padded]).outcome == "accepted"


def test_delimiters_of_its_own_do_not_hide_the_control_id() -> None:
    odd = MESSAGE.replace(b"|", b"$").replace(b"^", b"!")
    assert verdict(odd, [answer("AA", odd)]).outcome == "accepted"


@pytest.mark.parametrize(
    ("asked", "outcome"), [(b"|||NE|NE", "accepted"), (b"|||NE|ER", "accepted"), (b"|||NE|SU", "unclear")]
)
def test_no_answer_is_right_where_none_was_asked_for(asked: bytes, outcome: str) -> None:
    message = MESSAGE.replace(b"|P|2.5.1", b"|P|2.5.1" + asked)
    assert verdict(message, []).outcome == outcome


def test_only_codes_and_places_of_errors_are_repeated() -> None:
    told = answer("AE") + b"ERR||PID^1^5|Ada^x|E\rERR||Ada|103^x|E\rERR||PID^1^7|102|E||||Ada\r"
    assert verdict(MESSAGE, [told]).text == "AE at PID^1^5 103 102 at PID^1^7"
