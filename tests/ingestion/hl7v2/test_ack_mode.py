"""Original and enhanced acknowledgement mode: HL7 v2.9 §2.9.2, §2.9.3, table 0155."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.ack import Code, acknowledge
from hdg.ingestion.hl7v2.ack_mode import AckMode, awaited, code_of, mode_of, replies
from hdg.ingestion.hl7v2.parser import parse

ERROR = Hl7v2Error("wrong value", "PID-7", condition="102")


def message(accept: str = "", application: str = "", kind: str = "ADT^A01") -> bytes:
    return f"MSH|^~\\&|A|B|C|D|2024||{kind}|N1|P|2.5|||{accept}|{application}\rPID|1\r".encode()


def ack(raw: bytes, code: Code) -> bytes:
    errors = () if code == "AA" else (ERROR,)
    return acknowledge(raw, code, errors=errors, control_id="A123", at_us=0)


def codes(accept: str, application: str, code: Code, *, is_kept: bool = True) -> list[str]:
    raw = message(accept, application)
    return [code_of(reply) for reply in replies(raw, ack(raw, code), is_kept=is_kept)]


@pytest.mark.parametrize(
    ("accept", "application", "accepted", "in_error", "rejected"),
    [
        ("", "", ["AA"], ["AE"], ["AR"]),
        ('""', '""', ["AA"], ["AE"], ["AR"]),
        ("AL", "AL", ["CA", "AA"], ["CA", "AE"], ["CR"]),
        ("AL", "NE", ["CA"], ["CA"], ["CR"]),
        ("AL", "", ["CA"], ["CA"], ["CR"]),
        ("AL", "ER", ["CA"], ["CA", "AE"], ["CR"]),
        ("AL", "SU", ["CA", "AA"], ["CA"], ["CR"]),
        ("NE", "AL", ["AA"], ["AE"], ["AR"]),
        ("", "AL", ["AA"], ["AE"], ["AR"]),
        ("NE", "NE", [], [], []),
        ("NE", "ER", [], ["AE"], ["AR"]),
        ("NE", "SU", ["AA"], [], []),
        ("ER", "AL", ["AA"], ["AE"], ["CR"]),
        ("ER", "ER", [], ["AE"], ["CR"]),
        ("SU", "AL", ["CA", "AA"], ["CA", "AE"], ["AR"]),
        ("SU", "NE", ["CA"], ["CA"], []),
        ("XX", "NE", ["CA"], ["CA"], ["CR"]),
    ],
)
def test_each_condition_gets_the_acknowledgements_it_asks_for(
    accept: str, application: str, accepted: list[str], in_error: list[str], rejected: list[str]
) -> None:
    assert codes(accept, application, "AA") == accepted
    assert codes(accept, application, "AE") == in_error
    assert codes(accept, application, "AR") == rejected


def test_what_could_not_be_kept_is_a_commit_error_and_never_ca() -> None:
    assert codes("AL", "AL", "AE", is_kept=False) == ["CE"]
    assert codes("ER", "NE", "AE", is_kept=False) == ["CE"]
    assert codes("NE", "AL", "AE", is_kept=False) == ["AE"]
    assert codes("", "", "AE", is_kept=False) == ["AE"]
    assert codes("AL", "AL", "AR", is_kept=False) == ["CR"]


def test_commit_and_application_acknowledgement_are_messages_of_their_own() -> None:
    raw = message("AL", "AL")
    commit, final = (parse(reply) for reply in replies(raw, ack(raw, "AE")))
    assert (commit.control_id, final.control_id) == ("C123", "A123")
    assert not commit.all("ERR")
    assert [segment.field(2) for segment in (commit.first("MSA"), final.first("MSA")) if segment] == [
        "N1"
    ] * 2
    assert [error.field(3) for error in final.all("ERR")] == ["102^Data type error^HL70357"]
    assert [error.field(2) for error in final.all("ERR")] == ["PID^1^7^1"]


def test_an_application_acknowledgement_of_enhanced_mode_asks_for_none_itself() -> None:
    raw = message("NE", "AL")
    [final] = replies(raw, ack(raw, "AA"))
    assert mode_of(final) == AckMode("NE", "NE", is_reply=True)


def test_a_commit_rejection_names_the_error() -> None:
    raw = message("AL", "AL")
    [commit] = replies(raw, ack(raw, "AR"))
    assert [error.field(2) for error in parse(commit).all("ERR")] == ["PID^1^7^1"]


@pytest.mark.parametrize("kind", ["ACK", "ACK^A01^ACK", "MCF^Q02"])
def test_an_acknowledgement_is_never_answered(kind: str) -> None:
    for accept in ("", "AL"):
        raw = message(accept, accept, kind)
        assert replies(raw, ack(raw, "AR")) == ()
        assert awaited(raw, ()) == "no"


def test_a_declared_mode_stands_above_the_message() -> None:
    raw = message()
    assert [code_of(reply) for reply in replies(raw, ack(raw, "AA"), mode=AckMode("AL", "NE"))] == ["CA"]


def test_other_delimiters_and_charsets_come_back_as_they_came() -> None:
    raw = "MSH*%~!$*A*B*Crème*D*2024**ADT%A01*N1*P*2.5***AL*AL**UNICODE UTF-8\rPID*1\r".encode()
    assert [parse(reply).first("MSH").field(3) for reply in replies(raw, ack(raw, "AA"))] == ["Crème"] * 2  # type: ignore[union-attr]  # an ACK has an MSH
    wide = ("\ufeff" + message("AL", "AL").decode()).encode("utf-16-le")
    assert [code_of(reply) for reply in replies(wide, ack(wide, "AA"))] == ["CA", "AA"]


@given(st.binary(max_size=80), st.sampled_from(["AA", "AE", "AR"]))
@example(b"\x1b$@", "AA")  # a switch of ISO 2022 and nothing behind it
def test_a_broken_header_is_answered_in_original_mode_and_nothing_raises(tail: bytes, code: Code) -> None:
    for raw in (tail, b"MSH" + tail, b"MSH|^~\\&|" + tail):
        for reply in replies(raw, ack(raw, code)):
            assert reply.rstrip(b"\r")


@pytest.mark.parametrize("accept", ["", "AL", "NE", "ER", "SU"])
@pytest.mark.parametrize("application", ["", "AL", "NE", "ER", "SU"])
@pytest.mark.parametrize("code", ["AA", "AE", "AR"])
def test_what_a_sender_awaits_is_what_the_receiver_sends(accept: str, application: str, code: Code) -> None:
    raw = message(accept, application)
    sent = replies(raw, ack(raw, code))
    for count in range(len(sent) + 1):
        is_more = count < len(sent)
        assert awaited(raw, sent[:count]) in (("yes", "maybe") if is_more else ("no", "maybe"))
