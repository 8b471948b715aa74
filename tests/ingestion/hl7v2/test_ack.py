"""Acknowledgements in original mode: HL7 v2.9 §2.9.2, §2.14.5 (ERR), §2.14.8 (MSA)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.errors import Hl7v2Error, Issue
from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.escape import unescape
from hdg.ingestion.hl7v2.parser import parse

ADT = b"MSH|^~\\&|EHR^1.2^ISO|CITY|HDG|LAB|20240102||ADT^A01^ADT_A01|C-77|T^A|2.5.1^DEU\rPID|1\r"
AT_US = 1_700_000_000_123_456


def ack(message: bytes, code: str = "AA", *errors: Hl7v2Error | Issue) -> bytes:
    return acknowledge(message, code, errors=errors, control_id="G1", at_us=AT_US)  # type: ignore[arg-type]  # a test's str


def test_header_turns_sender_and_receiver_round_and_echoes_version_and_processing_id() -> None:
    assert ack(ADT) == (
        b"MSH|^~\\&|HDG|LAB|EHR^1.2^ISO|CITY|20231114221320.123+0000||ACK^A01^ACK|G1|T^A|2.5.1^DEU\r"
        b"MSA|AA|C-77\r"
    )


def test_parsed_message_and_its_bytes_are_answered_alike() -> None:
    assert acknowledge(parse(ADT), "AA", control_id="G1", at_us=AT_US) == ack(ADT)


def test_errors_name_place_condition_severity_and_text() -> None:
    answer = parse(
        ack(
            ADT,
            "AE",
            Hl7v2Error("not a date", "PID-7", condition="102"),
            Hl7v2Error("lost", "OBX[3]-5[2].1.4", condition="103"),
            Hl7v2Error("no segment", "line 9", condition="100"),
            Issue("warning", "code-invalid", "PID-8", "unknown | code"),
            Issue("information", "informational", "Patient.name[0]", "fine"),
        )
    )
    rows = [[err.field(number) for number in (1, 2, 3, 4, 8)] for err in answer.all("ERR")]
    assert rows == [
        ["", "PID^1^7^1", "102^Data type error^HL70357", "E", "not a date"],
        ["", "OBX^3^5^2^1^4", "103^Table value not found^HL70357", "E", "lost"],
        ["", "", "100^Segment sequence error^HL70357", "E", "line 9: no segment"],
        ["", "PID^1^8^1", "103^Table value not found^HL70357", "W", "unknown \\F\\ code"],
        ["", "", "207^Application error^HL70357", "I", "Patient.name[0]: fine"],
    ]
    msa = answer.first("MSA")
    assert msa is not None
    assert (msa.field(1), msa.field(2), msa.field(3)) == ("AE", "C-77", "not a date")


def test_segment_alone_is_a_location() -> None:
    assert b"ERR||PV1^2|" in ack(ADT, "AE", Hl7v2Error("twice", "PV1[2]", condition="100"))


def test_before_2_5_err_1_carries_the_location() -> None:
    old = ADT.replace(b"2.5.1^DEU", b"2.3")
    assert b"ERR|PID^1^7^102&Data type error&HL70357|PID^1^7^1|" in ack(
        old, "AE", Hl7v2Error("x", "PID-7", condition="102")
    )


def test_from_2_7_on_msa_3_is_not_sent() -> None:
    new = ADT.replace(b"2.5.1^DEU", b"2.8")
    assert b"\rMSA|AE|C-77\r" in ack(new, "AE", Hl7v2Error("x", "PID-7"))


def test_answer_is_in_the_senders_delimiters() -> None:
    answer = ack(b"MSH*%~!$*A%!F!*B*C*D*2020**ADT%A01*9*P*2.5", "AE", Hl7v2Error("a*b|c", "PID-3[2].1"))
    assert answer.startswith(b"MSH*%~!$*C*D*A%!F!*B*")
    parsed = parse(answer)
    assert parsed.message_type == ("ACK", "A01", "ACK")
    err = parsed.all("ERR")[0]
    assert (err.field(2), unescape(err.field(8))) == ("PID^1^3^2^1", "a*b|c")


@pytest.mark.parametrize(
    ("msh_18", "codec", "name"),
    [
        ("8859/1", "latin-1", "Köln"),
        ("UNICODE UTF-8", "utf-8", "Köln 文"),
        ("BIG-5", "big5", "功許育"),
        ("ASCII~ISO IR87", "iso2022_jp", "日本"),
        ("UNICODE UTF-16", "utf-16", "Köln"),
        ("", "utf-8", "Köln"),
        ("CNS 11643-1992", "latin-1", "Köln"),
    ],
)
def test_answer_is_in_the_senders_character_set(msh_18: str, codec: str, name: str) -> None:
    message = f"MSH|^~\\&|{name}|B|C|D|2024||ADT^A01|9|P|2.5||||||{msh_18}\r".encode(codec)
    answer = ack(message).decode(codec)
    fields = answer.split("\r")[0].split("|")
    assert (fields[4], fields[17] if msh_18 else "") == (name, msh_18)


@pytest.mark.parametrize(
    ("message", "control_id"),
    [
        (b"", b""),
        (b"random \x80\x99", b""),
        (b"MSH", b""),
        (b"MSH|", b""),
        (b"MSH|^~", b""),
        (b"MSH||a|b|c|d|2024||ADT^A01|77|P|2.3", b"77"),
        (b"MSH|^^\\&|a|b|c|d|2024||ADT^A01|77|P|2.3", b"77"),
        (b"MSH|^~\\&|a|b|c|d|2024|||77", b"77"),
        (b"\xef\xbb\xbfMSH|^~\\&|a|b|c|d|2024||ADT^A01|77\n", b"77"),
        (b"MSH|^~\\&|\xff|b|c|d|2024||ADT^A01|7\x1c7\x0b|P|2.5", b"77"),
        (b"MSH|^~\\&|" + b"x" * 100_000, b""),
        (b"|" * 1_000_000, b""),
    ],
)
def test_broken_headers_are_answered_with_what_can_be_read(message: bytes, control_id: bytes) -> None:
    answer = ack(message, "AR", Hl7v2Error("broken", "MSH-2", condition="101", is_rejection=True))
    assert b"\rMSA|AR|" + control_id in answer
    assert b"ERR|" in answer
    assert len(answer) < 10_000
    assert parse(answer).message_type[0] == "ACK"


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"MSH", b"MSH|^~\\&|", b"\xff\xfe", b"MSH|^~\\&|||||||ADT^A01|"]),
)
def test_any_bytes_are_answered_in_one_frame(data: bytes, head: bytes) -> None:
    answer = ack(head + data, "AE", Hl7v2Error("x", "PID-3", condition="102"))
    assert answer.rstrip(b"\x00").endswith(b"\r")
    assert b"\x0b" not in answer.replace(b"\x00", b"") or head == b"\xff\xfe"
    assert b"\x1c\r" not in answer


def test_errors_are_capped() -> None:
    errors = [Issue("error", "value", "PID-7", "x" * 10_000)] * 1_000
    assert len(ack(ADT, "AE", *errors)) < 50 * 400
